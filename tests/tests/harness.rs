//! The harness against itself: a scenario can only be believed when its fakes and clients tell the truth.

use std::time::Duration;
use tests::client::{RawClient, get};
use tests::load::{Load, Plan};
use tests::ports::{lease, refusing};
use tests::upstream::{After, Backlogged, GrpcHealth, Mood, Target, Upstream};
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

/// One GET on a connection of its own: the answer's outcome, or `None` when none came.
async fn outcome(target: &Target, path: &str) -> Option<String> {
    let mut client = RawClient::try_connect(None, target.address()).await.ok()?;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    client.try_response().await.ok().map(|response| response.outcome())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_obeys_and_comes_back() {
    let target = Target::start("target").await;
    let answers = async |mood| {
        target.be(mood).await;
        [outcome(&target, "/").await, outcome(&target, "/").await]
    };
    let (fine, down) = (Some("200".to_owned()), Some("503".to_owned()));
    assert_eq!(answers(Mood::Healthy).await, [fine.clone(), fine.clone()]);
    assert_eq!(answers(Mood::Status(503)).await, [down.clone(), down.clone()]);
    assert_eq!(answers(Mood::Resetting).await, [None, None]);
    assert_eq!(answers(Mood::Truncating).await, [None, None]);
    assert_eq!(answers(Mood::Flapping).await, [fine.clone(), down]);
    let served = target.arrivals().len();
    assert_eq!(answers(Mood::Refusing).await, [None, None]);
    assert_eq!(target.arrivals().len(), served, "nobody was there");
    assert_eq!(answers(Mood::Slow(Duration::from_millis(1))).await, [fine.clone(), fine.clone()]);

    target.be_at("/health", Mood::Status(500));
    assert_eq!(outcome(&target, "/health").await, Some("500".to_owned()));
    assert_eq!(outcome(&target, "/").await, fine);
    let orders: Vec<_> = target.arrivals().iter().map(|arrival| arrival.order).collect();
    assert!(orders.is_sorted(), "{orders:?}");
}

/// A kept connection breaks with the process, and waits with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_takes_its_connections_along() {
    let target = Target::start("target").await;
    let request = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
    let mut kept = RawClient::connect(target.address()).await;
    kept.send(request).await;
    assert_eq!(kept.response().await.text(), "target");
    for mood in [Mood::Hanging, Mood::Stuck] {
        target.be(mood).await;
        let mut new = RawClient::connect(target.address()).await;
        for client in [&mut kept, &mut new] {
            client.send(request).await;
            let answer = tokio::time::timeout(Duration::from_millis(100), client.try_response()).await;
            assert!(answer.is_err(), "{mood:?}: {answer:?}");
        }
        target.be(Mood::Healthy).await;
        for client in [&mut kept, &mut new] {
            assert_eq!(client.response().await.status, 200, "{mood:?}");
        }
    }
    assert_eq!((target.got("/a"), target.in_flight(), target.most_in_flight()), (5, 0, 2));
    assert!(target.arrivals().iter().all(|arrival| &arrival.request.body[..] == b"hi"));
    target.be(Mood::Refusing).await;
    kept.until_closed().await;

    target.be(Mood::Hanging).await;
    let mut client = RawClient::connect(target.address()).await;
    client.send(request).await;
    eventually("it holds one", async || if target.in_flight() == 1 { Ok(()) } else { Err("none") }).await;
    drop(client);
    eventually("its client is gone", async || if target.in_flight() == 0 { Ok(()) } else { Err("one") })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn load_tells_what_became_of_every_request() {
    let target = Target::start("target").await;
    let load = Load::start(target.address(), &Plan::get("/a"));
    load.goes_on_for(20).await;
    target.be(Mood::Status(503)).await;
    load.goes_on_for(20).await;
    target.be(Mood::Refusing).await;
    load.goes_on_for(8).await;
    let tally = load.stop().await;
    assert_eq!(tally["200"] + tally["503"], target.got("/a"));
    assert!(tally.keys().any(|answer| answer.starts_with("connect")), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_health_says_what_it_is_told() {
    use tonic_health::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let server = GrpcHealth::start().await;
    let channel =
        tonic::transport::Endpoint::try_from(format!("http://{}", server.address())).expect("a URL");
    let mut client = HealthClient::new(channel.connect().await.expect("connect"));
    for status in [ServingStatus::Serving, ServingStatus::NotServing] {
        server.set("users", status).await;
        let answer =
            client.check(HealthCheckRequest { service: "users".to_owned() }).await.expect("an answer");
        assert_eq!(answer.into_inner().status, status as i32);
    }
}
