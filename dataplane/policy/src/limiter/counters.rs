//! What a limit has done, counted so that workers do not take the counters' memory from each other.

use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads that count apart; more of them share.
const STRIPES: usize = 8;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

#[derive(Debug, Default)]
pub(super) struct Counters([CachePadded<Counts>; STRIPES]);

#[derive(Debug, Default)]
pub(super) struct Counts {
    passed: AtomicU64,
    delayed: AtomicU64,
    limited: AtomicU64,
    would_limit: AtomicU64,
}

/// All threads' counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) passed: u64,
    pub(super) delayed: u64,
    pub(super) limited: u64,
    pub(super) would_limit: u64,
}

impl Counters {
    pub(super) fn of_this_thread(&self) -> &Counts {
        &self.0[STRIPE.with(|stripe| *stripe)]
    }

    pub(super) fn sum(&self) -> Sum {
        self.0.iter().fold(Sum::default(), |sum, counts| Sum {
            passed: sum.passed + counts.passed.load(Ordering::Relaxed),
            delayed: sum.delayed + counts.delayed.load(Ordering::Relaxed),
            limited: sum.limited + counts.limited.load(Ordering::Relaxed),
            would_limit: sum.would_limit + counts.would_limit.load(Ordering::Relaxed),
        })
    }
}

impl Counts {
    pub(super) fn passed(&self) {
        self.passed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn delayed(&self) {
        self.delayed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn limited(&self) {
        self.limited.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn would_limit(&self) {
        self.would_limit.fetch_add(1, Ordering::Relaxed);
    }
}
