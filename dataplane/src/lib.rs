//! The data plane as a library: one call starts the real thing, on any ports, in any process.

mod activation;
mod admin;
mod attempt;
mod body;
mod chain;
mod clock;
mod connection;
mod control;
mod dial;
mod disk;
mod drain;
mod edge;
mod exchange;
mod forward_auth;
mod gateway;
mod h1;
mod h2;
mod health;
mod keys;
mod limit;
mod listener;
mod orders;
mod passwords;
mod pool;
mod proxy;
mod settings;
pub mod signals;
mod status;
mod target;
mod telemetry;
#[cfg(test)]
mod test_support;
mod tls;
mod worker;

pub use settings::{BadInstanceName, InstanceName, Settings, available_cores};

use activation::Activation;
use activation::listeners::Listeners;
use admin::Admin;
use anyhow::Context as _;
use control::{Control, Identification};
use disk::Disk;
use gateway::Gateway;
use health::HealthChecks;
use keys::KeyFetching;
use status::Board;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use telemetry::access_log::AccessLog;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use worker::Workers;

/// How long the control thread waits for a file being written when it ends.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// How long a collector may take over the spans of the requests that ended last.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// How long an access log may take over the last lines.
const LAST_LINES: Duration = Duration::from_secs(5);

/// A running data plane. Dropping it closes every connection at once; [`Bound::shutdown`] is the orderly way.
#[derive(Debug)]
pub struct Bound {
    /// Where the admin HTTP answers.
    pub admin: SocketAddr,
    /// The name in force.
    pub instance: String,
    board: Board,
    access_log: AccessLogFiles,
    stop: oneshot::Sender<()>,
    stopped: oneshot::Receiver<()>,
}

/// Starts a data plane: its workers, and one thread for everything that is not traffic. Within or without a runtime.
///
/// When it returns, the snapshot on disk serves, if there is one; the control plane may be there or not.
pub fn start(settings: Settings) -> anyhow::Result<Bound> {
    let started_ms = jiff::Timestamp::now().as_millisecond();
    let state_dir = settings.resolved_state_dir()?;
    let disk = Disk::open(state_dir.clone())
        .with_context(|| format!("cannot use the state directory {}", state_dir.display()))?;
    let (listener, admin) = bind_admin(settings.admin)
        .with_context(|| format!("the admin address {} cannot be bound", settings.admin))?;

    let instance = settings.instance.to_string();
    let gateway = Gateway::new(instance.clone());
    let worker_count = settings.workers.get();
    let workers = Workers::spawn(worker_count, gateway.clone()).context("cannot start the workers")?;
    let workers = Arc::new(workers);

    let board = Board::default();
    let identification = Identification {
        instance: instance.clone(),
        bind: settings.bind.to_string(),
        admin: admin.to_string(),
        workers: worker_count as u32,
        started_ms,
    };
    let listeners = Listeners::new(settings.bind, gateway.clone(), workers.clone(), worker_count);
    let activation = Activation::new(gateway.clone(), listeners, disk, board.clone());
    let control_plane = settings.control_plane;
    let control = Control {
        control_plane,
        identification,
        activation,
        gateway: gateway.clone(),
        board: board.clone(),
        workers: workers.clone(),
    };
    let admin_http = Admin::new(board.clone(), gateway.clone());

    let (restored, restoring) = mpsc::sync_channel(1);
    let (stop, stopping) = oneshot::channel();
    let (ended, stopped) = oneshot::channel();
    let access_log = AccessLogFiles(gateway.access_log().clone());
    let thread = ControlThread {
        listener,
        admin_http,
        control,
        gateway,
        workers,
        board: board.clone(),
        restored,
        stopping,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            thread.run(runtime);
            // whoever waits for it may be gone
            let _ = ended.send(());
        })
        .context("cannot start the control thread")?;
    restoring.recv().context("the control thread died at its start")?;

    tracing::info!(instance, %admin, workers = worker_count, "data plane started");
    Ok(Bound { admin, instance, board, access_log, stop, stopped })
}

/// The files that access logs are written to.
#[derive(Debug, Clone)]
pub struct AccessLogFiles(Arc<AccessLog>);

impl AccessLogFiles {
    /// Opens them anew by their paths: they were moved.
    pub fn reopen(&self) {
        match self.0.reopen() {
            0 => tracing::info!("no access log is written to a file: nothing to open anew"),
            files => tracing::info!(files, "the files of the access log are opened anew"),
        }
    }
}

fn bind_admin(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

impl Bound {
    /// Where traffic is served now: the listeners of the active config.
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.board.get().listening
    }

    /// The version that serves; none before the first one.
    pub fn active_version(&self) -> Option<u64> {
        self.board.get().active.map(|identity| identity.version)
    }

    /// The files of its access logs; they may be moved also while it drains.
    pub fn access_log(&self) -> AccessLogFiles {
        self.access_log.clone()
    }

    /// Waits until `/readyz` would say yes.
    pub async fn ready(&self) {
        // the sender lives in `self.board`, so this cannot fail
        let _ = self.board.watch().wait_for(|running| running.readiness().is_ok()).await;
    }

    /// Drains: `/readyz` fails, the configured delay passes, requests in flight finish or are cut at the deadline.
    pub async fn shutdown(self) {
        // an error means that the thread has ended already, which is what is wanted
        let _ = self.stop.send(());
        let _ = self.stopped.await;
    }
}

/// Everything that is not traffic: one thread, so that it cannot starve the workers.
struct ControlThread {
    listener: TcpListener,
    admin_http: Admin,
    control: Control,
    gateway: Arc<Gateway>,
    workers: Arc<Workers>,
    board: Board,
    restored: mpsc::SyncSender<()>,
    stopping: oneshot::Receiver<()>,
}

impl ControlThread {
    fn run(self, runtime: Runtime) {
        runtime.block_on(self.until_stopped());
        runtime.shutdown_timeout(LAST_WRITES);
    }

    async fn until_stopped(self) {
        let Self { listener, admin_http, mut control, gateway, workers, board, restored, mut stopping } =
            self;
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => drop(tokio::spawn(admin_http.serve(listener))),
            Err(error) => tracing::error!(%error, "the admin HTTP does not answer"),
        }
        control.activation.restore().await;
        // start() waits for this and cannot be gone
        let _ = restored.send(());

        tokio::spawn(health_checks(gateway.clone()));
        tokio::spawn(key_fetching(gateway.clone()));
        tokio::spawn(tls_files(gateway.clone()));
        let access_log = gateway.access_log().clone();
        tokio::spawn(async move { access_log.watch().await });
        let mut control = tokio::spawn(control.run());
        let stop = tokio::select! {
            stop = &mut stopping => stop,
            died = &mut control => {
                tracing::error!(?died, "the control task died: traffic goes on, new configs need a restart");
                stopping.await
            }
        };
        match stop {
            Ok(()) => {
                drain::drain(&gateway, &workers, &board).await;
                gateway.traces().shutdown(LAST_SPANS).await;
            }
            Err(_) => drain::abandon(&workers, &board).await,
        }
        gateway.access_log().finish(LAST_LINES).await;
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
