//! The operator's orders: they reach every instance, are confirmed, and outlast processes.

use crate::{Volley, addresses, ask_with, only, outcomes, reported, status, table, until};
use std::collections::BTreeMap;
use tests::config::route;
use tests::fleet::Fleet;
use tests::upstream::{Mood, Target};

async fn three(routes: &[String]) -> Fleet {
    Fleet::start(3, |port| table(port, routes)).await
}

/// How `count` requests at each data plane ended.
async fn everywhere(fleet: &Fleet, path: &str, count: usize) -> BTreeMap<String, usize> {
    let mut ended = BTreeMap::new();
    for at in 0..3 {
        for _ in 0..count {
            *ended.entry(ask_with(fleet.address(at), path, "").await.outcome()).or_default() += 1;
        }
    }
    ended
}

#[track_caller]
fn assert_confirmed(output: &tests::ctl::Output, instances: &[&str]) {
    let text = output.text();
    for name in instances {
        assert!(
            text.lines().any(|line| line.contains(name) && line.contains("confirmed")),
            "{name}:\n{text}"
        );
    }
}

fn all(outcome: &str, count: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([(outcome.to_owned(), count)])
}

const EVERYONE: [&str; 3] = ["dp-1", "dp-2", "dp-3"];

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_target_gets_nothing_from_anyone_until_it_is_enabled() {
    let (a, b) = (Target::start("a").await, Target::start("b").await);
    let mut fleet = three(&[route("r", &addresses(&[&a, &b]), &[])]).await;
    let name = format!("r/{}", a.address());
    assert_eq!(everywhere(&fleet, "/r", 4).await, all("200", 12));
    assert!(a.got("/r") > 0);

    let drained = fleet.ctl(["target", "drain", &name]).await.exits(0);
    assert_confirmed(&drained, &EVERYONE);
    a.forget();
    assert_eq!(everywhere(&fleet, "/r", 10).await, all("200", 30));
    assert_eq!(a.got("/r"), 0, "confirmed, and yet it got requests");
    let addr = format!("http://{}", a.address());
    let item = reported(&fleet, "targets", &[("addr", &addr)], |item| item["state"] == "DRAINED").await;
    assert!(item["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{item:#}");

    // one that joins later has never heard the order
    fleet.kill_data_plane(2);
    std::fs::remove_dir_all(fleet.directory().join("dp-3")).expect("its state");
    fleet.start_data_plane(2).await;
    fleet.settled().await;
    assert_eq!(everywhere(&fleet, "/r", 10).await, all("200", 30));
    assert_eq!(a.got("/r"), 0, "the newcomer does not obey");

    // a data plane keeps it without a control plane, a control plane keeps it over its own restart
    fleet.kill_control_plane();
    fleet.kill_data_plane(0);
    fleet.start_data_plane(0).await;
    let alone = fleet.address(0);
    until("it serves from its disk", async || tests::client::get(alone, "/r").await.is_ok(), |up| *up).await;
    assert_eq!(everywhere(&fleet, "/r", 10).await, all("200", 30));
    assert_eq!(a.got("/r"), 0, "forgotten with the process");
    fleet.start_control_plane().await;
    fleet.settled().await;
    assert_eq!(everywhere(&fleet, "/r", 10).await, all("200", 30));
    assert_eq!(a.got("/r"), 0, "forgotten by the control plane");

    let enabled = fleet.ctl(["target", "enable", &name]).await.exits(0);
    assert_confirmed(&enabled, &EVERYONE);
    assert_eq!(everywhere(&fleet, "/r", 10).await, all("200", 30));
    assert!(a.got("/r") > 0, "enabled, and yet it gets nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_is_held_open_held_closed_and_left_to_itself() {
    let target = Target::start("target").await;
    let at = addresses(&[&target]);
    let filters = "filters: [{circuit_breaker: {threshold: 3, timeout: 60s}}]";
    let mut fleet = three(&[route("r", &at, &[filters]), route("other", &at, &[filters])]).await;

    assert_confirmed(&fleet.ctl(["breaker", "open", "r"]).await.exits(0), &EVERYONE);
    assert_eq!(everywhere(&fleet, "/r", 2).await, all("503 circuit_open", 6));
    assert_eq!(everywhere(&fleet, "/other", 2).await, all("200", 6));
    assert_eq!(target.got("/r"), 0);
    let held = reported(&fleet, "breakers", &[("route", "r")], |breaker| breaker["held"] == true).await;
    assert_eq!(held["state"], "OPEN");
    assert!(held["reason"].as_str().is_some_and(|reason| reason.contains("held")), "{held:#}");
    // the order outlives the control plane, and newcomers obey
    fleet.kill_control_plane();
    fleet.kill_data_plane(1);
    std::fs::remove_dir_all(fleet.directory().join("dp-2")).expect("its state");
    fleet.start_control_plane().await;
    fleet.start_data_plane(1).await;
    fleet.settled().await;
    assert_eq!(everywhere(&fleet, "/r", 2).await, all("503 circuit_open", 6));

    target.be(Mood::Status(500)).await;
    assert_confirmed(&fleet.ctl(["breaker", "close", "r"]).await.exits(0), &EVERYONE);
    assert_eq!(everywhere(&fleet, "/r", 10).await, all("500", 30), "held closed, whatever the target does");

    // left to itself it opens again, on each instance after three failures of its own
    assert_confirmed(&fleet.ctl(["breaker", "reset", "r"]).await.exits(0), &EVERYONE);
    let ended = everywhere(&fleet, "/r", 10).await;
    assert_eq!((ended["500"], ended["503 circuit_open"]), (9, 21));

    target.be(Mood::Healthy).await;
    assert_confirmed(&fleet.ctl(["breaker", "reset", "r"]).await.exits(0), &EVERYONE);
    assert_eq!(everywhere(&fleet, "/r", 2).await, all("200", 6), "a reset closes it at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_nothing_is_refused_with_a_suggestion() {
    let target = Target::start("target").await;
    let filters = "filters: [{circuit_breaker: {threshold: 3}}]";
    let routes =
        [route("orders", &addresses(&[&target]), &[filters]), route("plain", &addresses(&[&target]), &[])];
    let fleet = Fleet::start(1, |port| table(port, &routes)).await;
    let near = format!("order/{}", target.address());
    let output = fleet.ctl(["target", "drain", &near]).await.exits(1);
    assert!(output.stderr.contains("did you mean `orders`"), "{}", output.stderr);
    let near = format!("orders/{}", target.address().to_string().replace(':', ":1"));
    let output = fleet.ctl(["target", "drain", &near]).await.exits(1);
    assert!(output.stderr.contains(&target.address().to_string()), "{}", output.stderr);
    let output = fleet.ctl(["breaker", "open", "oders"]).await.exits(1);
    assert!(output.stderr.contains("did you mean `orders`"), "{}", output.stderr);
    fleet.ctl(["breaker", "open", "plain"]).await.exits(1);
    assert_eq!(outcomes(&fleet, "/orders", 5).await, only("200", 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_cannot_be_asked_is_named() {
    let (a, b) = (Target::start("a").await, Target::start("b").await);
    let mut fleet = three(&[route("r", &addresses(&[&a, &b]), &[])]).await;
    // alive and connected, yet deaf
    fleet.data_plane(1).signal(rustix::process::Signal::STOP);
    let name = format!("r/{}", a.address());
    let output = fleet.ctl(["target", "drain", &name, "--timeout", "3s"]).await.exits(5);
    assert_confirmed(&output, &["dp-1", "dp-3"]);
    assert!(
        output.text().lines().any(|line| line.contains("dp-2") && !line.contains(" confirmed")),
        "{}",
        output.text()
    );
    fleet.data_plane(1).signal(rustix::process::Signal::CONT);
    a.forget();
    until(
        "it obeys as soon as it hears",
        async || {
            a.forget();
            let ended = everywhere(&fleet, "/r", 4).await;
            (ended, a.got("/r"))
        },
        |(ended, got)| *ended == all("200", 12) && *got == 0,
    )
    .await;
}

/// What a drained target has begun it may finish.
#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_outlive_a_drain() {
    let (a, b) = (Target::start("a").await, Target::start("b").await);
    let fleet = Fleet::start(1, |port| table(port, &[route("r", &addresses(&[&a, &b]), &[])])).await;
    a.be(Mood::Hanging).await;
    let under_way = Volley::fire(&fleet, "/r", 6);
    assert_eq!(under_way.settles_at(&a).await, 3, "every second request goes to each");
    let addr = format!("http://{}", a.address());
    reported(&fleet, "targets", &[("addr", &addr)], |item| item["inFlight"] == 3).await;
    fleet.ctl(["target", "drain", &format!("r/{}", a.address())]).await.exits(0);
    assert_eq!(outcomes(&fleet, "/r", 10).await, only("200", 10));
    assert_eq!(a.in_flight(), 3);
    a.be(Mood::Healthy).await;
    assert_eq!(under_way.end().await, ["200"; 6]);
    assert_eq!(a.got("/r"), 3);
}

/// Instances that see a target differently are told apart.
#[tokio::test(flavor = "multi_thread")]
async fn status_tells_which_instance_sees_what() {
    let target = Target::start("target").await;
    let filters = "filters: [{circuit_breaker: {threshold: 2, timeout: 60s}}]";
    let fleet = three(&[route("r", &addresses(&[&target]), &[filters])]).await;
    target.be(Mood::Status(500)).await;
    for _ in 0..2 {
        assert_eq!(ask_with(fleet.address(1), "/r", "").await.outcome(), "500");
    }
    let lines =
        until("one instance differs", async || status(&fleet, "breakers").await, |items| items.len() == 2)
            .await;
    for item in lines {
        let instances = item["seenBy"]["instances"].as_array().cloned().unwrap_or_default();
        let expected = if item["state"] == "OPEN" { vec!["dp-2"] } else { vec!["dp-1", "dp-3"] };
        assert_eq!(instances, expected, "{item:#}");
    }
}
