//! How many retries there may be: a share of the requests, so that a failing upstream is not buried by its own clients.
//!
//! The balance is Finagle's and linkerd's retry budget: a request deposits a part of a retry, a retry withdraws a whole
//! one, deposits expire after ten seconds, and a few retries a second are always allowed, so that a route with little
//! traffic can retry at all. What is exact here: whenever a retry is granted, the retries since the beginning of the
//! window (ten whole seconds and the one that runs) are at most the share of the requests since then plus the reserve.
//! A retry expires after the request that paid for it, so the share also holds in the long run.

use crate::clock::Now;
use crate::config::leaf::Percent;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Whole seconds that a deposit lasts.
pub(super) const WINDOW: u64 = 10;
/// Retries a second whatever the traffic, all of a window's at once if need be.
pub(super) const RESERVE_PER_SECOND: u64 = 3;
const RESERVE: i64 = (WINDOW * RESERVE_PER_SECOND) as i64 * RETRY;
/// What a retry costs, in hundredths, so that a percentage is a whole number.
const RETRY: i64 = 100;
/// Enough for the window, the second that runs, and threads whose clocks lag behind it.
const SECONDS: usize = 16;

/// All of it is one number and its past, so that one atomic step decides.
#[derive(Debug)]
pub(super) struct Budget {
    percent: i64,
    /// All retries ever made, less the deposits of all requests.
    debt: CachePadded<AtomicI64>,
    /// The debt as it was when each of the last seconds began, with that second.
    past: [AtomicU64; SECONDS],
}

impl Budget {
    pub(super) fn new(percent: Percent) -> Self {
        Self { percent: percent.get().into(), debt: CachePadded::default(), past: Default::default() }
    }

    /// A request pays its share.
    pub(super) fn deposit(&self, now: Now) {
        self.open(second(now));
        self.debt.fetch_sub(self.percent, Ordering::Relaxed);
    }

    /// Takes a retry out; false when there is none left.
    pub(super) fn withdraw(&self, now: Now) -> bool {
        self.open(second(now));
        let Some(before) = self.before_window(second(now)) else { return false };
        let step = |debt: i64| {
            let more = debt + RETRY;
            (before.grown_to(more) <= RESERVE).then_some(more)
        };
        self.debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok()
    }

    /// Retries that could be taken out now.
    pub(super) fn left(&self, now: Now) -> u64 {
        let debt = self.debt.load(Ordering::Relaxed);
        let spent = self.before_window(second(now)).map_or(0, |before| before.grown_to(debt));
        u64::try_from((RESERVE - spent) / RETRY).unwrap_or(0)
    }

    /// Notes the debt at the beginning of a second, if this is its first event.
    fn open(&self, second: u64) {
        let slot = &self.past[slot(second)];
        let seen = slot.load(Ordering::Relaxed);
        if !Snapshot(seen).is_of(second) {
            let new = Snapshot::new(second, self.debt.load(Ordering::Relaxed));
            // whoever is first is right: the others count from the same moment
            let _ = slot.compare_exchange(seen, new.0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The debt when the window began; a second without a snapshot had no events.
    fn before_window(&self, current: u64) -> Option<Snapshot> {
        (current.saturating_sub(WINDOW)..=current).find_map(|second| {
            let snapshot = Snapshot(self.past[slot(second)].load(Ordering::Relaxed));
            snapshot.is_of(second).then_some(snapshot)
        })
    }
}

/// A second and the debt at its beginning in one word: 28 bits (8 years) and 36 bits, which a window wraps at 34 million
/// requests a second.
#[derive(Clone, Copy)]
struct Snapshot(u64);

const DEBT_BITS: u32 = 36;

impl Snapshot {
    fn new(second: u64, debt: i64) -> Self {
        Self(second << DEBT_BITS | debt.cast_unsigned() & ((1 << DEBT_BITS) - 1))
    }

    fn is_of(self, second: u64) -> bool {
        (self.0 ^ second << DEBT_BITS) >> DEBT_BITS == 0
    }

    /// How much more a debt is than this one was.
    fn grown_to(self, debt: i64) -> i64 {
        let difference = debt.wrapping_sub(self.0.cast_signed());
        // the bits above are those of the second
        difference << (64 - DEBT_BITS) >> (64 - DEBT_BITS)
    }
}

fn second(now: Now) -> u64 {
    now.as_nanos() / 1_000_000_000
}

fn slot(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

#[cfg(test)]
mod tests;
