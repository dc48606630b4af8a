//! The budget of connections to one target over all workers: `max_connections` permits, a fair and bounded wait.

use crate::telemetry::metrics::Histogram;
use parking_lot::Mutex;
use policy::upstream::TargetState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Shared by all workers that send to the target.
pub struct Lane {
    target: Arc<TargetState>,
    permits: Arc<Semaphore>,
    /// What was last configured.
    limit: Mutex<u32>,
    /// Permits that must go when they come back, because the limit was lowered while they were out.
    debt: AtomicU32,
    /// Requests that wait for a permit: whoever holds an idle connection should close it.
    waiting: AtomicU32,
    failed: AtomicBool,
    last_error: Mutex<Option<String>>,
    /// How long the heads of responses took, one for each worker that sends to the target.
    latencies: Mutex<Vec<Arc<Histogram>>>,
}

/// The right to hold one connection.
pub struct LanePermit {
    lane: Arc<Lane>,
    permit: Option<OwnedSemaphorePermit>,
}

/// Counts a waiting request for as long as it lives, also when its client hangs up.
struct Waiting<'a>(&'a Lane);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    pub(crate) fn new(target: Arc<TargetState>, limit: u32) -> Arc<Self> {
        Arc::new(Self {
            target,
            permits: Arc::new(Semaphore::new(limit as usize)),
            limit: Mutex::new(limit),
            debt: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            failed: AtomicBool::new(false),
            last_error: Mutex::new(None),
            latencies: Mutex::default(),
        })
    }

    /// Where one worker, and nobody else, notes how long the heads of responses take.
    pub(crate) fn latencies_of_worker(&self) -> Arc<Histogram> {
        let own = Arc::<Histogram>::default();
        self.latencies.lock().push(Arc::clone(&own));
        own
    }

    /// Those of all workers.
    pub(crate) fn latencies(&self) -> Vec<Arc<Histogram>> {
        self.latencies.lock().clone()
    }

    /// The target it leads to.
    pub(crate) fn target(&self) -> &Arc<TargetState> {
        &self.target
    }

    /// Follows a config edit without touching a connection.
    pub(crate) fn resize(&self, limit: u32) {
        let mut current = self.limit.lock();
        if limit > *current {
            let mut more = limit - *current;
            let forgiven = self.take_debt(more);
            more -= forgiven;
            self.permits.add_permits(more as usize);
        } else {
            let less = *current - limit;
            let gone = self.permits.forget_permits(less as usize);
            self.debt.fetch_add(less - u32::try_from(gone).unwrap_or(less), Ordering::Relaxed);
        }
        *current = limit;
    }

    /// Takes up to `most` from the debt; how much it was.
    fn take_debt(&self, most: u32) -> u32 {
        let taken =
            self.debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |debt| Some(debt - debt.min(most)));
        taken.unwrap_or(0).min(most)
    }

    /// A permit at once, or within `patience`; `None` when there was none.
    pub(crate) async fn acquire(self: &Arc<Self>, patience: Duration) -> Option<LanePermit> {
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let _waiting = Waiting(self);
                tokio::time::timeout(patience, self.permits.clone().acquire_owned()).await.ok()?.ok()?
            }
        };
        self.target.connections.fetch_add(1, Ordering::Relaxed);
        Some(LanePermit { lane: self.clone(), permit: Some(permit) })
    }

    /// Requests that wait for a permit.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether an idle connection is better closed, so that a request on another worker can open one.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting() > 0
    }

    pub(crate) fn connect_failed(&self, error: &dyn std::fmt::Display) {
        *self.last_error.lock() = Some(error.to_string());
        self.failed.store(true, Ordering::Release);
    }

    pub(crate) fn connected(&self) {
        if self.failed.swap(false, Ordering::AcqRel) {
            *self.last_error.lock() = None;
        }
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }
}

impl Drop for LanePermit {
    fn drop(&mut self) {
        self.lane.target.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(permit) = self.permit.take()
            && self.lane.take_debt(1) == 1
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_limit_holds_and_follows_an_edit_in_both_directions() {
        let lane = Lane::new(TargetState::new(), 2);
        let first = lane.acquire(Duration::ZERO).await.expect("one");
        let second = lane.acquire(Duration::ZERO).await.expect("two");
        assert!(lane.acquire(Duration::ZERO).await.is_none());
        assert_eq!(lane.target().connections.load(Ordering::Relaxed), 2);

        lane.resize(1);
        drop(first);
        assert!(lane.acquire(Duration::ZERO).await.is_none(), "the lowered limit holds");
        drop(second);
        let one = lane.acquire(Duration::ZERO).await.expect("one is allowed");
        assert!(lane.acquire(Duration::ZERO).await.is_none());

        lane.resize(2);
        let _two = lane.acquire(Duration::ZERO).await.expect("the raised limit holds");
        assert!(lane.acquire(Duration::ZERO).await.is_none());
        drop(one);
        assert_eq!(lane.target().connections.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_request_waits_for_a_connection_that_comes_back() {
        let lane = Lane::new(TargetState::new(), 1);
        let held = lane.acquire(Duration::ZERO).await.expect("one");
        let waiter = tokio::spawn({
            let lane = lane.clone();
            async move { lane.acquire(Duration::from_secs(10)).await.is_some() }
        });
        while !lane.is_wanted() {
            tokio::task::yield_now().await;
        }
        drop(held);
        assert!(waiter.await.expect("waiter"));
        assert!(!lane.is_wanted());
    }
}
