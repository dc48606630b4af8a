//! The life of a target by tables, and against a model that only knows the rules.

use super::life::{Life, Sentence};
use super::*;
use crate::config::health::InitialHealth;
use HealthState::{Ejected, Healthy, Recovering, Unhealthy};
use proptest::collection::vec;
use proptest::prelude::*;

const RULES: Thresholds = Thresholds { rise: 2, fall: 3, slow_start: Duration::from_secs(10) };

fn at(secs: u64) -> Now {
    Now::from_nanos(secs * 1_000_000_000)
}

fn probed(initial: InitialHealth) -> Life {
    let mut life = Life::default();
    life.expect_probes(Some(initial), at(0));
    life
}

/// The states after each of these results, one a minute: `+` a good probe, `-` a failed one.
fn states(life: &mut Life, results: &str) -> Vec<HealthState> {
    let state = |(minute, result)| {
        let now = at((minute as u64 + 1) * 60);
        life.settle(now);
        life.probe(if result == '+' { Ok(()) } else { Err("status 503".to_owned()) }, RULES, now);
        life.view(now).state
    };
    results.chars().enumerate().map(state).collect()
}

fn eject(life: &mut Life, now: Now) {
    let secs = Duration::from_secs;
    let sentence =
        Sentence { reason: "5 errors".into(), base: secs(30), max: secs(100), slow_start: secs(10) };
    life.eject(sentence, now);
}

#[test]
fn three_failed_probes_take_a_target_out_and_two_good_ones_bring_it_back() {
    let states = states(&mut probed(InitialHealth::Healthy), "+---+-++");
    let healthy_then_down =
        [Healthy, Healthy, Healthy, Unhealthy, Unhealthy, Unhealthy, Unhealthy, Recovering];
    assert_eq!(states, healthy_then_down);
}

#[test]
fn a_target_that_flaps_stays_what_it_is() {
    assert!(states(&mut probed(InitialHealth::Healthy), "--+--+-+").iter().all(|state| *state == Healthy));
    let mut life = probed(InitialHealth::Healthy);
    assert_eq!(states(&mut life, "---").last(), Some(&Unhealthy));
    assert!(states(&mut life, "+-+-+-").iter().all(|state| *state == Unhealthy));
}

#[test]
fn a_new_target_is_what_initial_says_until_it_is_known() {
    let mut life = Life::default();
    life.expect_probes(Some(InitialHealth::Healthy), at(7));
    life.expect_probes(Some(InitialHealth::Healthy), at(9));
    assert_eq!((life.view(at(9)).state, life.view(at(9)).since), (Healthy, at(7)));
    let view = probed(InitialHealth::Unhealthy).view(at(1));
    assert_eq!((view.state, view.reason.as_str()), (Unhealthy, "no probe has succeeded yet"));
    // nothing was known against it: no threshold, no slow start
    assert_eq!(states(&mut probed(InitialHealth::Unhealthy), "+"), [Healthy]);
    assert_eq!(states(&mut probed(InitialHealth::Unhealthy), "-++"), [Unhealthy, Unhealthy, Recovering]);
    assert_eq!(states(&mut probed(InitialHealth::Healthy), "---"), [Healthy, Healthy, Unhealthy]);
}

#[test]
fn a_target_that_serves_is_not_taken_out_because_a_check_is_added() {
    let mut life = Life::default();
    life.expect_probes(None, at(1));
    for secs in 2..4 {
        life.expect_probes(Some(InitialHealth::Unhealthy), at(secs));
        assert_eq!(life.view(at(secs)).state, Healthy);
    }
}

#[test]
fn the_last_failure_is_told_as_long_as_it_is_the_last_result() {
    let mut life = probed(InitialHealth::Healthy);
    life.probe(Err("GET /health: status 503, expected 200".into()), RULES, at(1));
    let view = life.view(at(2));
    assert_eq!(view.state, Healthy);
    assert_eq!(view.reason, "the last probe failed: GET /health: status 503, expected 200");
    life.probe(Ok(()), RULES, at(3));
    assert_eq!(life.view(at(3)).reason, "");
    for _ in 0..3 {
        life.probe(Err("connect: connection refused".into()), RULES, at(4));
    }
    let view = life.view(at(5));
    assert_eq!((view.reason.as_str(), view.since), ("connect: connection refused", at(4)));
    assert_eq!((view.probes, view.probe_failures), (5, 4));
    life.probe(Ok(()), RULES, at(6));
    assert_eq!(life.view(at(6)).reason, "connect: connection refused; good probes since: 1");
}

#[test]
fn recovery_grows_linearly_from_a_tenth() {
    let mut life = probed(InitialHealth::Healthy);
    for result in [Err("x".to_owned()), Err("x".to_owned()), Err("x".to_owned()), Ok(()), Ok(())] {
        life.probe(result, RULES, at(100));
    }
    let share = |life: &mut Life, secs| {
        life.settle(at(secs));
        life.view(at(secs)).slow_start_share
    };
    assert_eq!(share(&mut life, 100), Some(0.1));
    assert_eq!(share(&mut life, 105), Some(0.55));
    assert_eq!(life.view(at(105)).reason, "slow start: 55% of its share");
    assert_eq!(share(&mut life, 110), None);
    let view = life.view(at(200));
    assert_eq!(
        (view.state, view.since),
        (Healthy, at(110)),
        "since it was complete, not since it was looked at"
    );
}

#[test]
fn ejections_grow_up_to_the_maximum_and_shrink_with_time_spent_without() {
    let mut life = Life::default();
    let mut now = at(1000);
    let mut lengths = Vec::new();
    for pause in [0, 10, 10, 10, 10, 65, 10_000] {
        now = now.after(Duration::from_secs(pause));
        life.settle(now);
        eject(&mut life, now);
        let until = life.ejected_until().expect("ejected");
        lengths.push(until.since(now).as_secs());
        now = until;
        life.settle(now);
    }
    assert_eq!(lengths, [30, 60, 90, 100, 100, 90, 30]);
    assert_eq!(life.view(now).ejections, 7);
}

#[test]
fn an_ejection_ends_by_itself_and_is_followed_by_a_slow_start() {
    let mut life = Life::default();
    eject(&mut life, at(1000));
    let view = life.view(at(1004));
    assert_eq!((view.state, view.reason.as_str()), (Ejected, "5 errors; back in 26s"));
    life.settle(at(1032));
    let view = life.view(at(1032));
    assert_eq!((view.state, view.since), (Recovering, at(1030)));
    life.settle(at(5000));
    assert_eq!(life.view(at(5000)).since, at(1040));
}

#[test]
fn the_causes_do_not_override_each_other() {
    let mut life = probed(InitialHealth::Healthy);
    eject(&mut life, at(1000));
    for _ in 0..3 {
        life.probe(Err("x".into()), RULES, at(1001));
    }
    assert_eq!(life.view(at(1001)).state, Unhealthy);
    life.drain(true, at(1002));
    assert_eq!(life.view(at(1002)).state, HealthState::Drained);
    assert_eq!(life.view(at(1002)).reason, "drained by an operator");
    for _ in 0..2 {
        life.probe(Ok(()), RULES, at(1003));
    }
    life.drain(false, at(1004));
    assert_eq!(life.view(at(1004)).state, Ejected, "good probes do not end an ejection");
    life.settle(at(1031));
    assert_eq!(life.view(at(1031)).state, Recovering);
}

#[test]
fn without_a_health_check_or_ejection_what_they_caused_is_over() {
    let mut life = probed(InitialHealth::Healthy);
    for _ in 0..3 {
        life.probe(Err("x".into()), RULES, at(1));
    }
    life.expect_probes(Some(InitialHealth::Unhealthy), at(2));
    assert_eq!(life.view(at(2)).state, Unhealthy, "other settings, the same state");
    life.expect_probes(None, at(3));
    life.probe(Err("late".into()), RULES, at(4));
    let view = life.view(at(4));
    assert_eq!((view.state, view.reason.as_str(), view.since), (Healthy, "", at(3)));
    eject(&mut life, at(5));
    life.forget_ejections(at(6));
    assert_eq!(life.view(at(6)).state, Healthy);
}

proptest! {
    /// After any results: down after `fall` failures in a row, up after `rise` successes in a row, else unchanged.
    #[test]
    fn rise_and_fall_follow_the_model(results in vec(any::<bool>(), 0..60), rise in 1u32..5, fall in 1u32..5) {
        let mut life = probed(InitialHealth::Healthy);
        let rules = Thresholds { rise, fall, slow_start: Duration::ZERO };
        let mut up = true;
        for (minute, good) in results.iter().enumerate() {
            let in_a_row = results[..=minute].iter().rev().take_while(|result| *result == good).count();
            up = match good {
                true if in_a_row >= rise as usize => true,
                false if in_a_row >= fall as usize => false,
                _ => up,
            };
            let now = at(minute as u64);
            life.probe(if *good { Ok(()) } else { Err("x".to_owned()) }, rules, now);
            prop_assert_eq!(life.view(now).state, if up { Healthy } else { Unhealthy });
        }
    }
}
