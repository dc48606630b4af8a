//! Outlier ejection: traffic itself tells that a target fails.

use crate::{addresses, gateway, only, outcome, outcomes, status, until};
use serde_json::Value;
use std::time::Duration;
use tests::config::route;
use tests::fleet::Fleet;
use tests::upstream::{Mood, Target};

async fn ejected(fleet: &Fleet, upstream: &str) -> Vec<Value> {
    let mut items = status(fleet, "health").await;
    items.retain(|item| item["upstream"] == upstream);
    items.retain(|item| item["state"].as_str().is_some_and(|state| state.eq_ignore_ascii_case("ejected")));
    items
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_in_a_row_eject_a_target() {
    let (bad, good) = (Target::start("bad").await, Target::start("good").await);
    let outlier = "outlier: {consecutive_errors: 3, base_ejection: 60s}";
    let at = addresses(&[&bad, &good]);
    let fleet = gateway(&[route("status", &at, &[outlier]), route("reset", &at, &[outlier])]).await;
    for (path, mood) in [("/status", Mood::Status(500)), ("/reset", Mood::Resetting)] {
        bad.be(mood).await;
        until(
            "it has failed thrice",
            async || (outcome(&fleet, path).await, bad.got(path)),
            |(_, got)| *got == 3,
        )
        .await;
        assert_eq!(outcomes(&fleet, path, 30).await, only("200", 30), "{mood:?}");
        assert_eq!(bad.got(path), 3, "{mood:?}");
        let upstream = path.trim_start_matches('/');
        let seen =
            until("it is shown", async || ejected(&fleet, upstream).await, |seen| seen.len() == 1).await;
        assert_eq!(seen[0]["addr"], format!("http://{}", bad.address()));
        assert!(seen[0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{:#}", seen[0]);
    }
}

/// A target that answers, only far too late, is no better than one that fails.
#[tokio::test(flavor = "multi_thread")]
async fn latency_ejects_a_target() {
    let (slow, fast) = (Target::start("slow").await, Target::start("fast").await);
    let outlier = "outlier: {consecutive_errors: 3, latency: 500ms, base_ejection: 60s}";
    let fleet = gateway(&[route("r", &addresses(&[&slow, &fast]), &[outlier])]).await;
    slow.be(Mood::Slow(Duration::from_millis(600))).await;
    until("it was slow thrice", async || (outcome(&fleet, "/r").await, slow.got("/r")), |(_, got)| *got == 3)
        .await;
    assert_eq!(outcomes(&fleet, "/r", 30).await, only("200", 30));
    assert_eq!(slow.got("/r"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_a_share_is_ejected() {
    let mut targets = Vec::new();
    for name in ["a", "b", "c", "d"] {
        targets.push(Target::start(name).await);
    }
    let at = addresses(&targets.iter().collect::<Vec<_>>());
    let outlier = "outlier: {consecutive_errors: 2, base_ejection: 60s, max_ejection_percent: 50}";
    let fleet = gateway(&[route("r", &at, &[outlier])]).await;
    for target in &targets {
        target.be(Mood::Status(500)).await;
    }
    assert_eq!(outcomes(&fleet, "/r", 60).await, only("500", 60));
    until("half are ejected", async || ejected(&fleet, "r").await.len(), |ejected| *ejected == 2).await;
    targets.iter().for_each(Target::forget);
    assert_eq!(outcomes(&fleet, "/r", 20).await, only("500", 20));
    let mut got: Vec<_> = targets.iter().map(|target| target.got("/r")).collect();
    got.sort();
    assert_eq!(got[..2], [0, 0]);
    assert!(got[2] > 0 && got[3] > 0, "the other half goes on: {got:?}");
    assert_eq!(ejected(&fleet, "r").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ejected_target_returns() {
    let (bad, good) = (Target::start("bad").await, Target::start("good").await);
    let keys = ["outlier: {consecutive_errors: 3, base_ejection: 300ms}", "slow_start: 0s"];
    let fleet = gateway(&[route("r", &addresses(&[&bad, &good]), &keys)]).await;
    bad.be(Mood::Status(500)).await;
    until("it is ejected", async || (outcome(&fleet, "/r").await, bad.got("/r")), |(_, got)| *got >= 3).await;
    bad.be(Mood::Healthy).await;
    bad.forget();
    until("it serves again", async || (outcome(&fleet, "/r").await, bad.got("/r")), |(_, got)| *got >= 3)
        .await;
    assert_eq!(outcomes(&fleet, "/r", 20).await, only("200", 20));
    assert!(ejected(&fleet, "r").await.is_empty());
}
