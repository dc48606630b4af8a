//! What is told of the traffic: every exchange, once it is over, to whoever counts, logs, traces or remembers it.

#[allow(dead_code, reason = "until all who tell of an exchange are there")]
mod exchanged;

pub(crate) mod metrics;
pub(crate) mod traces;

pub(crate) use exchanged::{Exchanged, Try, TryEnd};

use crate::gateway::{Gateway, WorkerCounters};
use metrics::Metrics;
use policy::table::Edge;
use std::sync::Arc;
use traces::Traces;

/// One worker's share of it.
pub(crate) struct WorkerTelemetry {
    traces: Arc<Traces>,
    metrics: Arc<Metrics>,
    counters: Arc<WorkerCounters>,
    worker: usize,
}

impl WorkerTelemetry {
    /// Of the worker at this position.
    pub(crate) fn new(gateway: &Gateway, worker: usize, counters: Arc<WorkerCounters>) -> Self {
        Self { traces: gateway.traces().clone(), metrics: gateway.metrics().clone(), counters, worker }
    }

    /// An exchange begins, which will be told of.
    pub(crate) fn exchange_began(&self) {
        self.counters.began.add_one();
    }

    /// An exchange is over.
    pub(crate) fn tell(&self, _edge: &Edge, of: &Exchanged<'_>) {
        self.counters.over.add_one();
        self.metrics.count(&self.counters, self.worker, of);
        if let Some(trace) = of.trace {
            self.traces.export(trace, of);
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
}
