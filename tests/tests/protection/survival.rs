//! An edit of one route leaves the bucket, the breaker, the health and the ejections of the others as they were.

use crate::{Volley, addresses, ask, drain, only, outcome, outcomes, status, table, until};
use tests::config::route;
use tests::fleet::Fleet;
use tests::upstream::{Mood, Target};

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_one_route_leaves_the_state_of_the_others() {
    const BURST: usize = 100;
    let (good, bad, sick) =
        (Target::start("good").await, Target::start("bad").await, Target::start("sick").await);
    let limit = format!("filters: [{{rate_limit: {{qps: 1, burst: {BURST}}}}}]");
    let breaker = "filters: [{circuit_breaker: {threshold: 3, timeout: 60s}}]";
    let outlier = "outlier: {consecutive_errors: 3, base_ejection: 60s}";
    let check =
        "health_check: {interval: 50ms, timeout: 2s, unhealthy_threshold: 1, healthy_threshold: 1000}";
    let concurrency = "filters: [{concurrency: {max: 1, queue: 0}}]";
    let routes = |edit: &str| {
        [
            route("edited", &addresses(&[&good]), &[&format!("timeout: {edit}")]),
            route("limit", &addresses(&[&good]), &[&limit]),
            route("breaker", &addresses(&[&bad]), &[breaker]),
            route("outlier", &addresses(&[&bad, &good]), &[outlier]),
            route("sick", &addresses(&[&sick, &good]), &[check]),
            route("busy", &addresses(&[&good]), &[concurrency]),
        ]
    };
    let fleet = Fleet::start(1, |port| {
        table(port, &routes("5s")) + "global_filters:\n  - rate_limit: {qps: 100, burst: 10000}\n"
    })
    .await;

    // each state, as bad as it gets
    let drained = drain(1.0, async || ask(&fleet, "/limit").await).await;
    let started = std::time::Instant::now();
    assert!(drained.passed >= BURST);
    bad.be(Mood::Status(500)).await;
    assert_eq!(outcomes(&fleet, "/breaker", 3).await, only("500", 3));
    assert_eq!(outcome(&fleet, "/breaker").await, "503 circuit_open");
    until(
        "it is ejected",
        async || (outcome(&fleet, "/outlier").await, bad.got("/outlier")),
        |(_, got)| *got == 3,
    )
    .await;
    sick.be_at("/health", Mood::Status(500));
    let unhealthy = async || {
        let items = status(&fleet, "health").await;
        items
            .into_iter()
            .filter(|item| {
                item["state"].as_str().is_some_and(|state| state.eq_ignore_ascii_case("unhealthy"))
            })
            .count()
    };
    until("it is unhealthy", unhealthy, |count| *count == 1).await;
    // once healthy, a thousand probes must say so before it is used again: only forgetting would bring it back
    sick.be_at("/health", Mood::Healthy);
    sick.forget();
    good.be_at("/busy", Mood::Hanging);
    let busy = Volley::fire(&fleet, "/busy", 1);
    until("its one slot is taken", async || good.got("/busy"), |got| *got == 1).await;

    for edit in ["6s", "7s"] {
        let text = table(fleet.port(), &routes(edit))
            + "global_filters:\n  - rate_limit: {qps: 100, burst: 10000}\n";
        fleet.apply(&text, &[]).await.exits(0);

        let again = drain(1.0, async || ask(&fleet, "/limit").await).await;
        let refilled = started.elapsed().as_secs() as usize + 2;
        assert!(
            again.passed <= refilled && refilled < BURST,
            "{} of {refilled} passed: the bucket is new",
            again.passed
        );
        assert_eq!(outcomes(&fleet, "/breaker", 5).await, only("503 circuit_open", 5), "the breaker is new");
        assert_eq!(outcomes(&fleet, "/outlier", 10).await, only("200", 10), "the ejection is forgotten");
        assert_eq!(outcomes(&fleet, "/sick", 10).await, only("200", 10));
        assert_eq!(sick.got("/sick"), 0, "an unhealthy target got requests");
        assert_eq!(outcome(&fleet, "/busy").await, "503 concurrency_limited", "the slots are new");
    }
    assert_eq!((bad.got("/breaker"), bad.got("/outlier")), (3, 3));
    good.be_at("/busy", Mood::Healthy);
    assert_eq!(busy.end().await, ["200"]);
    assert_eq!(outcome(&fleet, "/busy").await, "200", "its slot came back to the route that serves now");
}

/// A filter whose own settings change starts anew: the old numbers mean nothing under the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_a_limit_holds_at_once() {
    let target = Target::start("target").await;
    let routes = |filter: &str| [route("r", &addresses(&[&target]), &[&format!("filters: [{{{filter}}}]")])];
    let fleet = Fleet::start(1, |port| table(port, &routes("rate_limit: {qps: 1, burst: 3}"))).await;
    drain(1.0, async || ask(&fleet, "/r").await).await;
    fleet.apply(&table(fleet.port(), &routes("rate_limit: {qps: 10000}")), &[]).await.exits(0);
    assert_eq!(outcomes(&fleet, "/r", 50).await, only("200", 50));
    fleet.apply(&table(fleet.port(), &routes("concurrency: {max: 10}")), &[]).await.exits(0);
    assert_eq!(outcomes(&fleet, "/r", 50).await, only("200", 50));
}

/// What a check or an ejection has caused is over once the config has neither.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_key_nothing_is_held_against_a_target() {
    let target = Target::start("target").await;
    let at = addresses(&[&target]);
    let checked = [
        "health_check: {interval: 50ms, timeout: 2s, unhealthy_threshold: 1, healthy_threshold: 1000}",
        "on_all_unhealthy: fail_closed",
    ];
    let ejecting = [
        "outlier: {consecutive_errors: 2, base_ejection: 60s, max_ejection_percent: 100}",
        "on_all_unhealthy: fail_closed",
    ];
    let unchecked = ["on_all_unhealthy: fail_closed"];
    let fleet =
        Fleet::start(1, |port| table(port, &[route("r", &at, &checked), route("e", &at, &ejecting)])).await;
    target.be(Mood::Status(500)).await;
    for path in ["/r", "/e"] {
        let refused = |answer: &String| answer == "503 no_healthy_target";
        until("it is out", async || outcome(&fleet, path).await, refused).await;
    }
    target.be(Mood::Healthy).await;
    let text = table(fleet.port(), &[route("r", &at, &unchecked), route("e", &at, &unchecked)]);
    fleet.apply(&text, &[]).await.exits(0);
    for path in ["/r", "/e"] {
        assert_eq!(outcomes(&fleet, path, 5).await, only("200", 5));
    }
}
