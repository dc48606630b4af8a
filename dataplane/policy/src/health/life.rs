//! The life of one target: a state machine over results of probes, ejections and an operator's word.

use super::{HealthState, HealthView, Thresholds};
use crate::clock::{Now, nanos};
use crate::config::health::InitialHealth;
use std::time::Duration;

/// What a target that has just come back gets of its usual share.
const FIRST_SHARE: f64 = 0.1;

/// Everything that is remembered about a target's health.
#[derive(Debug)]
pub(super) struct Life {
    drained: bool,
    probed: Probed,
    ejection: Option<Ejection>,
    recovery: Option<Recovery>,
    /// Probes in a row that contradict the present state.
    streak: u32,
    /// Why the last probe that failed did; empty when a good one of a healthy target has come since.
    probe_failure: String,
    /// By how much the next ejection is longer than the first: one more each time, one less for each `base_ejection`
    /// without.
    factor: u32,
    ejection_ended: Now,
    /// When the state last changed; zero before any table with the target has served.
    since: Now,
    probes: u64,
    probe_failures: u64,
    ejections: u64,
}

/// What the probes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probed {
    /// There is no health check.
    Never,
    /// There is one, and no result yet.
    Awaited(InitialHealth),
    Up,
    Down,
}

#[derive(Debug)]
struct Ejection {
    until: Now,
    reason: String,
    /// How long the target recovers afterwards.
    slow_start: Duration,
}

/// From nearly nothing to everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recovery {
    pub(super) from: Now,
    pub(super) until: Now,
}

/// An ejection to be.
pub(super) struct Sentence {
    pub(super) reason: String,
    pub(super) base: Duration,
    pub(super) max: Duration,
    pub(super) slow_start: Duration,
}

impl Recovery {
    fn new(from: Now, slow_start: Duration) -> Option<Self> {
        (!slow_start.is_zero()).then(|| Self { from, until: from.after(slow_start) })
    }

    /// Linear, from [`FIRST_SHARE`] to 1.
    pub(super) fn share(self, now: Now) -> f64 {
        let whole = nanos(self.until.since(self.from)).max(1) as f64;
        let passed = nanos(now.since(self.from)) as f64 / whole;
        FIRST_SHARE + (1.0 - FIRST_SHARE) * passed.min(1.0)
    }
}

impl Default for Life {
    fn default() -> Self {
        Self {
            drained: false,
            probed: Probed::Never,
            ejection: None,
            recovery: None,
            streak: 0,
            probe_failure: String::new(),
            factor: 0,
            ejection_ended: Now::default(),
            since: Now::default(),
            probes: 0,
            probe_failures: 0,
            ejections: 0,
        }
    }
}

impl Life {
    pub(super) fn is_drained(&self) -> bool {
        self.drained
    }

    /// Out because of its probes.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.probed, Probed::Down | Probed::Awaited(InitialHealth::Unhealthy))
    }

    pub(super) fn ejected_until(&self) -> Option<Now> {
        self.ejection.as_ref().map(|ejection| ejection.until)
    }

    pub(super) fn recovery(&self) -> Option<Recovery> {
        self.recovery
    }

    pub(super) fn state(&self) -> HealthState {
        if self.drained {
            HealthState::Drained
        } else if self.is_down() {
            HealthState::Unhealthy
        } else if self.ejection.is_some() {
            HealthState::Ejected
        } else if self.recovery.is_some() {
            HealthState::Recovering
        } else {
            HealthState::Healthy
        }
    }

    /// Makes a change and notes when it has changed what an operator sees.
    fn change(&mut self, now: Now, change: impl FnOnce(&mut Self)) {
        let before = self.state();
        change(self);
        if self.state() != before {
            self.since = now;
        }
    }

    /// What was due until now has happened: an ejection is over, a recovery complete.
    pub(super) fn settle(&mut self, now: Now) {
        if let Some(until) = self.ejected_until().filter(|until| *until <= now) {
            self.change(until, Self::end_ejection);
        }
        if let Some(Recovery { until, .. }) = self.recovery.filter(|recovery| recovery.until <= now) {
            self.change(until, |life| life.recovery = None);
        }
    }

    fn end_ejection(&mut self) {
        let Some(Ejection { until, slow_start, .. }) = self.ejection.take() else { return };
        self.ejection_ended = until;
        if !self.is_down() {
            self.recovery = Recovery::new(until, slow_start);
        }
    }

    pub(super) fn drain(&mut self, drained: bool, now: Now) {
        self.change(now, |life| life.drained = drained);
    }

    /// The config has a health check, or none. One that only changes leaves everything as it is, and a target that
    /// served without one is not taken out because one is added.
    pub(super) fn expect_probes(&mut self, initial: Option<InitialHealth>, now: Now) {
        let is_new = self.since == Now::default();
        let probed = match (initial, self.probed) {
            (None, _) => Probed::Never,
            (Some(initial), Probed::Never) if is_new => Probed::Awaited(initial),
            (Some(_), Probed::Never) => Probed::Awaited(InitialHealth::Healthy),
            (Some(_), known) => known,
        };
        self.change(now, |life| life.probed = probed);
        if is_new {
            self.since = now;
        }
        if probed == Probed::Never {
            self.streak = 0;
            self.probe_failure.clear();
        }
    }

    /// The config ejects nobody any more.
    pub(super) fn forget_ejections(&mut self, now: Now) {
        self.change(now, |life| life.ejection = None);
        self.factor = 0;
    }

    pub(super) fn probe(&mut self, result: Result<(), String>, thresholds: Thresholds, now: Now) {
        if self.probed == Probed::Never {
            // one that was under way when the config lost its health check
            return;
        }
        self.probes += 1;
        match result {
            Ok(()) => {
                self.change(now, |life| life.good_probe(thresholds, now));
                if !self.is_down() {
                    self.probe_failure.clear();
                }
            }
            Err(failure) => {
                self.probe_failures += 1;
                self.probe_failure = failure;
                self.change(now, |life| life.failed_probe(thresholds));
            }
        }
    }

    fn good_probe(&mut self, thresholds: Thresholds, now: Now) {
        match self.probed {
            // nothing was known against it
            Probed::Awaited(_) => self.become_probed(Probed::Up),
            Probed::Down if self.streak + 1 >= thresholds.rise => {
                self.become_probed(Probed::Up);
                self.recovery = match self.ejection {
                    Some(_) => None,
                    None => Recovery::new(now, thresholds.slow_start),
                };
            }
            Probed::Down => self.streak += 1,
            Probed::Up | Probed::Never => self.streak = 0,
        }
    }

    fn failed_probe(&mut self, thresholds: Thresholds) {
        match self.probed {
            Probed::Awaited(InitialHealth::Unhealthy) => self.become_probed(Probed::Down),
            Probed::Up | Probed::Awaited(InitialHealth::Healthy) => {
                self.probed = Probed::Up;
                self.streak += 1;
                if self.streak >= thresholds.fall {
                    self.become_probed(Probed::Down);
                    self.recovery = None;
                }
            }
            Probed::Down | Probed::Never => self.streak = 0,
        }
    }

    fn become_probed(&mut self, probed: Probed) {
        self.probed = probed;
        self.streak = 0;
    }

    /// Whether an ejection would change anything.
    pub(super) fn can_be_ejected(&self) -> bool {
        !self.drained && !self.is_down() && self.ejection.is_none()
    }

    pub(super) fn eject(&mut self, sentence: Sentence, now: Now) {
        let Sentence { reason, base, max, slow_start } = sentence;
        let times = |duration| u32::try_from(nanos(duration) / nanos(base).max(1)).unwrap_or(u32::MAX);
        let forgiven = times(now.since(self.ejection_ended));
        // beyond `max` it would only take longer to be forgiven
        let most = times(max).saturating_add(1);
        self.factor = self.factor.saturating_sub(forgiven).saturating_add(1).min(most);
        self.ejections += 1;
        let until = now.after(base.saturating_mul(self.factor).min(max));
        self.change(now, |life| {
            life.recovery = None;
            life.ejection = Some(Ejection { until, reason, slow_start });
        });
    }

    /// As it is once [`Life::settle`] has been called for `now`.
    pub(super) fn view(&self, now: Now) -> HealthView {
        HealthView {
            state: self.state(),
            reason: self.reason(now),
            since: self.since,
            until: match self.state() {
                HealthState::Ejected => self.ejection.as_ref().map(|ejection| ejection.until),
                HealthState::Recovering => self.recovery.map(|recovery| recovery.until),
                HealthState::Healthy | HealthState::Unhealthy | HealthState::Drained => None,
            },
            probes: self.probes,
            probe_failures: self.probe_failures,
            ejections: self.ejections,
            slow_start_share: match self.state() {
                HealthState::Recovering => self.recovery.map(|recovery| recovery.share(now)),
                _ => None,
            },
        }
    }

    fn reason(&self, now: Now) -> String {
        match (self.state(), &self.ejection, self.recovery) {
            (HealthState::Drained, ..) => "drained by an operator".to_owned(),
            (HealthState::Ejected, Some(Ejection { until, reason, .. }), _) => {
                format!("{reason}; back in {}", seconds(now.until(*until)))
            }
            (HealthState::Recovering, _, Some(recovery)) => {
                format!("slow start: {:.0}% of its share", recovery.share(now) * 100.0)
            }
            (HealthState::Unhealthy, ..) if self.probed != Probed::Down => {
                "no probe has succeeded yet".to_owned()
            }
            (HealthState::Unhealthy, ..) if self.streak > 0 => {
                format!("{}; good probes since: {}", self.probe_failure, self.streak)
            }
            (HealthState::Unhealthy, ..) => self.probe_failure.clone(),
            _ if self.probe_failure.is_empty() => String::new(),
            _ => format!("the last probe failed: {}", self.probe_failure),
        }
    }
}

/// Rounded up: "0s" would be over.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_millis().div_ceil(1000))
}
