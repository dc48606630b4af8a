//! The task of one target: probe, tell, wait, again.

use super::probe::{Failure, Probe};
use crate::clock;
use crate::dial::Transport;
use parking_lot::Mutex;
use policy::config::health::HealthCheckConfig;
use policy::health::Thresholds;
use policy::upstream::{Target, TargetState, Upstream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Each probe is a connection of its own: so many descriptors they take at most.
pub(super) const MAX_AT_ONCE: usize = 256;

/// An interval may be so much shorter or longer, so that instances and targets do not fall into step.
const JITTER: f64 = 0.1;

/// What all probers have in common.
pub(super) struct Shared {
    pub(super) slots: Semaphore,
    own_failures: Mutex<(u64, String)>,
}

/// What a prober does. Another one in its place is a reason to begin anew.
pub(super) struct Order {
    upstream: Arc<str>,
    probe: Probe,
    check: HealthCheckConfig,
    thresholds: Thresholds,
    transport: Arc<Transport>,
    state: Arc<TargetState>,
}

/// Dropped, it stops.
pub(super) struct Prober {
    check: HealthCheckConfig,
    thresholds: Thresholds,
    transport: Arc<Transport>,
    task: JoinHandle<()>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { slots: Semaphore::new(MAX_AT_ONCE), own_failures: Mutex::default() }
    }
}

impl Shared {
    fn own_failure(&self, reason: String) {
        let mut failures = self.own_failures.lock();
        *failures = (failures.0 + 1, reason);
    }

    /// How many probes this machine could not make since the last call, and why not the last one.
    pub(super) fn take_own_failures(&self) -> Option<(u64, String)> {
        let failures = std::mem::take(&mut *self.own_failures.lock());
        (failures.0 > 0).then_some(failures)
    }
}

impl Order {
    pub(super) fn new(
        upstream: &Upstream,
        target: &Target,
        transport: &Arc<Transport>,
        check: &HealthCheckConfig,
        thresholds: Thresholds,
    ) -> Self {
        Self {
            upstream: Arc::clone(&upstream.name),
            probe: Probe::new(&target.addr, transport, check),
            check: check.clone(),
            thresholds,
            transport: Arc::clone(transport),
            state: Arc::clone(&target.state),
        }
    }

    pub(super) fn interval(&self) -> Duration {
        self.check.interval.get()
    }

    async fn carry_out(self, first: Duration, shared: Arc<Shared>) {
        sleep(first).await;
        loop {
            self.probe_once(&shared).await;
            sleep(jittered(self.interval(), fastrand::f64())).await;
        }
    }

    async fn probe_once(&self, shared: &Shared) {
        // never closed
        let Ok(_slot) = shared.slots.acquire().await else { return };
        // on the heap for as long as it lasts: of thousands of targets few are probed at a time
        let result = match Box::pin(self.probe.run()).await {
            Ok(()) => Ok(()),
            Err(Failure::Target(reason)) => Err(reason),
            Err(Failure::Own(reason)) => return shared.own_failure(reason),
        };
        if let Err(reason) = &result {
            tracing::debug!(upstream = %self.upstream, target = %self.probe.address(), reason, "probe failed");
        }
        self.state.probed(result, self.thresholds, clock::now());
    }
}

impl Prober {
    pub(super) fn start(order: Order, first: Duration, shared: Arc<Shared>) -> Self {
        let (check, thresholds, transport) =
            (order.check.clone(), order.thresholds, Arc::clone(&order.transport));
        Self { check, thresholds, transport, task: tokio::spawn(order.carry_out(first, shared)) }
    }

    /// Whether it does what the order says. Its target is the same: ids are never used twice.
    pub(super) fn goes_on(&self, order: &Order) -> bool {
        self.check == order.check
            && self.thresholds == order.thresholds
            && Arc::ptr_eq(&self.transport, &order.transport)
            && !self.has_died()
    }

    /// It never ends by itself.
    pub(super) fn has_died(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The interval with a tenth more or less, by a number from 0 to 1.
fn jittered(interval: Duration, unit: f64) -> Duration {
    interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_varies_by_a_tenth_and_not_more() {
        let interval = Duration::from_secs(10);
        assert_eq!(jittered(interval, 0.0), Duration::from_secs(9));
        assert_eq!(jittered(interval, 0.5), interval);
        assert_eq!(jittered(interval, 1.0), Duration::from_secs(11));
        let some: Vec<_> = (0..1000).map(|_| jittered(interval, fastrand::f64())).collect();
        assert!(some.iter().all(|one| (9.0..=11.0).contains(&one.as_secs_f64())));
        assert!(some.iter().any(|one| *one < interval) && some.iter().any(|one| *one > interval));
    }
}
