//! The whole state of a breaker in 64 bits, so that every change of it is one compare-and-swap.
//!
//! | bits | what |
//! |---|---|
//! | 0 to 2 | the phase |
//! | 3 to 23 | the generation: how many changes of phase there were, so that an old permit is known as one |
//! | 24 to 63 | closed: failures in a row; open: until when, in milliseconds; half-open: successes, and requests in flight |

use super::Hold;
use crate::clock::{Now, nanos};
use std::time::Duration;

const PHASE_BITS: u32 = 3;
const GENERATION_BITS: u32 = 21;
const PAYLOAD_AT: u32 = PHASE_BITS + GENERATION_BITS;
const COUNT_BITS: u32 = 20;

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const HELD_CLOSED: u64 = 3;
const HELD_OPEN: u64 = 4;

const NANOS_PER_MS: u64 = 1_000_000;

/// A phase with its generation, packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

/// Which change of phase it was; after two million of them the numbers begin again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Generation(u32);

/// What a breaker does with requests, and what it remembers meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// All pass.
    Closed {
        /// Failures since the last success.
        failures: u32,
    },
    /// None pass.
    Open {
        /// When the service may be tried.
        until: Until,
    },
    /// A few pass, to see how they end.
    HalfOpen {
        /// Passed and not yet ended.
        in_flight: u32,
        /// Ended well.
        successes: u32,
    },
    /// As an operator wants it.
    Held(Hold),
}

/// A moment in whole milliseconds; 40 bits of them last for 34 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Until(u64);

impl Word {
    pub(super) const fn new(generation: Generation, phase: Phase) -> Self {
        let (tag, payload) = match phase {
            Phase::Closed { failures } => (CLOSED, failures as u64),
            Phase::Open { until: Until(millis) } => (OPEN, millis),
            Phase::HalfOpen { in_flight, successes } => {
                (HALF_OPEN, (successes as u64) << COUNT_BITS | in_flight as u64)
            }
            Phase::Held(Hold::Closed) => (HELD_CLOSED, 0),
            Phase::Held(Hold::Open) => (HELD_OPEN, 0),
        };
        Self(payload << PAYLOAD_AT | (generation.0 as u64) << PHASE_BITS | tag)
    }

    #[inline]
    pub(super) const fn generation(self) -> Generation {
        Generation((self.0 >> PHASE_BITS) as u32 & ((1 << GENERATION_BITS) - 1))
    }

    #[inline]
    pub(super) const fn phase(self) -> Phase {
        let payload = self.0 >> PAYLOAD_AT;
        match self.0 & ((1 << PHASE_BITS) - 1) {
            CLOSED => Phase::Closed { failures: payload as u32 },
            OPEN => Phase::Open { until: Until(payload) },
            HALF_OPEN => Phase::HalfOpen {
                in_flight: payload as u32 & ((1 << COUNT_BITS) - 1),
                successes: (payload >> COUNT_BITS) as u32,
            },
            HELD_CLOSED => Phase::Held(Hold::Closed),
            _ => Phase::Held(Hold::Open),
        }
    }
}

impl Generation {
    pub(super) const FIRST: Self = Self(0);

    pub(super) const fn next(self) -> Self {
        Self((self.0 + 1) & ((1 << GENERATION_BITS) - 1))
    }
}

impl Until {
    const LAST: u64 = (1 << (u64::BITS - PAYLOAD_AT)) - 1;

    /// Rounded up, so that it is never too early.
    pub(super) fn after(now: Now, wait: Duration) -> Self {
        Self(now.as_nanos().saturating_add(nanos(wait)).div_ceil(NANOS_PER_MS).min(Self::LAST))
    }

    pub(super) const fn is_over(self, now: Now) -> bool {
        now.as_nanos() >= self.0 * NANOS_PER_MS
    }

    pub(super) const fn left(self, now: Now) -> Duration {
        Duration::from_nanos((self.0 * NANOS_PER_MS).saturating_sub(now.as_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn phase() -> impl Strategy<Value = Phase> {
        let count = || 0..1u32 << COUNT_BITS;
        prop_oneof![
            any::<u32>().prop_map(|failures| Phase::Closed { failures }),
            (0..=Until::LAST).prop_map(|millis| Phase::Open { until: Until(millis) }),
            (count(), count()).prop_map(|(in_flight, successes)| Phase::HalfOpen { in_flight, successes }),
            Just(Phase::Held(Hold::Open)),
            Just(Phase::Held(Hold::Closed)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(phase in phase(), generation in 0..1u32 << GENERATION_BITS) {
            let word = Word::new(Generation(generation), phase);
            prop_assert_eq!(word.phase(), phase);
            prop_assert_eq!(word.generation(), Generation(generation));
        }

        #[test]
        fn an_end_is_neither_early_nor_a_millisecond_late(now in 0..1u64 << 58, wait in 0..1u64 << 58) {
            let until = Until::after(Now::from_nanos(now), Duration::from_nanos(wait));
            prop_assert!(now + wait == 0 || !until.is_over(Now::from_nanos(now + wait - 1)));
            prop_assert!(until.is_over(Now::from_nanos(now + wait + NANOS_PER_MS)));
            prop_assert!(until.left(Now::from_nanos(now)) >= Duration::from_nanos(wait));
        }
    }

    #[test]
    fn generations_begin_again() {
        let last = Generation((1 << GENERATION_BITS) - 1);
        assert_eq!(last.next(), Generation::FIRST);
    }
}
