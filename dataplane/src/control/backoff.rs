//! How long to wait before the next attempt: exponential with full jitter, so that a fleet does not come back at once.

use policy::retry::ceiling;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait: `jitter` (0 to 1) of a limit that doubles with every failure.
    pub fn next(&mut self, jitter: f64) -> Duration {
        let limit = ceiling(FIRST, LONGEST, self.failures);
        self.failures = self.failures.saturating_add(1);
        limit.mul_f64(jitter)
    }

    /// A session that lasted this long was a good one, and its end the first failure. A control plane that takes us
    /// in and throws us out again at once is still failing.
    pub fn session_lasted(&mut self, time: Duration) {
        if time >= LONGEST {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_limit() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.next(1.0), LONGEST);
    }

    #[test]
    fn jitter_takes_any_part_of_it() {
        assert_eq!(Backoff::default().next(0.0), Duration::ZERO);
        assert_eq!(Backoff::default().next(0.5), Duration::from_millis(25));
    }

    #[test]
    fn only_a_session_that_lasted_starts_anew() {
        let mut backoff = Backoff::default();
        backoff.next(1.0);
        backoff.next(1.0);
        backoff.session_lasted(Duration::from_millis(4999));
        assert_eq!(backoff.next(1.0).as_millis(), 200);
        backoff.session_lasted(LONGEST);
        assert_eq!(backoff.next(1.0).as_millis(), 50);
    }
}
