//! `least_request`: of two targets at random, the one with fewer requests in flight per weight.
//!
//! Two choices are enough to keep the worst queue short (Mitzenmacher, 2001), and unlike the least loaded of all they
//! do not send every worker's next request to the same idle target.

use super::weighted::Weighted;

#[derive(Debug)]
pub(super) struct LeastRequest(Weighted);

impl LeastRequest {
    pub(super) fn new(targets: &[(String, u32)]) -> Self {
        Self(Weighted::new(targets))
    }

    /// Both are drawn by weight and a tie goes to the first, so that idle targets share by weight as busy ones do.
    pub(super) fn pick(&self, load: impl Fn(usize) -> u32, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let first = self.0.draw(&usable)?;
        let Some(second) = self.0.draw(|position| position != first && usable(position)) else {
            return Some(first);
        };
        // a / weight(a) > b / weight(b), without dividing
        let first_is_busier =
            u64::from(load(first)) * self.0.weight(second) > u64::from(load(second)) * self.0.weight(first);
        Some(if first_is_busier { second } else { first })
    }
}
