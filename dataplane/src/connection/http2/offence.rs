//! What a connection of HTTP/2 is closed for, counted by reason.

use crate::telemetry::metrics::{Count, zeros};
use h2::Reason;

/// What a client did, or did not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offence {
    /// Frames without content, beyond any use.
    ControlFrameFlood,
    /// Requests that are cancelled while they are served.
    RapidReset,
    /// The head of a request did not come to its end.
    HeaderTimeout,
    /// It takes nothing.
    WriteTimeout,
    /// It gave no sign of life.
    PingTimeout,
    // as h2 found, by the error code that the client was told (RFC 9113 §7)
    ProtocolError,
    FlowControlError,
    StreamClosed,
    FrameSizeError,
    CompressionError,
    EnhanceYourCalm,
    Other,
}

impl Offence {
    /// One of each.
    pub(crate) const ALL: [Self; 12] = [
        Self::ControlFrameFlood,
        Self::RapidReset,
        Self::HeaderTimeout,
        Self::WriteTimeout,
        Self::PingTimeout,
        Self::ProtocolError,
        Self::FlowControlError,
        Self::StreamClosed,
        Self::FrameSizeError,
        Self::CompressionError,
        Self::EnhanceYourCalm,
        Self::Other,
    ];

    /// In metrics and logs.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::ControlFrameFlood => "control_frame_flood",
            Self::RapidReset => "rapid_reset",
            Self::HeaderTimeout => "header_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::PingTimeout => "ping_timeout",
            Self::ProtocolError => "protocol_error",
            Self::FlowControlError => "flow_control_error",
            Self::StreamClosed => "stream_closed",
            Self::FrameSizeError => "frame_size_error",
            Self::CompressionError => "compression_error",
            Self::EnhanceYourCalm => "enhance_your_calm",
            Self::Other => "other",
        }
    }

    /// What the client is told when the gateway itself closes for it.
    pub(super) fn code(self) -> Reason {
        match self {
            Self::PingTimeout | Self::WriteTimeout => Reason::NO_ERROR,
            _ => Reason::ENHANCE_YOUR_CALM,
        }
    }
}

impl From<Reason> for Offence {
    fn from(told: Reason) -> Self {
        match told {
            Reason::PROTOCOL_ERROR => Self::ProtocolError,
            Reason::FLOW_CONTROL_ERROR => Self::FlowControlError,
            Reason::STREAM_CLOSED => Self::StreamClosed,
            Reason::FRAME_SIZE_ERROR => Self::FrameSizeError,
            Reason::COMPRESSION_ERROR => Self::CompressionError,
            Reason::ENHANCE_YOUR_CALM => Self::EnhanceYourCalm,
            _ => Self::Other,
        }
    }
}

/// How often one worker met each.
#[derive(Debug)]
pub(crate) struct OffenceCounts([Count; Offence::ALL.len()]);

impl Default for OffenceCounts {
    fn default() -> Self {
        Self(zeros())
    }
}

impl OffenceCounts {
    /// Adds one, on the thread of the worker.
    pub(crate) fn count(&self, offence: Offence) {
        self.0[offence as usize].add_one();
    }

    pub(crate) fn get(&self, offence: Offence) -> u64 {
        self.0[offence as usize].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offence_has_a_place_of_its_own() {
        let counts = OffenceCounts::default();
        for (times, offence) in (1..).zip(Offence::ALL) {
            (0..times).for_each(|_| counts.count(offence));
        }
        let counted: Vec<_> = Offence::ALL.map(|offence| counts.get(offence)).into();
        assert_eq!(counted, (1..=12).collect::<Vec<u64>>());
    }
}
