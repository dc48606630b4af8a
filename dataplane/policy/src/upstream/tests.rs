//! Which target is picked when some are not well, and which are taken out.

use super::*;
use crate::config::GatewayConfig;
use http::StatusCode;
use proptest::collection::vec;
use proptest::prelude::*;

const OK: Outcome = Outcome::Response(StatusCode::OK);
const FAILED: Outcome = Outcome::Response(StatusCode::BAD_GATEWAY);

fn at(secs: u64) -> Now {
    Now::from_nanos(secs * 1_000_000_000)
}

fn config(targets: usize, settings: &str) -> UpstreamConfig {
    let target = |at| serde_json::json!({"addr": format!("http://10.0.0.{at}:80")});
    let mut upstream =
        serde_json::json!({"name": "u", "targets": (1..=targets).map(target).collect::<Vec<_>>()});
    let settings: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(settings).expect("settings");
    upstream.as_object_mut().expect("a map").extend(settings);
    let config = serde_json::json!({"upstreams": [upstream], "routes": []});
    let config: GatewayConfig = serde_json::from_value(config).expect("a config");
    config.upstreams.into_iter().next().expect("one")
}

fn upstream(targets: usize, settings: &str) -> Upstream {
    let upstream = Upstream::build(config(targets, settings), None);
    upstream.activate(at(0));
    upstream
}

/// Fails as many probes as it takes.
fn fail(upstream: &Upstream, at: usize, now: Now) {
    let thresholds = upstream.thresholds().expect("a health check");
    for _ in 0..thresholds.fall {
        upstream.targets[at].state.probed(Err("status 503".into()), thresholds, now);
    }
}

fn recover(upstream: &Upstream, at: usize, now: Now) {
    let thresholds = upstream.thresholds().expect("a health check");
    for _ in 0..thresholds.rise {
        upstream.targets[at].state.probed(Ok(()), thresholds, now);
    }
}

fn picked(upstream: &Upstream, now: Now) -> Vec<usize> {
    let mut all: Vec<_> = (0..100).map(|_| upstream.pick(None, now, |_| true).expect("a target")).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn errors(upstream: &Upstream, at: usize, count: usize, now: Now) {
    for _ in 0..count {
        upstream.record(at, FAILED, Duration::ZERO, now);
    }
}

fn state(upstream: &Upstream, at: usize, now: Now) -> &'static str {
    upstream.targets[at].state.health_view(now).state.name()
}

mod pick {
    use super::*;

    #[test]
    fn only_targets_that_are_well_are_picked() {
        let upstream = upstream(4, r#"{"health_check": {}, "outlier": {}}"#);
        assert_eq!(picked(&upstream, at(1)), [0, 1, 2, 3]);
        fail(&upstream, 0, at(1));
        errors(&upstream, 1, 5, at(1));
        upstream.targets[2].state.set_drained(true, at(1));
        assert_eq!(picked(&upstream, at(2)), [3]);
        upstream.targets[2].state.set_drained(false, at(3));
        assert_eq!(picked(&upstream, at(3)), [2, 3]);
    }

    #[test]
    fn what_is_not_admitted_is_not_picked() {
        let upstream = upstream(2, "{}");
        assert_eq!(upstream.pick(None, at(1), |at| at == 1), Ok(1));
        assert_eq!(upstream.pick(None, at(1), |_| false), Err(NoPick::NotAdmitted));
    }

    #[test]
    fn when_none_is_healthy_all_but_the_drained_are_tried() {
        let upstream = upstream(3, r#"{"health_check": {}}"#);
        (0..3).for_each(|at| fail(&upstream, at, super::at(1)));
        upstream.targets[1].state.set_drained(true, at(1));
        assert_eq!(picked(&upstream, at(2)), [0, 2]);
        assert_eq!(upstream.pick(None, at(2), |at| at == 2), Ok(2));
        assert_eq!(upstream.pick(None, at(2), |at| at == 1), Err(NoPick::NotAdmitted));
        // one that is healthy gets everything, and no other is tried when it is not admitted
        recover(&upstream, 2, at(3));
        assert_eq!(picked(&upstream, at(3)), [2]);
        assert_eq!(upstream.pick(None, at(3), |at| at == 0), Err(NoPick::NotAdmitted));
    }

    #[test]
    fn fail_closed_refuses_when_none_is_healthy() {
        let upstream = upstream(2, r#"{"health_check": {}, "on_all_unhealthy": "fail_closed"}"#);
        (0..2).for_each(|at| fail(&upstream, at, super::at(1)));
        assert_eq!(upstream.pick(None, at(2), |_| true), Err(NoPick::Unhealthy));
        recover(&upstream, 0, at(3));
        assert_eq!(picked(&upstream, at(3)), [0]);
    }

    #[test]
    fn drained_targets_are_no_targets() {
        let upstream = upstream(2, "{}");
        upstream.targets.iter().for_each(|target| target.state.set_drained(true, at(1)));
        assert_eq!(upstream.pick(None, at(2), |_| true), Err(NoPick::NoTarget));
        assert!(upstream.targets[0].state.is_drained());
    }

    #[test]
    fn a_weight_of_0_is_not_picked_however_ill_the_others_are() {
        let mut config = config(2, r#"{"health_check": {}}"#);
        config.targets[1].weight = 0;
        let upstream = Upstream::build(config, None);
        upstream.activate(at(0));
        fail(&upstream, 0, at(1));
        assert_eq!(picked(&upstream, at(2)), [0], "fail_open");
        upstream.targets[0].state.set_drained(true, at(3));
        assert_eq!(upstream.pick(None, at(3), |_| true), Err(NoPick::NoTarget));
    }

    #[test]
    fn an_initially_unhealthy_target_waits_for_its_first_good_probe() {
        let settings = r#"{"health_check": {"initial": "unhealthy"}, "on_all_unhealthy": "fail_closed"}"#;
        let upstream = upstream(2, settings);
        assert_eq!(upstream.pick(None, at(1), |_| true), Err(NoPick::Unhealthy));
        upstream.targets[1].state.probed(Ok(()), upstream.thresholds().expect("some"), at(1));
        assert_eq!(picked(&upstream, at(1)), [1]);
    }
}

#[test]
fn neither_picks_nor_their_ends_allocate() {
    let upstream = upstream(3, r#"{"health_check": {}, "outlier": {}}"#);
    let requests = |now| {
        for _ in 0..1000 {
            let target = upstream.pick(None, now, |_| true).expect("a target");
            upstream.record(target, OK, Duration::ZERO, now);
        }
    };
    let counts = |now| allocation_counter::measure(|| requests(now)).count_total;
    requests(at(1));
    assert_eq!(counts(at(1)), 0, "all well");
    fail(&upstream, 0, at(2));
    assert_eq!(counts(at(2)), 0, "one out");
    recover(&upstream, 0, at(3));
    assert_eq!(counts(at(4)), 0, "one in slow start");
    (0..3).for_each(|target| fail(&upstream, target, at(5)));
    assert_eq!(counts(at(6)), 0, "all out");
}

mod slow_start {
    use super::*;

    /// How many of `count` requests the second of two targets gets so long after it has come back.
    fn share_after(balancer: &str, secs: u64, count: usize) -> f64 {
        let settings = format!(r#"{{"health_check": {{}}, "balancer": "{balancer}", "slow_start": "20s"}}"#);
        let upstream = upstream(2, &settings);
        fail(&upstream, 1, at(1));
        recover(&upstream, 1, at(100));
        let now = at(100 + secs);
        let second = (0..count).filter(|_| upstream.pick(None, now, |_| true) == Ok(1)).count();
        second as f64 / count as f64
    }

    #[test]
    fn the_share_grows_with_every_balancer() {
        fastrand::seed(7);
        for balancer in ["round_robin", "weighted_round_robin", "random"] {
            for (secs, weight) in [(0, 0.1), (10, 0.55), (20, 1.0)] {
                // weighs so much against the 1 of the other
                let (share, due) = (share_after(balancer, secs, 100_000), weight / (1.0 + weight));
                assert!((share - due).abs() < 0.01, "{balancer} after {secs}s: {share}, not {due}");
            }
        }
        let shares = [0, 10, 20].map(|secs| share_after("least_request", secs, 100_000));
        assert!(shares[0] < 0.2 && shares[0] < shares[1] && shares[1] < shares[2], "{shares:?}");
    }

    #[test]
    fn a_million_picks_are_shared_as_they_should_be() {
        fastrand::seed(11);
        let (share, due) = (share_after("weighted_round_robin", 5, 1_000_000), 0.325 / 1.325);
        assert!((share - due).abs() < 0.002, "{share}, not {due}");
    }

    #[test]
    fn a_target_alone_gets_everything() {
        let upstream = upstream(1, r#"{"health_check": {}, "on_all_unhealthy": "fail_closed"}"#);
        fail(&upstream, 0, at(1));
        recover(&upstream, 0, at(100));
        assert_eq!(state(&upstream, 0, at(100)), "recovering");
        assert!((0..1000).all(|_| upstream.pick(None, at(100), |_| true) == Ok(0)));
    }

    #[test]
    fn a_key_moves_to_the_target_once_and_stays() {
        let settings = r#"{"health_check": {}, "balancer": "consistent_hash", "hash_on": "path"}"#;
        let upstream = upstream(4, settings);
        let owners: Vec<_> = (0..500).map(|key| upstream.pick(Some(key), at(1), |_| true)).collect();
        fail(&upstream, 2, at(2));
        recover(&upstream, 2, at(100));
        let mut moved = Vec::new();
        for millis in (0..=10_000).step_by(500) {
            let now = at(100).after(Duration::from_millis(millis));
            let back =
                (0..500).filter(|key| upstream.pick(Some(*key), now, |_| true) == Ok(2)).collect::<Vec<_>>();
            assert!(moved.iter().all(|key| back.contains(key)), "a key went back and forth");
            moved = back;
        }
        let owned: Vec<_> = (0..500).filter(|key| owners[*key as usize] == Ok(2)).collect();
        assert_eq!(moved, owned, "in the end everything is as it was");
    }

    #[test]
    fn none_means_full_at_once() {
        let upstream = upstream(2, r#"{"health_check": {}, "slow_start": "0s"}"#);
        fail(&upstream, 1, at(1));
        recover(&upstream, 1, at(2));
        assert_eq!(state(&upstream, 1, at(2)), "healthy");
    }
}

mod outlier {
    use super::*;

    #[test]
    fn errors_in_a_row_eject_and_a_success_begins_anew() {
        let upstream = upstream(2, r#"{"outlier": {"consecutive_errors": 3}}"#);
        errors(&upstream, 0, 2, at(1));
        upstream.record(0, OK, Duration::ZERO, at(1));
        errors(&upstream, 0, 2, at(1));
        assert_eq!(state(&upstream, 0, at(1)), "healthy");
        upstream.record(0, Outcome::Timeout, Duration::ZERO, at(1));
        let view = upstream.targets[0].state.health_view(at(1));
        assert_eq!(view.state.name(), "ejected");
        assert_eq!(view.reason, "3 errors in a row, the last: no response in time; back in 30s");
        assert_eq!(picked(&upstream, at(30)), [1]);
        assert_eq!(picked(&upstream, at(31)), [0, 1], "back by itself");
        assert_eq!(state(&upstream, 0, at(31)), "recovering");
    }

    #[test]
    fn failed_connections_may_have_a_limit_of_their_own() {
        let upstream = upstream(2, r#"{"outlier": {"consecutive_connect_errors": 2}}"#);
        let connect_failure = || upstream.record(0, Outcome::ConnectFailure, Duration::ZERO, at(1));
        connect_failure();
        errors(&upstream, 0, 1, at(1));
        connect_failure();
        assert_eq!(state(&upstream, 0, at(1)), "healthy");
        connect_failure();
        let reason = upstream.targets[0].state.health_view(at(1)).reason;
        assert_eq!(reason, "2 failed connections in a row, the last: no connection; back in 30s");
    }

    #[test]
    fn a_slow_response_counts_when_the_config_says_so() {
        let with = upstream(2, r#"{"outlier": {"consecutive_errors": 2, "latency": "1s"}}"#);
        let without = upstream(2, r#"{"outlier": {"consecutive_errors": 2}}"#);
        for upstream in [&with, &without] {
            upstream.record(0, OK, Duration::from_millis(1200), at(1));
            upstream.record(0, OK, Duration::from_millis(1500), at(1));
        }
        let reason = with.targets[0].state.health_view(at(1)).reason;
        assert_eq!(reason, "2 errors in a row, the last: a response after 1500ms; back in 30s");
        assert_eq!(state(&without, 0, at(1)), "healthy");
    }

    #[test]
    fn one_of_several_may_always_be_ejected_and_the_only_one_only_at_100_percent() {
        let cases = [(1, 50, 0), (1, 100, 1), (2, 10, 1), (2, 50, 1), (3, 50, 1), (4, 50, 2), (4, 100, 4)];
        for (targets, percent, ejected) in cases {
            let upstream =
                upstream(targets, &format!(r#"{{"outlier": {{"max_ejection_percent": {percent}}}}}"#));
            (0..targets).for_each(|at| errors(&upstream, at, 20, super::at(1)));
            let out = (0..targets).filter(|target| state(&upstream, *target, at(1)) == "ejected").count();
            assert_eq!(out, ejected, "of {targets} at {percent}%");
        }
    }

    #[test]
    fn targets_without_a_weight_are_no_reason_to_eject_the_others() {
        let mut config = config(10, r#"{"outlier": {}}"#);
        config.targets[2..].iter_mut().for_each(|target| target.weight = 0);
        let upstream = Upstream::build(config, None);
        upstream.activate(at(0));
        (0..2).for_each(|at| errors(&upstream, at, 5, super::at(1)));
        assert_eq!([state(&upstream, 0, at(1)), state(&upstream, 1, at(1))], ["ejected", "healthy"]);
    }

    #[test]
    fn without_rules_nobody_is_ejected() {
        let upstream = upstream(2, "{}");
        errors(&upstream, 0, 1000, at(1));
        assert_eq!(picked(&upstream, at(1)), [0, 1]);
    }

    #[test]
    fn an_edit_keeps_who_is_ejected_and_its_removal_frees_them() {
        let first = upstream(4, r#"{"outlier": {}}"#);
        errors(&first, 0, 5, at(1));
        let second = Upstream::build(config(4, r#"{"outlier": {"consecutive_errors": 9}}"#), Some(&first));
        second.activate(at(2));
        assert_eq!(state(&second, 0, at(2)), "ejected");
        let third = Upstream::build(config(4, "{}"), Some(&second));
        assert_eq!(state(&third, 0, at(2)), "ejected", "nothing happens before it serves");
        third.activate(at(3));
        assert_eq!(state(&third, 0, at(3)), "healthy");
    }

    #[test]
    fn two_threads_never_eject_more_than_is_allowed() {
        for _ in 0..200 {
            let upstream = upstream(4, r#"{"outlier": {"consecutive_errors": 1}}"#);
            std::thread::scope(|scope| {
                for target in 0..4 {
                    let upstream = &upstream;
                    scope.spawn(move || errors(upstream, target, 1, at(1)));
                }
            });
            let out = (0..4).filter(|target| state(&upstream, *target, at(1)) == "ejected").count();
            assert_eq!(out, 2);
        }
    }
}

/// Something that happens to a target.
#[derive(Debug, Clone, Copy)]
enum Event {
    Attempt(Outcome),
    Probe(bool),
    Drain(bool),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => prop_oneof![Just(OK), Just(FAILED), Just(Outcome::ConnectFailure)].prop_map(Event::Attempt),
        4 => any::<bool>().prop_map(Event::Probe),
        1 => any::<bool>().prop_map(Event::Drain),
        1 => (0u64..40).prop_map(Event::Wait),
    ]
}

proptest! {
    /// Whatever happens: a drained target is never picked, one that is well always when one is, and the percentage holds.
    #[test]
    fn picks_and_ejections_keep_the_rules(
        events in vec((0usize..5, event()), 0..200),
        percent in 1usize..=100,
        fail_open in any::<bool>(),
    ) {
        let answer = if fail_open { "fail_open" } else { "fail_closed" };
        let settings = format!(
            r#"{{"health_check": {{"unhealthy_threshold": 2}}, "on_all_unhealthy": "{answer}",
                "outlier": {{"consecutive_errors": 2, "max_ejection_percent": {percent}}}}}"#
        );
        let upstream = upstream(5, &settings);
        let thresholds = upstream.thresholds().expect("a health check");
        let mut now = at(1);
        for (target, event) in events {
            let state = &upstream.targets[target].state;
            match event {
                Event::Attempt(outcome) => upstream.record(target, outcome, Duration::ZERO, now),
                Event::Probe(good) => state.probed(if good { Ok(()) } else { Err("x".into()) }, thresholds, now),
                Event::Drain(drained) => state.set_drained(drained, now),
                Event::Wait(secs) => now = now.after(Duration::from_secs(secs)),
            }
            let views: Vec<_> = upstream.targets.iter().map(|target| target.state.health_view(now)).collect();
            let is = |at: usize, name: &str| views[at].state.name() == name;
            let ejected = upstream.targets.iter().filter(|target| target.state.health.is_ejected(now)).count();
            prop_assert!(ejected <= (5 * percent / 100).max(1));
            prop_assert!(views.iter().all(|view| view.state.name() == "healthy" || !view.reason.is_empty()));
            let well = (0..5).any(|at| is(at, "healthy") || is(at, "recovering"));
            match upstream.pick(None, now, |_| true) {
                Ok(at) if well => prop_assert!(is(at, "healthy") || is(at, "recovering")),
                Ok(at) => prop_assert!(fail_open && !is(at, "drained")),
                Err(NoPick::Unhealthy) => prop_assert!(!fail_open && !well),
                Err(NoPick::NoTarget) => prop_assert!((0..5).all(|at| is(at, "drained"))),
                Err(NoPick::NotAdmitted) => prop_assert!(false, "all are admitted"),
            }
        }
    }
}
