//! What a real browser makes of the gateway's answers: pages of a listed origin and of another one ask, and say what
//! they could read.
//!
//! Needs Chromium, Node.js and `tests/browser/node_modules`: `.ci/run packages` brings all three.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use tests::config::{self, route};
use tests::fleet::Fleet;
use tests::peers::present;
use tests::upstream::{Received, Upstream, full};

const BROWSER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/browser");

/// Debian's.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Plays every scenario of `pages.mjs`; what each of them says, by its name.
fn scenarios(listed: &str, stranger: &str, gateway: SocketAddr) -> BTreeMap<String, Value> {
    let what = json!({
        "listed": listed, "stranger": stranger, "gateway": gateway.to_string(), "chromium": CHROMIUM,
    });
    let mut command = Command::new("node");
    command.arg("pages.mjs").arg(what.to_string()).current_dir(BROWSER);
    let output = command.output().expect("node runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    let parse = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    };
    said.lines().map(parse).map(|said| (said["name"].as_str().unwrap_or_default().to_owned(), said)).collect()
}

/// An empty page of some origin.
async fn page() -> Upstream {
    Upstream::http(|_: Received| async {
        let response = http::Response::builder().header("content-type", "text/html");
        response.body(full("<!doctype html><title>page</title>")).expect("a response")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_may_do_what_cors_says_and_no_more() {
    if !present(&[
        CHROMIUM,
        "node",
        concat!(env!("CARGO_MANIFEST_DIR"), "/browser/node_modules/playwright-core"),
    ]) {
        return;
    }
    let (listed, stranger) = (page().await, page().await);
    // one host by two names: two origins, and two sites
    let listed_origin = format!("http://{}", listed.address());
    let stranger_origin = format!("http://localhost:{}", stranger.address().port());
    let (target, socket) = (Upstream::echo("target").await, Upstream::websocket().await);
    let at = [target.address()];
    let shown = "filters: [{headers: {response: {set: {X-Shown: shown, X-Kept: kept}}}}]";
    let key = "filters: [{auth: {type: apikey, keys: [{name: bob, key: k3y}]}}]";
    let cors = format!(
        "global_filters: [{{cors: {{allow_origins: [\"{listed_origin}\"], allow_methods: [GET, PUT], \
         allow_headers: [X-Token, Content-Type], expose_headers: [X-Shown], allow_credentials: true, max_age: 10m}}}}]\n"
    );
    let fleet = Fleet::start(1, |port| {
        let routes = [route("api", &at, &[shown]), route("private", &at, &[key])].concat();
        let socket = route("socket", &[socket.address()], &[]);
        config::server(port, "") + "routes:\n" + &routes + &socket + &cors
    })
    .await;
    let gateway = fleet.address(0);
    let play = move || scenarios(&listed_origin, &stranger_origin, gateway);
    let said = tokio::task::spawn_blocking(play).await.expect("the browser runs");
    let of = |name: &str| said.get(name).unwrap_or_else(|| panic!("nothing of {name:?} in {said:#?}"));

    // a listed origin reads bodies, and of the headers those that are exposed
    let simple = of("simple");
    assert_eq!(simple["status"], 200, "{simple}");
    assert_eq!(
        (&simple["headers"]["x-shown"], &simple["headers"]["x-kept"]),
        (&json!("shown"), &Value::Null)
    );
    assert_eq!(of("preflighted")["status"], 200, "{:#?}", of("preflighted"));
    assert_eq!(of("credentials")["status"], 200, "{:#?}", of("credentials"));
    // refusals of the gateway too
    let refused = of("refused and readable");
    assert_eq!(refused["status"], 401, "{refused}");
    assert!(refused["body"].as_str().is_some_and(|body| body.contains("unauthenticated")), "{refused}");
    assert_eq!(of("no route and readable")["status"], 404, "{:#?}", of("no route and readable"));
    // nobody reads or does more
    for name in [
        "method that is not allowed",
        "header that is not allowed",
        "simple of a stranger",
        "preflighted of a stranger",
        "credentials of a stranger",
    ] {
        assert!(
            of(name)["error"].as_str().is_some_and(|error| error.contains("Failed to fetch")),
            "{:#?}",
            of(name)
        );
    }
    // what a page sends without asking arrives anywhere, but it sees nothing of the answer
    assert_eq!(
        (&of("blind of a stranger")["status"], &of("blind of a stranger")["body"]),
        (&json!(0), &json!(""))
    );
    assert_eq!(of("websocket")["message"], "hello", "{:#?}", of("websocket"));

    let got = target.requests();
    assert!(
        got.iter().all(|request| request.method != http::Method::OPTIONS),
        "no preflight reaches a target"
    );
    let puts: Vec<_> = got.iter().filter(|request| request.method == http::Method::PUT).collect();
    assert_eq!(puts.len(), 1, "the stranger's PUT never came");
    assert_eq!(puts[0].header("x-token"), Some("t"));
    assert!(
        got.iter()
            .all(|request| request.method != http::Method::PATCH && request.header("x-other").is_none())
    );
    let with_cookie = got.iter().filter(|request| request.header("cookie") == Some("session=s")).count();
    assert_eq!(with_cookie, 1, "the one request with credentials of the listed origin");
}
