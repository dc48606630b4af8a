//! Requests, WebSockets and drains by TLS, clients that leave and clients that do not read.

use super::{Secure, certificates, here, said, with_tls};
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::Signal;
use std::fs;
use tests::authority::Authority;
use tests::fleet::Fleet;
use tests::ports::lease;
use tests::upstream::Upstream;
use tests::wait::soon;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread")]
async fn requests_by_tls_are_forwarded_and_the_target_is_told() {
    if !here() {
        return;
    }
    let secure = Secure::start(|authority| vec![certificates(&[&authority.server("a", &["a.test"])])]).await;
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        let more: &[&str] = if version == "--tlsv1.2" { &[version, "--tls-max", "1.2"] } else { &[version] };
        let answer = said(secure.curl("a.test", "/x", &[more, &["--http1.1", "-i"]].concat())).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{version}: {answer}");
        let got = secure.upstream.requests().pop().expect("a request");
        assert_eq!(got.header("x-forwarded-proto"), Some("https"));
    }
    // a body larger than any buffer, both ways
    let body = secure.fleet.directory().join("body");
    fs::write(&body, vec![b'x'; 3 << 20]).expect("write");
    let data = format!("@{}", body.display());
    let answer = said(secure.curl("a.test", "/", &["--http1.1", "--data-binary", &data])).await;
    assert!(answer.len() > 3 << 20, "{} bytes", answer.len());
    assert_eq!(
        secure
            .metric("gateway_tls_handshakes_total{listener=\"https\",version=\"1.2\",resumed=\"false\"}")
            .await,
        Some(1.0)
    );
}

/// A connection by TLS as the client `a.test`, which is also that of the certificate.
async fn connect(secure: &Secure) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(secure.address()).await.expect("connect");
    let name = "a.test".try_into().expect("a name");
    let connected = soon("a handshake", secure.authority.connector(&["http/1.1"]).connect(name, stream));
    connected.await.expect("a handshake")
}

/// Beside a held target, in front of which TLS is spoken.
async fn in_front_of(upstream: Upstream, server: &str) -> Secure {
    let directory = tempfile::tempdir().expect("a directory");
    let (authority, port) = (Authority::new(directory.path()), lease(1));
    let tls = [certificates(&[&authority.server("a", &["a.test"])])];
    let fleet = Fleet::start(1, |plain| {
        let text = with_tls(plain, port.port, &upstream, &tls);
        text.replace("drain_delay: 0s", &format!("drain_delay: 0s\n{server}"))
    })
    .await;
    Secure { fleet, upstream, authority, port, _directory: directory }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_by_tls_carries_both_ways_and_ends_with_a_word() {
    let secure = in_front_of(Upstream::websocket().await, "").await;
    let stream = connect(&secure).await;
    let url = "wss://a.test/";
    let opened = soon("a WebSocket", tokio_tungstenite::client_async(url, stream)).await;
    let (mut socket, response) = opened.expect("a WebSocket");
    assert_eq!(response.status(), 101);
    for text in ["hello", &"long ".repeat(100_000)] {
        socket.send(Message::text(text)).await.expect("send a message");
        let echo = soon("the echo", socket.next()).await.expect("still open").expect("a message");
        assert_eq!(echo.into_text().expect("text").as_str(), text);
    }
    socket.close(None).await.expect("close");
    while let Some(message) = soon("the end", socket.next()).await {
        message.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_tls_that_leaves_is_missed_at_once() {
    let (upstream, _gate) = Upstream::held("target").await;
    let secure = in_front_of(upstream, "").await;
    for goodbye in [true, false] {
        let mut client = connect(&secure).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("send");
        secure.metric_is("gateway_active_requests", 1.0).await;
        if goodbye {
            client.shutdown().await.expect("a word of parting");
        } else {
            drop(client);
        }
        secure.metric_is("gateway_active_requests", 0.0).await;
    }
    secure.metric_is("gateway_requests_total{route=\"all\",method=\"GET\",status=\"499\"}", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_by_tls_that_does_not_read_is_ended_and_one_that_reads_gets_it_all() {
    let upstream = Upstream::download(1_000_000, Some(64), None).await;
    let secure = in_front_of(upstream, "  write_timeout: 500ms").await;
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let mut silent = connect(&secure).await;
    silent.write_all(request).await.expect("send");
    let connections = "gateway_listener_connections{listener=\"https\"}";
    secure.metric_is(connections, 1.0).await;
    secure.metric_is(connections, 0.0).await;
    drop(silent);
    let mut reader = connect(&secure).await;
    reader.write_all(request).await.expect("send");
    let (mut buffer, mut total) = (vec![0; 1 << 20], 0_usize);
    loop {
        match soon("some of the body", reader.read(&mut buffer)).await.expect("an orderly end") {
            0 => break,
            read => total += read,
        }
    }
    assert!(total > 64_000_000, "{total}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_requests_by_tls_finish_and_waits_for_no_handshake() {
    let (upstream, gate) = Upstream::held("target").await;
    let mut secure = in_front_of(upstream, "  header_timeout: 1h").await;
    let mut client = connect(&secure).await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.expect("send");
    secure.metric_is("gateway_active_requests", 1.0).await;
    let idle = connect(&secure).await;
    let mut silent = TcpStream::connect(secure.address()).await.expect("connect");
    secure.metric_is("gateway_listener_connections{listener=\"https\"}", 3.0).await;
    secure.fleet.data_plane(0).signal(Signal::TERM);
    let mut rest = Vec::new();
    soon("the silent one is ended", silent.read_to_end(&mut rest)).await.expect("an orderly end");
    gate.open(1);
    soon("the answer and the end", client.read_to_end(&mut rest)).await.expect("an orderly end");
    assert!(rest.starts_with(b"HTTP/1.1 200"), "{}", rest.escape_ascii());
    assert!(secure.fleet.data_plane(0).ended().await.success());
    drop(idle);
}
