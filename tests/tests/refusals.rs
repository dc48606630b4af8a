//! Every kind of answer the gateway makes itself: reached by a request, explained alike in header and body.

use policy::rejection::Rejection;
use std::net::SocketAddr;
use tests::client::{RawClient, RawResponse, get};
use tests::config;
use tests::fleet::Fleet;
use tests::ports::refusing;
use tests::upstream::{After, Backlogged, Upstream};
use tests::wait::eventually;
use tokio::io::AsyncWriteExt;

/// Checks status, body and `Proxy-Status` of a refusal against the closed set.
#[track_caller]
fn assert_refusal(response: &RawResponse, status: u16, rejection: &Rejection) {
    let reason = rejection.reason();
    assert_eq!(response.status, status, "{reason}: {} {:?}", response.text(), response.headers);
    assert_eq!(rejection.status(), status);
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{reason}");
    let problem = response.json();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["reason"], reason);
    assert_eq!(problem["title"], rejection.title());
    assert_eq!(problem["gateway"], "dp-1");
    assert_eq!(problem["config_version"], 1);
    assert!(problem["request_id"].as_str().is_some_and(|id| id.len() >= 16), "{problem}");
    let header = response.header("proxy-status").unwrap_or_else(|| panic!("{reason}: no Proxy-Status"));
    assert!(header.starts_with("\"dp-1\";"), "{header}");
    assert!(header.contains(&format!("error={};", rejection.proxy_error())), "{header}");
    assert!(header.contains(&format!("details=\"{reason}\"")), "{header}");
    assert_eq!(response.header("content-length"), Some(response.body.len().to_string().as_str()));
}

fn shown(answer: &str) -> String {
    format!("{:.100}", answer.escape_debug().to_string())
}

async fn fleet_with(server: &str, route: &str, target: SocketAddr) -> Fleet {
    Fleet::start(1, |port| {
        format!(
            "{}routes:\n  - name: one\n    prefix: /\n{route}{}",
            config::server(port, server),
            config::targets(&[target])
        )
    })
    .await
}

#[track_caller]
fn ask(fleet: &Fleet, request: impl AsRef<[u8]>) -> impl Future<Output = RawResponse> {
    let (caller, address) = (std::panic::Location::caller(), fleet.address(0));
    async move {
        let mut client = RawClient::connect(address).await;
        client.send(request).await;
        client.try_response().await.unwrap_or_else(|error| panic!("{caller}: no response: {error}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_404_and_wrong_method_405() {
    let upstream = Upstream::echo("target").await;
    let fleet = fleet_with("", "    hosts: [a.test]\n    methods: [GET]\n", upstream.address()).await;
    let response = ask(&fleet, "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n").await;
    assert_refusal(&response, 404, &Rejection::NoRoute);
    let response = ask(&fleet, "DELETE / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_refusal(&response, 405, &Rejection::MethodNotAllowed { allow: Vec::new() });
    assert!(response.header("allow").is_some_and(|allow| allow.contains("GET")), "{:?}", response.headers);
    assert!(upstream.requests().is_empty());
}

/// A refusal that leaves the framing intact also leaves the connection open.
#[tokio::test(flavor = "multi_thread")]
async fn a_404_keeps_the_connection() {
    let upstream = Upstream::echo("target").await;
    let fleet = fleet_with("", "    hosts: [a.test]\n", upstream.address()).await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n").await;
    assert_eq!(client.response().await.status, 404);
    client.send("GET /after HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(client.response().await.json()["target"], "/after");
}

/// Whether the gateway drains the body or closes, the client must learn why it was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_refused_with_its_body_unread_still_gets_its_answer() {
    let upstream = Upstream::echo("target").await;
    let fleet = fleet_with("", "    hosts: [a.test]\n", upstream.address()).await;
    for length in [4, 10_000, 60_000] {
        let body = "x".repeat(length);
        let request = format!("POST / HTTP/1.1\r\nHost: b.test\r\nContent-Length: {length}\r\n\r\n{body}");
        assert_refusal(&ask(&fleet, request).await, 404, &Rejection::NoRoute);
    }
    let chunked =
        "POST / HTTP/1.1\r\nHost: b.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    assert_refusal(&ask(&fleet, chunked).await, 404, &Rejection::NoRoute);
    assert!(upstream.bytes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_slow_bodies_408() {
    let upstream = Upstream::echo("target").await;
    let fleet = fleet_with("  header_timeout: 300ms\n  read_timeout: 600ms\n", "", upstream.address()).await;
    let response = ask(&fleet, "GET / HTTP/1.1\r\nHost: a.te").await;
    assert_refusal(&response, 408, &Rejection::RequestTimeout);
    let response = ask(&fleet, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf").await;
    assert_refusal(&response, 408, &Rejection::RequestTimeout);
    assert!(upstream.requests().is_empty(), "half a body is no request");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_request_413_414_431() {
    let upstream = Upstream::echo("target").await;
    let limits =
        "  max_body_bytes: 10\n  max_target_bytes: 100\n  max_header_bytes: 2KiB\n  max_headers: 10\n";
    let fleet = fleet_with(limits, "", upstream.address()).await;

    // announced: refused before the body
    let response = ask(&fleet, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 11\r\n\r\n").await;
    assert_refusal(&response, 413, &Rejection::BodyTooLarge);
    let fits = ask(&fleet, "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\n0123456789").await;
    assert_eq!(fits.status, 200);
    upstream.forget();
    // unannounced: refused while it streams
    let chunked = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n8\r\n01234567\r\n0\r\n\r\n";
    assert_refusal(&ask(&fleet, chunked).await, 413, &Rejection::BodyTooLarge);
    assert!(upstream.requests().is_empty(), "a body cut short is no request");

    let long = "x".repeat(100);
    let response = ask(&fleet, format!("GET /{long} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
    assert_refusal(&response, 414, &Rejection::TargetTooLong);
    let beyond_every_buffer = "x".repeat(100_000);
    let response = ask(&fleet, format!("GET /{beyond_every_buffer} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
    assert!(matches!(response.status, 414 | 431), "{response:?}");
    let response =
        ask(&fleet, format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-A: {}\r\n\r\n", "x".repeat(2048))).await;
    assert_refusal(&response, 431, &Rejection::HeadTooLarge);
    let many: String = (0..10).map(|n| format!("X-{n}: 1\r\n")).collect();
    let response = ask(&fleet, format!("GET / HTTP/1.1\r\nHost: a.test\r\n{many}\r\n")).await;
    assert_refusal(&response, 431, &Rejection::HeadTooLarge);
    assert!(upstream.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_400_417_501() {
    let upstream = Upstream::echo("target").await;
    let fleet = fleet_with("", "", upstream.address()).await;
    let cases: [(&str, u16, Rejection); 8] = [
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, Rejection::MalformedRequest),
        ("GET / HTTP/1.1\r\n\r\n", 400, Rejection::InvalidHost),
        ("GET /a%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", 400, Rejection::InvalidTarget),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            Rejection::InvalidFraming,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n", 400, Rejection::InvalidHeader),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417, Rejection::ExpectationFailed),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
            Rejection::UnsupportedTransferEncoding,
        ),
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", 501, Rejection::MethodNotServed),
    ];
    for (request, status, rejection) in cases {
        let mut client = RawClient::connect(fleet.address(0)).await;
        client.send(request).await;
        assert_refusal(&client.response().await, status, &rejection);
        assert!(client.until_closed().await.is_empty(), "nothing follows a refused message: {request:?}");
    }
    assert!(upstream.bytes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_that_the_route_does_not_allow_403() {
    let upstream = Upstream::websocket().await;
    let fleet = fleet_with("", "    websocket: false\n", upstream.address()).await;
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_refusal(&ask(&fleet, upgrade).await, 403, &Rejection::UpgradeRefused);
    assert!(upstream.bytes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_back_508() {
    let upstream = Upstream::echo("target").await;
    let fleet = fleet_with("", "", upstream.address()).await;
    ask(&fleet, "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.0 other\r\n\r\n").await;
    // what this gateway wrote into the request comes back to it
    let sent = upstream.requests().pop().expect("one request");
    let via: Vec<_> = sent.headers.get_all("via").iter().filter_map(|value| value.to_str().ok()).collect();
    assert_eq!(via.len(), 2, "{via:?}");
    let response = ask(&fleet, format!("GET / HTTP/1.1\r\nHost: a\r\nVia: {}\r\n\r\n", via.join(", "))).await;
    assert_refusal(&response, 508, &Rejection::Loop);
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_fail_502() {
    let (address, _lease) = refusing();
    let fleet = fleet_with("", "", address).await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_refusal(&ask(&fleet, request).await, 502, &Rejection::ConnectFailed);
    for upstream in [Upstream::closing().await, Upstream::resetting().await] {
        let fleet = fleet_with("", "", upstream.address()).await;
        assert_refusal(&ask(&fleet, request).await, 502, &Rejection::UpstreamReset);
    }
}

/// None of these may reach a client as they are, nor leave their connection in the pool.
#[tokio::test(flavor = "multi_thread")]
async fn invalid_responses_502() {
    let large_head =
        format!("HTTP/1.1 200 OK\r\nX-Large: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(300 * 1024));
    let answers: Vec<String> = [
        "garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 700 What\r\nContent-Length: 0\r\n\r\n",
        "HTTP/3.7 200 OK\r\nContent-Length: 0\r\n\r\n",
        large_head.as_str(),
    ]
    .map(str::to_owned)
    .into();
    let mut wrong = Vec::new();
    for answer in answers {
        let upstream = Upstream::answering(answer.clone(), After::KeepOpen).await;
        let fleet = fleet_with("", "", upstream.address()).await;
        let response = ask(&fleet, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let is_expected = response.text().contains(Rejection::InvalidResponse.reason());
        if response.status != 502 || !is_expected {
            wrong.push(format!("{}: {} {}", shown(&answer), response.status, response.text()));
            continue;
        }
        assert_refusal(&response, 502, &Rejection::InvalidResponse);
        ask(&fleet, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        if upstream.connections().len() != 2 {
            wrong.push(format!("{}: its connection was used again", shown(&answer)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Interim responses cost little, but a target must not keep a request with them for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_endless_flood_of_interim_responses_is_ended() {
    let upstream = Upstream::accepting(|mut wire, _| async move {
        wire.request().await;
        while wire.write_all("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000).as_bytes()).await.is_ok() {}
    })
    .await;
    let fleet = fleet_with("", "    response_timeout: 500ms\n", upstream.address()).await;
    let response = ask(&fleet, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!([502, 504].contains(&response.status), "{response:?}");
    assert!(response.interim.len() < 1000, "the flood was passed on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_breaks_off_is_never_ended_cleanly() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhalf\r\n0\r\n\r\n",
    ] {
        let upstream = Upstream::answering(answer, After::Close).await;
        let fleet = fleet_with("", "", upstream.address()).await;
        let mut client = RawClient::connect(fleet.address(0)).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        match client.try_response().await {
            Err(_) => {}
            Ok(response) => assert_eq!(response.status, 502, "{answer:?} became {response:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_capacity_503() {
    let upstream = Upstream::echo("target").await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (held, gate) = Upstream::held("held").await;
    let fleet =
        fleet_with("", "    max_connections: 1\n    max_connections_wait: 100ms\n", held.address()).await;
    let mut first = RawClient::connect(fleet.address(0)).await;
    first.send(request).await;
    eventually("the first request arrives", async || match held.requests().len() {
        1 => Ok(()),
        n => Err(format!("{n} arrived")),
    })
    .await;
    assert_refusal(&ask(&fleet, request).await, 503, &Rejection::PoolExhausted);
    gate.open(1);
    assert_eq!(first.response().await.status, 200);

    let fleet = fleet_with("  max_connections: 2\n", "", upstream.address()).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::connect(fleet.address(0)).await;
        client.send(request).await;
        assert_eq!(client.response().await.status, 200);
        open.push(client);
    }
    assert_refusal(&ask(&fleet, request).await, 503, &Rejection::TooManyConnections);
    open.pop();
    eventually("a place is free again", async || match get(fleet.address(0), "/").await {
        Ok(reply) if reply.status == 200 => Ok(()),
        Ok(reply) => Err(reply.status.to_string()),
        Err(error) => Err(error.to_string()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_targets_504() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let unreachable = Backlogged::open().expect("a full listener");
    let fleet = fleet_with("", "    connect_timeout: 200ms\n", unreachable.address()).await;
    assert_refusal(&ask(&fleet, request).await, 504, &Rejection::ConnectTimeout);

    let silent = Upstream::silent().await;
    let fleet = fleet_with("", "    response_timeout: 200ms\n", silent.address()).await;
    assert_refusal(&ask(&fleet, request).await, 504, &Rejection::ResponseTimeout);

    let fleet = fleet_with("", "    timeout: 200ms\n", silent.address()).await;
    assert_refusal(&ask(&fleet, request).await, 504, &Rejection::RouteTimeout);
}

/// HEAD gets the headers of the refusal and no body.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_head_request_gets_no_body() {
    let upstream = Upstream::echo("target").await;
    let fleet = fleet_with("", "    hosts: [a.test]\n", upstream.address()).await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("HEAD / HTTP/1.1\r\nHost: b.test\r\n\r\n").await;
    let response = client.response_to_head().await;
    assert_eq!(response.status, 404);
    assert!(response.header("proxy-status").is_some());
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(client.response().await.status, 200);
}
