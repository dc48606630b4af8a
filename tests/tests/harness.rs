//! The harness against itself: a scenario can only be believed when its fakes and clients tell the truth.

use std::time::Duration;
use tests::client::{RawClient, get};
use tests::ports::{lease, refusing};
use tests::upstream::{After, Backlogged, Upstream};
use tests::wait::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn echo_tells_what_it_got_and_keeps_the_bytes() {
    let upstream = Upstream::echo("target").await;
    let mut client = RawClient::connect(upstream.address()).await;
    let request = "POST /a?b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n2\r\nhi\r\n0\r\nT: 1\r\n\r\n";
    client.send(request).await;
    let echo = client.response().await.json();
    assert_eq!((&echo["target"], &echo["body"]), (&"/a?b".into(), &"hi".into()));
    assert_eq!(upstream.bytes(), request.as_bytes());
    assert_eq!(upstream.requests()[0].trailers["t"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn written_answers_are_read_as_they_stand() {
    let answer = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n";
    let upstream = Upstream::answering(answer, After::Close).await;
    let mut client = RawClient::connect(upstream.address()).await;
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!((response.interim, response.status, &response.body[..]), (vec![103], 200, &b"abc"[..]));
    assert_eq!(response.trailers, [("t".to_owned(), "1".to_owned())]);
    assert!(client.until_closed().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn held_answers_wait_for_their_gate() {
    let (upstream, gate) = Upstream::held("target").await;
    let address = upstream.address();
    let reply = tokio::spawn(async move { get(address, "/").await });
    eventually("it arrives", async || if upstream.requests().len() == 1 { Ok(()) } else { Err("not yet") })
        .await;
    assert!(!reply.is_finished());
    gate.open(1);
    assert_eq!(reply.await.expect("no panic").expect("a reply").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_targets_break_as_named() {
    let reset = Upstream::resetting().await;
    assert!(get(reset.address(), "/").await.is_err());
    let closing = Upstream::closing().await;
    assert!(get(closing.address(), "/").await.is_err());
    let (nobody, _lease) = refusing();
    let refused = tokio::net::TcpStream::connect(nobody).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let full = Backlogged::open().expect("a full listener");
    let connect = tokio::net::TcpStream::connect(full.address());
    assert!(tokio::time::timeout(Duration::from_millis(200), connect).await.is_err(), "its queue has room");
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_have_the_size_they_are_asked_for() {
    let upstream = Upstream::download(1000, Some(3), None).await;
    assert_eq!(get(upstream.address(), "/").await.expect("a reply").body.len(), 3000);
}

#[test]
fn leased_ports_differ() {
    let leases: Vec<_> = (0..50).map(|_| lease(3)).collect();
    let ports: std::collections::HashSet<_> = leases.iter().map(|lease| lease.port).collect();
    assert_eq!(ports.len(), 50);
}
