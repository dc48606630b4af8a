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
//! while less than half of it is in use, and falls by a tenth (as in AIMD) where a tenth of the requests timed out or
//! were told that the service is too busy.
//!
//! `baseline`, the latency without load, is where the two differ. Gradient2 takes a long average, which under lasting
//! load becomes the latency with load, and lets the limit creep up to its maximum; Envoy measures it with a limit of
//! three, which refuses nearly everything meanwhile. Here it is the mean of windows in which less than half of the limit
//! was in use, and if there was none for half a minute, the limit is halved until there is one. Half is enough: by the
//! formula the limit is hardly ever more than twice what the service does without a queue of its own.

use crate::clock::{Now, jittered};
use std::time::Duration;

/// Latency that is still none of the load's doing (Gradient2: `rttTolerance`).
const TOLERANCE: f64 = 1.5;
/// How much of a new limit is taken over (Gradient2: `smoothing`).
const SMOOTHING: f64 = 0.2;
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
        let half_used = f64::from(observed.peak) <= self.limit / 2.0;
        if let Some(latency) = observed.latency {
            self.measure(latency.as_secs_f64(), half_used, now);
        }
        if self.state == State::Following {
            self.follow(observed, half_used);
        }
        self.announced()
    }

    fn announced(&self) -> u32 {
        let limit = match self.state {
            State::Following => self.limit,
            State::Draining(_) | State::Measuring => self.limit / 2.0,
        };
        (limit as u32).max(FLOOR.min(self.max as u32))
    }

    /// Keeps the baseline true, by chance where the load allows it, else by lowering the limit for a while.
    fn measure(&mut self, latency: f64, half_used: bool, now: Now) {
        let Some(baseline) = self.baseline else {
            return self.measured(latency, now);
        };
        match self.state {
            State::Following if half_used => {
                self.measured(baseline + BASELINE_SMOOTHING * (latency - baseline), now);
            }
            State::Following => {
                self.baseline = Some(baseline + BASELINE_SMOOTHING * (latency - baseline).min(0.0));
                if now >= self.measure_at {
                    self.state = State::Draining(1);
                }
            }
            State::Draining(windows) if half_used || windows >= PATIENCE => self.state = State::Measuring,
            State::Draining(windows) => self.state = State::Draining(windows + 1),
            State::Measuring => self.measured(latency, now),
        }
    }

    fn measured(&mut self, baseline: f64, now: Now) {
        self.baseline = Some(baseline);
        self.state = State::Following;
        self.measure_at = now.after(jittered(MEASURE_EVERY));
    }

    fn follow(&mut self, observed: &Observed, half_used: bool) {
        let mut limit = self.limit;
        if let (Some(baseline), Some(latency)) = (self.baseline, observed.latency) {
            let gradient = (TOLERANCE * baseline / latency.as_secs_f64().max(f64::EPSILON)).clamp(0.5, 1.0);
            let wanted = gradient * limit + limit.sqrt();
            limit += SMOOTHING * (wanted - limit);
            if half_used {
                limit = limit.min(self.limit);
            }
        }
        let answers = f64::from(observed.count + observed.overloads);
        if f64::from(observed.overloads) > OVERLOADED * answers {
            limit = limit.min(BACKOFF * self.limit);
        }
        self.limit = limit.clamp(f64::from(FLOOR).min(self.max), self.max);
    }
}
