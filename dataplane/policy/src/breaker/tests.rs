//! One rule of the breaker in each test, by the clock of the test.

use super::*;
use crate::filter::FilterConfig;
use crate::filter::test_support::filter;
use crate::grpc::GrpcStatus;
use http::StatusCode;
use std::sync::Barrier;
use std::sync::atomic::AtomicU32;

const FAILURE: Outcome = Outcome::Response(StatusCode::SERVICE_UNAVAILABLE);

pub(super) fn breaker(settings: &str) -> Arc<Breaker> {
    match filter(&format!("circuit_breaker: {{{settings}}}")) {
        FilterConfig::CircuitBreaker(config) => Breaker::new(&config),
        other => panic!("{other:?}"),
    }
}

fn s(seconds: u64) -> Now {
    Now::from_nanos(seconds * 1_000_000_000)
}

fn fail(breaker: &Breaker, times: u32, now: Now) {
    (0..times).for_each(|_| breaker.acquire(now).expect("a permit").failed(now, FAILURE));
}

fn succeed(breaker: &Breaker, times: u32, now: Now) {
    (0..times).for_each(|_| breaker.acquire(now).expect("a permit").succeeded(now));
}

/// Later than any opening of 10 s lasts.
fn after_timeout(opened: u64) -> Now {
    s(opened + 12)
}

#[test]
fn failures_in_a_row_open_it() {
    let breaker = breaker("threshold: 3, timeout: 10s");
    fail(&breaker, 2, s(1));
    succeed(&breaker, 1, s(1));
    fail(&breaker, 2, s(1));
    assert_eq!(breaker.view(s(1)).state, State::Closed);
    assert_eq!(breaker.view(s(1)).failures, 2);
    fail(&breaker, 1, s(2));
    let view = breaker.view(s(3));
    assert_eq!((view.state, view.since, view.opened), (State::Open, s(2), 1));
    assert_eq!(view.reason, "3 failures in a row, last: status 503");
    assert!(!breaker.admits(s(3)));
    let refused = breaker.acquire(s(3)).expect_err("it is open");
    assert!((9..=10).contains(&refused.retry_after.as_secs()), "{refused:?}");
    assert_eq!(breaker.view(s(3)).refused, 1);
}

#[test]
fn it_stays_open_for_its_time_and_up_to_a_tenth_longer() {
    let mut ends = Vec::new();
    for _ in 0..200 {
        let breaker = breaker("threshold: 1, timeout: 10s");
        fail(&breaker, 1, s(5));
        assert!(!breaker.admits(Now::from_nanos(14_999_999_999)));
        assert!(breaker.admits(Now::from_nanos(16_001_000_000)));
        ends.push(breaker.acquire(s(5)).expect_err("it is open").retry_after);
    }
    let (first, last) = (ends.iter().min().expect("ends"), ends.iter().max().expect("ends"));
    assert!(*last - *first > Duration::from_millis(500), "spread over a second, not {first:?} to {last:?}");
}

#[test]
fn as_many_successes_as_may_try_it_close_it() {
    let breaker = breaker("threshold: 1, timeout: 10s, half_open_max: 2");
    fail(&breaker, 1, s(0));
    let now = after_timeout(0);
    let (one, two) = (breaker.acquire(now).expect("a trial"), breaker.acquire(now).expect("a trial"));
    assert!(!breaker.admits(now));
    assert_eq!(breaker.acquire(now).expect_err("two are under way").retry_after, Duration::ZERO);
    one.succeeded(now);
    let view = breaker.view(now);
    assert_eq!(view.state, State::HalfOpen);
    assert_eq!(view.reason, "being tried, 1 of 2 succeeded; 1 failure: status 503");
    assert!(breaker.admits(now), "there is room for another");
    two.succeeded(now);
    let view = breaker.view(now);
    assert_eq!((view.state, view.reason.as_str(), view.since), (State::Closed, "", now));
}

#[test]
fn one_failed_trial_opens_it_again() {
    let breaker = breaker("threshold: 1, timeout: 10s, half_open_max: 2");
    fail(&breaker, 1, s(0));
    let now = after_timeout(0);
    let (good, bad) = (breaker.acquire(now).expect("a trial"), breaker.acquire(now).expect("a trial"));
    bad.failed(now, Outcome::Timeout);
    good.succeeded(now);
    let view = breaker.view(now);
    assert_eq!((view.state, view.opened), (State::Open, 2));
    assert_eq!(view.reason, "a trial request failed: no response in time");
}

#[test]
fn a_client_that_hangs_up_makes_room_for_the_next_trial() {
    let breaker = breaker("threshold: 1, timeout: 10s");
    fail(&breaker, 1, s(0));
    let now = after_timeout(0);
    for _ in 0..5 {
        let trial = breaker.acquire(now).expect("a trial");
        assert!(!breaker.admits(now));
        drop(trial);
    }
    assert_eq!(breaker.view(now).state, State::HalfOpen, "hanging up is neither success nor failure");
    succeed(&breaker, 1, now);
    assert_eq!(breaker.view(now).state, State::Closed);
}

#[test]
fn what_began_before_counts_as_nothing_after() {
    let breaker = breaker("threshold: 1, timeout: 10s");
    let old: Vec<_> = (0..4).map(|_| breaker.acquire(s(0)).expect("a permit")).collect();
    let [first, late_success, late_failure, later_failure] = <[_; 4]>::try_from(old).expect("four");
    first.failed(s(0), FAILURE);
    let now = after_timeout(0);
    let trial = breaker.acquire(now).expect("a trial");
    late_success.succeeded(now);
    late_failure.failed(now, FAILURE);
    assert_eq!(breaker.view(now).state, State::HalfOpen, "only the trial counts");
    trial.succeeded(now);
    later_failure.failed(now, FAILURE);
    assert_eq!(breaker.view(now).state, State::Closed);
    assert_eq!(breaker.view(now).failures, 0);
}

#[test]
fn the_error_rate_opens_it_when_there_are_requests_enough() {
    let breaker = breaker("threshold: 100, timeout: 10s, error_rate: 50%, window: 10s, min_requests: 20");
    fail(&breaker, 19, s(1));
    assert_eq!(breaker.view(s(1)).error_rate, Some(1.0));
    succeed(&breaker, 19, s(1));
    assert_eq!(breaker.view(s(1)).state, State::Closed, "looked at when a request fails");
    fail(&breaker, 1, s(2));
    let view = breaker.view(s(2));
    assert_eq!(view.state, State::Open);
    assert_eq!(view.reason, "error rate 51 % of 39 requests in 10s");
}

#[test]
fn what_the_window_has_forgotten_does_not_open_it() {
    let breaker = breaker("threshold: 100, timeout: 10s, error_rate: 50%, window: 10s, min_requests: 20");
    fail(&breaker, 19, s(1));
    succeed(&breaker, 1, s(5));
    fail(&breaker, 1, s(11));
    assert_eq!(breaker.view(s(11)).state, State::Closed, "two requests in ten seconds");
}

#[test]
fn a_breaker_that_closes_has_forgotten_the_rate() {
    let breaker = breaker("threshold: 100, timeout: 1s, error_rate: 50%, window: 1h, min_requests: 2");
    fail(&breaker, 2, s(0));
    succeed(&breaker, 1, after_timeout(0));
    assert_eq!(breaker.view(after_timeout(0)).error_rate, None);
    fail(&breaker, 1, after_timeout(0));
    assert_eq!(breaker.view(after_timeout(0)).state, State::Closed);
}

#[test]
fn shadow_lets_everything_pass_and_counts() {
    let breaker = breaker("threshold: 1, timeout: 10s, shadow: true");
    fail(&breaker, 1, s(0));
    assert!(breaker.admits(s(1)));
    succeed(&breaker, 3, s(1));
    let view = breaker.view(s(1));
    assert_eq!((view.state, view.refused, view.would_refuse, view.shadow), (State::Open, 0, 3, true));
    succeed(&breaker, 1, after_timeout(0));
    assert_eq!(breaker.view(after_timeout(0)).state, State::Closed, "its states are those of a real one");
}

#[test]
fn an_operator_holds_it_whatever_happens() {
    let breaker = breaker("threshold: 1, timeout: 10s");
    breaker.hold(Some(Hold::Open), s(1));
    breaker.hold(Some(Hold::Open), s(2));
    let view = breaker.view(s(3));
    assert_eq!((view.state, view.hold, view.since), (State::Open, Some(Hold::Open), s(1)), "told twice");
    assert_eq!(view.reason, "held open by an operator");
    assert!(breaker.acquire(s(1000)).is_err() && !breaker.admits(s(1000)));

    breaker.hold(Some(Hold::Closed), s(5));
    fail(&breaker, 10, s(6));
    let view = breaker.view(s(6));
    assert_eq!((view.state, view.hold, view.failures), (State::Closed, Some(Hold::Closed), 0));
    assert_eq!(view.reason, "held closed by an operator");

    breaker.hold(None, s(7));
    assert_eq!(breaker.view(s(7)).hold, None);
    fail(&breaker, 1, s(8));
    assert_eq!(breaker.view(s(8)).state, State::Open, "by itself again");
}

#[test]
fn one_that_was_held_open_is_tried_before_it_closes() {
    let breaker = breaker("threshold: 1, timeout: 10s");
    breaker.hold(Some(Hold::Open), s(1));
    breaker.hold(None, s(2));
    let trial = breaker.acquire(s(2)).expect("a trial");
    assert!(!breaker.admits(s(2)));
    assert_eq!(breaker.view(s(2)).reason, "being tried, 0 of 1 succeeded; was held open by an operator");
    trial.succeeded(s(2));
    assert_eq!(breaker.view(s(2)).state, State::Closed);
}

#[test]
fn a_reset_closes_it_and_ends_a_hold() {
    let breaker = breaker("threshold: 2, timeout: 10s, error_rate: 10%, min_requests: 1000");
    fail(&breaker, 2, s(0));
    breaker.reset(s(1));
    fail(&breaker, 1, s(1));
    breaker.reset(s(2));
    let view = breaker.view(s(2));
    assert_eq!((view.state, view.failures, view.error_rate), (State::Closed, 0, None));
    breaker.hold(Some(Hold::Open), s(3));
    breaker.reset(s(4));
    assert_eq!((breaker.view(s(4)).state, breaker.view(s(4)).hold), (State::Closed, None));
}

#[test]
fn a_request_allocates_nothing_whatever_the_state() {
    let breaker = breaker("threshold: 3, timeout: 10s, error_rate: 50%");
    let count = |work: &dyn Fn()| allocation_counter::measure(work).count_total;
    assert_eq!(count(&|| succeed(&breaker, 1, s(0))), 0, "closed");
    assert_eq!(count(&|| fail(&breaker, 3, s(0))), 0, "as it opens");
    assert_eq!(count(&|| assert!(breaker.acquire(s(1)).is_err())), 0, "open");
    assert_eq!(count(&|| succeed(&breaker, 1, after_timeout(0))), 0, "half-open");
    assert_eq!(breaker.view(after_timeout(0)).state, State::Closed);
}

/// Eight threads at once, again and again: never more trials under way than allowed, and none is lost for good.
#[test]
fn no_thread_slips_past_half_open_max() {
    const MAX: u32 = 3;
    let breaker = breaker("threshold: 1, timeout: 10s, half_open_max: 3");
    fail(&breaker, 1, s(0));
    let now = after_timeout(0);
    let (under_way, most, taken) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0));
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                for _ in 0..2000 {
                    let Ok(trial) = breaker.acquire(now) else { continue };
                    taken.fetch_add(1, Ordering::Relaxed);
                    most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    drop(trial);
                }
            });
        }
    });
    assert!((1..=MAX).contains(&most.load(Ordering::SeqCst)), "{most:?} at once");
    assert_eq!(u64::from(taken.load(Ordering::Relaxed)) + breaker.view(now).refused, 16_000);
    let trials: Vec<_> = std::iter::from_fn(|| breaker.acquire(now).ok()).take(10).collect();
    assert_eq!(trials.len(), MAX as usize, "every place is free again");
}

/// However many fail at once, it opens once.
#[test]
fn failures_on_many_threads_open_it_once() {
    for _ in 0..200 {
        let breaker = breaker("threshold: 8, timeout: 10s");
        let start = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let permit = breaker.acquire(s(0)).expect("it is closed");
                    start.wait();
                    permit.failed(s(0), FAILURE);
                });
            }
        });
        let view = breaker.view(s(0));
        assert_eq!((view.state, view.opened), (State::Open, 1));
        assert_eq!(view.reason, "8 failures in a row, last: status 503");
    }
}

#[test]
fn an_answer_that_fails_at_its_end_counts_as_one_that_never_began() {
    let breaker = breaker("threshold: 2, timeout: 10s, half_open_max: 2");
    let begin = |now| breaker.acquire(now).expect("a permit").began(now);
    let (one, two, three) = (begin(s(1)), begin(s(1)), begin(s(1)));
    assert_eq!(breaker.view(s(1)).failures, 0);
    breaker.ended(one, FAILURE, s(2));
    breaker.ended(two, Outcome::Call(GrpcStatus::Ok), s(2));
    assert_eq!(breaker.view(s(2)).failures, 0, "in a row");
    breaker.ended(three, FAILURE, s(2));
    breaker.ended(begin(s(2)), FAILURE, s(2));
    assert_eq!(breaker.state(), State::Open);
    breaker.ended(two, FAILURE, s(3));
    assert_eq!(breaker.view(s(3)).opened, 1, "of a time that is over");

    let now = after_timeout(2);
    let trial = begin(now);
    assert_eq!(
        breaker.view(now).reason,
        "being tried, 1 of 2 succeeded; 2 failures in a row, last: status 503"
    );
    breaker.ended(trial, Outcome::Call(GrpcStatus::Unavailable), now);
    assert_eq!((breaker.state(), breaker.view(now).opened), (State::Open, 2));

    let later = after_timeout(20);
    let (trial, _) = (begin(later), begin(later));
    assert_eq!(breaker.state(), State::Closed, "a stream of hours is no reason to wait");
    breaker.ended(trial, FAILURE, later);
    assert_eq!((breaker.state(), breaker.view(later).failures), (State::Closed, 0));
}
