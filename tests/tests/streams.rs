//! Long exchanges: WebSockets and downloads over applies, draining, bodies far larger than any buffer.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;
use tests::client::{RawClient, get};
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::Upstream;
use tests::wait::{eventually, soon, throughout};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

async fn websocket(address: SocketAddr, path: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("connect");
    let (socket, response) =
        soon("a WebSocket", tokio_tungstenite::client_async(format!("ws://{address}{path}"), stream))
            .await
            .expect("a WebSocket");
    assert_eq!(response.status(), 101);
    socket
}

async fn ping(socket: &mut WebSocketStream<TcpStream>, text: &str) {
    socket.send(Message::text(text)).await.expect("send a message");
    let echo = soon("the echo", socket.next()).await.expect("still open").expect("a message");
    assert_eq!(echo.into_text().expect("text").as_str(), text);
}

/// Routes `/ws`, `/slow` and `/echo`; the last one's name changes with every apply.
fn three_routes(port: u16, ws: &Upstream, slow: &Upstream, echo: &Upstream, round: usize) -> String {
    let route = |name: &str, prefix: &str, upstream: &Upstream| {
        format!(
            "  - {{name: {name}, prefix: {prefix}, targets: [{{addr: \"http://{}\"}}]}}\n",
            upstream.address()
        )
    };
    config::server(port, "  drain_timeout: 5s\n")
        + "routes:\n"
        + &route("ws", "/ws", ws)
        + &route("slow", "/slow", slow)
        + &route(&format!("echo-{round}"), "/echo", echo)
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_outlive_applies() {
    let ws = Upstream::websocket().await;
    let slow = Upstream::download(1000, None, Some(Duration::from_millis(2))).await;
    let echo = Upstream::echo("echo").await;
    let fleet = Fleet::start(1, |port| three_routes(port, &ws, &slow, &echo, 0)).await;

    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(websocket(fleet.address(0), "/ws").await);
    }
    let mut download = RawClient::connect(fleet.address(0)).await;
    download.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    download.bytes(10_000).await;
    let mut kept = RawClient::connect(fleet.address(0)).await;

    for round in 1..=10 {
        fleet.apply(&three_routes(fleet.port(), &ws, &slow, &echo, round), &[]).await.exits(0);
        for (n, socket) in sockets.iter_mut().enumerate() {
            ping(socket, &format!("{round}-{n}")).await;
        }
        download.bytes(10_000).await;
        kept.send("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(kept.response().await.status, 200, "a kept connection outlives an apply");
    }
    assert_eq!(ws.connections().len(), 5, "no WebSocket was opened again");
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_messages_pass_both_ways_and_close_reaches_the_target() {
    let upstream = Upstream::websocket().await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    let mut socket = websocket(fleet.address(0), "/chat?room=1").await;
    ping(&mut socket, "hello").await;
    let large = "x".repeat(1 << 20);
    ping(&mut socket, &large).await;
    socket.close(None).await.expect("close");
    let end = soon("the close handshake", async {
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                return true;
            }
        }
        false
    })
    .await;
    assert!(end, "the target's close frame comes back");
    let head = String::from_utf8_lossy(&upstream.bytes()).to_ascii_lowercase();
    assert!(head.starts_with("get /chat?room=1 http/1.1\r\n"), "{head:.200}");
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head:.400}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_requests_in_flight_finish() {
    let (upstream, gate) = Upstream::held("held").await;
    let mut fleet = Fleet::start(1, |port| {
        config::forward_all(port, upstream.address())
            .replace("drain_delay: 0s", "drain_delay: 1s\n  drain_timeout: 20s")
    })
    .await;
    let address = fleet.address(0);
    let clients: Vec<_> =
        (0..20).map(|n| tokio::spawn(async move { get(address, &format!("/{n}")).await })).collect();
    eventually("all twenty are at the target", async || match upstream.requests().len() {
        20 => Ok(()),
        n => Err(format!("{n} arrived")),
    })
    .await;
    assert_eq!(get(fleet.admin_address(0), "/readyz").await.expect("a reply").status, 200);
    let mut idle = RawClient::connect(address).await;

    fleet.data_plane(0).signal(Signal::TERM);
    let admin = fleet.admin_address(0);
    eventually("/readyz says it is going", async || match get(admin, "/readyz").await {
        Ok(reply) if reply.status == 503 => Ok(()),
        Ok(reply) => Err(reply.status.to_string()),
        Err(error) => Err(error.to_string()),
    })
    .await;
    assert_eq!(get(admin, "/livez").await.expect("a reply").status, 200, "draining is not dead");
    idle.until_closed().await;
    assert!(clients.iter().all(|client| !client.is_finished()), "nothing was cut off");
    gate.open(20);
    for client in clients {
        assert_eq!(client.await.expect("no panic").expect("a reply").status, 200);
    }
    assert!(fleet.data_plane(0).ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_takes_too_long_is_ended() {
    let (upstream, _gate) = Upstream::held("held").await;
    let mut fleet = Fleet::start(1, |port| {
        config::forward_all(port, upstream.address())
            .replace("drain_delay: 0s", "drain_delay: 0s\n  drain_timeout: 300ms")
    })
    .await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually("it is at the target", async || match upstream.requests().len() {
        1 => Ok(()),
        n => Err(format!("{n} arrived")),
    })
    .await;
    fleet.data_plane(0).signal(Signal::TERM);
    fleet.data_plane(0).ended().await;
    client.until_closed().await;
}

const LARGE: usize = 256 << 20;
const PIECE: usize = 64 << 10;

/// Peak memory may grow by this much while a body of [`LARGE`] bytes passes.
const ALLOWED_GROWTH_KIB: u64 = 24 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upload_is_streamed_not_kept() {
    let upstream = Upstream::counting().await;
    let mut fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    get(fleet.address(0), "/").await.expect("a reply");
    let before = fleet.data_plane(0).memory_kib("VmHWM");

    let stream = TcpStream::connect(fleet.address(0)).await.expect("connect");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("handshake");
    tokio::spawn(connection);
    let piece = Bytes::from(vec![b'u'; PIECE]);
    let frames =
        stream::repeat_with(move || Ok::<_, Infallible>(Frame::data(piece.clone()))).take(LARGE / PIECE);
    let request = Request::post("/").header("host", "a").body(StreamBody::new(frames)).expect("a request");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_large_download_is_streamed_not_kept() {
    let upstream = Upstream::download(PIECE, Some(LARGE / PIECE), None).await;
    let mut fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    let before = fleet.data_plane(0).memory_kib("VmHWM");
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut taken = 0;
    while taken < LARGE {
        taken += client.bytes(PIECE).await.len();
    }
    let grown = fleet.data_plane(0).memory_kib("VmHWM") - before;
    assert!(grown < ALLOWED_GROWTH_KIB, "its memory grew by {grown} KiB");
}

/// A client that stops reading must stop the target, not fill the gateway.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_holds_the_target_back() {
    /// More than the kernel buffers of two connections hold.
    const HELD_BY_KERNEL: usize = 64 << 20;
    let upstream = Upstream::download(PIECE, Some(LARGE / PIECE), None).await;
    let mut fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    let before = fleet.data_plane(0).memory_kib("VmHWM");
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.bytes(PIECE).await;
    throughout(Duration::from_secs(2), "the target is held back", async || match upstream.produced() {
        produced if produced < HELD_BY_KERNEL => Ok(()),
        produced => Err(format!("it produced {produced} bytes")),
    })
    .await;
    let grown = fleet.data_plane(0).memory_kib("VmHWM") - before;
    assert!(grown < ALLOWED_GROWTH_KIB, "its memory grew by {grown} KiB");
}

/// A client that goes away in the middle of a download frees the connection to the target.
#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_download_ends_at_the_target() {
    let upstream = Upstream::download(PIECE, None, None).await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.bytes(PIECE).await;
    drop(client);
    eventually("no connection to the target is left", async || {
        let status = fleet.status().await.map_err(|error| error.to_string())?;
        let instance = status.instances.first().ok_or("no instance")?;
        let targets = &instance.status.as_ref().ok_or("no status yet")?.targets;
        match targets.iter().map(|target| target.connections + target.in_flight).sum::<u64>() {
            0 => Ok(()),
            n => Err(format!("{n} left")),
        }
    })
    .await;
}
