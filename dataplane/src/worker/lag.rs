//! How long work waits for its worker, and how busy that is: a timer that comes late tells, ten times a second.

use crate::clock;
use policy::clock::Now;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval};

/// Often enough that what holds a worker up for a tenth of a second cannot hide, and a few microseconds each.
const LOOK: Duration = Duration::from_millis(100);
/// The worst of this one and of the one before are told.
const WINDOW: Duration = Duration::from_secs(10);
/// Over so many looks it is told how busy a worker is.
const BUSY_OVER: u32 = 10;

/// Written by the worker alone, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    /// When the timer fired last, as [`Now`] counts; 0 before the first time.
    looked: AtomicU64,
    /// How late it was, in nanoseconds.
    last: AtomicU64,
    /// The latest in this window and in the one before.
    worst: AtomicU64,
    worst_before: AtomicU64,
    window_began: AtomicU64,
    /// Of a thousand.
    busy: AtomicU64,
}

/// What is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lags {
    /// How late the timer was the last time, or is now.
    pub(crate) last: Duration,
    /// The worst of the last 10 to 20 seconds.
    pub(crate) worst: Duration,
    /// The share of the last second in which the worker had something to do, of a thousand.
    pub(crate) busy: u64,
}

impl Lag {
    /// On the worker's thread; never ends.
    pub(super) async fn watch(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let runtime = Handle::current().metrics();
        let mut since = (Instant::now(), runtime.worker_total_busy_duration(0));
        for look in 1_u32.. {
            let due = looks.tick().await.into_std();
            let now = Instant::now();
            self.note(now.saturating_duration_since(due), clock::at(now));
            if look.is_multiple_of(BUSY_OVER) {
                let busy = runtime.worker_total_busy_duration(0);
                self.note_busy(busy.saturating_sub(since.1), now.saturating_duration_since(since.0));
                since = (now, busy);
            }
        }
    }

    fn note(&self, late: Duration, now: Now) {
        let late = nanos(late);
        self.looked.store(now.as_nanos(), Ordering::Relaxed);
        self.last.store(late, Ordering::Relaxed);
        let began = self.window_began.load(Ordering::Relaxed);
        if now.as_nanos().saturating_sub(began) < nanos(WINDOW) {
            self.worst.fetch_max(late, Ordering::Relaxed);
        } else {
            self.worst_before.store(self.worst.load(Ordering::Relaxed), Ordering::Relaxed);
            self.worst.store(late, Ordering::Relaxed);
            self.window_began.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    fn note_busy(&self, busy: Duration, of: Duration) {
        let share = busy.as_micros() * 1000 / of.as_micros().max(1);
        self.busy.store(u64::try_from(share).unwrap_or(1000).min(1000), Ordering::Relaxed);
    }

    /// At this moment: a worker that does not come back to its timer at all is late by as much.
    pub(crate) fn told(&self, now: Now) -> Lags {
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        let overdue = match read(&self.looked) {
            0 => 0,
            looked => now.as_nanos().saturating_sub(looked).saturating_sub(nanos(LOOK)),
        };
        let last = read(&self.last).max(overdue);
        let worst = last.max(read(&self.worst)).max(read(&self.worst_before));
        Lags { last: Duration::from_nanos(last), worst: Duration::from_nanos(worst), busy: read(&self.busy) }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    fn at(millis: u64) -> Now {
        Now::from_nanos(3_600_000_000_000 + millis * 1_000_000)
    }

    fn millis(lag: &Lag, now: u64) -> (u128, u128) {
        let Lags { last, worst, .. } = lag.told(at(now));
        (last.as_millis(), worst.as_millis())
    }

    #[test]
    fn the_worst_is_told_for_ten_seconds_and_no_longer_than_twenty() {
        let lag = Lag::default();
        assert_eq!(millis(&lag, 0), (0, 0), "before the first look nothing is late");
        lag.note(Duration::from_millis(7), at(0));
        lag.note(Duration::from_millis(40), at(100));
        lag.note(Duration::from_millis(2), at(200));
        assert_eq!(millis(&lag, 250), (2, 40));
        lag.note(Duration::from_millis(3), at(10_000));
        assert_eq!(millis(&lag, 10_050), (3, 40));
        lag.note(Duration::from_millis(1), at(20_000));
        assert_eq!(millis(&lag, 20_050), (1, 3));
    }

    #[test]
    fn a_worker_that_does_not_come_back_is_late_by_as_much() {
        let lag = Lag::default();
        lag.note(Duration::from_millis(1), at(0));
        assert_eq!(millis(&lag, 100), (1, 1));
        assert_eq!(millis(&lag, 5100), (5000, 5000));
    }

    #[test]
    fn busy_is_a_share_of_a_thousand() {
        let lag = Lag::default();
        for (busy, of, share) in [(0, 1000, 0), (250, 1000, 250), (1100, 1000, 1000), (1, 0, 1000)] {
            lag.note_busy(Duration::from_millis(busy), Duration::from_millis(of));
            assert_eq!(lag.told(at(0)).busy, share);
        }
    }

    #[tokio::test]
    async fn what_holds_the_thread_up_is_seen() {
        let held = Duration::from_millis(400);
        LocalSet::new()
            .run_until(async {
                let lag = Rc::new(Lag::default());
                let watched = lag.clone();
                let watching = spawn_local(async move { watched.watch().await });
                let since = Instant::now();
                while lag.looked.load(Ordering::Relaxed) == 0 {
                    assert!(since.elapsed() < Duration::from_secs(20));
                    yield_now().await;
                }
                let since = Instant::now();
                while since.elapsed() < held {
                    std::hint::spin_loop();
                }
                let before = lag.looked.load(Ordering::Relaxed);
                while lag.looked.load(Ordering::Relaxed) == before {
                    yield_now().await;
                }
                let Lags { worst, .. } = lag.told(clock::now());
                assert!(worst >= held - LOOK * 2, "{worst:?}");
                watching.abort();
            })
            .await;
    }
}
