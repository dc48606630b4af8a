//! From a snapshot to traffic, all or nothing: prepared beside what runs, then committed or forgotten.
//!
//! Everything that can fail happens in [`Activation::prepare`]: the table is built, the ports are bound, certificates
//! are read, the file is written. What a commit still has to do is a rename, a pointer swap and `listen()`.

mod candidate;
pub mod listeners;

use crate::disk::{Disk, LoadError};
use crate::gateway::{Gateway, Serving};
use crate::status::{Board, Identity};
use crate::telemetry::metrics::Applied;
use candidate::{Build, Candidate};
use listeners::Listeners;
use policy::diagnostic::{Code, Diagnostic};
use proto::v1::{Orders, Snapshot};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;

/// The one place that changes what this instance serves; owned by the control task.
pub struct Activation {
    gateway: Arc<Gateway>,
    disk: Arc<Disk>,
    board: Board,
    listeners: Listeners,
    prepared: Option<Candidate>,
}

/// How long a config waits for the addresses of its targets' names.
const NAMES_PATIENCE: Duration = Duration::from_secs(1);

/// Whether the last request has left a table is looked at this soon, and then ever less often.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LATER_LOOKS: Duration = Duration::from_secs(1);

/// A commit that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// What serves now.
    pub identity: Identity,
    /// From the order to the swap.
    pub took: Duration,
}

/// A commit of a snapshot that is not prepared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {version} is not prepared{}", .prepared.map(|v| format!(", {v} is")).unwrap_or_default())]
pub struct NotPrepared {
    /// What should have been committed.
    pub version: u64,
    /// What could have been.
    pub prepared: Option<u64>,
}

/// Holds a table that serves no more until no request runs by it. Whoever lets go of it last frees it, which takes
/// milliseconds for ten thousand routes: that must not be a worker.
async fn retired(before: Arc<Serving>) {
    let mut pause = FIRST_LOOK;
    // only the holders that it still has could add another one
    while Arc::strong_count(&before) > 1 {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LATER_LOOKS);
    }
    spawn_blocking(move || drop(before));
}

impl Activation {
    /// Nothing is active yet.
    pub fn new(gateway: Arc<Gateway>, listeners: Listeners, disk: Disk, board: Board) -> Self {
        Self { gateway, disk: Arc::new(disk), board, listeners, prepared: None }
    }

    /// Builds the snapshot beside what runs and opens what it needs. Nothing changes; the one prepared before is
    /// forgotten.
    pub async fn prepare(&mut self, snapshot: Snapshot) -> Result<(), Vec<Diagnostic>> {
        let begun = Instant::now();
        let prepared = self.try_prepare(snapshot).await;
        let metrics = self.gateway.metrics();
        metrics.prepared(begun.elapsed());
        if prepared.is_err() {
            metrics.applied(Applied::Rejected);
        }
        prepared
    }

    async fn try_prepare(&mut self, snapshot: Snapshot) -> Result<(), Vec<Diagnostic>> {
        self.prepared = None;
        refuse_nameless(&snapshot)?;
        self.refuse_foreign(&snapshot)?;
        self.refuse_older(&snapshot)?;
        self.prepared = Some(self.build(snapshot, Some(Arc::clone(&self.disk))).await?);
        Ok(())
    }

    /// Makes the prepared snapshot the one that serves.
    pub async fn commit(&mut self, version: u64) -> Result<Committed, NotPrepared> {
        let begun = Instant::now();
        match self.prepared.take_if(|candidate| candidate.snapshot.version == version) {
            Some(candidate) => {
                let committed = self.activate(candidate, begun).await;
                self.gateway.metrics().applied(Applied::Committed);
                self.gateway.metrics().committed(committed.took);
                Ok(committed)
            }
            None => {
                Err(NotPrepared { version, prepared: self.prepared.as_ref().map(|c| c.snapshot.version) })
            }
        }
    }

    /// Forgets the prepared snapshot, if it is this one, and frees the ports it had reserved.
    pub fn abort(&mut self, version: u64) {
        if self.prepared.take_if(|candidate| candidate.snapshot.version == version).is_some() {
            self.gateway.metrics().applied(Applied::Aborted);
        }
    }

    /// Forgets whatever is prepared: nobody is left who could commit it.
    pub fn abandon(&mut self) {
        if let Some(candidate) = self.prepared.take() {
            self.gateway.metrics().applied(Applied::Aborted);
            tracing::info!(version = candidate.snapshot.version, "prepared config dropped");
        }
    }

    /// Carries out standing orders, for this table and for every later one; returns their revision once they hold.
    /// `None`: they are another cluster's.
    pub async fn obey(&mut self, orders: Orders) -> Option<u64> {
        let ours = self.board.get().cluster_id;
        if !ours.is_empty() && ours != orders.cluster_id {
            tracing::warn!(ours, theirs = orders.cluster_id, "orders of another cluster are not carried out");
            return None;
        }
        let (revision, drained, held) = (orders.revision, orders.drained.len(), orders.held.len());
        self.gateway.obey(orders.clone());
        tracing::info!(revision, drained, held, "standing orders in force");
        let disk = Arc::clone(&self.disk);
        let not_stored = match spawn_blocking(move || disk.store_orders(&orders)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panicked) => Some(panicked.to_string()),
        };
        if let Some(error) = &not_stored {
            tracing::error!(error, "the standing orders hold, but a restart would not know them");
        }
        self.board.update(|running| {
            running.orders_revision = revision;
            running.orders_not_stored = not_stored;
        });
        Some(revision)
    }

    /// Where the last committed snapshot is kept.
    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Serves the snapshot on disk unless something serves already. What goes wrong is logged, never fatal.
    pub async fn restore(&mut self) {
        if self.board.get().active.is_some() {
            return;
        }
        let Some(snapshot) = self.load(Disk::load).await else { return };
        self.board.update(|running| running.cluster_id.clone_from(&snapshot.cluster_id));
        self.restore_orders().await;
        let (version, begun) = (snapshot.version, Instant::now());
        match self.build(snapshot, None).await {
            Ok(candidate) => {
                tracing::info!(version, path = %self.disk.path().display(), "serving the snapshot on disk");
                self.activate(candidate, begun).await;
                self.gateway.metrics().applied(Applied::Restored);
            }
            Err(diagnostics) => {
                self.gateway.metrics().applied(Applied::Rejected);
                tracing::error!(version, problems = %one_line(&diagnostics), "cannot serve the snapshot on disk");
            }
        }
    }

    /// Those of this cluster; the control plane sends what has changed since.
    async fn restore_orders(&mut self) {
        let Some(orders) = self.load(Disk::load_orders).await else { return };
        if orders.cluster_id == self.board.get().cluster_id {
            self.board.update(|running| running.orders_revision = orders.revision);
            self.gateway.obey(Orders { resets: Vec::new(), ..orders });
        }
    }

    async fn load<T: Send + 'static>(
        &self,
        load: impl FnOnce(&Disk) -> Result<Option<T>, LoadError> + Send + 'static,
    ) -> Option<T> {
        let disk = Arc::clone(&self.disk);
        match spawn_blocking(move || load(&disk)).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(error @ LoadError::Corrupt { .. })) => {
                tracing::error!(%error, "nothing to start from");
                None
            }
            Ok(Err(LoadError::Unreadable { path, source })) => {
                tracing::error!(path = %path.display(), error = %source, "nothing to start from");
                None
            }
            Err(error) => {
                tracing::error!(%error, "reading the state directory failed");
                None
            }
        }
    }

    /// On a blocking thread: ten thousand routes take their time, and the stream has to stay alive.
    async fn build(&self, snapshot: Snapshot, disk: Option<Arc<Disk>>) -> Result<Candidate, Vec<Diagnostic>> {
        let build = Build {
            previous: self.gateway.table(),
            planner: self.planner(),
            access_log: self.gateway.access_log().clone(),
            transports: self.gateway.serving().map(|serving| Arc::clone(&serving.transports)),
            disk,
        };
        match spawn_blocking(move || build.candidate(snapshot)).await {
            Ok(built) => {
                if let Ok(candidate) = &built {
                    candidate.transports.settle(NAMES_PATIENCE).await;
                }
                built
            }
            Err(panicked) => Err(vec![Diagnostic::new(
                Code::SNAPSHOT,
                format!("building the route table failed unexpectedly: {panicked}"),
            )]),
        }
    }

    /// A process on its way out opens nothing any more.
    fn planner(&self) -> Option<listeners::Planner> {
        (!self.board.get().draining).then(|| self.listeners.planner())
    }

    async fn activate(&mut self, candidate: Candidate, begun: Instant) -> Committed {
        let Candidate { snapshot, table, listeners, log_outputs, transports, staged } = candidate;
        let identity = Identity { version: snapshot.version, sha256: snapshot.sha256 };
        let not_stored = match staged {
            Some(staged) => store(staged).await.err(),
            None => None,
        };
        if let Some(before) = self.gateway.publish(table, transports) {
            tokio::spawn(retired(before));
        }
        drop(log_outputs);
        if let Some(listeners) = listeners.filter(|_| !self.board.get().draining) {
            self.listeners.switch(listeners);
        }
        let took = begun.elapsed();

        let listening = self.listeners.addresses();
        let (version, sha256, took_us) = (identity.version, &identity.sha256, took.as_micros() as u64);
        tracing::info!(version, sha256, ?listening, took_us, "config active");
        self.board.update(|running| {
            running.cluster_id = snapshot.cluster_id;
            running.active = Some(identity.clone());
            running.listening = if running.draining { Vec::new() } else { listening };
            running.not_stored = not_stored;
        });
        Committed { identity, took }
    }

    fn refuse_foreign(&self, snapshot: &Snapshot) -> Result<(), Vec<Diagnostic>> {
        let ours = self.board.get().cluster_id;
        if ours.is_empty() || ours == snapshot.cluster_id {
            return Ok(());
        }
        let theirs = &snapshot.cluster_id;
        Err(vec![
            Diagnostic::new(
                Code::SNAPSHOT,
                format!("this instance belongs to the cluster `{ours}`, the snapshot to `{theirs}`"),
            )
            .help(format!(
                "check --control-plane; to move the instance to the other cluster, stop it, remove {} and start it",
                self.disk.path().display()
            )),
        ])
    }

    /// Newer, or once more what runs: anything else would be a step back that no rollout orders.
    fn refuse_older(&self, snapshot: &Snapshot) -> Result<(), Vec<Diagnostic>> {
        let Some(Identity { version: active, sha256 }) = self.board.get().active else { return Ok(()) };
        let offered = snapshot.version;
        let problem = if offered < active {
            format!("version {offered} is older than {active}, which serves")
        } else if offered == active && snapshot.sha256 != sha256 {
            format!("version {offered} already serves here with another content, sha256 {sha256}")
        } else {
            return Ok(());
        };
        Err(vec![Diagnostic::new(Code::SNAPSHOT, problem).help(
            "an earlier config is rolled out as a new version: `gatewayctl rollout undo`; if the control plane has \
             lost its history, restore its state directory",
        )])
    }
}

/// Version 0 and the empty cluster mean "none" in every message.
fn refuse_nameless(snapshot: &Snapshot) -> Result<(), Vec<Diagnostic>> {
    if snapshot.version > 0 && !snapshot.cluster_id.is_empty() {
        return Ok(());
    }
    Err(vec![Diagnostic::new(Code::SNAPSHOT, "the snapshot has no version or no cluster")])
}

/// The fleet has decided, so a full disk does not keep an instance from serving; but somebody has to know.
async fn store(staged: candidate::Staging) -> Result<(), String> {
    let stored = match staged {
        Ok(staged) => spawn_blocking(move || staged.commit()).await.map_err(|e| e.to_string()),
        Err(error) => Ok(Err(error)),
    };
    let reason = match stored {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(panicked) => panicked,
    };
    tracing::error!(
        error = reason,
        "the config serves but is not on disk: a restart would serve an older one"
    );
    Err(reason)
}

fn one_line(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
pub(crate) mod tests;
