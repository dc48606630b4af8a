//! Which traces are recorded: a share of those that begin here, and whom else to believe.

use super::{Parent, SpanContext, low_bits};
use crate::config::leaf::Ratio;
use crate::filter::tracing::ParentRule;

/// A share of all traces, as OpenTelemetry's consistent probability sampling has it: a trace is recorded when the random
/// 56 bits of its id are at or above this. Whoever samples the same trace by the same share decides the same, and by a
/// greater one records it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold(pub(super) u64);

impl Threshold {
    /// Of the 56 bits.
    pub(super) const LARGEST: u64 = (1 << 56) - 1;

    /// The threshold of a share.
    pub const fn of(share: Ratio) -> Self {
        let refused = (Ratio::ONE.millionths() - share.millionths()) as u128;
        Self(((refused << 56) / Ratio::ONE.millionths() as u128) as u64)
    }

    /// Whether a trace is recorded that has these 56 random bits.
    pub(super) const fn admits(self, random: u64) -> bool {
        random >= self.0
    }
}

/// Decides at the head of a trace: before it is known how the exchange ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// Of what nobody else has decided about.
    pub share: Threshold,
    /// Whose decision is taken over.
    pub parent: ParentRule,
}

impl Sampler {
    /// The span of a request that came with `parent`; none of it is the trace of a caller that is not to be continued.
    pub fn begin(&self, parent: Option<Parent>, peer_is_trusted: bool) -> SpanContext {
        let Some(parent) = parent.filter(|_| self.parent != ParentRule::Ignore) else {
            return SpanContext::root(self.share);
        };
        let obeyed = match self.parent {
            ParentRule::Always => true,
            ParentRule::Trusted => peer_is_trusted,
            ParentRule::Continue | ParentRule::Ignore => false,
        };
        let sampled = match (obeyed, peer_is_trusted) {
            (true, _) => parent.is_sampled(),
            (false, true) => self.share.admits(low_bits(parent.trace_id)),
            // it may have chosen an id that every share admits
            (false, false) => self.share.admits(fastrand::u64(..=Threshold::LARGEST)),
        };
        SpanContext::child_of(&parent, sampled)
    }
}
