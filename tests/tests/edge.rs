//! What the gateway decides at its edge: who may ask and from where, what pages may read, what is added to a request.

use std::net::SocketAddr;
use tests::client::{RawClient, RawResponse};
use tests::config::{self, route};
use tests::fleet::Fleet;
use tests::upstream::Upstream;

async fn gateway(routes: &[String], global: &str) -> Fleet {
    Fleet::start(1, |port| config::server(port, "") + "routes:\n" + &routes.concat() + global).await
}

async fn send(address: SocketAddr, request: String) -> RawResponse {
    let mut client = RawClient::connect(address).await;
    client.send(request).await;
    client.response().await
}

fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{headers}\r\n")
}

const CORS: &str = "global_filters: [{cors: {allow_origins: [\"https://app.test\"], allow_methods: [GET, PUT], \
                    allow_headers: [X-Token], expose_headers: [X-Got], max_age: 10m}}]\n";

/// The seed's own case: a route with `methods` and CORS for all routes.
#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_is_answered_by_the_route_of_the_request_it_asks_about() {
    let target = Upstream::echo("target").await;
    let fleet = gateway(&[route("orders", &[target.address()], &["methods: [GET, PUT]"])], CORS).await;
    let ask = async |origin: &str, method: &str| {
        let headers = format!("Origin: {origin}\r\nAccess-Control-Request-Method: {method}\r\n");
        send(fleet.address(0), request("OPTIONS", "/orders/1", &headers)).await
    };
    let answer = ask("https://app.test", "PUT").await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.test"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET, PUT"));
    assert_eq!(answer.header("access-control-allow-headers").map(str::to_lowercase), Some("x-token".into()));
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    assert!(answer.header("x-request-id").is_some());

    let stranger = ask("https://evil.test", "PUT").await;
    assert_eq!((stranger.status, stranger.header("access-control-allow-origin")), (204, None));
    assert_eq!(ask("https://app.test", "DELETE").await.outcome(), "405 method_not_allowed");
    assert!(target.requests().is_empty(), "no preflight reaches a target");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_read_answers_and_refusals_alike() {
    let target = Upstream::echo("target").await;
    let fleet = gateway(&[route("orders", &[target.address()], &["methods: [GET, PUT]"])], CORS).await;
    for (method, path, outcome) in [
        ("GET", "/orders/1", "200"),
        ("DELETE", "/orders/1", "405 method_not_allowed"),
        ("GET", "/nowhere", "404 no_route"),
    ] {
        let answer = send(fleet.address(0), request(method, path, "Origin: https://app.test\r\n")).await;
        assert!(answer.outcome().starts_with(outcome), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.test"), "{path}");
        assert_eq!(
            answer.header("access-control-expose-headers").map(str::to_lowercase),
            Some("x-got".into())
        );
        assert!(answer.header("vary").is_some_and(|vary| vary.to_lowercase().contains("origin")));
        let stranger = send(fleet.address(0), request(method, path, "Origin: https://evil.test\r\n")).await;
        assert_eq!(stranger.header("access-control-allow-origin"), None, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_let_in_or_kept_out() {
    let target = Upstream::echo("target").await;
    let rules = "filters: [{ip: {allow: [127.0.0.0/8], deny: [127.0.0.3/32]}}]";
    let fleet = gateway(&[route("inside", &[target.address()], &[rules])], "").await;
    let from = async |source: u8| {
        let mut client = RawClient::connect_from(source, fleet.address(0)).await;
        client.send(request("GET", "/inside", "")).await;
        client.response().await.outcome()
    };
    assert_eq!(from(2).await, "200");
    assert_eq!(from(3).await, "403 address_denied");
    assert_eq!(target.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_set_added_and_removed_on_the_way_in_and_out() {
    let target = Upstream::echo("target").await;
    let rules = "filters: [{headers: {request: {set: {X-Client: \"{client_ip}\", X-Path: \"{path}\"}, remove: [X-Secret]}, \
                 response: {set: {X-Route: \"{route}\"}}}}]";
    let fleet = gateway(&[route("r", &[target.address()], &[rules])], "").await;
    let forged = "X-Client: 6.6.6.6\r\nX-Secret: s\r\n";
    let answer = send(fleet.address(0), request("GET", "/r/a/../b", forged)).await;
    assert_eq!(answer.header("x-route"), Some("r"), "{answer:?}");
    let got = &target.requests()[0];
    let headers = ["x-client", "x-path", "x-secret"].map(|name| got.header(name));
    assert_eq!(headers, [Some("127.0.0.1"), Some("/r/b"), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_has_the_header_and_the_trust_that_are_configured() {
    let target = Upstream::echo("target").await;
    let global = "global_filters: [{request_id: {header: X-Trace, trust: all}}]\n";
    let fleet = gateway(&[route("r", &[target.address()], &[])], global).await;
    let answer = send(fleet.address(0), request("GET", "/r", "X-Trace: mine-1\r\n")).await;
    assert_eq!(answer.header("x-trace"), Some("mine-1"), "{answer:?}");
    assert_eq!(target.requests()[0].header("x-trace"), Some("mine-1"));
    let malformed = send(fleet.address(0), request("GET", "/r", "X-Trace: \"quoted\"\r\n")).await;
    assert!(malformed.header("x-trace").is_some_and(|id| id.len() == 36), "a new one: {malformed:?}");
    let refused = send(fleet.address(0), request("GET", "/nowhere", "X-Trace: mine-2\r\n")).await;
    assert_eq!((refused.status, refused.count("x-request-id")), (404, 0), "{refused:?}");
    assert_eq!(refused.json()["request_id"].as_str(), refused.header("x-trace"), "one id, one header");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_take_smaller_bodies_than_the_listener() {
    let target = Upstream::echo("target").await;
    let at = [target.address()];
    let small = route("small", &at, &["filters: [{body_limit: {max: 10B}}]"]);
    let fleet = gateway(&[small, route("large", &at, &[])], "").await;
    let sized = |path: &str| request("POST", path, "Content-Length: 11\r\n") + "0123456789a";
    let chunked =
        request("POST", "/small", "Transfer-Encoding: chunked\r\n") + "b\r\n0123456789a\r\n0\r\n\r\n";
    assert_eq!(send(fleet.address(0), sized("/small")).await.outcome(), "413 body_too_large");
    assert_eq!(send(fleet.address(0), chunked).await.outcome(), "413 body_too_large");
    assert_eq!(send(fleet.address(0), sized("/large")).await.outcome(), "200");
}

/// HS256 with [`SECRET`]: `sub` alice; until 2100, until 2001, unsigned, and signed with another secret.
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const GOOD: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.DvdDttFvdgTOXtC2L5P1zfs2bIMtiEwN3al4EAHYyf8";
const EXPIRED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6MTAwMDAwMDAwMH0.BbjicrU64ioQ1saTOwUN_j6abSt1uvdR2CiMbZd-P9Y";
const UNSIGNED: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.";
const FORGED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6NDEwMjQ0NDgwMH0.JvaPyMJ1nnugGqRPzTCiIk8hBDqgwl15W7ce3ffMvxs";

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_that_holds_reaches_the_target() {
    let target = Upstream::echo("target").await;
    let filters = format!(
        "filters: [{{auth: {{type: jwt, secret: {SECRET}, exclude_paths: [/users/public], claims_to_headers: {{sub: X-User}}}}}}]"
    );
    let fleet = gateway(&[route("users", &[target.address()], &[&filters])], CORS).await;
    let ask = async |path: &str, token: &str| {
        let bearer =
            if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        send(
            fleet.address(0),
            request("GET", path, &(bearer + "Origin: https://app.test\r\nX-User: root\r\n")),
        )
        .await
    };
    for token in ["", EXPIRED, UNSIGNED, FORGED, "nonsense", "a.b.c"] {
        let refused = ask("/users/1", token).await;
        assert_eq!(refused.outcome(), "401 unauthenticated", "{token}");
        assert!(
            refused.header("www-authenticate").is_some_and(|how| how.starts_with("Bearer")),
            "{refused:?}"
        );
        assert_eq!(
            refused.header("access-control-allow-origin"),
            Some("https://app.test"),
            "a page may read why"
        );
    }
    assert_eq!(ask("/users/publicity", "").await.status, 401, "whole segments only");
    assert_eq!(ask("/users/public/../private", "").await.status, 401, "one normalised path");
    assert!(target.requests().is_empty(), "none of them reached the target");

    assert_eq!(ask("/users/1", GOOD).await.outcome(), "200");
    assert_eq!(target.requests()[0].header("x-user"), Some("alice"), "and not what the client says");
    assert_eq!(ask("/users/public/terms", "").await.outcome(), "200");
    assert_eq!(target.requests()[1].header("x-user"), None, "nobody, and not what the client says");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_names_the_consumer_that_limits_count_and_goes_no_further() {
    let target = Upstream::echo("target").await;
    let filters = "filters: [{auth: {type: apikey, header: X-Key, keys: [{name: alice, key: k-alice}, {name: bob, key: k-bob}]}}, \
                   {rate_limit: {qps: 1, burst: 1, key: consumer}}]";
    let fleet = gateway(&[route("r", &[target.address()], &[filters])], "").await;
    let ask = async |key: &str| {
        send(fleet.address(0), request("GET", "/r", &format!("X-Key: {key}\r\n"))).await.outcome()
    };
    assert_eq!(ask("k-mallory").await, "401 unauthenticated");
    assert_eq!(ask("k-alice").await, "200");
    assert_eq!(ask("k-bob").await, "200", "each consumer has a bucket");
    assert_eq!(target.requests()[0].header("x-key"), None);
    assert!(target.requests().len() == 2, "a stranger never reached the target");
}
