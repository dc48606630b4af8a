//! The orderly end: first nobody sends new traffic here, then what is in flight finishes, then the rest is cut.

use crate::gateway::Gateway;
use crate::status::Board;
use crate::worker::{Drained, Workers};
use std::time::Duration;

/// Fails `/readyz`, gives load balancers the configured delay to notice, then drains the workers.
pub async fn drain(gateway: &Gateway, workers: &Workers, board: &Board) {
    board.update(|running| running.draining = true);
    // without a table there was never a listener, and nothing to wait for
    let Some(table) = gateway.table() else { return };
    let (delay, deadline) = (table.server.drain_delay.get(), table.server.drain_timeout.get());
    tracing::info!(delay_ms = millis(delay), timeout_ms = millis(deadline), "draining");
    tokio::time::sleep(delay).await;
    close(workers, board, deadline).await;
}

/// Another process serves on the same sockets: no load balancer has to notice anything.
pub async fn leave(gateway: &Gateway, workers: &Workers, board: &Board) {
    board.update(|running| running.draining = true);
    let Some(table) = gateway.table() else { return };
    let deadline = table.server.drain_timeout.get();
    tracing::info!(timeout_ms = millis(deadline), "draining");
    close(workers, board, deadline).await;
}

/// Ends everything now: whoever owned this data plane is gone.
pub async fn abandon(workers: &Workers, board: &Board) {
    board.update(|running| running.draining = true);
    close(workers, board, Duration::ZERO).await;
}

async fn close(workers: &Workers, board: &Board, deadline: Duration) {
    board.update(|running| running.listening.clear());
    let Drained { finished, aborted } = workers.drain(deadline).await;
    tracing::info!(finished, aborted, "drained");
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}
