//! What is told of the traffic: every exchange, once it is over, to whoever counts, logs, traces or remembers it.

#[allow(dead_code, reason = "until all who tell of an exchange are there")]
mod exchanged;

pub(crate) use exchanged::{Exchanged, Try, TryEnd};

use policy::table::Edge;

/// One worker's share of it.
#[derive(Default)]
pub(crate) struct WorkerTelemetry {}

impl WorkerTelemetry {
    /// An exchange is over.
    pub(crate) fn tell(&self, _edge: &Edge, of: &Exchanged<'_>) {
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
