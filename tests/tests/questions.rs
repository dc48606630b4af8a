//! An operator's questions to a real fleet: what would become of a request, what became of one, and those that pass.

use http::StatusCode;
use std::net::SocketAddr;
use tests::client::{RawClient, Reply, get};
use tests::config;
use tests::fleet::Fleet;
use tests::ports;
use tests::upstream::Upstream;
use tests::wait::eventually;

/// `users` answers, `orders` has a target that refuses connections and a breaker that opens at the first failure.
async fn fleet(users: &Upstream, refusing: SocketAddr) -> Fleet {
    Fleet::start(2, |port| {
        config::server(port, "")
            + "routes:\n"
            + &config::route("users", &[users.address()], &["strip_prefix: true"])
            + &config::route(
                "orders",
                &[refusing],
                &["filters: [{circuit_breaker: {threshold: 1, timeout: 10m}}]"],
            )
    })
    .await
}

fn id(reply: &Reply) -> String {
    reply.header("x-request-id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_asked_and_their_disagreement_is_told_first() {
    let (users, (refusing, _lease)) = (Upstream::echo("users").await, ports::refusing());
    let fleet = fleet(&users, refusing).await;
    let told = fleet.ctl(["explain", "GET", "http://a.example/users/7"]).await.exits(0).text();
    assert!(told.contains("FORWARDED to users"), "{told}");
    assert!(told.contains("dp-1, dp-2, version 1"), "{told}");
    assert!(told.contains("sent as /7"), "{told}");
    fleet.ctl(["explain", "GET", "http://a.example/nowhere"]).await.exits(1);

    // one request opens the breaker of one instance
    let failed = get(fleet.address(0), "/orders").await.expect("an answer");
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    let told = fleet.ctl(["explain", "GET", "http://a.example/orders"]).await.exits(1).text();
    assert!(told.starts_with("the instances do not agree:\n"), "{told}");
    let document =
        fleet.ctl(["explain", "GET", "http://a.example/orders", "-o", "json"]).await.exits(1).json();
    assert_eq!(document["agree"], false);
    assert_eq!(document["instances"][0]["verdict"]["reason"], "circuit_open");
    assert_eq!(document["instances"][1]["verdict"]["outcome"], "forward");
    let told = fleet.ctl(["explain", "GET", "http://a.example/orders", "--at", "dp-2"]).await.exits(0).text();
    assert!(!told.contains("dp-1"), "{told}");
    // nothing of this has reached a target
    assert_eq!(users.requests().len(), 0);
    // and a real one is refused as was said
    let refused = get(fleet.address(0), "/orders").await.expect("an answer");
    assert_eq!(refused.json()["reason"], "circuit_open");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_a_request_is_known_by_its_id() {
    let (users, (refusing, _lease)) = (Upstream::echo("users").await, ports::refusing());
    let fleet = fleet(&users, refusing).await;
    let served = get(fleet.address(0), "/users/7?token=s3cret").await.expect("an answer");
    let failed = get(fleet.address(1), "/orders").await.expect("an answer");
    let why =
        async |id: String| fleet.ctl(["why", &id, "-o", "json"]).await.exits(0).json()["items"][0].clone();
    let one = why(id(&served)).await;
    assert_eq!(
        (one["instance"].as_str(), one["route"].as_str(), one["status"].as_u64()),
        (Some("dp-1"), Some("users"), Some(200))
    );
    assert_eq!(one["query"], "token=***");
    assert_eq!(one["attempts"][0]["target"], users.address().to_string());
    let two = why(id(&failed)).await;
    assert_eq!(
        (two["instance"].as_str(), two["reason"].as_str(), two["status"].as_u64()),
        (Some("dp-2"), Some("connect_failed"), Some(502))
    );
    assert_eq!(two["attempts"][0]["failure"], "connect_failed");
    let told = fleet.ctl(["why", &id(&failed)]).await.exits(0).text();
    assert!(told.contains("502 connect_failed, by the gateway"), "{told}");
    fleet.ctl(["why", "nobody-has-this"]).await.exits(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_sees_what_is_asked_for_on_every_instance() {
    let (users, (refusing, _lease)) = (Upstream::echo("users").await, ports::refusing());
    let fleet = fleet(&users, refusing).await;
    let tapped = fleet.ctl(["tap", "--status", "5xx", "-n", "100", "-o", "json"]);
    // whoever watches is heard of by those it watches a moment after it has begun
    let asked = async {
        loop {
            for at in 0..2 {
                get(fleet.address(at), "/users/7").await.expect("an answer");
                get(fleet.address(at), "/orders").await.expect("an answer");
            }
        }
    };
    let tapped = tokio::select! {
        tapped = tapped => tapped.exits(0).stdout,
        () = asked => unreachable!("it goes on for ever"),
    };
    let lines: Vec<serde_json::Value> = tapped
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &serde_json::Value| line["kind"] == "Request")
        .collect();
    assert_eq!(lines.len(), 100);
    assert!(
        lines.iter().all(|line| line["route"] == "orders" && line["status"].as_u64() >= Some(500)),
        "{tapped}"
    );
    let mut instances: Vec<&str> = lines.iter().filter_map(|line| line["instance"].as_str()).collect();
    instances.sort_unstable();
    instances.dedup();
    assert_eq!(instances, ["dp-1", "dp-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_what_goes_through_each_route() {
    let (users, (refusing, _lease)) = (Upstream::echo("users").await, ports::refusing());
    let fleet = fleet(&users, refusing).await;
    // the instances report every few seconds
    let routes = eventually("both routes on both instances", async || {
        for _ in 0..20 {
            for at in 0..2 {
                get(fleet.address(at), "/users/7").await.expect("an answer");
                get(fleet.address(at), "/orders").await.expect("an answer");
            }
        }
        let frame = fleet.ctl(["top", "--once", "--sort", "errors", "-o", "json"]).await.exits(0).json();
        let routes = frame["routes"].as_array().expect("routes").clone();
        let complete = routes.len() == 2 && routes.iter().all(|route| route["instances"] == 2);
        if complete { Ok(routes) } else { Err(format!("{routes:?}")) }
    })
    .await;
    assert_eq!((routes[0]["route"].as_str(), routes[0]["failed"].as_f64()), (Some("orders"), Some(1.0)));
    assert_eq!((routes[1]["route"].as_str(), routes[1]["failed"].as_f64()), (Some("users"), Some(0.0)));
    assert!(routes.iter().all(|route| route["requestsPerSecond"].as_f64() > Some(0.0)), "{routes:?}");
    let text = fleet.ctl(["top", "--once"]).await.exits(0).text();
    assert!(text.contains("P99") && text.contains("IN-FLIGHT"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_of_one_listener_is_not_there_for_the_others_and_explain_says_so() {
    let (open, inside) = (Upstream::echo("open").await, Upstream::echo("inside").await);
    let port = ports::lease(1);
    let config = |plain: u16, names: &str| {
        let route = |name: &str, prefix: &str, target: &Upstream| {
            format!("  - name: {name}\n    prefix: {prefix}\n{}", config::targets(&[target.address()]))
        };
        config::server(plain, "")
            + &format!("listeners:\n  - {{name: inside, port: {}}}\nroutes:\n", port.port)
            + &route("open", "/", &open)
            + &route("guarded", "/admin", &inside)
            + &format!("    listeners: [{names}]\n")
    };
    let fleet = Fleet::start(1, |plain| config(plain, "inside")).await;
    let by_inside = SocketAddr::new(fleet.address(0).ip(), port.port);
    let body = async |address, path| get(address, path).await.expect("an answer").json()["upstream"].clone();
    assert_eq!(body(fleet.address(0), "/admin").await, "open");
    assert_eq!(body(by_inside, "/admin").await, "inside");
    let url = "http://a.test/admin";
    let told = fleet.ctl(["explain", "GET", url]).await.exits(0).text();
    assert!(told.contains("FORWARDED to open") && told.contains("is for the listener inside"), "{told}");
    let told = fleet.ctl(["explain", "GET", url, "--listener", "inside"]).await.exits(0).text();
    assert!(told.contains("FORWARDED to guarded"), "{told}");
    let told = fleet.ctl(["status", "routes", "-o", "wide"]).await.exits(0).text();
    assert!(told.contains("listener inside"), "{told}");

    // an edit holds for connections that are open already
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(client.response().await.json()["upstream"], "open");
    let edited = config(fleet.port(), "inside, default");
    fleet.apply(&edited, &[]).await.exits(0);
    client.send("GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(client.response().await.json()["upstream"], "inside");
}
