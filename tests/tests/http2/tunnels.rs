//! WebSockets by HTTP/1.1 and by the extended CONNECT of RFC 8441: opened, bounded, counted, and ended with a word.

use super::Range;
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use tempfile::TempDir;
use tests::client::frames::{code, flag, kind};
use tests::client::{Frame, FrameClient, get};
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::{After, Upstream};
use tests::wait::{eventually, soon};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// The head of a WebSocket on a stream.
fn connect(stream: u32, path: &str) -> Frame {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", path),
        ("sec-websocket-version", "13"),
        ("origin", "http://a.test"),
    ];
    Frame::headers(stream, 0, &fields)
}

/// A text message as a client sends it, by a mask that changes nothing.
fn text(message: &str) -> Vec<u8> {
    [&[0x81, 0x80 | message.len() as u8, 0, 0, 0, 0][..], message.as_bytes()].concat()
}

/// What has come of a WebSocket on a stream, until it is this much.
async fn bytes(client: &mut FrameClient, stream: u32, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let frame = client
            .find("bytes of a tunnel", |frame| frame.stream == stream && frame.kind == kind::DATA)
            .await;
        bytes.extend(frame.payload);
    }
    bytes
}

async fn websocket(address: SocketAddr) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("connect");
    let opened =
        soon("a WebSocket", tokio_tungstenite::client_async(format!("ws://{address}/ws"), stream)).await;
    opened.expect("a WebSocket").0
}

/// A fleet whose routes all lead to a target, with an access log; the route and the server have more keys.
async fn fleet(target: SocketAddr, server: &str, route: &str) -> (Fleet, TempDir) {
    let directory = TempDir::new().expect("a directory");
    let log = directory.path().join("access.log");
    let fleet = Fleet::start(1, |port| {
        config::server(port, server)
            + "routes:\n  - name: all\n    prefix: /\n"
            + route
            + &config::targets(&[target])
            + &format!("global_filters: [{{logging: {{output: {}}}}}]\n", log.display())
    })
    .await;
    (fleet, directory)
}

async fn told(directory: &TempDir) -> Value {
    eventually("it is told of", async || {
        let text = std::fs::read_to_string(directory.path().join("access.log")).unwrap_or_default();
        let line = text.lines().last().ok_or("no line")?;
        serde_json::from_str::<Value>(line).map_err(|_| "half a line")
    })
    .await
}

async fn active(fleet: &Fleet) -> String {
    let page = get(fleet.admin_address(0), "/metrics").await.expect("a page").text();
    let line = page.lines().find_map(|line| line.strip_prefix("gateway_websockets_active "));
    line.unwrap_or_else(|| panic!("not in {page}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_becomes_a_websocket_of_http_1() {
    let upstream = Upstream::websocket().await;
    let (fleet, log) = fleet(upstream.address(), "", "").await;
    let mut client = FrameClient::connect(fleet.address(0)).await;
    let settings =
        client.find("settings", |frame| frame.kind == kind::SETTINGS && !frame.has(flag::ACK)).await;
    assert!(
        settings.payload.chunks(6).any(|one| one == [0, 8, 0, 0, 0, 1]),
        "SETTINGS_ENABLE_CONNECT_PROTOCOL"
    );

    client.frames(&[connect(1, "/chat?room=1")]).await;
    let head = client.find("the head", |frame| frame.stream == 1).await;
    let response = tests::client::frames::StreamResponse::of(&head.payload);
    assert_eq!((response.status, head.has(flag::END_STREAM)), (200, false), "{response:?}");
    for name in ["upgrade", "connection", "sec-websocket-accept", "content-length"] {
        assert_eq!(response.header(name), None, "{response:?}");
    }
    for round in 0..3 {
        let message = format!("hello {round}");
        client.frames(&[Frame::data(1, 0, text(&message))]).await;
        assert_eq!(
            bytes(&mut client, 1, 2 + message.len()).await,
            [&[0x81, 7][..], message.as_bytes()].concat()
        );
    }
    assert_eq!(active(&fleet).await, "1");
    let large = "x".repeat(125);
    let many: Vec<u8> = (0..2000).flat_map(|_| text(&large)).collect();
    let frames: Vec<_> = many.chunks(10_000).map(|piece| Frame::data(1, 0, piece)).collect();
    let mut back = 0;
    for frame in frames {
        client.frames(&[frame]).await;
        while let Some(frame) = client.arrived(1) {
            back += frame.payload.len();
            client
                .frames(&[
                    Frame::window_update(0, frame.payload.len() as u32),
                    Frame::window_update(1, frame.payload.len() as u32),
                ])
                .await;
        }
    }
    while back < 2000 * 127 {
        let frame = client.find("the echo", |frame| frame.stream == 1 && frame.kind == kind::DATA).await;
        back += frame.payload.len();
        client
            .frames(&[
                Frame::window_update(0, frame.payload.len() as u32),
                Frame::window_update(1, frame.payload.len() as u32),
            ])
            .await;
    }

    let head = String::from_utf8_lossy(&upstream.bytes()).to_ascii_lowercase();
    assert!(head.starts_with("get /chat?room=1 http/1.1\r\n"), "{head:.300}");
    for line in
        ["upgrade: websocket", "connection: upgrade", "sec-websocket-version: 13", "origin: http://a.test"]
    {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} is not in {head:.600}");
    }
    assert_eq!(head.matches("sec-websocket-key: ").count(), 1);

    client.frames(&[Frame::data(1, flag::END_STREAM, [0x88, 0x80, 0, 0, 0, 0])]).await;
    assert!(client.response(1).await.whole);
    let line = told(&log).await;
    assert_eq!(
        (&line["status_code"], &line["protocol"], &line["reason"]),
        (&200.into(), &"HTTP/2".into(), &Value::Null)
    );
    assert!(
        line["bytes_in"].as_u64() > Some(260_000) && line["bytes_out"].as_u64() > Some(254_000),
        "{line}"
    );
    eventually("it is not counted any more", async || match active(&fleet).await.as_str() {
        "0" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_fails_opens_nothing() {
    let accept = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n";
    for (answer, outcome) in [
        (
            format!("{accept}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
            "502 invalid_response",
        ),
        (format!("{accept}\r\n"), "502 invalid_response"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(), "502 invalid_response"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned(), "403"),
    ] {
        let upstream = Upstream::answering(answer, After::Close).await;
        let (fleet, _log) = fleet(upstream.address(), "", "").await;
        let mut client = FrameClient::connect(fleet.address(0)).await;
        client.frames(&[connect(1, "/chat")]).await;
        assert_eq!(client.response(1).await.outcome(), outcome);
    }
    let upstream = Upstream::websocket().await;
    let (fleet, _log) = fleet(upstream.address(), "", "    websocket: false\n").await;
    let mut client = FrameClient::connect(fleet.address(0)).await;
    client.frames(&[connect(1, "/chat")]).await;
    assert_eq!(client.response(1).await.outcome(), "403 upgrade_refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_in_which_nothing_passes_is_closed() {
    let upstream = Upstream::websocket().await;
    let (fleet, log) = fleet(upstream.address(), "", "    websocket_idle_timeout: 400ms\n").await;
    let mut socket = websocket(fleet.address(0)).await;
    socket.send(Message::text("hello")).await.expect("send");
    assert!(soon("the echo", socket.next()).await.expect("open").expect("a message").is_text());
    let end = soon("the close", socket.next()).await.expect("a word").expect("a message");
    let Message::Close(Some(close)) = end else { panic!("{end:?}") };
    assert_eq!(close.code, CloseCode::Away);
    drop(socket);
    let line = told(&log).await;
    assert_eq!((&line["reason"], &line["bytes_out"]), (&"tunnel_idle".into(), &7.into()));

    let mut client = FrameClient::connect(fleet.address(0)).await;
    client.frames(&[connect(1, "/chat")]).await;
    client.find("the head", |frame| frame.stream == 1).await;
    assert_eq!(bytes(&mut client, 1, 4).await, [0x88, 2, 0x03, 0xe9]);
    assert!(client.response(1).await.whole);
}

/// At the end of a drain, between two frames of what the target sends, on either protocol; the target is told, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_websockets_with_a_close() {
    let upstream = Upstream::websocket().await;
    let (mut fleet, log) = fleet(upstream.address(), "  drain_timeout: 500ms\n", "").await;
    let mut socket = websocket(fleet.address(0)).await;
    socket.send(Message::text("hello")).await.expect("send");
    assert!(soon("the echo", socket.next()).await.expect("open").expect("a message").is_text());
    let mut client = FrameClient::connect(fleet.address(0)).await;
    client.frames(&[connect(1, "/chat")]).await;
    client.find("the head", |frame| frame.stream == 1).await;

    fleet.data_plane(0).signal(Signal::TERM);
    let end = soon("the close", socket.next()).await.expect("a word").expect("a message");
    let Message::Close(Some(close)) = end else { panic!("{end:?}") };
    assert_eq!(close.code, CloseCode::Away);
    assert_eq!(bytes(&mut client, 1, 4).await, [0x88, 2, 0x03, 0xe9]);
    drop(socket);
    assert_eq!(client.until_gone().await, Some(code::NO_ERROR));
    fleet.data_plane(0).ended().await;
    assert_eq!(told(&log).await["reason"], "drained");
    let closes = upstream
        .connections()
        .iter()
        .filter(|bytes| bytes.ends_with(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]))
        .count();
    assert_eq!(closes, 2, "the targets were told");
}

/// Known of old: a tunnel that ended by a reset logged that nothing had passed.
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_breaks_tells_how_much_has_passed() {
    let upstream = Upstream::websocket().await;
    let (fleet, log) = fleet(upstream.address(), "", "").await;
    let mut socket = websocket(fleet.address(0)).await;
    socket.send(Message::text("hello")).await.expect("send");
    assert!(soon("the echo", socket.next()).await.expect("open").expect("a message").is_text());
    let stream = socket.into_inner();
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
    drop(stream);
    let line = told(&log).await;
    assert_eq!(
        (&line["reason"], &line["bytes_in"], &line["bytes_out"]),
        (&"tunnel_broke".into(), &11.into(), &7.into())
    );

    let mut client = FrameClient::connect(fleet.address(0)).await;
    client.frames(&[connect(1, "/chat"), Frame::data(1, 0, text("hello"))]).await;
    bytes(&mut client, 1, 7).await;
    client.frames(&[Frame::reset(1, code::CANCEL)]).await;
    let line = eventually("both are told of", async || match told(&log).await {
        line if line["protocol"] == "HTTP/2" => Ok(line),
        line => Err(line.to_string()),
    })
    .await;
    assert_eq!(
        (&line["reason"], &line["bytes_in"], &line["bytes_out"]),
        (&"tunnel_broke".into(), &11.into(), &7.into())
    );
}

/// Neither an apply that has nothing to do with it, nor one that takes its route away.
#[tokio::test(flavor = "multi_thread")]
async fn websockets_live_through_applies() {
    let range = Range::open("").await;
    let upstream = Upstream::websocket().await;
    let before = config::server(range.fleet.port(), "")
        + "routes:\n"
        + &config::route("ws", &[upstream.address()], &[]);
    range.fleet.apply(&before, &[]).await.exits(0);
    let mut client = range.client().await;
    client.frames(&[connect(1, "/ws")]).await;
    client.find("the head", |frame| frame.stream == 1).await;
    let after = config::server(range.fleet.port(), "")
        + "routes:\n"
        + &config::route("other", &[upstream.address()], &[]);
    range.fleet.apply(&after, &[]).await.exits(0);
    client.frames(&[Frame::data(1, 0, text("hello"))]).await;
    assert_eq!(bytes(&mut client, 1, 7).await, b"\x81\x05hello");
    assert_eq!(client.get(3, "/ws").await.outcome(), "404 no_route");
}
