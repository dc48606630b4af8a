//! Why the gateway answers itself, counted by reason.

use super::count::{Count, zeros};
use policy::rejection::Rejection;
use std::sync::OnceLock;

/// Reasons are written in the code, so there are not many; the room is for those to come.
const MOST: usize = 128;

/// The reasons in a fixed order; shared by the workers.
#[derive(Debug)]
pub(super) struct Reasons([OnceLock<&'static str>; MOST]);

/// How often one worker met each.
#[derive(Debug)]
pub(crate) struct ReasonCounts([Count; MOST]);

impl Default for ReasonCounts {
    fn default() -> Self {
        Self(zeros())
    }
}

impl Default for Reasons {
    /// Every refusal is there from the beginning, with its zero.
    fn default() -> Self {
        let reasons = Self([const { OnceLock::new() }; MOST]);
        for (place, rejection) in reasons.0.iter().zip(&Rejection::ALL) {
            place.get_or_init(|| rejection.reason());
        }
        reasons
    }
}

impl Reasons {
    fn position(&self, reason: &'static str) -> Option<usize> {
        self.0.iter().position(|place| *place.get_or_init(|| reason) == reason)
    }

    /// Adds one, on the thread of the worker.
    pub(super) fn count(&self, reason: &'static str, counts: &ReasonCounts) {
        if let Some(at) = self.position(reason) {
            counts.0[at].add_one();
        }
    }

    /// Every reason, and how often all workers met it.
    pub(super) fn all<'c>(
        &self,
        counts: impl Iterator<Item = &'c ReasonCounts> + Clone,
    ) -> impl Iterator<Item = (&'static str, u64)> {
        let reasons = self.0.iter().map_while(OnceLock::get).enumerate();
        reasons.map(move |(at, reason)| (*reason, counts.clone().map(|one| one.0[at].get()).sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_begins_at_zero_and_answers_of_other_kinds_come_when_they_are_met() {
        let (reasons, one, other) = (Reasons::default(), ReasonCounts::default(), ReasonCounts::default());
        reasons.count("no_route", &one);
        reasons.count("preflight", &other);
        reasons.count("preflight", &one);
        let all: Vec<_> = reasons.all([&one, &other].into_iter()).collect();
        assert_eq!(all.len(), Rejection::ALL.len() + 1);
        let counted: Vec<_> = all.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("no_route", 1), ("preflight", 2)]);
        assert!(MOST > 2 * Rejection::ALL.len(), "there is room for more");
    }
}
