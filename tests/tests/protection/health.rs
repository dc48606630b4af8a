//! `health_check`: a target that fails is left alone, one that recovers comes back slowly, and each says why.

use crate::{addresses, gateway, only, outcome, outcomes, reported, status, until};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tests::config::route;
use tests::fleet::Fleet;
use tests::load::{Load, Plan};
use tests::upstream::{Backlogged, GrpcHealth, Mood, Target};
use tonic_health::ServingStatus;

/// Probes often, so that a scenario ends soon.
const QUICK: &str = "interval: 50ms, timeout: 2s, healthy_threshold: 2, unhealthy_threshold: 2";

fn http_check() -> String {
    format!("health_check: {{{QUICK}}}")
}

fn says(item: &Value, state: &str) -> bool {
    item["state"].as_str().is_some_and(|seen| seen.eq_ignore_ascii_case(state))
}

/// Waits until the target of a route is in this state; returns the reason.
async fn becomes(fleet: &Fleet, route: &str, target: &Target, state: &str) -> String {
    becomes_at(fleet, route, target.address(), state).await
}

async fn becomes_at(fleet: &Fleet, route: &str, target: SocketAddr, state: &str) -> String {
    let addr = format!("http://{target}");
    let fields = [("upstream", route), ("addr", addr.as_str())];
    let item = reported(fleet, "health", &fields, |item| says(item, state)).await;
    item["reason"].as_str().unwrap_or_default().to_owned()
}

/// The whole life of a target under constant load: killed, left alone, back, and slowly brought to its share.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_target_costs_no_client_an_error_and_returns_slowly() {
    let (a, b) = (Target::start("a").await, Target::start("b").await);
    let keys = [
        http_check(),
        "slow_start: 5s".to_owned(),
        "filters: [{retry: {max_retries: 2, retry_on: [502, 503, 504, connect_failure, reset]}}]".to_owned(),
    ];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let fleet = gateway(&[route("r", &addresses(&[&a, &b]), &keys)]).await;
    let load = Load::start(fleet.address(0), &Plan::get("/r"));
    load.goes_on_for(100).await;
    assert!(a.got("/r") > 30 && b.got("/r") > 30, "both serve: {} and {}", a.got("/r"), b.got("/r"));

    a.be(Mood::Refusing).await;
    let reason = becomes(&fleet, "r", &a, "unhealthy").await;
    assert!(reason.contains("refused"), "{reason:?}");
    load.goes_on_for(100).await;

    a.forget();
    a.be(Mood::Healthy).await;
    until("it gets requests again", async || a.got("/r"), |got| *got > 0).await;
    let mut shares = Vec::new();
    while shares.last().is_none_or(|share| *share < 0.45) {
        let before = (a.got("/r"), b.got("/r"));
        load.goes_on_for(60).await;
        let (a, b) = (a.got("/r") - before.0, b.got("/r") - before.1);
        shares.push(a as f64 / (a + b) as f64);
        assert!(shares.len() < 1000, "it never has its share again: {shares:?}");
    }
    assert!(shares[0] < 0.35, "no slow start: {shares:?}");
    assert!(shares.len() > 2, "no slow start: {shares:?}");
    becomes(&fleet, "r", &a, "ok").await;
    let addr = format!("http://{}", a.address());
    let fields = [("upstream", "r"), ("addr", addr.as_str())];
    reported(&fleet, "targets", &fields, |item| item["requestsPerSecond"].as_f64() > Some(10.0)).await;

    let tally = load.stop().await;
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200"], "{tally:?}");
}

/// The reason of the last failure is kept, whatever it was.
#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_failure_is_told() {
    let target = Target::start("target").await;
    let full = Backlogged::open().expect("a full listener");
    target.be_at("/status", Mood::Status(500));
    target.be_at("/silent", Mood::Hanging);
    target.be_at("/reset", Mood::Resetting);
    target.be_at("/fine", Mood::Status(418));
    let at = addresses(&[&target]);
    let check = |more: &str| {
        format!("health_check: {{interval: 50ms, unhealthy_threshold: 1, healthy_threshold: 1, {more}}}")
    };
    let fleet = gateway(&[
        route("status", &at, &[&check("timeout: 2s, path: /status")]),
        route("body", &at, &[&check("timeout: 2s, path: /body, body_contains: pong")]),
        route("silent", &at, &[&check("timeout: 100ms, path: /silent")]),
        route("reset", &at, &[&check("timeout: 2s, path: /reset")]),
        route("full", &[full.address()], &[&check("type: tcp, timeout: 100ms")]),
        route("fine", &at, &[&check("timeout: 2s, path: /fine, expected_status: [204, 418]")]),
    ])
    .await;
    for (route, word) in [("status", "500"), ("body", "pong"), ("silent", "100ms"), ("reset", "")] {
        let reason = becomes(&fleet, route, &target, "unhealthy").await;
        assert!(reason.contains(word) && !reason.is_empty(), "{route}: {reason:?}");
    }
    let reason = becomes_at(&fleet, "full", full.address(), "unhealthy").await;
    assert!(reason.contains("100ms"), "{reason:?}");
    let probes = target.got("/fine");
    until("it is probed on", async || target.got("/fine"), |got| *got > probes + 2).await;
    becomes(&fleet, "fine", &target, "ok").await;
    // probes say who they are, and go to the target alone
    let probe =
        target.arrivals().into_iter().find(|arrival| arrival.request.path() == "/status").expect("a probe");
    assert_eq!(probe.request.header("host"), Some(target.address().to_string().as_str()));
    assert!(probe.request.header("user-agent").is_some(), "{:?}", probe.request.headers);

    target.be_at("/status", Mood::Healthy);
    until(
        "it is in use again",
        async || status(&fleet, "health").await,
        |items| items.iter().any(|item| item["upstream"] == "status" && !says(item, "unhealthy")),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_unhealthy_the_config_decides() {
    let target = Target::start("target").await;
    let at = addresses(&[&target]);
    let check = http_check();
    let fleet = gateway(&[
        route("default", &at, &[&check]),
        route("open", &at, &[&check, "on_all_unhealthy: fail_open"]),
        route("closed", &at, &[&check, "on_all_unhealthy: fail_closed"]),
    ])
    .await;
    assert_eq!(outcome(&fleet, "/closed").await, "200");
    target.be_at("/health", Mood::Status(503));
    for route in ["default", "open", "closed"] {
        becomes(&fleet, route, &target, "unhealthy").await;
    }
    assert_eq!(outcomes(&fleet, "/closed", 10).await, only("503 no_healthy_target", 10));
    assert_eq!(outcomes(&fleet, "/open", 10).await, only("200", 10));
    assert_eq!(outcomes(&fleet, "/default", 10).await, only("200", 10));
    target.be_at("/health", Mood::Healthy);
    until("it recovers", async || outcome(&fleet, "/closed").await, |answer| answer == "200").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_may_have_to_prove_itself_first() {
    let target = Target::start("target").await;
    target.be_at("/health", Mood::Status(503));
    let check = format!("health_check: {{{QUICK}, initial: unhealthy}}");
    let fleet =
        gateway(&[route("r", &addresses(&[&target]), &[&check, "on_all_unhealthy: fail_closed"])]).await;
    assert_eq!(outcomes(&fleet, "/r", 10).await, only("503 no_healthy_target", 10));
    target.be_at("/health", Mood::Healthy);
    until("it has proved itself", async || outcome(&fleet, "/r").await, |answer| answer == "200").await;
}

/// One bad probe among good ones is no reason to act, and one good probe among bad ones none to trust.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_flaps_changes_nothing() {
    let target = Target::start("target").await;
    let check = http_check();
    let keys = [check.as_str(), "on_all_unhealthy: fail_closed"];
    let fleet = gateway(&[route("r", &addresses(&[&target]), &keys)]).await;
    let seven_probes = async |wanted: &str| {
        let before = target.got("/health");
        while target.got("/health") < before + 7 {
            assert_eq!(outcome(&fleet, "/r").await, wanted);
        }
    };
    target.be_at("/health", Mood::Flapping);
    seven_probes("200").await;
    target.be_at("/health", Mood::Status(503));
    until("it is unhealthy", async || outcome(&fleet, "/r").await, |answer| answer != "200").await;
    target.be_at("/health", Mood::Flapping);
    seven_probes("503 no_healthy_target").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_health_is_asked_of_its_service() {
    let (target, grpc) = (Target::start("target").await, GrpcHealth::start().await);
    grpc.set("users", ServingStatus::Serving).await;
    let check = |service: &str| {
        format!("health_check: {{type: grpc, service: {service}, port: {}, {QUICK}}}", grpc.address().port())
    };
    let fleet = gateway(&[
        route("users", &addresses(&[&target]), &[&check("users"), "on_all_unhealthy: fail_closed"]),
        route("orders", &addresses(&[&target]), &[&check("orders"), "on_all_unhealthy: fail_closed"]),
    ])
    .await;
    until(
        "a service it does not know",
        async || outcome(&fleet, "/orders").await,
        |answer| answer == "503 no_healthy_target",
    )
    .await;
    assert_eq!(outcomes(&fleet, "/users", 10).await, only("200", 10));
    grpc.set("users", ServingStatus::NotServing).await;
    let reason = becomes(&fleet, "users", &target, "unhealthy").await;
    assert!(reason.to_uppercase().contains("NOT_SERVING"), "{reason:?}");
    assert_eq!(outcome(&fleet, "/users").await, "503 no_healthy_target");
    grpc.set("users", ServingStatus::Serving).await;
    until("it recovers", async || outcome(&fleet, "/users").await, |answer| answer == "200").await;
}

/// A process that is stuck still has its kernel accept connections: a TCP check cannot see that, an HTTP check can.
#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_process_passes_a_tcp_check_and_fails_an_http_check() {
    let target = Target::start("target").await;
    let check = |kind: &str| {
        format!(
            "health_check: {{type: {kind}, interval: 50ms, timeout: 500ms, healthy_threshold: 1, unhealthy_threshold: 2}}"
        )
    };
    let fleet = gateway(&[
        route("tcp", &addresses(&[&target]), &[&check("tcp")]),
        route("http", &addresses(&[&target]), &[&check("http")]),
    ])
    .await;
    target.be(Mood::Stuck).await;
    becomes(&fleet, "http", &target, "unhealthy").await;
    becomes(&fleet, "tcp", &target, "ok").await;
    target.be(Mood::Refusing).await;
    let reason = becomes(&fleet, "tcp", &target, "unhealthy").await;
    assert!(reason.contains("refused"), "{reason:?}");
    target.be(Mood::Healthy).await;
    until(
        "both recover",
        async || status(&fleet, "health").await,
        |items| items.iter().all(|item| !says(item, "unhealthy")),
    )
    .await;
}

/// Requests on connections that look alive but lead to nobody: each waits out its attempt and is answered elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_cost_no_client_an_error() {
    let (a, b) = (Target::start("a").await, Target::start("b").await);
    let keys = [
        "health_check: {interval: 50ms, timeout: 500ms, unhealthy_threshold: 2}",
        "filters: [{retry: {max_retries: 2, retry_on: [502, 503, 504], per_try_timeout: 500ms, budget: 100%}}]",
    ];
    let fleet = gateway(&[route("r", &addresses(&[&a, &b]), &keys)]).await;
    let plan = Plan { pace: Duration::from_millis(20), ..Plan::get("/r") };
    let load = Load::start(fleet.address(0), &plan);
    load.goes_on_for(40).await;
    // its pooled connections stay established, and nobody reads what is sent on them
    a.be(Mood::Stuck).await;
    becomes(&fleet, "r", &a, "unhealthy").await;
    load.goes_on_for(40).await;
    let tally = load.stop().await;
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200"], "{tally:?}");
}
