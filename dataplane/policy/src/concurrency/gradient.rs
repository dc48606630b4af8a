//! A limit that follows the latency: raised while requests take no longer than without load, lowered when they do.
//!
//! The formula is that of Gradient2 in Netflix's concurrency-limits, with the headroom of Envoy's adaptive concurrency
//! filter; once for each window of time, from the mean latency in it:
//!
//! ```text
//! gradient = clamp(1.5 × baseline / latency, 0.5, 1)
//! limit    = 0.8 × limit + 0.2 × (gradient × limit + √limit)
//! ```
//!
//! It rests where `gradient = 1 − 1/√limit`: a limit of 100 bears a latency of 1.7 times the baseline. It is not raised
//! while less than half of it is in use (Gradient2), grows twice as fast until latency first rises (TCP's slow start),
//! and falls by a tenth where a tenth of the requests time out or are told that the service is too busy (AIMD).
//!
//! `baseline`, the latency without load, is where the two differ. Gradient2 takes a long average, which under lasting
//! load becomes the latency with load, and lets the limit creep up to its maximum; Envoy measures it at a limit of
//! three, which refuses nearly everything meanwhile. Here it is the mean of windows in which a third of the limit or
//! less was in use, and if there was none for half a minute, the limit is lowered to a third until there is one.

use crate::clock::{Now, jittered};
use std::time::Duration;

/// Latency that is still none of the load's doing (Gradient2: `rttTolerance`).
const TOLERANCE: f64 = 1.5;
/// How much of a new limit is taken over (Gradient2: `smoothing`).
const SMOOTHING: f64 = 0.2;
/// The limit is not raised while less of it is in use (Gradient2).
const IN_USE: f64 = 0.5;
/// So little of the limit in use makes no queue, wherever the limit is: at a half, a limit of 20 in front of a service that
/// does 4 at a time would find itself right.
const QUIET: f64 = 1.0 / 3.0;
/// How much of a new latency goes into the baseline.
const BASELINE_SMOOTHING: f64 = 0.1;
/// What is left of the limit when the service says that it has too much to do.
const BACKOFF: f64 = 0.9;
/// More of its answers than this part say so.
const OVERLOADED: f64 = 0.1;
/// Where it begins (Gradient2: `initialLimit`), and the least it ever is.
const FIRST: u32 = 20;
const FLOOR: u32 = 4;
/// How old the baseline may become, and up to a tenth more, so that a fleet does not measure in step.
const MEASURE_EVERY: Duration = Duration::from_secs(30);
/// And as long as it turns out to be less than was thought, by more than this part of it: what was measured may still
/// have been the load's doing.
const MEASURE_AGAIN: Duration = Duration::from_secs(3);
const LESS: f64 = 0.1;
/// Windows until it is measured in any case: connections that stay, as WebSockets do, may keep the limit in use.
const PATIENCE: u32 = 10;

/// The limit and how it came about.
#[derive(Debug, Clone)]
pub(super) struct Gradient {
    max: f64,
    limit: f64,
    /// In seconds.
    baseline: Option<f64>,
    measure_at: Now,
    state: State,
    /// Nothing has been too much yet.
    starting: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Following,
    /// The limit is halved until so little is in flight, for so many windows by now.
    Draining(u32),
    /// So little is in flight; this window shows how long requests take then.
    Measuring,
}

/// What happened in a window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Observed {
    /// The mean; `None` if every request ended otherwise.
    pub(super) latency: Option<Duration>,
    pub(super) count: u32,
    /// Timed out, or told to come again later.
    pub(super) overloads: u32,
    /// The most requests in flight at once.
    pub(super) peak: u32,
}

impl Gradient {
    pub(super) fn new(max: u32) -> Self {
        Self {
            max: f64::from(max),
            limit: f64::from(Self::first_limit(max)),
            baseline: None,
            measure_at: Now::default(),
            state: State::Following,
            starting: true,
        }
    }

    pub(super) fn first_limit(max: u32) -> u32 {
        FIRST.min(max)
    }

    pub(super) fn baseline(&self) -> Option<Duration> {
        self.baseline.map(Duration::from_secs_f64)
    }

    /// The limit after a window.
    pub(super) fn update(&mut self, observed: &Observed, now: Now) -> u32 {
        let used = f64::from(observed.peak) / self.limit;
        if let Some(latency) = observed.latency {
            self.measure(latency.as_secs_f64(), used <= QUIET, now);
        }
        if self.state == State::Following {
            self.follow(observed, used);
        }
        self.announced()
    }

    fn announced(&self) -> u32 {
        let limit = match self.state {
            State::Following => self.limit,
            State::Draining(_) | State::Measuring => QUIET * self.limit,
        };
        (limit as u32).max(FLOOR.min(self.max as u32))
    }

    /// Keeps the baseline true, by chance where the load allows it, else by lowering the limit for a while.
    fn measure(&mut self, latency: f64, quiet: bool, now: Now) {
        let Some(baseline) = self.baseline else {
            return self.measured(latency, MEASURE_AGAIN, now);
        };
        match self.state {
            State::Following if quiet => {
                self.measured(baseline + BASELINE_SMOOTHING * (latency - baseline), MEASURE_EVERY, now);
            }
            State::Following => {
                self.baseline = Some(baseline + BASELINE_SMOOTHING * (latency - baseline).min(0.0));
                if now >= self.measure_at {
                    self.state = State::Draining(1);
                }
            }
            State::Draining(windows) if quiet || windows >= PATIENCE => self.state = State::Measuring,
            State::Draining(windows) => self.state = State::Draining(windows + 1),
            State::Measuring => {
                let less = latency < (1.0 - LESS) * baseline;
                self.measured(latency, if less { MEASURE_AGAIN } else { MEASURE_EVERY }, now);
            }
        }
    }

    fn measured(&mut self, baseline: f64, good_for: Duration, now: Now) {
        self.baseline = Some(baseline);
        self.state = State::Following;
        self.measure_at = now.after(jittered(good_for));
    }

    fn follow(&mut self, observed: &Observed, used: f64) {
        let mut limit = self.limit;
        if let (Some(baseline), Some(latency)) = (self.baseline, observed.latency) {
            let gradient = (TOLERANCE * baseline / latency.as_secs_f64().max(f64::EPSILON)).clamp(0.5, 1.0);
            self.starting &= gradient == 1.0;
            let headroom = if self.starting { limit } else { limit.sqrt() };
            let wanted = gradient * limit + headroom;
            limit += SMOOTHING * (wanted - limit);
            if used < IN_USE {
                limit = limit.min(self.limit);
            }
        }
        let answers = f64::from(observed.count + observed.overloads);
        if f64::from(observed.overloads) > OVERLOADED * answers {
            self.starting = false;
            limit = limit.min(BACKOFF * self.limit);
        }
        self.limit = limit.clamp(f64::from(FLOOR).min(self.max), self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(millis: u64, overloads: u32, peak: u32) -> Observed {
        Observed { latency: Some(Duration::from_millis(millis)), count: 100, overloads, peak }
    }

    /// Past its start, with a baseline of 10 ms.
    fn settled(limit: f64) -> Gradient {
        let mut gradient = Gradient::new(1000);
        gradient.update(&observed(10, 0, 20), Now::default());
        Gradient { limit, starting: false, ..gradient }
    }

    #[test]
    fn the_formula() {
        // 0.8 × 100 + 0.2 × (1.5 × 10 / 20 × 100 + 10)
        assert_eq!(settled(100.0).update(&observed(20, 0, 100), Now::default()), 97);
        // the gradient is never below a half: 0.8 × 100 + 0.2 × (50 + 10)
        assert_eq!(settled(100.0).update(&observed(1000, 0, 100), Now::default()), 92);
        // nor above one: 0.8 × 100 + 0.2 × (100 + 10)
        assert_eq!(settled(100.0).update(&observed(10, 0, 100), Now::default()), 102);
    }

    #[test]
    fn it_begins_with_doubling_and_ends_that_for_good() {
        let mut gradient = Gradient::new(1000);
        let limits: Vec<_> =
            (0..4).map(|_| gradient.update(&observed(10, 0, 1000), Now::default())).collect();
        assert_eq!(limits, [24, 28, 34, 41], "a fifth of the way to twice as much");
        gradient.update(&observed(30, 0, 1000), Now::default());
        let before = gradient.limit;
        gradient.update(&observed(10, 0, 1000), Now::default());
        assert_eq!(gradient.limit, before + SMOOTHING * before.sqrt());
    }

    #[test]
    fn a_limit_that_is_not_in_use_is_not_raised() {
        assert_eq!(settled(100.0).update(&observed(10, 0, 49), Now::default()), 100);
    }

    #[test]
    fn a_service_that_says_it_is_too_busy_gets_a_tenth_less_down_to_the_floor() {
        let mut gradient = settled(100.0);
        assert_eq!(gradient.update(&observed(10, 10, 100), Now::default()), 102, "one in eleven");
        let mut gradient = settled(100.0);
        assert_eq!(gradient.update(&observed(10, 12, 100), Now::default()), 90);
        let all = Observed { latency: None, count: 0, overloads: 100, peak: 100 };
        let floor = (0..100).map(|_| gradient.update(&all, Now::default())).last();
        assert_eq!(floor, Some(FLOOR));
    }

    #[test]
    fn no_limit_is_beyond_max() {
        for max in [1, 3, 30] {
            let mut gradient = Gradient::new(max);
            let limits = (0..50).map(|_| gradient.update(&observed(10, 0, max), Now::default()));
            assert_eq!(limits.max(), Some(max));
            let limits = (0..50).map(|_| gradient.update(&observed(500, 50, max), Now::default()));
            assert_eq!(limits.min(), Some(FLOOR.min(max)));
        }
    }

    #[test]
    fn a_baseline_grows_old_and_is_measured_again_with_a_third_of_the_limit() {
        let at = |seconds: u64| Now::default().after(Duration::from_secs(seconds));
        let mut gradient = settled(90.0);
        assert_eq!(gradient.baseline(), Some(Duration::from_millis(10)));
        let before = gradient.update(&observed(15, 0, 90), at(2));
        assert!(before >= 90);
        let third = gradient.update(&observed(15, 0, 90), at(4));
        assert!((30..=before / 3 + 1).contains(&third), "{third}");
        assert_eq!(gradient.update(&observed(15, 0, 90), at(5)), third, "more is still in flight");
        assert_eq!(gradient.update(&observed(12, 0, third), at(6)), third, "it is measured from here on");
        let after = gradient.update(&observed(12, 0, third), at(7));
        assert_eq!((after, gradient.baseline()), (before, Some(Duration::from_millis(12))));
        assert!(gradient.update(&observed(18, 0, 90), at(30)) >= 90, "good for half a minute");
        assert!(gradient.update(&observed(18, 0, 90), at(41)) < 40);
    }
}
