//! Ejection of outliers: a target whose attempts keep failing is taken out for a while, as by Envoy.
//!
//! Errors in a row are counted, not rates, so a target with little traffic is judged like one with much. How long an
//! ejection lasts grows with each one and shrinks again with time spent without (Envoy's outlier detection).

use super::life::Sentence;
use super::target::{Errors, TargetHealth};
use crate::clock::Now;
use crate::config::health::OutlierConfig;
use crate::outcome::Outcome;
use parking_lot::Mutex;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// The rules of an upstream.
#[derive(Debug)]
pub(crate) struct Outlier {
    consecutive_errors: u32,
    consecutive_connect_errors: Option<u32>,
    latency: Option<Duration>,
    base_ejection: Duration,
    max_ejection: Duration,
    max_ejection_percent: u32,
    slow_start: Duration,
    /// One ejection at a time, so that two cannot both be the last one that `max_ejection_percent` allows. The same
    /// for all configs of an upstream.
    ejecting: Arc<Mutex<()>>,
}

impl Outlier {
    pub(crate) fn new(config: &OutlierConfig, slow_start: Duration, previous: Option<&Self>) -> Self {
        let OutlierConfig {
            consecutive_errors,
            consecutive_connect_errors,
            latency,
            base_ejection,
            max_ejection,
            max_ejection_percent,
        } = config;
        Self {
            consecutive_errors: consecutive_errors.get(),
            consecutive_connect_errors: consecutive_connect_errors.map(NonZeroU32::get),
            latency: latency.map(crate::config::leaf::Duration::get),
            base_ejection: base_ejection.get(),
            max_ejection: max_ejection.get(),
            max_ejection_percent: *max_ejection_percent,
            slow_start,
            ejecting: previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.ejecting)),
        }
    }

    /// The end of an attempt at `target`, one of `all` that get requests.
    pub(crate) fn record<'a>(
        &self,
        target: &TargetHealth,
        all: impl Iterator<Item = &'a TargetHealth>,
        outcome: Outcome,
        latency: Duration,
        now: Now,
    ) {
        let slow = self.latency.is_some_and(|limit| latency > limit);
        if !slow && !outcome.is_failure() {
            return target.count_success();
        }
        if target.is_out() {
            return;
        }
        let errors = target.count_error(outcome == Outcome::ConnectFailure);
        if let Some(too_many) = self.too_many(errors) {
            let last = if outcome.is_failure() {
                outcome.to_string()
            } else {
                format!("a response after {}ms", latency.as_millis())
            };
            self.eject(target, all, format!("{too_many} in a row, the last: {last}"), now);
        }
    }

    fn too_many(&self, errors: Errors) -> Option<String> {
        if self.consecutive_connect_errors.is_some_and(|limit| errors.connect >= limit) {
            return Some(format!("{} failed connections", errors.connect));
        }
        (errors.all >= self.consecutive_errors).then(|| format!("{} errors", errors.all))
    }

    #[cold]
    fn eject<'a>(
        &self,
        target: &TargetHealth,
        all: impl Iterator<Item = &'a TargetHealth>,
        reason: String,
        now: Now,
    ) {
        let _one_at_a_time = self.ejecting.lock();
        let (ejected, targets) = all.fold((0, 0), |(ejected, targets), target| {
            (ejected + usize::from(target.is_ejected(now)), targets + 1)
        });
        if self.may_eject(ejected, targets) {
            let Self { base_ejection: base, max_ejection: max, slow_start, .. } = *self;
            target.eject(Sentence { reason, base, max, slow_start }, now);
        } else {
            // so many errors again, not one, before it is considered again
            target.forget_errors();
        }
    }

    /// One more than are ejected already. Of several, one always may; the only one there is only at 100 %.
    fn may_eject(&self, ejected: usize, targets: usize) -> bool {
        let within = (ejected + 1) * 100 <= targets * self.max_ejection_percent as usize;
        within || (ejected == 0 && targets > 1)
    }
}
