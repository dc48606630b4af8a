//! `concurrency`: how many requests are in flight, how many wait, and who is refused.

use crate::{Volley, addresses, gateway, get, only, outcome, outcomes, reported, until};
use std::time::Duration;
use tests::client::RawClient;
use tests::config::route;
use tests::fleet::Fleet;
use tests::load::{Load, Plan};
use tests::upstream::{Mood, Target, Upstream};

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_maximum_is_in_flight_over_all_workers() {
    let target = Target::start("target").await;
    let filters = "filters: [{concurrency: {max: 3, queue: 4, queue_timeout: 60s}}]";
    let fleet = gateway(&[route("r", &addresses(&[&target]), &[filters])]).await;
    target.be(Mood::Hanging).await;
    let volley = Volley::fire(&fleet, "/r", 20);
    until(
        "the others are refused",
        async || (volley.answers().len(), target.in_flight()),
        |seen| *seen == (13, 3),
    )
    .await;
    assert!(
        volley.answers().iter().all(|answer| answer == "503 concurrency_limited"),
        "{:?}",
        volley.answers()
    );

    target.be(Mood::Healthy).await;
    let answers = volley.end().await;
    assert_eq!(answers.iter().filter(|answer| *answer == "200").count(), 7, "{answers:?}");
    assert_eq!((target.got("/r"), target.most_in_flight()), (7, 3));
    assert_eq!(outcomes(&fleet, "/r", 10).await, only("200", 10));
    reported(&fleet, "limits", &[("route", "r"), ("kind", "concurrency")], |limit| {
        limit["inFlight"] == 0 && limit["refused"] == 13
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_in_the_queue_ends() {
    let target = Target::start("target").await;
    let filters = "filters: [{concurrency: {max: 1, queue: 10, queue_timeout: 200ms}}]";
    let fleet = gateway(&[route("r", &addresses(&[&target]), &[filters])]).await;
    target.be(Mood::Hanging).await;
    let mut volley = Volley::fire(&fleet, "/r", 1);
    until("one is in flight", async || target.in_flight(), |held| *held == 1).await;
    volley.add(&fleet, "/r", 5);
    until("the waiting ones are refused", async || volley.answers(), |answers| answers.len() == 5).await;
    target.be(Mood::Healthy).await;
    let answers = volley.end().await;
    assert_eq!(answers[..5], ["503 concurrency_limited"; 5]);
    assert_eq!(answers[5], "200");
    assert_eq!(target.got("/r"), 1);
}

/// A slot is freed by whatever ends its request.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_frees_its_place() {
    let target = Target::start("target").await;
    let filters = "filters: [{concurrency: {max: 2, queue: 2, queue_timeout: 60s}}]";
    let fleet = gateway(&[route("r", &addresses(&[&target]), &[filters])]).await;
    target.be(Mood::Hanging).await;
    let in_flight = Volley::fire(&fleet, "/r", 2);
    until("two are in flight", async || target.in_flight(), |held| *held == 2).await;
    let waiting = Volley::fire(&fleet, "/r", 2);
    // asking by a request would take a place in the queue
    let fields = [("route", "r"), ("kind", "concurrency")];
    reported(&fleet, "limits", &fields, |limit| limit["queued"] == 2).await;
    assert_eq!(outcome(&fleet, "/r").await, "503 concurrency_limited");
    drop(waiting);
    drop(in_flight);
    until("their requests are given up", async || target.in_flight(), |held| *held == 0).await;
    target.be(Mood::Resetting).await;
    assert_eq!(outcomes(&fleet, "/r", 6).await, only("502 upstream_reset", 6));
    target.be(Mood::Healthy).await;
    assert_eq!(outcomes(&fleet, "/r", 20).await, only("200", 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_target_has_its_own_limit() {
    let (slow, fast) = (Target::start("slow").await, Target::start("fast").await);
    let filters = "filters: [{concurrency: {max: 2, scope: target}}]";
    let fleet = gateway(&[route("r", &addresses(&[&slow, &fast]), &[filters])]).await;
    slow.be(Mood::Hanging).await;
    let mut volley = Volley::fire(&fleet, "/r", 1);
    until(
        "the slow one is full",
        async || (volley.add(&fleet, "/r", 1), slow.in_flight()),
        |(_, held)| *held == 2,
    )
    .await;
    assert_eq!(outcomes(&fleet, "/r", 20).await, only("200", 20), "the fast one has room");
    assert_eq!(slow.most_in_flight(), 2);
    slow.be(Mood::Healthy).await;
    assert!(volley.end().await.iter().all(|answer| answer == "200"));
}

/// In flight means until the last byte: a download holds its place, and so does a WebSocket.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_holds_its_place_until_it_ends() {
    let download = Upstream::download(1000, None, Some(Duration::from_millis(5))).await;
    let websocket = Upstream::websocket().await;
    let filters = "filters: [{concurrency: {max: 1}}]";
    let fleet = gateway(&[
        route("download", &[download.address()], &[filters]),
        route("websocket", &[websocket.address()], &[filters]),
    ])
    .await;
    let handshake = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (path, headers, status) in [("/download", "", "200"), ("/websocket", handshake, "101")] {
        let mut first = RawClient::connect(fleet.address(0)).await;
        first.send(get(path, headers)).await;
        first.bytes(20).await;
        assert_eq!(outcomes(&fleet, path, 3).await, only("503 concurrency_limited", 3));
        drop(first);
        until("its place is free", async || begun(&fleet, path, headers).await, |head| head == status).await;
    }
}

/// The status that a request gets, without waiting for the end of the response.
async fn begun(fleet: &Fleet, path: &str, headers: &str) -> String {
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send(get(path, headers)).await;
    let head = String::from_utf8_lossy(&client.bytes(12).await).into_owned();
    head.trim_start_matches("HTTP/1.1 ").to_owned()
}

/// The limit follows what the target can do: it falls when answers take longer.
#[tokio::test(flavor = "multi_thread")]
async fn an_adaptive_limit_falls_when_the_target_slows_down() {
    let target = Target::start("target").await;
    let filters = "filters: [{concurrency: {max: 64, adaptive: true}}]";
    let fleet = gateway(&[route("r", &addresses(&[&target]), &[filters])]).await;
    let load = Load::start(
        fleet.address(0),
        &Plan { clients: 16, pace: Duration::from_millis(5), ..Plan::get("/r") },
    );
    load.goes_on_for(500).await;
    let limit = async || {
        reported(&fleet, "limits", &[("route", "r"), ("kind", "concurrency")], |limit| {
            limit["limit"].is_u64()
        })
        .await
    };
    let before = limit().await["limit"].as_u64().expect("a number");
    target.be(Mood::Slow(Duration::from_millis(200))).await;
    until(
        "the limit falls",
        async || limit().await["limit"].as_u64(),
        |limit| limit.is_some_and(|limit| limit < before),
    )
    .await;
    load.stop().await;
}
