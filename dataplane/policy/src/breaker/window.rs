//! How many of the requests of the last so many seconds failed: a ring of ten buckets, each one word.

use crate::clock::{Now, nanos};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The oldest bucket leaves as a whole, so the window is between nine tenths of its length and all of it.
const BUCKETS: u64 = 10;

/// A thread that was stopped in the midst of counting comes at most so many ticks late; what looks later still is a
/// bucket whose ticks began again meanwhile.
const LATE: u64 = 10 * BUCKETS;

/// A bucket: 24 bits of the tick it belongs to, 20 of all requests, 20 of failed ones.
const COUNT_BITS: u32 = 20;
const TICK_AT: u32 = 2 * COUNT_BITS;
const TICK_MASK: u64 = (1 << (u64::BITS - TICK_AT)) - 1;
const FULL: u64 = (1 << COUNT_BITS) - 1;

/// Requests and failures of the last `length`.
#[derive(Debug)]
pub(super) struct Window {
    tick: u64,
    buckets: [AtomicU64; BUCKETS as usize],
}

/// What the window holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) requests: u64,
    pub(super) failures: u64,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        Self { tick: (nanos(length) / BUCKETS).max(1), buckets: Default::default() }
    }

    /// Counts a request.
    pub(super) fn record(&self, failed: bool, now: Now) {
        let tick = now.as_nanos() / self.tick;
        let bucket = &self.buckets[(tick % BUCKETS) as usize];
        let mut before = bucket.load(Ordering::Relaxed);
        while let Some(after) = counted(before, tick & TICK_MASK, failed) {
            match bucket.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => before = changed,
            }
        }
    }

    /// All that is not older than the window.
    pub(super) fn tally(&self, now: Now) -> Tally {
        let tick = (now.as_nanos() / self.tick) & TICK_MASK;
        let mut tally = Tally::default();
        for bucket in &self.buckets {
            let word = bucket.load(Ordering::Relaxed);
            let age = tick.wrapping_sub(word >> TICK_AT) & TICK_MASK;
            if age < BUCKETS {
                tally.requests += word >> COUNT_BITS & FULL;
                tally.failures += word & FULL;
            }
        }
        tally
    }

    /// As if there had been no request.
    pub(super) fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Ordering::Relaxed));
    }
}

/// A bucket with one request more, or `None` when it is already about a later time.
fn counted(word: u64, tick: u64, failed: bool) -> Option<u64> {
    let empty = word & ((1 << TICK_AT) - 1) == 0;
    let behind = (word >> TICK_AT).wrapping_sub(tick) & TICK_MASK;
    let word = match behind {
        0 if word >> COUNT_BITS & FULL == FULL => halved(word),
        0 => word,
        _ if behind <= LATE && !empty => return None,
        _ => tick << TICK_AT,
    };
    Some(word + (1 << COUNT_BITS) + u64::from(failed))
}

/// A million requests in one bucket: half of them show the same rate, and leave room to see it change.
fn halved(word: u64) -> u64 {
    let requests = (word >> COUNT_BITS & FULL) / 2;
    let failures = (word & FULL) / 2;
    word >> TICK_AT << TICK_AT | requests << COUNT_BITS | failures
}

impl Tally {
    /// As a part of one; `None` when there was no request.
    pub(super) fn rate(self) -> Option<f64> {
        (self.requests > 0).then(|| self.failures as f64 / self.requests as f64)
    }

    /// Whether so many percent, or more, of so many requests, or more, failed.
    pub(super) fn reaches(self, percent: u8, min_requests: u32) -> bool {
        self.requests >= u64::from(min_requests) && self.failures * 100 >= self.requests * u64::from(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn ms(millis: u64) -> Now {
        Now::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let window = Window::new(Duration::from_secs(1));
        window.record(true, ms(0));
        window.record(false, ms(950));
        assert_eq!(window.tally(ms(999)), Tally { requests: 2, failures: 1 });
        assert_eq!(window.tally(ms(1000)), Tally { requests: 1, failures: 0 });
        assert_eq!(window.tally(ms(1900)), Tally::default());
    }

    #[test]
    fn what_comes_a_window_late_counts_as_nothing() {
        let window = Window::new(Duration::from_secs(1));
        window.record(false, ms(1000));
        window.record(true, ms(0));
        assert_eq!(window.tally(ms(1000)), Tally { requests: 1, failures: 0 });
    }

    /// A bucket's tick has 24 bits: a ring that was idle for half of their range took its old buckets for newer ones
    /// and counted nothing for as long again.
    #[test]
    fn a_ring_that_was_idle_for_long_counts_again() {
        let window = Window::new(Duration::from_secs(1));
        window.record(true, ms(100));
        for ticks in [1 << 22, 1 << 23, (1 << 23) + (1 << 22), (1 << 24) + 50] {
            let now = ms(100 * ticks);
            window.record(true, now);
            assert_eq!(window.tally(now), Tally { requests: 1, failures: 1 }, "after {ticks} ticks");
        }
    }

    #[test]
    fn a_full_bucket_keeps_its_rate() {
        let mut word = (FULL << COUNT_BITS) | (FULL / 2);
        for _ in 0..1000 {
            word = counted(word, 0, true).expect("of the same tick");
        }
        let tally = Tally { requests: word >> COUNT_BITS & FULL, failures: word & FULL };
        assert_eq!(tally.requests, FULL / 2 + 1000);
        assert!(tally.rate().is_some_and(|rate| (0.5..0.51).contains(&rate)), "{tally:?}");
    }

    proptest! {
        /// Against a list of all that ever happened, at ticks that the ring knows.
        #[test]
        fn the_ring_is_a_log(start in 0u64..1 << 40, events in vec((0u64..300, any::<bool>()), 1..200)) {
            let window = Window::new(Duration::from_secs(1));
            let mut log = Vec::new();
            let mut at = start;
            for (pause, failed) in events {
                at += pause;
                window.record(failed, ms(at));
                log.push((at / 100, failed));
                let recent = log.iter().filter(|(tick, _)| at / 100 - tick < BUCKETS);
                let expected = Tally {
                    requests: recent.clone().count() as u64,
                    failures: recent.filter(|(_, failed)| *failed).count() as u64,
                };
                prop_assert_eq!(window.tally(ms(at)), expected);
            }
        }
    }
}
