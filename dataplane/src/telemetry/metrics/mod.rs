//! Metrics: what the workers count, each for itself, and the page on which a scrape reads the sums.
//!
//! Nothing on a request's way is locked, hashed or shared between workers: a table brings the series of its routes
//! along, and each worker has its own place in them.

mod count;
mod listeners;
mod page;
mod pairs;
mod process;
mod reasons;
mod scrape;
mod series;
mod traffic;

pub(crate) use count::{Count, zeros};
pub(crate) use page::Format;
pub(crate) use reasons::ReasonCounts;
pub(crate) use scrape::scrape;
pub(crate) use series::TableSeries;
pub(crate) use traffic::Meter;

use super::Exchanged;
use crate::gateway::WorkerCounters;
pub(crate) use count::Histogram;
use parking_lot::Mutex;
use policy::clock::Now;
use policy::table::RouteTable;
use reasons::Reasons;
use series::{Registry, RouteSeries};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What became of a config here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It serves.
    Committed,
    /// It cannot be served here.
    Rejected,
    /// It could have been, but was not to be.
    Aborted,
    /// It was on disk and serves.
    Restored,
}

const APPLIED: [(Applied, &str); 4] = [
    (Applied::Committed, "committed"),
    (Applied::Rejected, "rejected"),
    (Applied::Aborted, "aborted"),
    (Applied::Restored, "restored"),
];

/// Metrics of the process, but for what tables and workers hold.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    reasons: Reasons,
    // the next three are written by the control task alone
    applied: [Count; APPLIED.len()],
    prepares: Histogram,
    commits: Histogram,
    connected: AtomicBool,
}

impl Metrics {
    /// A table is about to serve on so many workers.
    pub(crate) fn adopt(&self, table: &RouteTable, workers: usize, now: Now) -> TableSeries {
        self.registry.lock().adopt(table, workers, now)
    }

    /// An exchange is over; on the thread of its worker.
    pub(crate) fn count(&self, counters: &WorkerCounters, worker: usize, of: &Exchanged<'_>) {
        let Some(series) = of.table.and_then(|table| table.series().entry(of.route_at)) else { return };
        series.count(worker, of);
        if of.local
            && let Some(reason) = of.reason
        {
            self.reasons.count(reason, &counters.reasons);
        }
    }

    /// What is counted of every route, by name.
    fn routes(&self) -> Vec<(Arc<str>, Arc<RouteSeries>)> {
        self.registry.lock().routes.all()
    }

    /// What became of a config.
    pub(crate) fn applied(&self, what: Applied) {
        if let Some(at) = APPLIED.iter().position(|(known, _)| *known == what) {
            self.applied[at].add_one();
        }
    }

    /// How long a config took to be prepared, whatever came of it.
    pub(crate) fn prepared(&self, took: Duration) {
        self.prepares.observe(took);
    }

    /// How long a commit took.
    pub(crate) fn committed(&self, took: Duration) {
        self.commits.observe(took);
    }

    /// Whether this instance has joined a control plane.
    pub(crate) fn connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
