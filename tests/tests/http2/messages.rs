//! What of a message is carried between HTTP/2 and HTTP/1.1, and what the edge does of it.

use super::Range;
use super::case::{pieces, post};
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, StreamBody};
use std::convert::Infallible;
use std::time::Duration;
use tests::client::frames::{PREFACE, code, flag, request};
use tests::client::{Frame, FrameClient, RawClient, get, hpack};
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::{After, Upstream, full};
use tests::wait::eventually;
use tokio::io::AsyncWriteExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_reaches_a_target_of_http_1_as_one_of_its_own() {
    let range = Range::open("").await;
    let mut client = range.client().await;
    let fields = [
        &request("GET", "/h?x=1")[..],
        &[("cookie", "a=1"), ("te", "trailers"), ("cookie", "b=2"), ("x-forwarded-for", "6.6.6.6")],
    ];
    client.frames(&[Frame::headers(1, flag::END_STREAM, &fields.concat())]).await;
    let response = client.response(1).await;
    assert_eq!((response.outcome().as_str(), response.whole), ("200", true));
    assert!(response.header("date").is_some_and(|date| date.ends_with(" GMT")), "{response:?}");
    assert!(response.header("connection").is_none() && response.header("transfer-encoding").is_none());
    let id = response.header("x-request-id").expect("an id").to_owned();

    let head = String::from_utf8_lossy(&range.upstream.bytes()).to_ascii_lowercase();
    assert!(head.starts_with("get /h?x=1 http/1.1\r\n"), "{head}");
    assert_eq!(head.matches("\r\nhost: ").count(), 1, "{head}");
    for line in [
        "cookie: a=1; b=2",
        "te: trailers",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: a.test",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} is not in {head}");
    }
    assert!(!head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");

    let line = eventually("it is told of", async || range.logged().pop().ok_or("no line")).await;
    assert_eq!((&line["request_id"], &line["protocol"]), (&id.into(), &"HTTP/2".into()));
    assert_eq!((&line["path"], &line["status_code"]), (&"/h".into(), &200.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_go_with_their_length_or_in_chunks() {
    let range = Range::open("").await;
    let mut client = range.client().await;
    client
        .frames(&[post(&[("content-length", "4")]), Frame::data(1, 0, "bo"), Frame::data(1, 1, "dy")])
        .await;
    assert_eq!(client.response(1).await.outcome(), "200");
    let fields = [&request("PUT", "/chunks")[..], &[("trailer", "x-sum")]].concat();
    client.frames(&[Frame::headers(3, 0, &fields), Frame::data(3, 0, "body")]).await;
    client.frames(&[Frame::headers(3, flag::END_STREAM, &[("x-sum", "7"), ("x-other", "8")])]).await;
    assert_eq!(client.response(3).await.outcome(), "200");
    client.frames(&[Frame::headers(5, 0, &request("DELETE", "/empty")), Frame::data(5, 1, "")]).await;
    assert_eq!(client.response(5).await.outcome(), "200");

    let [sized, chunked, empty] = &range.upstream.requests()[..] else { panic!("three requests") };
    assert_eq!((sized.header("content-length"), &sized.body[..]), (Some("4"), &b"body"[..]));
    assert_eq!((chunked.header("transfer-encoding"), &chunked.body[..]), (Some("chunked"), &b"body"[..]));
    let trailers: Vec<_> = chunked.trailers.iter().map(|(name, value)| (name.as_str(), value)).collect();
    assert_eq!(trailers, [("x-sum", &"7".parse().unwrap())], "only what was announced");
    assert_eq!((empty.method.as_str(), empty.body.len()), ("DELETE", 0));
}

/// hyper's server takes a cancelled body for a whole one.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_upload_is_never_whole_at_the_target() {
    for reason in [code::CANCEL, code::NO_ERROR, code::INTERNAL_ERROR] {
        let range = Range::open("").await;
        let mut client = range.client().await;
        client.frames(&[post(&[]), Frame::data(1, 0, "body")]).await;
        eventually("it is at the target", async || match range.upstream.bytes().ends_with(b"body\r\n") {
            true => Ok(()),
            false => Err("not yet"),
        })
        .await;
        client.frames(&[Frame::reset(1, reason)]).await;
        let line = eventually("it is told of", async || range.logged().pop().ok_or("no line")).await;
        assert_eq!((&line["status_code"], &line["reason"]), (&499.into(), &"client_closed".into()));
        client.settled().await;
        assert!(range.upstream.requests().is_empty() && !range.upstream.bytes().ends_with(b"0\r\n\r\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_and_tell_why() {
    let limits =
        "  max_header_bytes: 4KiB\n  max_headers: 20\n  max_target_bytes: 256\n  max_body_bytes: 100\n";
    let range = Range::open(limits).await;
    let mut client = range.client().await;
    let long = "x".repeat(5000);
    let path = format!("/{}", "x".repeat(256));
    let many: Vec<_> = (0..20).map(|n| format!("x-{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
    let heads = [
        ("431 head_too_large", [&request("GET", "/h")[..], &[("x-long", &long)]].concat()),
        ("431 head_too_large", [&request("GET", "/h")[..], &many].concat()),
        ("414 target_too_long", request("GET", &path).to_vec()),
        ("413 body_too_large", [&request("POST", "/h")[..], &[("content-length", "101")]].concat()),
        ("417 expectation_failed", [&request("GET", "/h")[..], &[("expect", "more")]].concat()),
    ];
    for (stream, (outcome, fields)) in (1..).step_by(2).zip(heads) {
        let is_last = fields[0].1 == "GET";
        client.frames(&[Frame::headers(stream, if is_last { flag::END_STREAM } else { 0 }, &fields)]).await;
        let response = client.response(stream).await;
        assert_eq!(response.outcome(), outcome);
        let problem: serde_json::Value = serde_json::from_slice(&response.body).expect("a problem");
        assert_eq!(response.header("x-request-id"), problem["request_id"].as_str());
        assert!(response.header("connection").is_none(), "{response:?}");
    }
    // far beyond: h2 answers by itself
    let longer = "x".repeat(12_000);
    let fields = [&request("GET", "/h")[..], &[("x-long", longer.as_str())]].concat();
    client.frames(&[Frame::headers(101, flag::END_STREAM, &fields)]).await;
    assert_eq!(client.response(101).await.status, 431);
    // while it streams
    client
        .frames(&[Frame::headers(103, 0, &request("POST", "/h")), Frame::data(103, 0, "x".repeat(101))])
        .await;
    assert_eq!(client.response(103).await.outcome(), "413 body_too_large");
    assert_eq!(client.get(105, "/h").await.outcome(), "200", "on the same connection");
    assert_eq!(range.upstream.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_responses_of_a_target_of_http_1_reach_the_stream() {
    let said = "HTTP/1.1 103 Early Hints\r\nConnection: x-hop\r\nX-Hop: 1\r\nLink: </a.css>\r\n\r\n\
                HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let upstream = Upstream::answering(said, After::KeepOpen).await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    let mut client = FrameClient::connect(fleet.address(0)).await;
    client.frames(&[Frame::headers(1, flag::END_STREAM, &request("GET", "/h"))]).await;
    let head = client.find("an interim response", |frame| frame.stream == 1).await;
    let fields = [(":status", "103"), ("link", "</a.css>")];
    assert_eq!(hpack::decode(&head.payload), fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let response = client.response(1).await;
    assert_eq!((response.outcome().as_str(), response.body.as_slice()), ("200", &b"ok"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_to_be_told_is_told_to_go_on() {
    let range = Range::open("").await;
    let mut client = range.client().await;
    client.frames(&[post(&[("expect", "100-continue"), ("content-length", "4")])]).await;
    let head = client.find("an interim response", |frame| frame.stream == 1).await;
    assert_eq!(hpack::decode(&head.payload), [(":status".to_owned(), "100".to_owned())]);
    client.frames(&[Frame::data(1, flag::END_STREAM, "body")]).await;
    assert_eq!(client.response(1).await.outcome(), "200");
    assert!(range.upstream.requests()[0].header("expect").is_none());
    // who does not wait is told nothing
    let fields = [&request("POST", "/h")[..], &[("expect", "100-continue")]].concat();
    client.frames(&[Frame::headers(3, 0, &fields), Frame::data(3, flag::END_STREAM, "body")]).await;
    assert_eq!((client.response(3).await.interim, range.upstream.requests().len()), (vec![], 2));
}

/// RFC 9113 §8.1: a whole response, and then a reset that says that nothing was wrong.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_need_the_body_stops_it_in_good_order() {
    let range = Range::open("").await;
    let mut client = range.client().await;
    client.frames(&[Frame::headers(1, 0, &request("TRACE", "/h")), Frame::data(1, 0, "some")]).await;
    let response = client.response(1).await;
    assert_eq!((response.outcome().as_str(), response.whole), ("501 method_not_served", true));
    let end = client.find("the end of the stream", |frame| frame.stream == 1).await;
    assert_eq!(end.code(), Some(code::NO_ERROR));
    assert_eq!(client.get(3, "/h").await.outcome(), "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_a_body_have_none() {
    let upstream = Upstream::http(|request| {
        let mut response = Response::new(full("body"));
        let status: u16 = request.path()[1..].parse().expect("a status");
        *response.status_mut() = status.try_into().expect("a status");
        std::future::ready(response)
    })
    .await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    let mut client = FrameClient::connect(fleet.address(0)).await;
    for (stream, (method, path, status, length)) in (1..).step_by(2).zip([
        ("HEAD", "/200", 200, Some("4")),
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, None),
        ("TRACE", "/h", 501, None),
    ]) {
        client.frames(&[Frame::headers(stream, flag::END_STREAM, &request(method, path))]).await;
        let head = client.find("a head", |frame| frame.stream == stream).await;
        let response = tests::client::frames::StreamResponse::of(&head.payload);
        assert_eq!(response.status, status);
        assert_eq!(head.has(flag::END_STREAM), status != 501, "{method} {path}");
        if status == 200 {
            assert_eq!(response.header("content-length"), length);
        }
    }
    client
        .frames(&[Frame::headers(
            11,
            flag::END_STREAM,
            &[&request("HEAD", "/h")[..3], &[(":path", "/../")]].concat(),
        )])
        .await;
    let head = client.find("a head", |frame| frame.stream == 11).await;
    assert!(head.has(flag::END_STREAM), "a refusal to HEAD, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_a_response_pass_and_so_does_a_response_without_a_body() {
    let upstream = Upstream::http(|_| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().expect("a value"));
        let frames = [
            Ok::<_, Infallible>(hyper::body::Frame::data(Bytes::from("body"))),
            Ok(hyper::body::Frame::trailers(trailers)),
        ];
        let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync());
        response.headers_mut().insert("trailer", "x-sum".parse().expect("a value"));
        std::future::ready(response)
    })
    .await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    let mut client = FrameClient::connect(fleet.address(0)).await;
    client
        .frames(&[Frame::headers(
            1,
            flag::END_STREAM,
            &[&request("GET", "/")[..], &[("te", "trailers")]].concat(),
        )])
        .await;
    let response = client.response(1).await;
    assert_eq!((response.text().as_str(), response.whole), ("body", true));
    assert_eq!(response.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_are_those_of_one_stream() {
    let silent = Upstream::silent().await;
    let echo = Upstream::echo("target").await;
    let fleet = Fleet::start(1, |port| {
        config::server(port, "  read_timeout: 500ms\n")
            + "routes:\n"
            + &config::route("short", &[silent.address()], &["timeout: 300ms"])
            + "  - name: all\n    prefix: /\n"
            + &config::targets(&[echo.address()])
    })
    .await;
    let mut client = FrameClient::connect(fleet.address(0)).await;
    client.frames(&[Frame::get(1, "/short"), post(&[]).on(3), Frame::data(3, 0, "some")]).await;
    assert_eq!(client.get(5, "/h").await.outcome(), "200");
    assert_eq!(client.response(1).await.outcome(), "504 route_timeout");
    assert_eq!(client.response(3).await.outcome(), "408 request_timeout");
    assert_eq!(client.get(7, "/h").await.outcome(), "200");
}

/// No refusal can tell it any more, and it holds a target.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_body_that_stops_behind_a_begun_response_is_not_waited_for() {
    let endless = Upstream::download(5, None, Some(Duration::from_millis(20))).await;
    let fleet = Fleet::start(1, |port| {
        let server = config::server(port, "  read_timeout: 300ms\n");
        server + "routes:\n  - name: all\n    prefix: /\n" + &config::targets(&[endless.address()])
    })
    .await;
    let mut client = FrameClient::connect(fleet.address(0)).await;
    client.frames(&[post(&[]), Frame::data(1, 0, "some")]).await;
    let response = client.response(1).await;
    assert_eq!((response.outcome().as_str(), response.reset), ("200", Some(code::CANCEL)));
    assert!(response.text().starts_with("ddddd"), "{response:?}");
    client.settled().await;
}

/// Both on one port: the first bytes tell, however they come.
#[tokio::test(flavor = "multi_thread")]
async fn the_preface_tells_the_protocol_and_an_upgrade_does_not() {
    let range = Range::open("").await;
    let address = range.fleet.address(0);
    let mut client = FrameClient::silent(address).await;
    for byte in [PREFACE, &Frame::settings(&[(1, 0)]).bytes()].concat() {
        client.send([byte]).await;
    }
    assert_eq!(client.get(1, "/h").await.outcome(), "200");

    let mut client = RawClient::connect(address).await;
    for byte in "PRI /h HTTP/1.1\r\nHost: a.test\r\n\r\n".bytes() {
        client.send([byte]).await;
    }
    assert_eq!(client.response().await.status, 200, "a method like any other");
    let upgrade =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    client.send(format!("GET /h HTTP/1.1\r\nHost: a.test\r\n{upgrade}")).await;
    assert_eq!(client.response().await.status, 200, "deprecated by RFC 9113");
    let heads = String::from_utf8_lossy(&range.upstream.bytes()).to_ascii_lowercase();
    assert!(!heads.contains("h2c") && !heads.contains("http2-settings"), "{heads}");
}

/// What a listener does not speak it does not understand.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_speaks_what_its_config_says() {
    let range = Range::open("  protocols: [http1]\n").await;
    let mut client = FrameClient::silent(range.fleet.address(0)).await;
    client.send(PREFACE).await;
    assert!(client.until_closed_bytes().await.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(get(range.fleet.address(0), "/h").await.expect("a reply").status, 200);

    let range = Range::open("  protocols: [h2]\n").await;
    assert_eq!(range.client().await.get(1, "/h").await.outcome(), "200");
    let mut client = RawClient::connect(range.fleet.address(0)).await;
    client.send("GET /h HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let said = client.until_closed().await;
    assert!(!said.starts_with(b"HTTP/1.1"), "{said:?}");
    assert_eq!(range.upstream.requests().len(), 1);
}

/// Streams are requests, and their connection is one.
#[tokio::test(flavor = "multi_thread")]
async fn many_streams_are_one_connection() {
    let range = Range::open("").await;
    let mut client = range.client().await;
    let block = hpack::encode(&request("GET", "/h"));
    let streams: Vec<u32> = (0..100).map(|n| 2 * n + 1).collect();
    let all: Vec<Frame> =
        streams.iter().flat_map(|stream| pieces(*stream, flag::END_STREAM, &block, 2)).collect();
    client.frames(&all).await;
    for stream in streams {
        assert_eq!(client.response(stream).await.outcome(), "200", "{stream}");
    }
    let page = get(range.fleet.admin_address(0), "/metrics").await.expect("a page").text();
    let sum = |name: &str| -> f64 {
        page.lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    assert_eq!((sum("gateway_requests_total"), sum("gateway_worker_connections")), (100.0, 1.0), "{page}");
}

/// Each event is seen before the next one is made.
#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_flow_as_they_come() {
    let (more, _) = tokio::sync::broadcast::channel::<&'static str>(4);
    let events = more.clone();
    let upstream = Upstream::accepting(move |mut wire, _| {
        let events = events.clone();
        async move {
            while wire.request().await.is_some() {
                let mut events = events.subscribe();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                let _ = wire.write_all(head.as_bytes()).await;
                while let Ok(event) = events.recv().await {
                    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                    if wire.write_all(chunk.as_bytes()).await.is_err() || event.is_empty() {
                        break;
                    }
                }
            }
        }
    })
    .await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    let mut client = FrameClient::connect(fleet.address(0)).await;
    client.frames(&[Frame::get(1, "/events")]).await;
    let head = client.find("the head", |frame| frame.stream == 1).await;
    assert!(!head.has(flag::END_STREAM));
    for event in ["data: one\n\n", "data: two\n\n"] {
        more.send(event).expect("the target listens");
        let frame = client.find("an event", |frame| frame.stream == 1).await;
        assert_eq!(frame.payload, event.as_bytes());
    }
    more.send("").expect("the target listens");
    assert!(client.response(1).await.whole);

    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.extend(client.bytes(1).await);
    }
    for event in ["data: one\n\n", "data: two\n\n"] {
        more.send(event).expect("the target listens");
        while !seen.ends_with(event.as_bytes()) {
            seen.extend(client.bytes(1).await);
        }
    }
}

const LARGE: usize = 256 << 20;
const PIECE: usize = 64 << 10;
const ALLOWED_GROWTH_KIB: u64 = 24 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_download_is_streamed_not_kept() {
    let upstream = Upstream::download(PIECE, Some(LARGE / PIECE), None).await;
    let mut fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    let before = fleet.data_plane(0).memory_kib("VmHWM");
    let most = (1u32 << 31) - 1;
    let mut client = FrameClient::connect_with(fleet.address(0), &[(4, most)]).await;
    client.frames(&[Frame::window_update(0, most - 65535), Frame::get(1, "/")]).await;
    let mut taken = 0;
    while taken < LARGE {
        taken += client.find("data", |frame| frame.stream == 1 && frame.kind == 0).await.payload.len();
    }
    let grown = fleet.data_plane(0).memory_kib("VmHWM") - before;
    assert!(grown < ALLOWED_GROWTH_KIB, "its memory grew by {grown} KiB");
}

/// The client's window is never used beyond what the gateway has given it.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_is_streamed_not_kept() {
    let upstream = Upstream::counting().await;
    let mut fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    let before = fleet.data_plane(0).memory_kib("VmHWM");
    let stream = tokio::net::TcpStream::connect(fleet.address(0)).await.expect("connect");
    let (mut sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(stream),
    )
    .await
    .expect("a handshake");
    tokio::spawn(connection);
    let piece = Bytes::from(vec![b'u'; PIECE]);
    let frames = futures_util::stream::repeat_with(move || {
        Ok::<_, Infallible>(hyper::body::Frame::data(piece.clone()))
    });
    let body = StreamBody::new(futures_util::StreamExt::take(frames, LARGE / PIECE));
    let request = http::Request::post("http://a.test/").body(body).expect("a request");
    let response = tokio::time::timeout(Duration::from_secs(60), sender.send_request(request)).await;
    let body = response
        .expect("in time")
        .expect("a response")
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    assert_eq!(body, LARGE.to_string());
    let grown = fleet.data_plane(0).memory_kib("VmHWM") - before;
    assert!(grown < ALLOWED_GROWTH_KIB, "its memory grew by {grown} KiB");
}
