//! What this instance runs, told in one place: to the control plane, to `/readyz`, to whoever started it.

use crate::gateway::Gateway;
use policy::table::RouteTable;
use policy::upstream::{Target, Upstream};
use proto::v1::{InstanceStatus, TargetStatus};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// What an activation or a drain changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Running {
    /// Whose snapshots these are; empty before the first one.
    pub cluster_id: String,
    /// The table that serves.
    pub active: Option<Identity>,
    /// Every open listener, in the order of the configured ports.
    pub listening: Vec<SocketAddr>,
    /// The process is on its way out.
    pub draining: bool,
    /// Why a restart would not serve what runs now.
    pub not_stored: Option<String>,
}

/// Which snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its number in the cluster's history.
    pub version: u64,
    /// Its content.
    pub sha256: String,
}

/// Why an instance should get no new traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReady {
    /// No snapshot has ever been activated.
    NoConfig,
    /// A config is active and none of its listeners could be opened.
    NoListener,
    /// It is being stopped.
    Draining,
}

impl Running {
    /// Whether a load balancer should send traffic here.
    pub fn readiness(&self) -> Result<(), NotReady> {
        if self.draining {
            Err(NotReady::Draining)
        } else if self.active.is_none() {
            Err(NotReady::NoConfig)
        } else if self.listening.is_empty() {
            Err(NotReady::NoListener)
        } else {
            Ok(())
        }
    }
}

/// The current [`Running`], readable and awaitable from any thread.
#[derive(Debug, Clone)]
pub struct Board(Arc<watch::Sender<Running>>);

impl Default for Board {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Running::default())))
    }
}

impl Board {
    /// As it is now.
    pub fn get(&self) -> Running {
        self.0.borrow().clone()
    }

    /// Changes it; watchers wake only when something is different.
    pub fn update(&self, change: impl FnOnce(&mut Running)) {
        self.0.send_if_modified(|running| {
            let before = running.clone();
            change(running);
            *running != before
        });
    }

    /// Follows it.
    pub fn watch(&self) -> watch::Receiver<Running> {
        self.0.subscribe()
    }
}

/// The report to the control plane.
pub fn report(running: &Running, gateway: &Gateway) -> InstanceStatus {
    let (active_version, active_sha256) = match &running.active {
        Some(identity) => (identity.version, identity.sha256.clone()),
        None => (0, String::new()),
    };
    InstanceStatus {
        active_version,
        active_sha256,
        connections: gateway.connections(),
        requests_total: gateway.requests_total(),
        draining: running.draining,
        targets: gateway.table().map(|table| targets(&table, gateway)).unwrap_or_default(),
        listening: running.listening.iter().map(SocketAddr::to_string).collect(),
    }
}

fn targets(table: &RouteTable, gateway: &Gateway) -> Vec<TargetStatus> {
    let of = |upstream: &Upstream, target: &Target| TargetStatus {
        upstream: upstream.name.to_string(),
        addr: target.addr.to_string(),
        weight: target.weight,
        in_flight: target.state.in_flight.load(Ordering::Relaxed).into(),
        requests_total: target.state.requests.load(Ordering::Relaxed),
        failures_total: target.state.failures.load(Ordering::Relaxed),
        connections: target.state.connections.load(Ordering::Relaxed).into(),
        last_error: gateway.last_connect_error(target.state.id).unwrap_or_default(),
    };
    table.upstreams.iter().flat_map(|u| u.targets.iter().map(move |t| of(u, t))).collect()
}
