//! Drawing a target at random by weight; shared by several algorithms.

use super::eligible;

/// How often a draw may meet a target that is not usable before all targets are looked at.
const DRAWS: usize = 8;

/// The targets with a weight above 0 and the sums of their weights.
#[derive(Debug)]
pub(super) struct Weighted {
    positions: Box<[usize]>,
    /// `sums[i]` is the weight of `positions[..=i]` together.
    sums: Box<[u64]>,
}

impl Weighted {
    pub(super) fn new(targets: &[(String, u32)]) -> Self {
        let positions = eligible(targets).map(|(position, _)| position).collect();
        let sums = eligible(targets).scan(0, |sum, (_, weight)| {
            *sum += u64::from(weight);
            Some(*sum)
        });
        Self { positions, sums: sums.collect() }
    }

    /// The weight of the target at `position`, 0 if it has none.
    pub(super) fn weight(&self, position: usize) -> u64 {
        self.positions.binary_search(&position).map_or(0, |at| self.weight_at(at))
    }

    fn weight_at(&self, at: usize) -> u64 {
        self.sums[at] - if at == 0 { 0 } else { self.sums[at - 1] }
    }

    /// One of the usable targets, each as likely as its weight says among them.
    pub(super) fn draw(&self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let total = *self.sums.last()?;
        // drawing again until it fits gives the same odds as drawing from those that fit
        let drawn =
            (0..DRAWS).map(|_| self.at_weight(fastrand::u64(..total))).find(|position| usable(*position));
        drawn.or_else(|| self.draw_from_usable(usable))
    }

    fn at_weight(&self, weight: u64) -> usize {
        self.positions[self.sums.partition_point(|sum| *sum <= weight)]
    }

    fn draw_from_usable(&self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let mut total = 0;
        let mut chosen = None;
        for (at, &position) in self.positions.iter().enumerate() {
            if usable(position) {
                // keeps each candidate with probability weight / total so far, which is its share in the end
                let weight = self.weight_at(at);
                total += weight;
                if fastrand::u64(..total) < weight {
                    chosen = Some(position);
                }
            }
        }
        chosen
    }
}
