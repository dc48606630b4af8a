//! The budget against a log of everything that happened, alone and under threads.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;

fn at(millis: u64) -> Now {
    Now::default().after(Duration::from_millis(millis))
}

fn budget(percent: u8) -> Budget {
    Budget::new(Percent::saturating(percent))
}

fn withdraw_all(budget: &Budget, now: Now) -> u64 {
    (0..).take_while(|_| budget.withdraw(now)).count() as u64
}

/// Everything that happened, and what may happen after it.
#[derive(Default)]
struct Log {
    requests: Vec<u64>,
    retries: Vec<u64>,
}

impl Log {
    fn allows_another(&self, millis: u64, percent: u64) -> bool {
        let window = (millis / 1000).saturating_sub(WINDOW) * 1000;
        let within = |events: &[u64]| events.iter().filter(|event| **event >= window).count() as u64;
        100 * (within(&self.retries) + 1)
            <= percent * within(&self.requests) + 100 * WINDOW * RESERVE_PER_SECOND
    }
}

#[derive(Debug, Clone)]
enum Event {
    Pause(u64),
    Requests(u16),
    Retries(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0u64..2_500).prop_map(Event::Pause),
        1 => (0u64..40_000).prop_map(Event::Pause),
        5 => (1u16..200).prop_map(Event::Requests),
        5 => (1u16..60).prop_map(Event::Retries),
    ]
}

proptest! {
    #[test]
    fn it_grants_exactly_what_a_log_of_the_window_allows(
        percent in 0u8..=100,
        start in 0u64..100_000,
        events in vec(event(), 1..80),
    ) {
        let budget = budget(percent);
        let mut log = Log::default();
        let mut millis = start;
        for event in events {
            match event {
                Event::Pause(pause) => millis += pause,
                Event::Requests(count) => for _ in 0..count {
                    budget.deposit(at(millis));
                    log.requests.push(millis);
                },
                Event::Retries(count) => for _ in 0..count {
                    let granted = budget.withdraw(at(millis));
                    prop_assert_eq!(granted, log.allows_another(millis, percent.into()), "at {} ms", millis);
                    if granted {
                        log.retries.push(millis);
                    }
                },
            }
        }
        let (requests, retries) = (log.requests.len() as u64, log.retries.len() as u64);
        let seconds = (millis - start) / 1000 + 1 + WINDOW;
        prop_assert!(
            100 * retries <= u64::from(percent) * requests + 100 * RESERVE_PER_SECOND * seconds,
            "{} retries of {} requests in {} s", retries, requests, seconds
        );
    }
}

#[test]
fn a_route_without_traffic_can_retry_three_times_a_second() {
    let budget = budget(20);
    assert_eq!(budget.left(at(0)), 30);
    assert_eq!(withdraw_all(&budget, at(0)), 30, "those of the whole window at once");
    assert_eq!(budget.left(at(0)), 0);
    assert_eq!(withdraw_all(&budget, at(10_999)), 0);
    assert_eq!(withdraw_all(&budget, at(11_000)), 30);
}

#[test]
fn requests_pay_for_retries_until_they_expire() {
    let budget = budget(20);
    (0..1_000).for_each(|_| budget.deposit(at(500)));
    assert_eq!(budget.left(at(10_999)), 230);
    assert_eq!(withdraw_all(&budget, at(10_999)), 230);
    assert_eq!(budget.left(at(11_000)), 0, "the requests have expired, the retries have not");
    assert_eq!(budget.left(at(30_000)), 30);
}

#[test]
fn a_brown_out_is_not_amplified_beyond_the_budget() {
    const REQUESTS: u64 = 60_000;
    let budget = budget(20);
    let retries = (0..REQUESTS)
        .filter(|millis| {
            budget.deposit(at(*millis));
            (0..2).any(|_| budget.withdraw(at(*millis)))
        })
        .count() as u64;
    assert!(
        (REQUESTS / 5..=REQUESTS / 5 + 210).contains(&retries),
        "{retries} retries, 1000 requests a second"
    );
}

#[test]
fn it_counts_on_through_any_number_of_requests() {
    let budget = budget(100);
    // about where 36 bits wrap, in both directions of the sign
    for start in [(1 << 35) - 500, (1 << 36) - 500, -(1 << 35) - 500] {
        budget.debt.store(start, Ordering::Relaxed);
        let now = at(start.unsigned_abs() / 1_000);
        (0..10).for_each(|_| budget.deposit(now));
        assert_eq!(withdraw_all(&budget, now), 40);
    }
}

#[test]
fn no_retry_is_granted_twice_and_none_is_lost_under_threads() {
    const THREADS: u64 = 8;
    const EACH: u64 = 5_000;
    let budget = budget(20);
    let now = at(1_000);
    let granted: u64 = std::thread::scope(|scope| {
        let worker = || {
            (0..EACH)
                .filter(|_| {
                    budget.deposit(now);
                    budget.withdraw(now)
                })
                .count() as u64
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    let paid_for = THREADS * EACH / 5 + WINDOW * RESERVE_PER_SECOND;
    assert!(granted <= paid_for, "{granted} of {paid_for}");
    assert_eq!(granted + withdraw_all(&budget, now), paid_for);
}

#[test]
fn a_second_that_every_thread_enters_at_once_begins_once() {
    let budget = budget(20);
    for second in 0..200 {
        let now = at(second * 11_000);
        let granted: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| withdraw_all(&budget, now))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(granted, WINDOW * RESERVE_PER_SECOND, "in second {second}");
    }
}
