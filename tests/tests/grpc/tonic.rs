//! tonic on both sides: every kind of call, how it ends, and by when.

use crate::{comes_to, fleet, route};
use bytes::Bytes;
use futures_util::stream;
use std::time::Duration;
use tests::calls::{CallClient, CallServer, message, rest};
use tests::ports;
use tests::wait::{eventually, soon};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request};

const ECHO: &str = "prefix: /test.Echo";

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_call_goes_through() {
    let server = CallServer::start().await;
    let fleet = fleet(&[route("echo", ECHO, server.address(), "")]).await;
    let mut client = CallClient::connect(fleet.address(0)).await;

    let answer = client.unary("Echo", message("hello")).await.expect("an answer");
    assert_eq!(answer.get_ref(), "hello");

    let parts = stream::iter((0..1000).map(|at| Bytes::from(format!("{at},"))));
    let all = client.client_streaming("Collect", parts).await.expect("an answer").into_inner();
    assert_eq!(all.len(), (0..1000).map(|at| format!("{at},").len()).sum::<usize>());

    let answer = client.server_streaming("Spread", message(&"x".repeat(100_000))).await.expect("messages");
    let (messages, end) = rest(answer.into_inner()).await;
    assert_eq!((messages.len(), messages.iter().map(Bytes::len).sum::<usize>()), (10, 1_000_000));
    end.expect("a good end");

    let large = Bytes::from(vec![7; 3 << 20]);
    let answer = client.unary("Echo", Request::new(large.clone())).await.expect("an answer");
    assert_eq!(answer.into_inner(), large);
    comes_to(&fleet, "echo", "OK", 4).await;
}

/// Each message is sent only when the one before has come back: nothing on the way waits for more.
#[tokio::test(flavor = "multi_thread")]
async fn both_directions_go_on_at_once() {
    let server = CallServer::start().await;
    let fleet = fleet(&[route("echo", ECHO, server.address(), "")]).await;
    let mut client = CallClient::connect(fleet.address(0)).await;
    let (send, receive) = mpsc::unbounded_channel();
    send.send(Bytes::from_static(b"0")).expect("the stream is there");
    let answer = client.streaming("Echo", UnboundedReceiverStream::new(receive)).await.expect("a stream");
    let mut answers = answer.into_inner();
    for at in 0..100 {
        let message = soon("an answer", answers.message()).await.expect("no failure").expect("a message");
        assert_eq!(message, at.to_string());
        send.send(Bytes::from((at + 1).to_string())).expect("the stream is there");
    }
    drop(send);
    let (last, end) = rest(answers).await;
    assert_eq!(last, ["100"]);
    end.expect("a good end");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_and_failures_arrive_as_they_were_sent() {
    let server = CallServer::start().await;
    let fleet = fleet(&[route("echo", ECHO, server.address(), "")]).await;
    let mut client = CallClient::connect(fleet.address(0)).await;

    let mut request = message("");
    request.metadata_mut().insert("x-ours", "of the client".parse().expect("ASCII"));
    request
        .metadata_mut()
        .insert_bin("x-binary-bin", tonic::metadata::MetadataValue::from_bytes(&[0, 255, 7]));
    let answer = client.unary("Metadata", request).await.expect("an answer");
    assert_eq!(answer.metadata().get("x-initial").expect("sent"), "of the server");
    assert!(answer.metadata().contains_key("x-request-id"));
    let told = String::from_utf8_lossy(answer.get_ref()).into_owned();
    for line in ["x-ours: \"of the client\"", "x-binary-bin: \"AP8H\"", "te: \"trailers\"", "x-forwarded-for"]
    {
        assert!(told.contains(line), "{line} in {told}");
    }

    for method in ["Fail", "FailLate"] {
        let answer = client.server_streaming(method, message("5")).await;
        let status = match answer {
            Err(status) => status,
            Ok(answer) => {
                let (messages, end) = rest(answer.into_inner()).await;
                assert_eq!((method, &*messages), ("FailLate", &[Bytes::from_static(b"so far so good")][..]));
                end.expect_err("a failure")
            }
        };
        assert_eq!(
            (status.code(), status.message()),
            (Code::NotFound, "as asked: 100% \u{fc}ber"),
            "{method}"
        );
        assert_eq!(status.metadata().get("x-trailing").expect("sent"), "of the server", "{method}");
    }
    comes_to(&fleet, "echo", "NOT_FOUND", 2).await;
    comes_to(&fleet, "echo", "OK", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_call_on_both_sides() {
    let server = CallServer::start().await;
    let hang = route("hang", "path: /test.Echo/Hang", server.address(), "timeout: 400ms");
    let fleet = fleet(&[route("echo", ECHO, server.address(), ""), hang]).await;
    let mut client = CallClient::connect(fleet.address(0)).await;

    let mut request = message("");
    request.set_timeout(Duration::from_secs(30));
    let told = client.unary("Metadata", request).await.expect("an answer").into_inner();
    let told = String::from_utf8_lossy(&told).into_owned();
    let left = told.lines().find_map(|line| line.strip_prefix("grpc-timeout: \"")?.strip_suffix("u\""));
    let left: u64 = left.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{told}"));
    assert!((20_000_000..=30_000_000).contains(&left), "{left}");

    // the route's, though the client has all the time of the world
    let status = client.unary("Hang", message("")).await.expect_err("too late");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(
        status
            .metadata()
            .get("proxy-status")
            .is_some_and(|who| who.to_str().unwrap_or("").contains("route_timeout"))
    );
    comes_to(&fleet, "hang", "DEADLINE_EXCEEDED", 1).await;
    // the client's own; tonic does not wait for the gateway to tell it, and calls that by another name: who was first is open
    let mut request = message("");
    request.metadata_mut().insert("grpc-timeout", "50m".parse().expect("ASCII"));
    let status = client.unary("Hang", request).await.expect_err("too late");
    assert!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status}");
    eventually("the server was told", async || match server.hanging() {
        0 => Ok(()),
        left => Err(format!("{left} hang")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_told_to_the_server() {
    let server = CallServer::start().await;
    let fleet = fleet(&[route("echo", ECHO, server.address(), "")]).await;
    let client = CallClient::connect(fleet.address(0)).await;
    let mut other = client.clone();
    let call = tokio::spawn(async move { other.unary("Hang", message("")).await.map(drop) });
    eventually("the call is there", async || match server.hanging() {
        1 => Ok(()),
        other => Err(format!("{other}")),
    })
    .await;
    call.abort();
    eventually("the server was told", async || match server.hanging() {
        0 => Ok(()),
        left => Err(format!("{left} hang")),
    })
    .await;
    comes_to(&fleet, "echo", "CANCELLED", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_refuses_is_a_status_of_the_call() {
    let server = CallServer::start().await;
    let (nobody, _lease) = ports::refusing();
    let at = |name: &str, filters: &str| {
        let path = format!("path: /test.Echo/{name}");
        route(name, &path, server.address(), &format!("filters: [{filters}]"))
    };
    let fleet = fleet(&[
        at("Limited", "{rate_limit: {qps: 1, burst: 1}}"),
        at("Private", "{auth: {type: apikey, keys: [{name: a, key: k}]}}"),
        at("Closed", "{ip: {deny: [127.0.0.0/8]}}"),
        at("Small", "{body_limit: {max: 10B}}"),
        route("gone", "path: /test.Echo/Gone", nobody, ""),
    ])
    .await;
    let mut client = CallClient::connect(fleet.address(0)).await;
    let _ = client.unary("Limited", message("")).await;
    for (method, code, reason) in [
        ("Limited", Code::ResourceExhausted, "rate_limited"),
        ("Private", Code::Unauthenticated, "unauthenticated"),
        ("Closed", Code::PermissionDenied, "address_denied"),
        ("Small", Code::ResourceExhausted, "body_too_large"),
        ("Gone", Code::Unavailable, "connect_failed"),
        ("Nothing", Code::Unimplemented, "no_route"),
    ] {
        let status = client.unary(method, message("more than ten bytes")).await.expect_err(method);
        assert_eq!(status.code(), code, "{method}: {status:?}");
        let who = status.metadata().get("proxy-status").expect("who").to_str().expect("ASCII");
        assert!(who.contains(reason), "{method}: {who}");
        assert!(status.metadata().contains_key("x-request-id"), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_made_again_by_its_status() {
    let server = CallServer::start().await;
    let retry =
        "filters: [{retry: {max_retries: 2, retry_on: [unavailable], budget: 100%, backoff: {base: 0s}}}]";
    let fleet = fleet(&[route("echo", ECHO, server.address(), retry)]).await;
    let mut client = CallClient::connect(fleet.address(0)).await;
    for (method, code, calls) in [("Fail", "14", 3), ("Fail", "13", 4), ("FailLate", "14", 1)] {
        let answer = client.server_streaming(method, message(code)).await;
        let end = match answer {
            Err(status) => Err(status),
            Ok(answer) => rest(answer.into_inner()).await.1,
        };
        let status = end.expect_err("a failure");
        assert_eq!((status.code() as i32).to_string(), code);
        assert_eq!(server.calls(method).len(), calls, "{method} {code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_the_middle_is_unavailable() {
    let server = CallServer::start().await;
    let fleet = fleet(&[route("echo", ECHO, server.address(), "")]).await;
    let mut client = CallClient::connect(fleet.address(0)).await;
    let (send, receive) = mpsc::unbounded_channel();
    send.send(Bytes::from_static(b"hello")).expect("the stream is there");
    let answer = client.streaming("Echo", UnboundedReceiverStream::new(receive)).await.expect("a stream");
    let mut answers = answer.into_inner();
    assert_eq!(soon("an answer", answers.message()).await.expect("no failure").expect("a message"), "hello");
    server.die();
    let (messages, end) = rest(answers).await;
    assert_eq!(messages, Vec::<Bytes>::new());
    assert_eq!(end.expect_err("a failure").code(), Code::Unavailable);
    comes_to(&fleet, "echo", "UNAVAILABLE", 1).await;
}
