//! Who a request is from, by a service of the operator's and by passwords, over real processes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use std::future::ready;
use std::net::SocketAddr;
use tests::client::{Reply, send};
use tests::config::{self, route};
use tests::fleet::Fleet;
use tests::upstream::{Mood, Received, Target, Upstream, empty, full};
use tests::wait::eventually;

/// Of `abc`, by jBCrypt, with the cost 10.
const ABC: &str = "$2a$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi";

async fn gateway(routes: &[String]) -> Fleet {
    Fleet::start(1, |port| config::server(port, "") + "routes:\n" + &routes.concat()).await
}

async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(address, request.body(Full::<Bytes>::default()).expect("a request")).await.expect("an answer")
}

/// Lets in whoever has a cookie `user=NAME`, and sends the others to a page.
fn decide(request: &Received) -> Response<tests::upstream::Body> {
    let cookie = request.headers.get("cookie").and_then(|cookie| cookie.to_str().ok()).unwrap_or_default();
    match cookie.strip_prefix("user=") {
        Some(user) => Response::builder().status(StatusCode::NO_CONTENT).header("x-user", user).body(empty()),
        None => Response::builder()
            .status(StatusCode::FOUND)
            .header("location", "https://login.example/")
            .header("set-cookie", "back=1")
            .header("x-login-hint", "1")
            .header("x-user", "nobody")
            .body(full("log in first")),
    }
    .expect("a response")
}

fn sent<'r>(reply: &'r serde_json::Value, name: &str) -> Vec<&'r str> {
    let headers = reply["headers"].as_array().expect("headers");
    headers.iter().filter(|one| one[0] == name).filter_map(|one| one[1].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_decides_and_names_the_caller() {
    let (target, service) =
        (Upstream::echo("target").await, Upstream::http(|request| ready(decide(&request))).await);
    let filters = format!(
        "filters: [{{forward_auth: {{url: \"http://{}/check\", response_headers: [X-User], consumer_header: X-User, \
         timeout: 10s}}}}, {{rate_limit: {{qps: 1, burst: 2, key: consumer}}}}]",
        service.address()
    );
    let fleet = gateway(&[route("orders", &[target.address()], &[&filters])]).await;
    let address = fleet.address(0);

    let refused = get(address, "/orders/1?a=b", &[("x-user", "root")]).await;
    assert_eq!((refused.status, &*refused.body), (StatusCode::FOUND, &b"log in first"[..]));
    assert_eq!(refused.header("location"), "https://login.example/");
    assert_eq!(refused.header("set-cookie"), "back=1");
    assert_eq!(refused.header("x-login-hint"), "1");
    assert_eq!(refused.header("x-user"), "", "what is for the target");
    assert!(refused.header("proxy-status").contains("denied_by_service"), "{refused:?}");
    assert!(target.requests().is_empty(), "nothing reaches the target");

    for user in ["alice", "bob"] {
        let forged = [("cookie", &*format!("user={user}")), ("x-user", "root"), ("x-consumer-name", "root")];
        let passed = get(address, "/orders/1?a=b", &forged).await;
        assert_eq!(passed.status, StatusCode::OK, "{passed:?}");
        let told = passed.json();
        assert_eq!((sent(&told, "x-user"), sent(&told, "x-consumer-name")), (vec![user], vec![user]));
    }
    let asked = service.requests();
    assert!(asked.iter().all(|one| one.method == "GET" && one.path() == "/check" && one.body.is_empty()));
    assert_eq!(asked[0].headers["x-forwarded-uri"], "/orders/1?a=b");
    assert!(!asked.iter().any(|one| one.headers.contains_key("x-user")));

    // each has a bucket of its own: who uses it up is none of the other's concern
    let spent = async |user: &str| {
        let cookie = format!("user={user}");
        get(address, "/orders/1", &[("cookie", &cookie)]).await.status == StatusCode::TOO_MANY_REQUESTS
    };
    eventually("alice has used up hers", async || {
        spent("alice").await.then_some(()).ok_or("not yet".to_owned())
    })
    .await;
    assert!(!spent("carol").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_lets_nobody_in_and_is_asked_again_when_it_is_well() {
    let (target, service) = (Upstream::echo("target").await, Target::start("service").await);
    let filters =
        format!("filters: [{{forward_auth: {{url: \"http://{}/\", timeout: 300ms}}}}]", service.address());
    let fleet = gateway(&[route("orders", &[target.address()], &[&filters])]).await;
    let address = fleet.address(0);
    for mood in [Mood::Refusing, Mood::Resetting, Mood::Hanging, Mood::Status(500), Mood::Status(503)] {
        service.be(mood).await;
        let refused = get(address, "/orders", &[]).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{mood:?}");
        assert_eq!(refused.json()["reason"], "auth_unavailable", "{mood:?}");
    }
    assert!(target.requests().is_empty(), "it fails closed");
    service.be(Mood::Healthy).await;
    assert_eq!(get(address, "/orders", &[]).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_let_in_and_a_flood_of_wrong_ones_keeps_nobody_else_out() {
    let target = Upstream::echo("target").await;
    let users =
        format!("filters: [{{auth: {{type: basic, realm: ops, users: [{{name: ann, hash: \"{ABC}\"}}]}}}}]");
    let routes = [route("ops", &[target.address()], &[&users]), route("open", &[target.address()], &[])];
    let fleet = gateway(&routes).await;
    let address = fleet.address(0);
    let asked = get(address, "/ops", &[]).await;
    assert_eq!(asked.status, StatusCode::UNAUTHORIZED);
    assert_eq!(asked.header("www-authenticate"), "Basic realm=\"ops\", charset=\"UTF-8\"");

    // `ann:abc`; on a machine that is busy the first check may take longer than anybody waits
    let right = [("authorization", "Basic YW5uOmFiYw==")];
    eventually("the password is checked", async || match get(address, "/ops", &right).await {
        reply if reply.status == StatusCode::OK => Ok(reply.json()),
        reply => Err(format!("{reply:?}")),
    })
    .await;
    let told = get(address, "/ops", &right).await.json();
    assert_eq!(sent(&told, "x-consumer-name"), ["ann"]);
    assert!(sent(&told, "authorization").is_empty(), "the password stays here");

    let mut flood = tokio::task::JoinSet::new();
    for guess in 0..100 {
        flood.spawn(async move {
            let credentials = format!("Basic {}", STANDARD.encode(format!("ann:{guess}")));
            get(address, "/ops", &[("authorization", &credentials)]).await.status
        });
    }
    for _ in 0..20 {
        assert_eq!(get(address, "/open", &[]).await.status, StatusCode::OK);
        assert_eq!(
            get(address, "/ops", &right).await.status,
            StatusCode::OK,
            "who is known waits for nobody"
        );
    }
    let outcomes = flood.join_all().await;
    assert!(outcomes.iter().all(|status| [401, 503].contains(&status.as_u16())), "{outcomes:?}");
    assert!(outcomes.contains(&StatusCode::SERVICE_UNAVAILABLE), "the queue is bounded: {outcomes:?}");
}
