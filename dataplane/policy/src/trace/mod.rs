//! W3C Trace Context (level 1, and level 2's random flag): who called in which trace, and what the next one is told.
//!
//! [`Parent`] is what a request came with, [`SpanContext`] what the gateway makes of it. Neither allocates.

mod parent;
mod sampling;
mod state;

pub use parent::Parent;
pub use sampling::{Sampler, Threshold};

use crate::headers::unrepeated;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The field that names the trace and the caller's span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The field in which tracing systems keep what else they want to know again.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The caller records its span, and asks others to record theirs.
const SAMPLED: u8 = 0x01;
/// The low 56 bits of the trace's id are random (level 2).
const RANDOM: u8 = 0x02;

/// One exchange in its trace: the span of the gateway as a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanContext {
    /// Never 0.
    pub trace_id: u128,
    /// Never 0.
    pub span_id: u64,
    /// The caller's span; 0 where the trace begins here.
    pub parent_id: u64,
    flags: u8,
}

impl SpanContext {
    /// A trace that begins here.
    pub fn root(sample: Threshold) -> Self {
        // one half is not 0, the other one, which is sampled by, as random as can be
        let trace_id = u128::from(fastrand::u64(1..)) << 64 | u128::from(fastrand::u64(..));
        let sampled = if sample.admits(low_bits(trace_id)) { SAMPLED } else { 0 };
        Self { trace_id, span_id: new_span_id(), parent_id: 0, flags: sampled | RANDOM }
    }

    /// The caller's trace goes on.
    pub fn child_of(parent: &Parent, sampled: bool) -> Self {
        let sampled = if sampled { SAMPLED } else { 0 };
        Self {
            trace_id: parent.trace_id,
            span_id: new_span_id(),
            parent_id: parent.span_id,
            // flags that level 2 does not know are not passed on
            flags: sampled | (parent.flags & RANDOM),
        }
    }

    /// Whether its spans are recorded.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What `traceparent` carries, and OTLP.
    pub const fn flags(&self) -> u8 {
        self.flags
    }

    /// Takes out what may not go on without the `traceparent` it came with, or is not a `tracestate` at all.
    pub fn clean(&self, headers: &mut HeaderMap) {
        let continued = self.parent_id != 0;
        if headers.contains_key(TRACESTATE) && !(continued && state::is_valid(headers)) {
            headers.remove(TRACESTATE);
        }
    }

    /// What a target is told whose request is the span `span_id` of this trace.
    pub fn traceparent(&self, span_id: u64) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], &self.trace_id.to_be_bytes());
        write_hex(&mut text[36..52], &span_id.to_be_bytes());
        write_hex(&mut text[53..55], &[self.flags]);
        // hexadecimal digits and hyphens are always a value
        unrepeated(HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("")))
    }
}

/// The id of another span: never 0.
pub fn new_span_id() -> u64 {
    fastrand::u64(1..)
}

/// What of a trace's id is random, and sampled by.
const fn low_bits(trace_id: u128) -> u64 {
    trace_id as u64 & Threshold::LARGEST
}

fn write_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
}

#[cfg(test)]
mod tests;
