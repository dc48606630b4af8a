//! `weighted_round_robin`: each in turn as often as its weight says, interleaved smoothly as by nginx.
//!
//! The order of nginx's algorithm repeats after as many picks as the weights add up to (divided by what they have in
//! common), so it is computed once and then walked by an atomic counter: exact over any number of threads.

use super::eligible;
use super::weighted::Weighted;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A cycle that would be longer is scaled down to about this: shares are then exact to one part in 8192, and a target
/// whose weight is a smaller part still gets one turn in each cycle.
const LONGEST_CYCLE: u64 = 8192;

/// How often the next in turn may be not usable before one is drawn by weight.
const TURNS: usize = 64;

#[derive(Debug)]
pub(super) struct WeightedRoundRobin {
    cycle: Box<[u32]>,
    turn: CachePadded<AtomicUsize>,
    weighted: Weighted,
}

impl WeightedRoundRobin {
    pub(super) fn new(targets: &[(String, u32)]) -> Self {
        let (positions, weights): (Vec<_>, Vec<_>) =
            eligible(targets).map(|(position, weight)| (position as u32, u64::from(weight))).unzip();
        let cycle = smooth(&reduced(weights)).into_iter().map(|at| positions[at]).collect();
        Self { cycle, turn: CachePadded::default(), weighted: Weighted::new(targets) }
    }

    /// Each turn is taken by one pick and no other; a target that is not usable uses its turns up, so that the others
    /// keep their proportions.
    pub(super) fn pick(&self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let length = self.cycle.len();
        if length == 0 {
            return None;
        }
        let turns = (0..length.min(TURNS)).map(|_| self.turn.fetch_add(1, Ordering::Relaxed));
        let next = turns.map(|turn| self.cycle[turn % length] as usize).find(|position| usable(*position));
        next.or_else(|| self.weighted.draw(usable))
    }
}

/// The same proportions in numbers as small as possible, scaled down if they still add up to too much.
fn reduced(mut weights: Vec<u64>) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    weights.iter_mut().for_each(|weight| *weight /= divisor);
    let total: u64 = weights.iter().sum();
    if total > LONGEST_CYCLE {
        weights
            .iter_mut()
            .for_each(|weight| *weight = ((*weight * LONGEST_CYCLE + total / 2) / total).max(1));
    }
    weights
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Every turn each gains its weight, and the first of those that have most goes next and pays what all have gained.
fn smooth(weights: &[u64]) -> Vec<usize> {
    let total: u64 = weights.iter().sum();
    if weights.iter().all(|weight| *weight == 1) {
        return (0..weights.len()).collect();
    }
    let mut gained = vec![0i64; weights.len()];
    let mut turns = Vec::with_capacity(total as usize);
    for _ in 0..total {
        let mut most = 0;
        for (at, weight) in weights.iter().enumerate() {
            gained[at] += *weight as i64;
            if gained[at] > gained[most] {
                most = at;
            }
        }
        gained[most] -= total as i64;
        turns.push(most);
    }
    turns
}
