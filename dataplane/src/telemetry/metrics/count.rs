//! What one thread writes and any thread reads: nothing is locked, and no two workers write to the same memory.

use crossbeam_utils::atomic::AtomicCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Grows. Only one thread may add to it.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add_one(&self) {
        // nobody else writes: no need for an atomic addition
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// So many of them, all at zero.
pub(crate) fn zeros<const N: usize>() -> [Count; N] {
    std::array::from_fn(|_| Count::default())
}

/// Upper ends of the buckets: from what the gateway itself takes to what a user gives up after.
pub(super) const BOUNDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// One more for what is above all of them.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

const BOUND_NANOS: [u64; BOUNDS.len()] = {
    let mut nanos = [0; BOUNDS.len()];
    let mut at = 0;
    while at < nanos.len() {
        nanos[at] = (BOUNDS[at] * 1e9) as u64;
        at += 1;
    }
    nanos
};

/// How long things took. Only one thread may add to it.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [Count; BUCKETS],
    /// The bits of a float: in a whole number of any unit, years of waiting would overflow or short times round to 0.
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: zeros(), sum: AtomicU64::new(0f64.to_bits()) }
    }
}

impl Histogram {
    /// Adds one; in which bucket.
    pub(crate) fn observe(&self, took: Duration) -> usize {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUND_NANOS.partition_point(|bound| *bound < nanos);
        self.buckets[at].add_one();
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed)) + took.as_secs_f64();
        self.sum.store(sum.to_bits(), Ordering::Relaxed);
        at
    }
}

/// Histograms of several threads as one.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Sum {
    pub(super) buckets: [u64; BUCKETS],
    pub(super) seconds: f64,
}

impl Sum {
    pub(super) fn of<'h>(histograms: impl Iterator<Item = &'h Histogram>) -> Self {
        let mut sum = Self::default();
        for histogram in histograms {
            for (total, bucket) in sum.buckets.iter_mut().zip(&histogram.buckets) {
                *total += bucket.get();
            }
            sum.seconds += f64::from_bits(histogram.sum.load(Ordering::Relaxed));
        }
        sum
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// A trace that shows what was counted in a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Exemplar {
    pub(crate) trace_id: [u8; 16],
    pub(crate) seconds: f64,
    pub(crate) unix_millis: u64,
}

/// The last one of each bucket; there is no room for any until the first one comes.
#[derive(Debug, Default)]
pub(crate) struct Exemplars(OnceLock<Box<[AtomicCell<Option<Exemplar>>; BUCKETS]>>);

impl Exemplars {
    pub(crate) fn put(&self, bucket: usize, exemplar: Exemplar) {
        let places = self.0.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicCell::new(None))));
        places[bucket].store(Some(exemplar));
    }

    /// The newest that several threads have for each bucket.
    pub(super) fn newest<'e>(all: impl Iterator<Item = &'e Self>) -> [Option<Exemplar>; BUCKETS] {
        let mut newest = [None; BUCKETS];
        for places in all.filter_map(|one| one.0.get()) {
            for (newest, place) in newest.iter_mut().zip(places.iter()) {
                let other: Option<Exemplar> = place.load();
                let when = |one: Option<Exemplar>| one.map(|one| one.unix_millis);
                if when(other) > when(*newest) {
                    *newest = other;
                }
            }
        }
        newest
    }
}

/// One for each worker, made when it first has something to write.
#[derive(Debug)]
pub(crate) struct PerWorker<T>(Box<[OnceLock<Box<T>>]>);

impl<T: Default> PerWorker<T> {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| OnceLock::new()).collect())
    }

    /// What this worker alone writes.
    pub(super) fn of(&self, worker: usize) -> Option<&T> {
        Some(self.0.get(worker)?.get_or_init(Box::default))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|one| one.get().map(|one| &**one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_takes_what_is_at_most_its_upper_end() {
        let histogram = Histogram::default();
        let nanos = |nanos| histogram.observe(Duration::from_nanos(nanos));
        assert_eq!((nanos(0), nanos(500_000), nanos(500_001), nanos(1_000_000)), (0, 0, 1, 1));
        assert_eq!((nanos(30_000_000_000), nanos(30_000_000_001)), (14, 15));
        let other = Histogram::default();
        other.observe(Duration::from_millis(1));
        let sum = Sum::of([&histogram, &other].into_iter());
        assert_eq!((sum.count(), sum.buckets[0], sum.buckets[1], sum.buckets[15]), (7, 2, 3, 1));
        assert!((sum.seconds - 60.003_000_002).abs() < 1e-9, "{}", sum.seconds);
    }

    #[test]
    fn of_several_threads_the_newest_exemplar_is_shown() {
        let (one, other) = (Exemplars::default(), Exemplars::default());
        let exemplar = |unix_millis| Exemplar { trace_id: [7; 16], seconds: 0.1, unix_millis };
        assert_eq!(Exemplars::newest([&one].into_iter()), [None; BUCKETS]);
        one.put(3, exemplar(10));
        other.put(3, exemplar(20));
        other.put(4, exemplar(5));
        let newest = Exemplars::newest([&one, &other].into_iter());
        assert_eq!((newest[3], newest[4], newest[5]), (Some(exemplar(20)), Some(exemplar(5)), None));
    }
}
