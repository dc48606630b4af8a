//! `round_robin`: each in turn, weights ignored unless 0.

use super::eligible;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How often the next in turn may be not usable before the rest is looked at without taking turns.
const TURNS: usize = 64;

#[derive(Debug)]
pub(super) struct RoundRobin {
    positions: Box<[usize]>,
    turn: CachePadded<AtomicUsize>,
}

impl RoundRobin {
    pub(super) fn new(targets: &[(String, u32)]) -> Self {
        let positions = eligible(targets).map(|(position, _)| position).collect();
        Self { positions, turn: CachePadded::default() }
    }

    /// A target that is not usable uses its turn up; otherwise its neighbour would get twice its share.
    pub(super) fn pick(&self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.positions.len();
        if count == 0 {
            return None;
        }
        let turns = (0..count.min(TURNS)).map(|_| self.turn.fetch_add(1, Ordering::Relaxed));
        let next = turns.map(|turn| self.positions[turn % count]).find(|position| usable(*position));
        next.or_else(|| self.first_usable_from(self.turn.load(Ordering::Relaxed) % count, usable))
    }

    /// For when most are not usable, or other threads took the turns of those that are.
    fn first_usable_from(&self, start: usize, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let (before, after) = self.positions.split_at(start);
        after.iter().chain(before).copied().find(|position| usable(*position))
    }
}
