//! The open listeners, and how they follow the config.

use crate::gateway::Gateway;
use crate::inherited::Inherited;
use crate::listener::{self, ListenerSettings, ListenerState, Reserved};
use crate::tls::Terminator;
use crate::tls::file::BadFile;
use crate::worker::Workers;
use policy::config::listener::{ListenerConfig, ListenerTlsConfig};
use policy::diagnostic::{Code, Diagnostic};
use policy::table::Listener;
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Which socket a listener of the config has: that of its port, whatever it is called. The port 0 is one of its own for
/// each name, and keeps its real one for as long as the config says 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot {
    port: u16,
    name: String,
}

impl Slot {
    fn of(config: &ListenerConfig) -> Self {
        let name = if config.port == 0 { config.name.clone() } else { String::new() };
        Self { port: config.port, name }
    }
}

/// Every open listener of this instance.
pub struct Listeners {
    bind: IpAddr,
    inherited: Arc<Inherited>,
    gateway: Arc<Gateway>,
    workers: Arc<Workers>,
    worker_count: usize,
    open: BTreeMap<Slot, Arc<ListenerState>>,
}

/// A listener of a config that is not in force yet.
#[derive(Debug)]
pub(super) struct Planned {
    slot: Slot,
    settings: Arc<ListenerSettings>,
    /// Its socket, if it is not open.
    reserved: Option<Reserved>,
}

/// Readies what a config needs, from a blocking thread.
pub(super) struct Planner {
    bind: IpAddr,
    inherited: Arc<Inherited>,
    workers: usize,
    open: BTreeMap<Slot, Arc<ListenerSettings>>,
}

/// What becomes of a listener whose files of TLS cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadTls {
    /// The config is refused.
    Refuse,
    /// What served before a restart serves after it: the listener waits for better files.
    Await,
}

impl Listeners {
    /// None is open; they will be on `bind`, with a socket for each of the `worker_count` workers.
    pub fn new(bind: IpAddr, gateway: Arc<Gateway>, workers: Arc<Workers>, worker_count: usize) -> Self {
        Self { bind, inherited: Arc::default(), gateway, workers, worker_count, open: BTreeMap::new() }
    }

    /// With sockets that were opened for this process.
    pub(crate) fn inheriting(self, inherited: Arc<Inherited>) -> Self {
        Self { inherited, ..self }
    }

    pub(super) fn planner(&self) -> Planner {
        let settings =
            |(slot, state): (&Slot, &Arc<ListenerState>)| (slot.clone(), state.settings.load_full());
        Planner {
            bind: self.bind,
            inherited: Arc::clone(&self.inherited),
            workers: self.worker_count,
            open: self.open.iter().map(settings).collect(),
        }
    }

    /// Opens those that are not open, has the others go by their new settings, then closes those that are not planned.
    /// Closing waits for requests in flight, and so goes on by itself.
    pub(super) fn switch(&mut self, planned: Vec<Planned>) {
        let kept: HashSet<Slot> = planned.iter().map(|one| one.slot.clone()).collect();
        for Planned { slot, settings, reserved } in planned {
            match (reserved, self.open.get(&slot)) {
                (Some(reserved), _) => self.open(slot, reserved, settings),
                (None, Some(open)) => open.settings.store(settings),
                // it was open when the config was prepared, and only a commit closes
                (None, None) => tracing::error!(listener = &*settings.name, "a listener is gone"),
            }
        }
        for (_, gone) in self.open.extract_if(.., |slot, _| !kept.contains(slot)) {
            tracing::info!(address = %gone.address, "listener closed");
            let workers = Arc::clone(&self.workers);
            tokio::spawn(async move { workers.close(gone.id).await });
        }
        self.gateway.set_listeners(self.open.values().cloned().collect());
    }

    fn open(&mut self, slot: Slot, reserved: Reserved, settings: Arc<ListenerSettings>) {
        let address = reserved.address();
        match self.workers.open(reserved, settings) {
            Ok(state) => drop(self.open.insert(slot, state)),
            // bound exclusively since the prepare, so only a kernel out of memory comes here
            Err(error) => tracing::error!(%address, %error, "cannot listen on a port that was reserved"),
        }
    }

    /// Of every open listener, in the order of the configured ports.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.open.values().map(|open| open.address).collect()
    }
}

impl Planner {
    /// All of them, or a diagnostic for each port that cannot be had and each file that cannot be used.
    pub(super) fn plan(
        &self,
        listeners: &[Arc<Listener>],
        bad_tls: BadTls,
    ) -> Result<Vec<Planned>, Vec<Diagnostic>> {
        let (mut planned, mut diagnostics) = (Vec::new(), Vec::new());
        for listener in listeners {
            let config = &listener.config;
            let slot = Slot::of(config);
            let open = self.open.get(&slot);
            let tls = config.tls.as_ref().map(|tls| self.tls(config, tls, open, bad_tls)).transpose();
            let tls = tls.unwrap_or_else(|bad| {
                diagnostics.extend(bad.iter().map(|bad| cannot_use(config, bad)));
                None
            });
            let reserved = match open {
                Some(_) => None,
                None => match self.reserve(config.port) {
                    Ok(reserved) => Some(reserved),
                    Err(diagnostic) => {
                        diagnostics.push(diagnostic);
                        None
                    }
                },
            };
            planned.push(Planned {
                slot,
                settings: Arc::new(ListenerSettings::new(listener, tls)),
                reserved,
            });
        }
        if diagnostics.is_empty() { Ok(planned) } else { Err(diagnostics) }
    }

    /// The one that serves, where its config is the same: its files are looked after, and an edit of something else must
    /// not fail because one of them is just being renewed.
    fn tls(
        &self,
        config: &ListenerConfig,
        tls: &ListenerTlsConfig,
        open: Option<&Arc<ListenerSettings>>,
        bad_tls: BadTls,
    ) -> Result<Arc<Terminator>, Vec<BadFile>> {
        let serving = open.and_then(|settings| settings.tls.as_ref());
        if let Some(same) = serving.filter(|serving| serving.is_of(tls, &config.protocols)) {
            return Ok(Arc::clone(same));
        }
        match bad_tls {
            BadTls::Refuse => Terminator::load(tls, &config.protocols).map(Arc::new),
            BadTls::Await => {
                let restored = Terminator::restore(tls, &config.protocols);
                if let Some(fault) = restored.fault() {
                    let served = restored.live().is_some();
                    tracing::error!(
                        listener = config.name,
                        fault,
                        served,
                        "the files of TLS are not what they should be"
                    );
                }
                Ok(Arc::new(restored))
            }
        }
    }

    fn reserve(&self, port: u16) -> Result<Reserved, Diagnostic> {
        let address = SocketAddr::new(self.bind, port);
        let reserve = || match self.inherited.reserve(address, self.workers)? {
            Some(inherited) => Ok(inherited),
            None => listener::reserve(address, self.workers),
        };
        reserve().map_err(|error| cannot_listen(address, &error))
    }
}

fn cannot_use(config: &ListenerConfig, bad: &BadFile) -> Diagnostic {
    let diagnostic = Diagnostic::new(Code::TLS_FILE, format!("listener `{}`: {bad}", config.name));
    match &bad.help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
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
