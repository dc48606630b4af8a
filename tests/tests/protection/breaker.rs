//! `circuit_breaker`: when it opens, what it lets through to try, and whom it leaves alone.

use crate::{Volley, addresses, ask, gateway, get, only, outcome, outcomes, reported, until};
use tests::client::RawClient;
use tests::config::route;
use tests::upstream::{Mood, Target};

#[tokio::test(flavor = "multi_thread")]
async fn failures_in_a_row_open_it() {
    let target = Target::start("target").await;
    let filters = "filters: [{circuit_breaker: {threshold: 3, timeout: 60s}}]";
    let fleet = gateway(&[route("a", &addresses(&[&target]), &[filters])]).await;
    // two failures, and a success that ends the row
    target.be(Mood::Status(500)).await;
    assert_eq!(outcomes(&fleet, "/a", 2).await, only("500", 2));
    target.be(Mood::Healthy).await;
    assert_eq!(outcome(&fleet, "/a").await, "200");
    target.be(Mood::Status(500)).await;
    assert_eq!(outcomes(&fleet, "/a", 3).await, only("500", 3));
    target.forget();

    let refused = ask(&fleet, "/a").await;
    assert_eq!(refused.outcome(), "503 circuit_open");
    let after: u64 = refused.header("retry-after").and_then(|after| after.parse().ok()).expect("Retry-After");
    // the timeout with its jitter
    assert!((30..=90).contains(&after), "{after}");
    assert_eq!(outcomes(&fleet, "/a", 20).await, only("503 circuit_open", 20));
    assert_eq!(target.got("/a"), 0, "an open breaker lets nothing through");
    let seen = reported(&fleet, "breakers", &[("route", "a")], |breaker| breaker["state"] == "OPEN").await;
    assert!(seen["reason"].as_str().is_some_and(|reason| reason.contains("500")), "{seen:#}");
}

/// What counts is that the target failed, whether by an answer, a reset or by silence.
#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_and_silence_open_it_too() {
    let target = Target::start("target").await;
    let at = addresses(&[&target]);
    let filters = "filters: [{circuit_breaker: {threshold: 2, timeout: 60s}}]";
    let fleet = gateway(&[
        route("reset", &at, &[filters]),
        route("refused", &at, &[filters]),
        route("silent", &at, &[filters, "timeout: 200ms"]),
        route("missing", &at, &[filters]),
    ])
    .await;
    for (path, mood, answer) in [
        ("/reset", Mood::Resetting, "502 upstream_reset"),
        ("/refused", Mood::Refusing, "502 connect_failed"),
        ("/silent", Mood::Hanging, "504 route_timeout"),
    ] {
        target.be(mood).await;
        assert_eq!(outcomes(&fleet, path, 2).await, only(answer, 2));
        assert_eq!(outcome(&fleet, path).await, "503 circuit_open", "{path}");
    }
    target.be(Mood::Status(404)).await;
    assert_eq!(outcomes(&fleet, "/missing", 10).await, only("404", 10), "the client's mistakes open nothing");
}

/// Waits out the timeout of an open breaker: the first request that gets through is held by the target.
async fn half_opened(fleet: &tests::fleet::Fleet, target: &Target, at_once: usize) -> (Volley, usize) {
    let (volley, held) = until(
        "the breaker lets requests through again",
        async || {
            let volley = Volley::fire(fleet, "/a", at_once);
            let held = volley.settles_at(target).await;
            (volley, held)
        },
        |(_, held)| *held > 0,
    )
    .await;
    (volley, held)
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_lets_exactly_so_many_through() {
    let target = Target::start("target").await;
    let filters = "filters: [{circuit_breaker: {threshold: 3, timeout: 300ms, half_open_max: 2}}]";
    let fleet = gateway(&[route("a", &addresses(&[&target]), &[filters])]).await;
    target.be(Mood::Status(500)).await;
    until("it opens", async || outcome(&fleet, "/a").await, |answer| answer == "503 circuit_open").await;
    target.be(Mood::Hanging).await;

    let (mut volley, held) = half_opened(&fleet, &target, 8).await;
    assert!(held <= 2, "{held} of a volley got through");
    // however many more come, two are tried
    volley.add(&fleet, "/a", 20);
    assert_eq!(volley.settles_at(&target).await, 2);
    assert!(volley.answers().iter().all(|answer| answer == "503 circuit_open"), "{:?}", volley.answers());

    target.be(Mood::Healthy).await;
    let answers = volley.end().await;
    assert_eq!(answers.iter().filter(|answer| *answer == "200").count(), 2, "{answers:?}");
    assert_eq!(outcomes(&fleet, "/a", 20).await, only("200", 20), "success closes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_half_open_opens_it_again() {
    let target = Target::start("target").await;
    let filters = "filters: [{circuit_breaker: {threshold: 2, timeout: 300ms}}]";
    let fleet = gateway(&[route("a", &addresses(&[&target]), &[filters])]).await;
    target.be(Mood::Status(500)).await;
    until("it opens", async || outcome(&fleet, "/a").await, |answer| answer == "503 circuit_open").await;
    target.be(Mood::Hanging).await;
    let (volley, held) = half_opened(&fleet, &target, 1).await;
    assert_eq!(held, 1);
    target.be(Mood::Status(500)).await;
    assert_eq!(volley.end().await, ["500"]);
    let opened = async || {
        let breakers = crate::status(&fleet, "breakers").await;
        breakers.first().map(|breaker| breaker["opened"].as_u64().unwrap_or_default())
    };
    until("it has opened twice", opened, |opened| opened.is_some_and(|opened| opened >= 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_in_half_open_does_not_wedge_it() {
    let target = Target::start("target").await;
    let filters = "filters: [{circuit_breaker: {threshold: 2, timeout: 300ms, half_open_max: 1}}]";
    let fleet = gateway(&[route("a", &addresses(&[&target]), &[filters])]).await;
    target.be(Mood::Status(500)).await;
    until("it opens", async || outcome(&fleet, "/a").await, |answer| answer == "503 circuit_open").await;
    target.be(Mood::Hanging).await;

    for _ in 0..3 {
        let trying = eventually_held(&fleet, &target).await;
        drop(trying);
        until("the request is given up", async || target.in_flight(), |held| *held == 0).await;
    }
    target.be(Mood::Healthy).await;
    until("a later request is tried", async || outcome(&fleet, "/a").await, |answer| answer == "200").await;
}

/// A client whose request the target holds.
async fn eventually_held(fleet: &tests::fleet::Fleet, target: &Target) -> RawClient {
    tests::wait::eventually("a request gets through", async || {
        let mut client = RawClient::connect(fleet.address(0)).await;
        client.send(get("/a", "")).await;
        tokio::select! {
            answer = client.response() => return Err(answer.outcome()),
            _ = until("the target holds it", async || target.in_flight(), |held| *held == 1) => {}
        }
        Ok(client)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_of_each_target_leaves_the_others_in_use() {
    let (bad, good) = (Target::start("bad").await, Target::start("good").await);
    let filters = "filters: [{circuit_breaker: {threshold: 3, timeout: 60s, scope: target}}]";
    let fleet = gateway(&[route("a", &addresses(&[&bad, &good]), &[filters])]).await;
    bad.be(Mood::Status(500)).await;
    until(
        "the bad one is tried thrice",
        async || (outcome(&fleet, "/a").await, bad.got("/a")),
        |(_, got)| *got == 3,
    )
    .await;
    assert_eq!(outcomes(&fleet, "/a", 30).await, only("200", 30));
    assert_eq!(bad.got("/a"), 3);

    good.be(Mood::Status(500)).await;
    assert_eq!(outcomes(&fleet, "/a", 3).await, only("500", 3));
    assert_eq!(outcomes(&fleet, "/a", 10).await, only("503 circuit_open", 10), "now all are open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_failures_opens_it() {
    let target = Target::start("target").await;
    let filters = "filters: [{circuit_breaker: {threshold: 1000, timeout: 60s, error_rate: 40%, window: 60s, min_requests: 20}}]";
    let fleet = gateway(&[route("a", &addresses(&[&target]), &[filters])]).await;
    target.be(Mood::Flapping).await;
    until("it opens", async || outcome(&fleet, "/a").await, |answer| answer == "503 circuit_open").await;
    assert!((20..=21).contains(&target.got("/a")), "opened after {} requests", target.got("/a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_breaker_changes_no_answer_and_counts() {
    let target = Target::start("target").await;
    let filters = "filters: [{circuit_breaker: {threshold: 3, timeout: 60s, shadow: true}}]";
    let fleet = gateway(&[route("a", &addresses(&[&target]), &[filters])]).await;
    target.be(Mood::Status(500)).await;
    assert_eq!(outcomes(&fleet, "/a", 20).await, only("500", 20));
    assert_eq!(target.got("/a"), 20);
    let seen = reported(&fleet, "breakers", &[("route", "a")], |breaker| breaker["wouldRefuse"] == 17).await;
    assert_eq!((&seen["refused"], &seen["shadow"]), (&0.into(), &true.into()), "{seen:#}");
}
