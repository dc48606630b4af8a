//! Active health checks: every target of the current table that has one is probed, on the control thread.
//!
//! What a result means is decided by `policy`; here are the tasks, one for each target. A target keeps its task for as
//! long as its address and its checks stay, so an edit elsewhere disturbs no rhythm. The same loop writes to the log
//! what has become of targets and breakers, whoever caused it.

mod breakers;
mod journal;
mod probe;
mod prober;

use crate::clock;
use crate::gateway::{Gateway, Serving};
use breakers::BreakerJournal;
use journal::Journal;
use prober::{Order, Prober, Shared};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How often the log catches up with what has happened to targets and breakers.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// First probes begin at this rate: a few targets are known at once, and thousands do not stampede.
const FIRST_PROBES_PER_SECOND: f64 = 1000.0;

/// The one task that sees to all probes.
pub(crate) struct HealthChecks {
    gateway: Arc<Gateway>,
    shared: Arc<Shared>,
    probers: HashMap<u64, Prober>,
    journal: Journal,
    breakers: BreakerJournal,
}

impl HealthChecks {
    pub(crate) fn new(gateway: Arc<Gateway>) -> Self {
        Self {
            gateway,
            shared: Arc::default(),
            probers: HashMap::new(),
            journal: Journal::default(),
            breakers: BreakerJournal::default(),
        }
    }

    /// Follows the table until the runtime ends.
    pub(crate) async fn run(mut self) {
        let mut published = self.gateway.published();
        published.mark_changed();
        // not at once: the first probes take a moment
        let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // the sender lives in `self.gateway`
                _ = published.changed() => self.follow(),
                _ = look.tick() => self.look(),
            }
        }
    }

    /// One task for each target with a health check: those that stay go on, the others begin or end.
    fn follow(&mut self) {
        let Some(serving) = self.gateway.serving() else { return };
        let table = &serving.table;
        let mut before = std::mem::take(&mut self.probers);
        let mut new = Vec::new();
        for (id, order) in orders(&serving) {
            match before.remove(&id).filter(|prober| prober.goes_on(&order)) {
                Some(prober) => drop(self.probers.insert(id, prober)),
                None => new.push((id, order)),
            }
        }
        let count = new.len();
        for (at, (id, order)) in new.into_iter().enumerate() {
            let first = first_wait(at, count, order.interval());
            self.probers.insert(id, Prober::start(order, first, Arc::clone(&self.shared)));
        }
        self.journal.follow(table, clock::now());
    }

    fn look(&mut self) {
        if self.probers.values().any(Prober::has_died) {
            tracing::error!("a health check died, it is started again");
            self.follow();
        }
        if let Some((count, reason)) = self.shared.take_own_failures() {
            tracing::warn!(count, reason, "probes could not be made, their targets stay what they are");
        }
        if let Some(table) = self.gateway.table() {
            self.journal.write(&table, clock::now());
            self.breakers.write(&table, clock::now());
        }
    }
}

/// Until the first probe of one of `count` targets that are new: evenly at the rate, and all within their interval.
fn first_wait(at: usize, count: usize, interval: Duration) -> Duration {
    let window = Duration::from_secs_f64(count as f64 / FIRST_PROBES_PER_SECOND).min(interval);
    window.mul_f64(at as f64 / count as f64)
}

/// What is to be probed, by the target's id.
fn orders(serving: &Serving) -> impl Iterator<Item = (u64, Order)> {
    serving.table.upstreams.iter().flat_map(move |upstream| {
        let check = upstream.config().health_check.as_ref().zip(upstream.thresholds());
        check.into_iter().flat_map(move |(check, thresholds)| {
            upstream.targets.iter().filter_map(move |target| {
                let transport = serving.transports.to(target)?;
                Some((target.state.id, Order::new(upstream, target, transport, check, thresholds)))
            })
        })
    })
}

#[cfg(test)]
mod tests;
