//! Which methods and statuses there have been on a route, and where each worker counts them.
//!
//! A request finds its pair by looking, mostly in the first place or two. However many methods a client invents and
//! statuses a target sends, the number of pairs is bounded.

use super::count::{Count, zeros};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// More than any service has; what is beyond is counted as one.
const MOST: usize = 256;
/// For these each worker has room from the beginning.
const FEW: usize = 16;

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", OTHER];
/// What is said of what has no name of its own.
pub(super) const OTHER: &str = "_other";

const FREE: u16 = 0;
/// Statuses have three digits.
const STATUSES: u16 = 1000;

/// The pairs, in the order of their appearance; shared by the workers.
#[derive(Debug, Default)]
pub(super) struct Pairs(OnceLock<Box<[AtomicU16; MOST]>>);

impl Pairs {
    /// None when there are too many already.
    pub(super) fn position(&self, method: &str, status: u16) -> Option<usize> {
        let method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        let pair = 1 + method as u16 * STATUSES + status.min(STATUSES - 1);
        let places = self.0.get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU16::new(FREE))));
        places.iter().position(|place| match place.load(Ordering::Relaxed) {
            FREE => match place.compare_exchange(FREE, pair, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => true,
                Err(taken) => taken == pair,
            },
            known => known == pair,
        })
    }

    /// Method and status of every position.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, u16)> {
        let places = self.0.get().map_or(&[][..], |places| &places[..]);
        let pairs = places.iter().map(|place| place.load(Ordering::Relaxed));
        pairs
            .take_while(|pair| *pair != FREE)
            .map(|pair| (METHODS[usize::from((pair - 1) / STATUSES)], (pair - 1) % STATUSES))
    }
}

/// What one worker counts of each pair.
#[derive(Debug)]
pub(super) struct PairCounts {
    few: [Count; FEW],
    more: OnceLock<Box<[Count; MOST - FEW]>>,
    beyond: Count,
}

impl Default for PairCounts {
    fn default() -> Self {
        Self { few: zeros(), more: OnceLock::new(), beyond: Count::default() }
    }
}

impl PairCounts {
    /// Adds one at a position of [`Pairs`].
    pub(super) fn add_one(&self, position: Option<usize>) {
        let count = match position {
            None => &self.beyond,
            Some(at) if at < FEW => &self.few[at],
            Some(at) => &self.more.get_or_init(|| Box::new(zeros()))[at - FEW],
        };
        count.add_one();
    }

    pub(super) fn get(&self, position: usize) -> u64 {
        match position.checked_sub(FEW) {
            None => self.few[position].get(),
            Some(at) => self.more.get().map_or(0, |more| more[at].get()),
        }
    }

    /// Of the pairs for which there was no place.
    pub(super) fn beyond(&self) -> u64 {
        self.beyond.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_keeps_its_position_and_is_counted_there() {
        let (pairs, counts) = (Pairs::default(), PairCounts::default());
        assert_eq!(pairs.all().count(), 0);
        for (method, status) in [("GET", 200), ("GET", 404), ("BREW", 418), ("GET", 200), ("", 408)] {
            counts.add_one(pairs.position(method, status));
        }
        let all: Vec<_> =
            pairs.all().enumerate().map(|(at, (method, status))| (method, status, counts.get(at))).collect();
        assert_eq!(
            all,
            [("GET", 200, 2), ("GET", 404, 1), ("_other", 418, 1), ("_other", 408, 1)],
            "in the order of their appearance"
        );
    }

    #[test]
    fn whoever_invents_methods_and_statuses_makes_no_more_than_so_many_pairs() {
        let (pairs, counts) = (Pairs::default(), PairCounts::default());
        let known = METHODS.iter().copied().chain(["BREW", "get", "G\u{fc}T"]);
        let mut told = 0;
        for method in known {
            for status in 100..1000 {
                counts.add_one(pairs.position(method, status));
                told += 1;
            }
        }
        assert_eq!(pairs.all().count(), MOST);
        let kept: u64 = (0..MOST).map(|at| counts.get(at)).sum();
        assert!(counts.beyond() > 0 && kept + counts.beyond() == told, "none is lost");
    }

    #[test]
    fn workers_that_meet_a_pair_at_the_same_time_agree_on_its_position() {
        let pairs = Pairs::default();
        let positions = |from: u16| -> Vec<_> {
            (0..200).map(|at| pairs.position("GET", 200 + (at + from) % 200)).collect()
        };
        let (one, other) = std::thread::scope(|scope| {
            let (one, other) = (scope.spawn(|| positions(0)), scope.spawn(|| positions(100)));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert!(one.iter().all(Option::is_some) && pairs.all().count() == 200);
        assert_eq!(one, other.iter().skip(100).chain(&other[..100]).copied().collect::<Vec<_>>());
    }
}
