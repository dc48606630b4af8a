//! The thread for everything that is not traffic, from the snapshot on disk to the last line of the access log.

use crate::admin::Admin;
use crate::control::Control;
use crate::drain;
use crate::gateway::Gateway;
use crate::health::HealthChecks;
use crate::keys::KeyFetching;
use crate::status::Board;
use crate::takeover::{Door, Successor};
use crate::telemetry::access_log::LAST_LINES;
use crate::tls;
use crate::worker::Workers;
use std::future::pending;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// How long the control thread waits for a file being written when it ends.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// How long a collector may take over the spans of the requests that ended last.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// Everything that is not traffic: one thread, so that it cannot starve the workers.
pub(crate) struct ControlThread {
    pub(crate) listener: TcpListener,
    pub(crate) admin_http: Admin,
    pub(crate) control: Control,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) board: Board,
    pub(crate) state_dir: PathBuf,
    pub(crate) halting: watch::Sender<bool>,
    pub(crate) restored: mpsc::SyncSender<()>,
    pub(crate) stopping: oneshot::Receiver<()>,
}

/// Why a data plane ends.
enum End {
    /// It is told to.
    Ordered,
    /// Whoever owned it is gone.
    Abandoned,
    /// Another process serves in its place.
    Replaced,
}

impl ControlThread {
    pub(crate) fn run(self, runtime: Runtime) {
        runtime.block_on(self.until_stopped());
        runtime.shutdown_timeout(LAST_WRITES);
    }

    async fn until_stopped(mut self) {
        self.control.activation.restore().await;
        // start() waits for this and cannot be gone
        let _ = self.restored.send(());
        let gateway = self.gateway.clone();
        tokio::spawn(health_checks(gateway.clone()));
        tokio::spawn(key_fetching(gateway.clone()));
        tokio::spawn(tls_files(gateway.clone()));
        let access_log = gateway.access_log().clone();
        tokio::spawn(async move { access_log.watch().await });

        let (workers, board) = (self.workers.clone(), self.board.clone());
        let end = self.until_end().await;
        match end {
            End::Ordered => drain::drain(&gateway, &workers, &board).await,
            End::Replaced => drain::leave(&gateway, &workers, &board).await,
            End::Abandoned => drain::abandon(&workers, &board).await,
        }
        if !matches!(end, End::Abandoned) {
            gateway.traces().shutdown(LAST_SPANS).await;
        }
        gateway.access_log().finish(LAST_LINES).await;
    }

    /// Obeys the control plane and answers on the admin HTTP, until it ends.
    async fn until_end(self) -> End {
        let Self {
            listener, admin_http, mut control, workers, board, state_dir, halting, mut stopping, ..
        } = self;
        let ended = |stop: Result<(), _>| if stop.is_ok() { End::Ordered } else { End::Abandoned };
        let door = Door::open(&state_dir);
        if let Err(error) = &door {
            tracing::warn!(%error, "no other process will be able to take over from this one");
        }
        loop {
            let admin = serve_admin(&listener, admin_http.clone());
            halting.send_replace(false);
            let mut running = tokio::spawn(control.run());
            let successor = tokio::select! {
                stop = &mut stopping => return ended(stop),
                died = &mut running => {
                    let died = died.err();
                    tracing::error!(?died, "the control task died: traffic goes on, new configs need a restart");
                    return ended(stopping.await);
                }
                successor = knock(door.as_ref().ok()) => successor,
            };
            halting.send_replace(true);
            control = match running.await {
                Ok(control) => control,
                Err(died) => {
                    tracing::error!(?died, "the control task died");
                    return ended(stopping.await);
                }
            };
            let disk = control.activation.disk();
            let equip = async {
                let sockets = workers.lend().await?;
                disk.let_go()?;
                successor.equip(board.active_version(), sockets, listener.try_clone()?).await
            };
            tracing::info!("another process takes over");
            match equip.await {
                Ok(()) => {
                    // its own accepts on the same socket
                    admin.abort();
                    return End::Replaced;
                }
                Err(error) => tracing::error!(%error, "it did not take over, this one goes on"),
            }
            admin.abort();
            if let Err(error) = disk.take() {
                tracing::error!(%error, "the state directory is lost to another process: nothing will be stored");
            }
        }
    }
}

fn serve_admin(listener: &TcpListener, admin: Admin) -> JoinHandle<()> {
    let listener = listener.try_clone().and_then(tokio::net::TcpListener::from_std);
    tokio::spawn(async move {
        match listener {
            Ok(listener) => admin.serve(listener).await,
            Err(error) => tracing::error!(%error, "the admin HTTP does not answer"),
        }
    })
}

async fn knock(door: Option<&Door>) -> Successor {
    match door {
        Some(door) => door.knock().await,
        None => pending().await,
    }
}

/// Until the runtime ends.
async fn health_checks(gateway: Arc<Gateway>) {
    let died = tokio::spawn(HealthChecks::new(gateway).run()).await;
    tracing::error!(?died, "the health checks died: targets stay what they are until a restart");
}

/// Until the runtime ends.
async fn key_fetching(gateway: Arc<Gateway>) {
    let died = tokio::spawn(KeyFetching::new(gateway).run()).await;
    tracing::error!(
        ?died,
        "the fetching of keys died: tokens are judged by the keys that are there until a restart"
    );
}

/// Until the runtime ends.
async fn tls_files(gateway: Arc<Gateway>) {
    let died = tokio::spawn(tls::watch(gateway)).await;
    tracing::error!(?died, "the files of TLS are not watched any more: new ones are served after a restart");
}
