//! The line to the control plane: joined, served, and joined again for as long as the process lives.
//!
//! Nothing that happens here touches traffic but a commit: an absent, slow, broken or lying control plane costs a log
//! line and a reconnect.

mod backoff;
mod questions;
mod session;

use crate::activation::Activation;
use crate::gateway::Gateway;
use crate::status::Board;
use crate::worker::Workers;
use backoff::Backoff;
use proto::access::{Access, Bearer, Token, Unusable};
use proto::v1::Hello;
use session::{Ended, Session};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tonic::transport::Endpoint;

/// A status at least this often, so that silence means something.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// How soon it is told that a target or a breaker has changed its state.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// To connect, and to be answered once connected.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A peer that is gone without a word is noticed after interval and timeout together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest table: well above what 100 000 routes take.
const MAX_MESSAGE: usize = 256 * 1024 * 1024;

/// A 10 000-route snapshot is about this large, and then needs no window update on its way.
const WINDOW: u32 = 4 * 1024 * 1024;

/// What stays the same in every [`Hello`].
#[derive(Debug, Clone)]
pub struct Identification {
    /// This instance's name.
    pub instance: String,
    /// Where traffic is served.
    pub bind: String,
    /// Where the admin HTTP answers.
    pub admin: String,
    /// Threads that serve traffic.
    pub workers: u32,
    /// When the process started.
    pub started_ms: i64,
}

/// The control task's all.
pub struct Control {
    /// Whom to join.
    pub control_plane: Access,
    /// Where the token for that is, if one is wanted.
    pub token_file: Option<PathBuf>,
    /// Who joins.
    pub identification: Identification,
    /// What commits change.
    pub activation: Activation,
    /// For the status.
    pub gateway: Arc<Gateway>,
    /// For the status.
    pub board: Board,
    /// What they remember of requests.
    pub workers: Arc<Workers>,
    /// Told `true`, it stops where nothing is half done.
    pub halt: watch::Receiver<bool>,
}

impl Control {
    /// Runs until it is halted, and can be run again; else until the runtime ends.
    pub async fn run(mut self) -> Self {
        let mut backoff = Backoff::default();
        let mut reported = String::new();
        let metrics = Arc::clone(self.gateway.metrics());
        loop {
            let begun = Instant::now();
            let mut halt = self.halt.clone();
            let joined = tokio::select! {
                joined = Session::join(&mut self) => joined,
                () = halted(&mut halt) => Err(Ended::Halted),
            };
            let ended = match joined {
                Ok(session) => {
                    reported.clear();
                    metrics.connected(true);
                    session.serve().await
                }
                Err(ended) => ended,
            };
            metrics.connected(false);
            self.activation.abandon();
            if let Ended::Halted = ended {
                return self;
            }
            backoff.session_lasted(begun.elapsed());
            let wait = backoff.next(fastrand::f64());
            self.report(&ended, wait, &mut reported);
            // woken early by a halt, it goes on to hear of it
            let _ = tokio::time::timeout(wait, halted(&mut halt)).await;
            // what kept the snapshot on disk from serving at the start, a taken port, may be over by now
            self.activation.restore().await;
        }
    }

    /// Loud when something is new, quiet while it only goes on.
    fn report(&self, ended: &Ended, wait: Duration, last: &mut String) {
        let (reason, retry_ms) = (ended.to_string(), wait.as_millis() as u64);
        if reason == *last {
            tracing::debug!(control_plane = %self.control_plane.url, reason, retry_ms, "still no control plane");
            return;
        }
        tracing::warn!(control_plane = %self.control_plane.url, reason, retry_ms, "no control plane, traffic goes on");
        *last = reason;
    }

    fn hello(&self) -> Hello {
        let Identification { instance, bind, admin, workers, started_ms } = self.identification.clone();
        let running = self.board.get();
        let (active_version, active_sha256) =
            running.active.map_or((0, String::new()), |identity| (identity.version, identity.sha256));
        Hello {
            instance,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_id: running.cluster_id,
            active_version,
            active_sha256,
            bind,
            admin,
            workers,
            started_ms,
            orders_revision: running.orders_revision,
        }
    }
}

/// Until it is to stop; the one who could say so lives as long as the process.
async fn halted(halt: &mut watch::Receiver<bool>) {
    if halt.wait_for(|halted| *halted).await.is_err() {
        std::future::pending().await
    }
}

/// Also the token and the authorities as their files are now.
fn door(control: &Control) -> Result<(Endpoint, Bearer), Unusable> {
    let endpoint = control
        .control_plane
        .endpoint()?
        .connect_timeout(JOIN_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let token = control.token_file.as_deref().map(Token::read).transpose()?;
    Ok((endpoint, Bearer(token)))
}

#[cfg(test)]
mod tests;
