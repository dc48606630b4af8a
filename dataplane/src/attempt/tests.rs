//! Calls of gRPC, as far as they do not need HTTP/2 to be seen.

use crate::test_support::{Peer, Served, Target, serve};
use policy::grpc::Call;
use policy::grpc::web::encode;
use serde_json::{Value, json};

fn call(body: &str, headers: &str) -> String {
    format!(
        "POST /pkg.Service/Method HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\nte: trailers\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn field(head: &str, name: &str) -> String {
    let line = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix(&format!("{name}: ")).map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in {head}"))
}

/// A response that is nothing but the end of a call.
fn end(status: u8) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: {status}\r\ncontent-length: 0\r\n\r\n"
    )
}

fn metrics(served: &Served, line: &str) -> bool {
    use crate::telemetry::metrics::{Format, scrape};
    scrape(&served.gateway, Format::Prometheus, crate::clock::now()).contains(line)
}

/// What a client is told after it has sent something and the targets have done their part.
fn told(served: &Served, request: &str, targets: impl FnOnce()) -> String {
    let mut client = served.client(request);
    targets();
    client.until("\r\n\r\n")
}

fn got(peer: &mut Peer, body: &str) -> String {
    peer.until_that(|text| text.contains("\r\n\r\n") && text.ends_with(body))
}

#[test]
fn a_refusal_is_the_status_of_a_call_to_a_call_and_to_nobody_else() {
    let target = Target::new();
    let served = serve(&[&target], json!({}), json!([{"ip": {"deny": ["127.0.0.0/8"]}}]));
    let head = told(&served, &call("", ""), || {});
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!((field(&head, "grpc-status"), field(&head, "content-length")), ("7".into(), "0".into()));
    assert!(field(&head, "proxy-status").contains("address_denied"), "{head}");
    assert!(!field(&head, "x-request-id").is_empty());
    let web = told(&served, &call("", "").replace("application/grpc", "application/grpc-web-text"), || {});
    assert_eq!(field(&web, "content-type"), "application/grpc-web-text+proto");
    let other = told(&served, &call("", "").replace("application/grpc", "application/json"), || {});
    assert!(other.starts_with("HTTP/1.1 403 "), "{other}");
    while !metrics(&served, "gateway_grpc_requests_total{route=\"all\",grpc_status=\"PERMISSION_DENIED\"} 2")
    {
        std::thread::yield_now();
    }
}

#[test]
fn a_client_that_waits_no_longer_is_told_so_and_the_target_knows_how_long_it_has() {
    let target = Target::new();
    let breaker = json!([{"circuit_breaker": {"threshold": 1, "timeout": "1h"}}]);
    let served = serve(&[&target], json!({}), breaker);
    for _ in 0..2 {
        let mut peer = None;
        let head = told(&served, &call("", "grpc-timeout: 200m\r\n"), || {
            let mut accepted = target.accept();
            let left = field(&accepted.until("\r\n\r\n"), "grpc-timeout");
            let micros: u32 =
                left.strip_suffix('u').and_then(|digits| digits.parse().ok()).expect("microseconds");
            assert!((1..=200_000).contains(&micros), "{left}");
            peer = Some(accepted);
        });
        assert_eq!(field(&head, "grpc-status"), "4", "the breaker is closed: the client was in a hurry");
        assert!(field(&head, "proxy-status").contains("deadline_exceeded"), "{head}");
    }
}

#[test]
fn the_time_of_a_route_is_a_deadline_too_and_the_earlier_one_holds() {
    for (timeout, reason) in
        [("grpc-timeout: 1H\r\n", "route_timeout"), ("grpc-timeout: 1m\r\n", "deadline_exceeded")]
    {
        let target = Target::new();
        let served = serve_with(&[&target], json!({"timeout": "150ms"}));
        // it is connected to, and says nothing
        let mut peer = None;
        let head = told(&served, &call("", timeout), || {
            if reason == "route_timeout" {
                let left = field(&peer.insert(target.accept()).until("\r\n\r\n"), "grpc-timeout");
                assert!(left.ends_with('u') && left.len() <= 7, "{left}");
            }
        });
        assert_eq!(field(&head, "grpc-status"), "4");
        assert!(field(&head, "proxy-status").contains(reason), "{head}");
    }
}

fn serve_with(targets: &[&Target], more: Value) -> Served {
    let addrs: Vec<_> =
        targets.iter().map(|target| json!({"addr": format!("http://{}", target.address())})).collect();
    let mut route = json!({"name": "all", "prefix": "/", "targets": addrs});
    for (key, value) in more.as_object().into_iter().flatten() {
        route[key] = value.clone();
    }
    let config = serde_json::from_value(json!({"routes": [route]})).unwrap();
    crate::test_support::serve_table(policy::table::RouteTable::build(&config, None).unwrap())
}

#[test]
fn a_call_that_ends_before_it_has_begun_is_made_again_with_its_message() {
    let targets = [Target::new(), Target::new()];
    let retry = json!([{"retry": {"max_retries": 1, "retry_on": ["unavailable"], "budget": "100%"}}]);
    let served = serve(&[&targets[0], &targets[1]], json!({}), retry);
    let head = told(&served, &call("hello", ""), || {
        let mut first = targets[0].accept();
        got(&mut first, "hello");
        first.send(&end(14));
        let mut second = targets[1].accept();
        got(&mut second, "hello");
        second.send(&end(5));
    });
    assert_eq!(field(&head, "grpc-status"), "5", "and this is no reason for another");
}

#[test]
fn a_breaker_counts_calls_by_how_they_ended() {
    let target = Target::new();
    let served =
        serve(&[&target], json!({}), json!([{"circuit_breaker": {"threshold": 2, "timeout": "1h"}}]));
    let mut peer = None;
    for status in [5, 4, 8, 14, 13] {
        let head = told(&served, &call("", ""), || {
            let peer = peer.get_or_insert_with(|| target.accept());
            peer.until("\r\n\r\n");
            peer.forget();
            peer.send(&end(status));
        });
        assert_eq!(field(&head, "grpc-status"), status.to_string());
    }
    let head = told(&served, &call("", ""), || {});
    assert_eq!(field(&head, "grpc-status"), "14");
    assert!(field(&head, "proxy-status").contains("circuit_open"), "{head}");
}

#[test]
fn a_call_that_fails_after_its_response_has_begun_counts_as_much() {
    let target = Target::new();
    let breaker = json!([{"circuit_breaker": {"threshold": 3, "timeout": "1h"}}]);
    let served = serve(&[&target], json!({}), breaker);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\nconnection: close\r\ntransfer-encoding: chunked\r\ntrailer: grpc-status\r\n\r\n";
    let trailers = |status: u8| format!("0\r\ngrpc-status: {status}\r\n\r\n");
    // two in a row, a success, one, an error that is the client's, two, and a body that breaks off
    for end in [14, 13, 0, 14, 5, 2, 15].map(trailers).into_iter().chain(["5\r\nhel".to_owned()]) {
        let mut client = served.client(&call("", "connection: close\r\n"));
        let mut peer = target.accept();
        peer.until("\r\n\r\n");
        peer.send(head);
        client.until("\r\n\r\n");
        peer.send(&end);
        drop(peer);
        client.into_rest();
    }
    let head = told(&served, &call("", ""), || {});
    assert!(field(&head, "proxy-status").contains("circuit_open"), "{head}");
}

#[test]
fn calls_of_pages_are_grpc_to_the_target() {
    for (kind, call) in
        [("application/grpc-web+proto", Call::Web), ("application/grpc-web-text+proto", Call::WebText)]
    {
        let target = Target::new();
        let cors = json!({"cors": {"allow_origins": ["https://a.example"], "expose_headers": ["x-mine"]}});
        let served = serve(&[&target], json!({}), json!([{"grpc_web": {}}, cors]));
        let message = "\0\0\0\0\u{5}hello";
        let text = |message: &str| {
            String::from_utf8(encode(call, message.as_bytes().to_vec().into()).to_vec()).unwrap()
        };
        let body = text(message);
        let request = format!(
            "POST /s/m HTTP/1.1\r\nhost: a\r\norigin: https://a.example\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut client = served.client(&request);
        let mut peer = target.accept();
        let seen = peer.until_that(|text| text.contains("hello"));
        assert_eq!(field(&seen, "content-type"), "application/grpc+proto");
        assert_eq!(field(&seen, "te"), "trailers");
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: application/grpc+proto\r\ntransfer-encoding: chunked\r\ntrailer: grpc-status\r\n\r\n");
        peer.send("a\r\n\0\0\0\0\u{5}howdy\r\n");
        // before anything else has come
        let so_far = client.until(text("\0\0\0\0\u{5}howdy").trim_end_matches('='));
        assert_eq!(field(&so_far, "content-type"), kind);
        assert!(!so_far.to_ascii_lowercase().contains("\r\ntrailer:"), "{so_far}");
        let exposed: Vec<_> = so_far
            .lines()
            .filter(|line| line.to_ascii_lowercase().starts_with("access-control-expose-headers"))
            .collect();
        assert!(
            exposed.iter().any(|line| line.contains("grpc-status"))
                && exposed.iter().any(|line| line.contains("x-mine")),
            "{exposed:?}"
        );
        peer.send("0\r\ngrpc-status: 0\r\n\r\n");
        let end = encode(call, b"\x80\0\0\0\x10grpc-status: 0\r\n".to_vec().into());
        client.until_bytes(|bytes| bytes.windows(end.len()).any(|window| window == end));
        while !metrics(&served, "gateway_grpc_requests_total{route=\"all\",grpc_status=\"OK\"} 1") {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_body_that_is_no_base64_is_refused() {
    let target = Target::new();
    let served = serve(&[&target], json!({}), json!([{"grpc_web": {}}]));
    let request = call("####", "").replace("application/grpc", "application/grpc-web-text");
    let head = told(&served, &request, || {});
    assert_eq!(field(&head, "grpc-status"), "13");
    assert!(field(&head, "proxy-status").contains("malformed_request"), "{head}");
}
