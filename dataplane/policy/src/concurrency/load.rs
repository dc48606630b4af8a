//! Requests in flight and requests that wait, in one word: whoever ends and whoever comes cannot miss each other.

/// Half of the word each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load(pub(super) u64);

const IN_FLIGHT: u64 = 1;
const QUEUED: u64 = 1 << 32;

impl Load {
    pub(super) const fn in_flight(self) -> u32 {
        self.0 as u32
    }

    pub(super) const fn queued(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// One more in flight; nobody may overtake those who wait.
    pub(super) const fn entered(self, limit: u32) -> Option<Self> {
        if self.queued() == 0 && self.in_flight() < limit { Some(Self(self.0 + IN_FLIGHT)) } else { None }
    }

    pub(super) const fn left(self) -> Self {
        Self(self.0 - IN_FLIGHT)
    }

    pub(super) const fn lined_up(self) -> Self {
        Self(self.0 + QUEUED)
    }

    /// The first in the queue is in flight.
    pub(super) const fn let_in(self, limit: u32) -> Option<Self> {
        if self.queued() > 0 && self.in_flight() < limit {
            Some(Self(self.0 - QUEUED + IN_FLIGHT))
        } else {
            None
        }
    }

    pub(super) const fn gone_from_line(self) -> Self {
        Self(self.0 - QUEUED)
    }
}
