//! What is told of the traffic: every exchange, once it is over, to whoever counts, logs, traces or remembers it.

pub(crate) mod access_log;
mod exchanged;
pub(crate) mod metrics;
pub(crate) mod recent;
pub(crate) mod taps;
pub(crate) mod traces;

pub(crate) use exchanged::{Exchanged, Try, TryEnd};

use crate::gateway::{Gateway, WorkerCounters};
use crate::worker::TableHandle;
use access_log::WorkerLog;
use metrics::Metrics;
use policy::mirror::Mirrored;
use policy::table::Edge;
use proto::v1::Recollection;
use recent::Recent;
use std::cell::RefCell;
use std::sync::Arc;
use taps::Taps;
use traces::Traces;

/// One worker's share of it.
pub(crate) struct WorkerTelemetry {
    traces: Arc<Traces>,
    metrics: Arc<Metrics>,
    taps: Arc<Taps>,
    recent: RefCell<Recent>,
    counters: Arc<WorkerCounters>,
    worker: usize,
    pub(crate) log: WorkerLog,
}

impl WorkerTelemetry {
    /// Of the worker at this position.
    pub(crate) fn new(gateway: &Gateway, worker: usize, counters: Arc<WorkerCounters>) -> Self {
        Self {
            traces: gateway.traces().clone(),
            metrics: gateway.metrics().clone(),
            taps: gateway.taps().clone(),
            recent: RefCell::new(Recent::new()),
            counters,
            worker,
            log: WorkerLog::default(),
        }
    }

    /// An exchange begins, which will be told of.
    pub(crate) fn exchange_began(&self) {
        self.counters.began.add_one();
    }

    /// An exchange is over.
    pub(crate) fn tell(&self, edge: &Edge, of: &Exchanged<'_>) {
        self.counters.over.add_one();
        self.metrics.count(&self.counters, self.worker, of);
        if let Some(trace) = of.trace {
            self.traces.export(trace, of);
        }
        self.recent.borrow_mut().remember(of);
        self.taps.tell(of);
        if let (Some(logging), Some(table)) = (&edge.logging, of.table)
            && logging.wants(of.status, of.duration)
        {
            self.log.write(logging, &table.sinks, of);
        }
        if of.local {
            tracing::debug!(
                peer = %of.peer,
                status = of.status,
                reason = of.reason,
                request_id = of.request_id,
                "answered by the gateway"
            );
        }
    }

    /// What became of a copy of a request of a route, by its position in the table.
    pub(crate) fn mirrored(&self, table: &TableHandle, route: usize, mirrored: Mirrored) {
        table.series().count_mirrored(route, self.worker, mirrored);
    }

    /// What is remembered of a request.
    pub(crate) fn recall(&self, request_id: &str) -> Recollection {
        self.recent.borrow().recall(request_id)
    }
}
