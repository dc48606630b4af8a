//! The end of a connection: in good order, at a deadline, by a listener that closes, and for want of anything to do.

use super::Range;
use rustix::process::Signal;
use serde_json::Value;
use tests::client::frames::{code, flag, kind};
use tests::client::{Frame, FrameClient};
use tests::config;
use tests::fleet::Fleet;
use tests::ports;
use tests::upstream::Upstream;
use tests::wait::eventually;

/// The last stream that a `GOAWAY` promises to serve.
fn last_stream(frame: &Frame) -> u32 {
    u32::from_be_bytes(frame.payload[..4].try_into().expect("a number"))
}

async fn at_target(upstream: &Upstream, wanted: usize) {
    eventually("they are at the target", async || match upstream.requests().len() {
        n if n == wanted => Ok(()),
        n => Err(format!("{n} arrived")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_open_and_takes_what_crosses_it() {
    let (upstream, gate) = Upstream::held("held").await;
    let mut fleet = Fleet::start(1, |port| {
        config::forward_all(port, upstream.address())
            .replace("drain_delay: 0s", "drain_delay: 0s\n  drain_timeout: 20s")
    })
    .await;
    let mut client = FrameClient::connect(fleet.address(0)).await;
    client.frames(&[Frame::get(1, "/one"), Frame::get(3, "/two")]).await;
    at_target(&upstream, 2).await;
    let mut idle = FrameClient::connect(fleet.address(0)).await;
    idle.settled().await;

    client.polite = false;
    fleet.data_plane(0).signal(Signal::TERM);
    // first a warning, which nothing has to be taken back for
    let warning = client.find("a GOAWAY", |frame| frame.kind == kind::GOAWAY).await;
    assert_eq!((warning.code(), last_stream(&warning)), (Some(code::NO_ERROR), (1 << 31) - 1));
    client.frames(&[Frame::get(5, "/crossed")]).await;
    at_target(&upstream, 3).await;
    let ping = client.find("a PING", |frame| frame.kind == kind::PING && !frame.has(flag::ACK)).await;
    client.frames(&[Frame::new(kind::PING, flag::ACK, 0, ping.payload)]).await;
    let end = client.find("the last GOAWAY", |frame| frame.kind == kind::GOAWAY).await;
    assert_eq!((end.code(), last_stream(&end)), (Some(code::NO_ERROR), 5));
    assert_eq!(idle.until_gone().await, Some(code::NO_ERROR));
    gate.open(3);
    for stream in [1, 3, 5] {
        assert_eq!(client.response(stream).await.outcome(), "200", "{stream}");
    }
    client.until_closed().await;
    assert!(fleet.data_plane(0).ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_at_the_deadline_is_cut_off_and_told_of() {
    let mut range = Range::open("  drain_timeout: 300ms\n").await;
    let mut client = range.client().await;
    client.frames(&[Frame::get(1, "/held"), Frame::get(3, "/held")]).await;
    client.settled().await;
    range.fleet.data_plane(0).signal(Signal::TERM);
    let frames = client.until_closed().await;
    let of = |kind: u8| frames.iter().filter(move |frame| frame.kind == kind);
    let mut reset: Vec<_> = of(kind::RST_STREAM).map(|frame| frame.stream).collect();
    reset.sort_unstable();
    assert_eq!(reset, [1, 3], "{frames:?}");
    assert_eq!(of(kind::GOAWAY).next_back().and_then(Frame::code), Some(code::NO_ERROR));
    range.fleet.data_plane(0).ended().await;
    let reasons: Vec<Value> = range.logged().into_iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons, ["drained", "drained"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_request_is_closed_in_good_order() {
    let range = Range::open("  idle_timeout: 400ms\n").await;
    let mut fresh = range.client().await;
    let mut used = range.client().await;
    assert_eq!(used.get(1, "/h").await.outcome(), "200");
    assert_eq!(
        (fresh.until_gone().await, used.until_gone().await),
        (Some(code::NO_ERROR), Some(code::NO_ERROR))
    );
    // one that does not play along is not waited for either
    let mut rude = range.client().await;
    rude.polite = false;
    assert_eq!(rude.until_gone().await, Some(code::NO_ERROR));
    // a request that is open is no idleness
    let mut busy = range.client().await;
    busy.frames(&[Frame::get(1, "/held")]).await;
    fresh = range.client().await;
    fresh.until_gone().await;
    busy.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_closes_ends_its_connections_in_good_order() {
    let (upstream, gate) = Upstream::held("held").await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, upstream.address())).await;
    let mut client = FrameClient::connect(fleet.address(0)).await;
    client.frames(&[Frame::get(1, "/one")]).await;
    at_target(&upstream, 1).await;
    let other = ports::lease(1);
    fleet.apply(&config::forward_all(other.port, upstream.address()), &[]).await.exits(0);
    let end = client.find("a GOAWAY", |frame| frame.kind == kind::GOAWAY).await;
    assert_eq!(end.code(), Some(code::NO_ERROR));
    gate.open(1);
    assert_eq!(client.response(1).await.outcome(), "200");
    assert_eq!(client.until_gone().await, Some(code::NO_ERROR));
}

/// A client that is asked and answers is kept, one that does not is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_asked_for_a_sign_of_life() {
    let range = Range::open("  ping_interval: 200ms\n").await;
    let mut alive = range.client().await;
    alive.frames(&[Frame::get(1, "/held")]).await;
    for _ in 0..3 {
        alive.find("a PING", |frame| frame.kind == kind::PING && !frame.has(flag::ACK)).await;
    }
    let mut dead = range.client().await;
    dead.polite = false;
    dead.frames(&[Frame::get(1, "/held")]).await;
    assert_eq!(dead.until_gone().await, Some(code::NO_ERROR));
}
