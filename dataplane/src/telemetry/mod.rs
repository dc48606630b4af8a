//! What is told of the traffic: every exchange, once it is over, to whoever counts, logs, traces or remembers it.

#[allow(dead_code, reason = "until all who tell of an exchange are there")]
mod exchanged;

pub(crate) mod traces;

pub(crate) use exchanged::{Exchanged, Try, TryEnd};

use crate::gateway::Gateway;
use policy::table::Edge;
use std::sync::Arc;
use traces::Traces;

/// One worker's share of it.
pub(crate) struct WorkerTelemetry {
    traces: Arc<Traces>,
}

impl WorkerTelemetry {
    pub(crate) fn new(gateway: &Gateway) -> Self {
        Self { traces: gateway.traces().clone() }
    }

    /// An exchange is over.
    pub(crate) fn tell(&self, _edge: &Edge, of: &Exchanged<'_>) {
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
