//! `random`: at random, by weight.

use super::weighted::Weighted;

#[derive(Debug)]
pub(super) struct Random(Weighted);

impl Random {
    pub(super) fn new(targets: &[(String, u32)]) -> Self {
        Self(Weighted::new(targets))
    }

    pub(super) fn pick(&self, usable: impl Fn(usize) -> bool) -> Option<usize> {
        self.0.draw(usable)
    }
}
