//! The open listeners by the port that the config names, and how they follow it.

use crate::listener::{self, ListenerId, Reserved};
use crate::worker::Workers;
use policy::diagnostic::{Code, Diagnostic};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Ports as configured: 0 is a port of its own, which keeps its real one for as long as the config says 0.
pub(super) type PortSet = BTreeSet<u16>;

/// Every open listener of this instance.
pub struct Listeners {
    bind: IpAddr,
    workers: Arc<Workers>,
    worker_count: usize,
    open: BTreeMap<u16, Open>,
}

#[derive(Clone, Copy)]
struct Open {
    id: ListenerId,
    address: SocketAddr,
}

/// Binds what a config needs and what is not open, from a blocking thread.
pub(super) struct Reserver {
    bind: IpAddr,
    workers: usize,
    open: PortSet,
}

impl Listeners {
    /// None is open; they will be on `bind`, with a socket for each of the `worker_count` workers.
    pub fn new(bind: IpAddr, workers: Arc<Workers>, worker_count: usize) -> Self {
        Self { bind, workers, worker_count, open: BTreeMap::new() }
    }

    pub(super) fn reserver(&self) -> Reserver {
        Reserver { bind: self.bind, workers: self.worker_count, open: self.open.keys().copied().collect() }
    }

    /// Opens the reserved ones, then closes those that `ports` no longer has. Closing waits for requests in flight,
    /// and so goes on by itself.
    pub(super) fn switch(&mut self, ports: &PortSet, reserved: BTreeMap<u16, Reserved>) {
        for (port, reserved) in reserved {
            let address = reserved.address();
            match self.workers.open(reserved) {
                Ok(id) => drop(self.open.insert(port, Open { id, address })),
                // bound exclusively since the prepare, so only a kernel out of memory comes here
                Err(error) => tracing::error!(%address, %error, "cannot listen on a port that was reserved"),
            }
        }
        for (_, gone) in self.open.extract_if(.., |port, _| !ports.contains(port)) {
            tracing::info!(address = %gone.address, "listener closed");
            let workers = Arc::clone(&self.workers);
            tokio::spawn(async move { workers.close(gone.id).await });
        }
    }

    /// Of every open listener, in the order of the configured ports.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.open.values().map(|open| open.address).collect()
    }
}

impl Reserver {
    /// All of them, or a diagnostic for each that cannot be had.
    pub(super) fn reserve(&self, ports: &PortSet) -> Result<BTreeMap<u16, Reserved>, Vec<Diagnostic>> {
        let mut reserved = BTreeMap::new();
        let mut diagnostics = Vec::new();
        for &port in ports.difference(&self.open) {
            let address = SocketAddr::new(self.bind, port);
            match listener::reserve(address, self.workers) {
                Ok(socket) => drop(reserved.insert(port, socket)),
                Err(error) => diagnostics.push(cannot_listen(address, &error)),
            }
        }
        if diagnostics.is_empty() { Ok(reserved) } else { Err(diagnostics) }
    }
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Diagnostic {
    let help = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("free the port (`ss -ltnp 'sport = :{}'`) or choose another", address.port())
        }
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE".to_owned(),
        std::io::ErrorKind::AddrNotAvailable => {
            "check --bind: no interface of this machine has the address".to_owned()
        }
        _ => return Diagnostic::new(Code::LISTEN, format!("cannot listen on {address}: {error}")),
    };
    Diagnostic::new(Code::LISTEN, format!("cannot listen on {address}: {error}")).help(help)
}
