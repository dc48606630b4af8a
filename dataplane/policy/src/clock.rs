//! A point in time as the shell gives it: this crate never reads a clock, so a test passes any time it likes.

use std::time::Duration;

/// Nanoseconds since a moment that is the same for every thread of the process and lies before everything it does.
///
/// A plain integer, so that it fits in an atomic; 64 bits last for 584 years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(u64);

impl Now {
    /// From nanoseconds since the process's own beginning.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the process's own beginning.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// So much later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// How long ago `earlier` was; zero when it is still to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long until this; zero when it has passed.
    pub const fn until(self, later: Self) -> Duration {
        later.since(self)
    }
}

/// A duration in whole nanoseconds, as far as 64 bits reach.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Up to a tenth longer, by chance: so that the instances of a fleet do not all do the same at the same moment.
pub(crate) fn jittered(duration: Duration) -> Duration {
    duration + Duration::from_nanos(fastrand::u64(0..=nanos(duration) / 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_wraps() {
        let (early, late) = (Now::from_nanos(5), Now::from_nanos(9));
        assert_eq!(late.since(early), Duration::from_nanos(4));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.until(late), Duration::from_nanos(4));
        assert_eq!(early.after(Duration::MAX), Now::from_nanos(u64::MAX));
    }
}
