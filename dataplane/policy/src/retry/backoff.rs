//! How long to wait before a retry: exponential backoff with full jitter.
//!
//! Each pause is drawn at random from nothing to a ceiling that doubles ("Exponential Backoff And Jitter", AWS
//! Architecture Blog, 2015): clients that failed together do not come back together, and of the variants compared there
//! this one makes the fewest calls.

use crate::clock::nanos;
use crate::filter::retry::BackoffConfig;
use std::time::Duration;

/// What doubles with every failure before, up to `max`.
pub fn ceiling(base: Duration, max: Duration, failures_before: u32) -> Duration {
    base.saturating_mul(2u32.saturating_pow(failures_before)).min(max)
}

#[derive(Debug)]
pub(super) struct Backoff {
    base: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(BackoffConfig { base, max }: &BackoffConfig) -> Self {
        Self { base: base.get(), max: max.get() }
    }

    /// A pause before the retry that so many came before.
    pub(super) fn draw(&self, retries_before: u32) -> Duration {
        Duration::from_nanos(fastrand::u64(0..=self.ceiling(retries_before)))
    }

    fn ceiling(&self, retries_before: u32) -> u64 {
        nanos(ceiling(self.base, self.max, retries_before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(base: u16, max: u16) -> Backoff {
        use crate::config::leaf::Duration;
        Backoff::new(&BackoffConfig { base: Duration::short(base), max: Duration::short(max) })
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_maximum() {
        let backoff = backoff(25, 250);
        let ceilings: Vec<_> = [0, 1, 2, 3, 4, 9, 63, 64, u32::MAX]
            .map(|retries| Duration::from_nanos(backoff.ceiling(retries)).as_millis())
            .into();
        assert_eq!(ceilings, [25, 50, 100, 200, 250, 250, 250, 250, 250]);
    }

    #[test]
    fn pauses_spread_over_the_whole_range_and_never_leave_it() {
        let backoff = backoff(25, 250);
        let mut tenths = [0u32; 10];
        for _ in 0..10_000 {
            let pause = backoff.draw(1);
            assert!(pause <= Duration::from_millis(50));
            tenths[(pause.as_micros() / 5_000).min(9) as usize] += 1;
        }
        // 1000 expected in each; 700 is ten standard deviations off
        assert!(tenths.iter().all(|count| *count > 700), "{tenths:?}");
    }

    #[test]
    fn no_base_is_no_pause() {
        assert_eq!(backoff(0, 250).draw(7), Duration::ZERO);
    }
}
