//! `sliding_window`: at most N requests in any span of the window, by a log of the passes.
//!
//! The request after the first P passes if the pass N before it, number P - N, has left the window. An exact log would
//! keep the times of N passes; this one keeps, for each group of g consecutive passes, the time of the last:
//!
//! - Never do more than N pass in a window, since a group's time is not earlier than that of any of its passes.
//! - When a request is refused, the last pass of the group of P - N is in the window, and with it all that followed: at
//!   least N - (g - 1) passes. g - 1 is at most a hundredth of N, so at least 99 % of the quota was used.
//!
//! Both hold whatever the times of arrival are; up to N = 99, g is 1 and the log exact. Fixed or weighted windows (the
//! usual counter of two windows) have no such bound: they guess how the passes were spread.

use super::Meter;
use crate::clock::{Now, nanos};
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The part of the quota that a group may hold.
const GROUPS: u64 = 100;

/// A quota over a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlidingWindow {
    quota: u64,
    window: u64,
    /// Passes in a group.
    group: u64,
    /// Groups that are remembered: those that may lie in a window, and the one before them.
    slots: u64,
}

impl SlidingWindow {
    pub(super) fn new(quota: NonZeroU32, window: Duration) -> Self {
        let quota = u64::from(quota.get());
        let group = quota / GROUPS + 1;
        Self { quota, window: nanos(window), group, slots: quota.div_ceil(group) + 1 }
    }

    /// Where the time of a pass is kept: behind the number of passes.
    fn slot(&self, pass: u64) -> usize {
        1 + (pass / self.group % self.slots) as usize
    }

    /// When the window has room again; `None`: it has some now.
    fn free_at(&self, state: &[u64], now: Now) -> Option<u64> {
        let oldest = state[0].checked_sub(self.quota)?;
        let leaves = state[self.slot(oldest)].saturating_add(self.window);
        (leaves > now.as_nanos()).then_some(leaves)
    }

    fn pass(&self, state: &mut [u64], now: Now) {
        let passed = state[0];
        // threads read the clock in one order and come here in another; times in the log must not go back
        let last = passed.checked_sub(1).map_or(0, |last| state[self.slot(last)]);
        state[self.slot(passed)] = now.as_nanos().max(last);
        state[0] = passed + 1;
    }
}

/// Of a key are kept: the number of passes ever, and the time of the last pass of each of the latest groups.
impl Meter for SlidingWindow {
    fn words(&self) -> usize {
        1 + self.slots as usize
    }

    fn admit(&self, state: &mut [u64], now: Now) -> Result<Duration, Duration> {
        match self.free_at(state, now) {
            None => {
                self.pass(state, now);
                Ok(Duration::ZERO)
            }
            Some(free_at) => Err(now.until(Now::from_nanos(free_at))),
        }
    }

    /// The passes in the window.
    fn used(&self, state: &[u64], now: Now) -> u64 {
        let passed = state[0];
        let left = |group: u64| {
            let time = state[self.slot(group * self.group)];
            time.saturating_add(self.window) <= now.as_nanos()
        };
        let mut outside = passed.saturating_sub(self.quota) / self.group;
        let mut inside = passed.div_ceil(self.group);
        // the groups' times ascend
        while outside < inside {
            let middle = outside + (inside - outside) / 2;
            if left(middle) { outside = middle + 1 } else { inside = middle }
        }
        passed.saturating_sub(inside * self.group).min(self.quota)
    }

    fn left(&self, used: u64) -> f64 {
        (self.quota - used) as f64
    }
}

/// One window.
#[derive(Debug)]
pub(super) struct Window {
    /// Until then every request is refused: known when the first is, and read without the lock.
    free_at: CachePadded<AtomicU64>,
    state: Mutex<Box<[u64]>>,
}

impl Window {
    pub(super) fn new(meter: &SlidingWindow) -> Self {
        Self { free_at: CachePadded::default(), state: Mutex::new(vec![0; meter.words()].into()) }
    }

    /// As [`Meter::admit`].
    pub(super) fn admit(&self, meter: &SlidingWindow, now: Now) -> Result<Duration, Duration> {
        let free_at = Now::from_nanos(self.free_at.load(Ordering::Relaxed));
        if now < free_at {
            return Err(now.until(free_at));
        }
        let mut state = self.state.lock();
        meter.admit(&mut state, now).inspect_err(|wait| {
            // stored under the lock, so that it never lags behind
            self.free_at.store(now.after(*wait).as_nanos(), Ordering::Relaxed);
        })
    }

    /// A copy of what [`Meter`] calls a state.
    pub(super) fn state(&self) -> Box<[u64]> {
        self.state.lock().clone()
    }

    pub(super) fn left(&self, meter: &SlidingWindow, now: Now) -> f64 {
        meter.left(meter.used(&self.state.lock(), now))
    }
}
