//! The one place where time is read for `policy`: nanoseconds since the process began to count.

use policy::clock::Now;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where counting begins: before any [`Now`], so that none has to be negative.
struct Epoch {
    instant: Instant,
    unix: Duration,
}

/// Breakers and limits may look back by their windows from the first moment on; zero stays free for "never".
const BEFORE_THE_FIRST: Duration = Duration::from_secs(24 * 3600);

fn epoch() -> &'static Epoch {
    static EPOCH: OnceLock<Epoch> = OnceLock::new();
    EPOCH.get_or_init(|| {
        // a clock before 1970 is set wrongly; times shown are then wrong with it
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Epoch { instant: Instant::now(), unix }
    })
}

/// This moment.
pub(crate) fn now() -> Now {
    at(Instant::now())
}

/// The moment of an [`Instant`] that was read already.
pub(crate) fn at(instant: Instant) -> Now {
    Now::default().after(BEFORE_THE_FIRST + instant.saturating_duration_since(epoch().instant))
}

/// For people and other machines: milliseconds since 1970, by the wall clock as it was when the process began.
pub(crate) fn unix_ms(now: Now) -> i64 {
    let since = now.since(Now::default().after(BEFORE_THE_FIRST));
    i64::try_from((epoch().unix + since).as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward_and_never_begins_at_zero() {
        let first = now();
        assert!(first.as_nanos() >= BEFORE_THE_FIRST.as_nanos() as u64);
        assert!(now() >= first);
        let instant = Instant::now();
        assert_eq!(at(instant + Duration::from_secs(3)).since(at(instant)), Duration::from_secs(3));
    }

    #[test]
    fn it_is_told_as_wall_clock_time() {
        let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let (before, told, after) = (wall(), unix_ms(now()), wall());
        // the two clocks may be corrected against each other while the test runs
        let later = now();
        assert_eq!(unix_ms(later.after(Duration::from_secs(5))) - unix_ms(later), 5000);
        assert!((before - 1000..=after + 1000).contains(&told), "{before} {told} {after}");
    }
}
