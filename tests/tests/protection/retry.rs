//! `retry`: what is tried again, where, with which bytes, and how often at most.

use crate::{addresses, ask_with, gateway, only, outcomes};
use std::collections::HashMap;
use std::time::Duration;
use tests::client::RawClient;
use tests::config::route;
use tests::fleet::Fleet;
use tests::load::{Load, Plan};
use tests::upstream::{Mood, Target};

const ANY: &str =
    "filters: [{retry: {max_retries: 2, retry_on: [502, 503, 504, connect_failure, reset], budget: 100%}}]";

async fn post(fleet: &Fleet, method: &str, path: &str, body: &str, chunked: bool) -> String {
    let framing = match chunked {
        true => format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
        false => format!("Content-Length: {}\r\n\r\n{body}", body.len()),
    };
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{framing}")).await;
    client.response().await.outcome()
}

/// The targets' arrivals by the request's `X-N`, in the order they came.
fn by_request(targets: &[&Target]) -> HashMap<String, Vec<usize>> {
    let mut arrivals: Vec<_> = targets
        .iter()
        .enumerate()
        .flat_map(|(at, target)| {
            target.arrivals().into_iter().map(move |arrival| (arrival.order, at, arrival))
        })
        .collect();
    arrivals.sort_by_key(|(order, ..)| *order);
    let mut by_request: HashMap<_, Vec<_>> = HashMap::new();
    for (_, at, arrival) in arrivals {
        by_request.entry(arrival.request.header("x-n").unwrap_or_default().to_owned()).or_default().push(at);
    }
    by_request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_tried_again_at_another_target() {
    let targets = [Target::start("a").await, Target::start("b").await, Target::start("c").await];
    let all: Vec<&Target> = targets.iter().collect();
    let fleet = gateway(&[route("r", &addresses(&all), &[ANY])]).await;
    for target in &targets {
        target.be(Mood::Status(503)).await;
    }
    // few enough for the budget: with all targets down each request costs two retries
    for n in 0..8 {
        let response = ask_with(fleet.address(0), "/r", &format!("X-N: {n}\r\n")).await;
        assert_eq!(response.outcome(), "503", "the last answer is the client's");
    }
    let tried = by_request(&all);
    assert_eq!(tried.len(), 8);
    for (n, mut at) in tried {
        at.sort();
        assert_eq!(at, [0, 1, 2], "request {n}");
    }

    targets[0].be(Mood::Healthy).await;
    assert_eq!(outcomes(&fleet, "/r", 8).await, only("200", 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_failure_is_tried_again() {
    let (bad, good) = (Target::start("bad").await, Target::start("good").await);
    let at = addresses(&[&bad, &good]);
    let retry = |more: &str| {
        format!("filters: [{{retry: {{max_retries: 1, retry_on: [502, 503, 504], budget: 100%{more}}}}}]")
    };
    let fleet = gateway(&[
        route("r", &at, &[&retry("")]),
        route("impatient", &at, &[&retry(", per_try_timeout: 500ms")]),
    ])
    .await;
    for mood in [Mood::Resetting, Mood::Refusing, Mood::Status(502), Mood::Status(504)] {
        bad.be(mood).await;
        assert_eq!(outcomes(&fleet, "/r", 6).await, only("200", 6), "{mood:?}");
    }
    for mood in [Mood::Hanging, Mood::Stuck] {
        bad.be(mood).await;
        assert_eq!(outcomes(&fleet, "/impatient", 4).await, only("200", 4), "{mood:?}");
    }
    // a status that is not named is the client's at once
    bad.be(Mood::Status(500)).await;
    let ended = outcomes(&fleet, "/r", 10).await;
    assert!(ended["500"] > 0 && ended["500"] + ended["200"] == 10, "{ended:?}");
}

/// A response that has begun is never begun again, and a broken one never looks whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_breaks_off_is_not_tried_again() {
    let (bad, good) = (Target::start("bad").await, Target::start("good").await);
    let fleet = gateway(&[route("r", &addresses(&[&bad, &good]), &[ANY])]).await;
    bad.be(Mood::Truncating).await;
    let (mut whole, mut broken) = (0, 0);
    for _ in 0..10 {
        let mut client = RawClient::connect(fleet.address(0)).await;
        client.send(crate::get("/r", "")).await;
        match client.try_response().await {
            Ok(response) if response.text() == "good" => whole += 1,
            Ok(response) => panic!("{response:?}"),
            Err(_) => broken += 1,
        }
    }
    assert_eq!((whole, broken), (good.got("/r"), bad.got("/r")));
    assert!(broken > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn post_is_tried_again_only_when_nothing_was_sent() {
    let (bad, good) = (Target::start("bad").await, Target::start("good").await);
    let fleet = gateway(&[route("r", &addresses(&[&bad, &good]), &[ANY])]).await;
    bad.be(Mood::Refusing).await;
    for n in 0..10 {
        assert_eq!(post(&fleet, "POST", "/r", &n.to_string(), n % 2 == 0).await, "200");
    }
    let bodies: Vec<_> = good.arrivals().into_iter().map(|arrival| arrival.request.body).collect();
    assert_eq!(bodies, (0..10).map(|n| n.to_string()).collect::<Vec<_>>(), "each once");

    for mood in [Mood::Status(503), Mood::Resetting] {
        bad.be(mood).await;
        good.be(mood).await;
        bad.forget();
        good.forget();
        for n in 0..10 {
            let answer = post(&fleet, "POST", "/r", "x", n % 2 == 0).await;
            assert!(["503", "502 upstream_reset"].contains(&answer.as_str()), "{answer}");
        }
        assert_eq!(bad.got("/r") + good.got("/r"), 10, "{mood:?}: a POST was sent twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_sent_again_byte_for_byte() {
    let (bad, good) = (Target::start("bad").await, Target::start("good").await);
    let fleet = gateway(&[route("r", &addresses(&[&bad, &good]), &[ANY])]).await;
    let body: String = std::iter::repeat_with(fastrand::alphanumeric).take(60_000).collect();
    for mood in [Mood::Status(503), Mood::Resetting] {
        bad.be(mood).await;
        for chunked in [false, true] {
            bad.forget();
            good.forget();
            for _ in 0..6 {
                assert_eq!(post(&fleet, "PUT", "/r", &body, chunked).await, "200", "{mood:?}");
            }
            assert_eq!(good.got("/r"), 6);
            assert!(bad.got("/r") > 0, "{mood:?}: nothing was tried again");
            for arrival in bad.arrivals().iter().chain(&good.arrivals()) {
                assert!(
                    arrival.request.body == body.as_bytes(),
                    "{mood:?}: another body, chunked: {chunked}"
                );
            }
        }
    }
}

/// What was sent beyond the buffer cannot be sent again, so it is not half sent again either.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_buffer_is_not_tried_again() {
    let (bad, worse) = (Target::start("bad").await, Target::start("worse").await);
    let filters = "filters: [{retry: {max_retries: 2, retry_on: [503], max_body: 16KiB, budget: 100%}}]";
    let fleet = gateway(&[route("r", &addresses(&[&bad, &worse]), &[filters])]).await;
    bad.be(Mood::Status(503)).await;
    worse.be(Mood::Status(503)).await;
    let arrived = || bad.got("/r") + worse.got("/r");
    for chunked in [false, true] {
        let before = arrived();
        assert_eq!(post(&fleet, "PUT", "/r", &"x".repeat(17 << 10), chunked).await, "503");
        assert_eq!(arrived() - before, 1, "chunked: {chunked}");
    }
    let before = arrived();
    assert_eq!(post(&fleet, "PUT", "/r", &"x".repeat(16 << 10), false).await, "503");
    assert!(arrived() - before > 1, "what fits in the buffer is tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_attempts_share_one_deadline() {
    let (a, b) = (Target::start("a").await, Target::start("b").await);
    let keys = [
        "timeout: 2s",
        "filters: [{retry: {max_retries: 9, retry_on: [504], per_try_timeout: 400ms, backoff: {base: 1ms, max: 1ms}, budget: 100%}}]",
    ];
    let fleet = gateway(&[route("r", &addresses(&[&a, &b]), &keys)]).await;
    a.be(Mood::Hanging).await;
    b.be(Mood::Hanging).await;
    let answer = crate::outcome(&fleet, "/r").await;
    assert!(answer.starts_with("504 "), "{answer}");
    let attempts = a.got("/r") + b.got("/r");
    // at 0, 400, 800, 1200 and 1600 ms; fewer where the machine is slow
    assert!((2..=5).contains(&attempts), "{attempts} attempts of 400 ms in 2 s");
}

/// Retries of a brown-out must not become the load that keeps it going.
#[tokio::test(flavor = "multi_thread")]
async fn a_brown_out_stays_within_one_and_the_budget() {
    let (a, b) = (Target::start("a").await, Target::start("b").await);
    let filters =
        "filters: [{retry: {max_retries: 3, retry_on: [503], backoff: {base: 1ms, max: 1ms}, budget: 20%}}]";
    let fleet = gateway(&[route("r", &addresses(&[&a, &b]), &[filters])]).await;
    a.be(Mood::Status(503)).await;
    b.be(Mood::Status(503)).await;
    let started = std::time::Instant::now();
    let load = Load::start(fleet.address(0), &Plan { pace: Duration::from_millis(2), ..Plan::get("/r") });
    load.goes_on_for(1500).await;
    let requests: usize = load.stop().await.values().sum();
    let attempts = a.got("/r") + b.got("/r");
    // besides the budget there are 3 a second, also of the ten seconds before
    let allowed = 1.2 * requests as f64 + 3.0 * (started.elapsed().as_secs_f64() + 10.0) + 1.0;
    println!(
        "brown-out: {requests} requests, {attempts} attempts, amplification {:.3}",
        attempts as f64 / requests as f64
    );
    assert!(attempts > requests, "nothing was retried");
    assert!(attempts as f64 <= allowed, "{attempts} attempts for {requests} requests; {allowed:.0} allowed");
}
