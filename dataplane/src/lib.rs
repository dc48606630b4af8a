//! The data plane as a library: one call starts the real thing, on any ports, in any process.

mod activation;
mod admin;
mod attempt;
mod body;
mod chain;
mod clock;
mod connection;
mod control;
mod control_thread;
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
mod inherited;
mod keys;
mod limit;
mod listener;
mod mirror;
mod orders;
mod passwords;
mod pool;
mod proxy;
mod settings;
pub mod signals;
mod status;
mod takeover;
mod target;
mod telemetry;
#[cfg(test)]
mod test_support;
mod tls;
mod worker;

pub use settings::{Arguments, BadInstanceName, InstanceName, LogFormat, Settings, available_cores};

use activation::Activation;
use activation::listeners::Listeners;
use admin::Admin;
use anyhow::Context as _;
use control::{Control, Identification};
use control_thread::ControlThread;
use disk::Disk;
use gateway::Gateway;
use inherited::Inherited;
use proto::access::Access;
use status::Board;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use takeover::Predecessor;
use telemetry::access_log::AccessLog;
use tokio::sync::{oneshot, watch};
use worker::Workers;

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
    let inherited =
        Inherited::from_systemd().context("systemd has passed something else than TCP sockets")?;
    tracing::debug!(sockets = ?inherited.addresses(), "passed by systemd");
    let found = if settings.takeover { Predecessor::find(&state_dir) } else { Ok(None) };
    let found = found.context("the data plane that runs cannot be taken over from")?;
    let (predecessor, inherited, admin) = match found {
        Some((predecessor, equipment)) => {
            (Some(predecessor), inherited.and_of_predecessor(equipment.sockets), Some(equipment.admin))
        }
        None => {
            let admin = inherited.single(settings.admin)?;
            (None, inherited, admin)
        }
    };
    let inherited = Arc::new(inherited);
    let disk = Disk::open(state_dir.clone())
        .with_context(|| format!("cannot use the state directory {}", state_dir.display()))?;
    let (listener, admin) = admin_socket(admin, settings.admin)
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
    let listeners = Listeners::new(settings.bind, gateway.clone(), workers.clone(), worker_count)
        .inheriting(inherited.clone());
    let activation = Activation::new(gateway.clone(), listeners, disk, board.clone());
    let control_plane = Access { url: settings.control_plane, ca: settings.control_plane_ca };
    if settings.token_file.is_some() {
        control_plane.check_token_is_safe()?;
    }
    let (halting, halt) = watch::channel(false);
    let control = Control {
        control_plane,
        token_file: settings.token_file,
        identification,
        activation,
        gateway: gateway.clone(),
        board: board.clone(),
        workers: workers.clone(),
        halt,
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
        state_dir,
        halting,
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
    inherited.forget_predecessor();
    if let Some(predecessor) = predecessor {
        let (serves, served) = (board.active_version(), predecessor.version);
        anyhow::ensure!(serves == served, "version {serves} would take over from version {served}");
        predecessor.relieve().context("the data plane that runs goes on")?;
        tracing::info!(version = served, "taken over");
    }

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

fn admin_socket(
    inherited: Option<TcpListener>,
    address: SocketAddr,
) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = match inherited {
        Some(listener) => listener,
        None => TcpListener::bind(address)?,
    };
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
        Some(self.board.active_version()).filter(|version| *version > 0)
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

    /// Waits until it has ended by itself: another process has taken its place, and the last client is gone.
    pub async fn replaced(&mut self) {
        // an error means that the thread is gone, which is an end as well
        let _ = (&mut self.stopped).await;
    }

    /// Drains: `/readyz` fails, the configured delay passes, requests in flight finish or are cut at the deadline.
    pub async fn shutdown(self) {
        // an error means that the thread has ended already, which is what is wanted
        let _ = self.stop.send(());
        let _ = self.stopped.await;
    }
}
