//! What this instance runs, told in one place: to the control plane, to `/readyz`, to whoever started it.

mod listeners;
mod rates;
mod views;

pub use rates::Rates;

use crate::clock;
use crate::gateway::Gateway;
use proto::v1::InstanceStatus;
use std::net::SocketAddr;
use std::sync::Arc;
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
    /// The standing orders in force; 0: none.
    pub orders_revision: u64,
    /// Why a restart would not go by them.
    pub orders_not_stored: Option<String>,
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

    /// The version that serves; 0 for none.
    pub fn active_version(&self) -> u64 {
        self.0.borrow().active.as_ref().map_or(0, |identity| identity.version)
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

/// The report to the control plane, without rates.
pub fn report(running: &Running, gateway: &Gateway) -> InstanceStatus {
    let (active_version, active_sha256) = match &running.active {
        Some(identity) => (identity.version, identity.sha256.clone()),
        None => (0, String::new()),
    };
    let orders_not_stored = running.orders_not_stored.as_ref().map(|why| format!("standing orders: {why}"));
    let not_stored: Vec<String> = running.not_stored.iter().cloned().chain(orders_not_stored).collect();
    let mut status = InstanceStatus {
        active_version,
        active_sha256,
        connections: gateway.connections(),
        requests_total: gateway.requests_total(),
        draining: running.draining,
        listening: running.listening.iter().map(SocketAddr::to_string).collect(),
        not_stored: not_stored.join("; "),
        orders_revision: running.orders_revision,
        listeners: listeners::report(&gateway.listeners()),
        ..InstanceStatus::default()
    };
    if let Some(table) = gateway.table() {
        views::fill(&mut status, &table, gateway, clock::now());
    }
    status
}

/// The states that an operator should hear of soon, in a form that is cheap to compare.
pub fn states(gateway: &Gateway) -> Vec<u8> {
    let table = gateway.table();
    let of_table = table.map(|table| views::states(&table, clock::now())).unwrap_or_default();
    listeners::states(&gateway.listeners()).chain(of_table).collect()
}
