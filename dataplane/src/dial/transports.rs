//! How each target of a table is reached; found out when the table is prepared, so that only connecting can fail later.

use super::client::{TlsClient, server_name};
use super::names::{Name, Resolvers};
use super::{Place, Security, Transport};
use foldhash::fast::RandomState;
use policy::config::UpstreamConfig;
use policy::config::leaf::TargetAddr;
use policy::config::transport::{DnsConfig, UpstreamTlsConfig};
use policy::diagnostic::{Code, Diagnostic};
use policy::table::RouteTable;
use policy::upstream::{Target, Upstream};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How the targets of one table are reached.
#[derive(Debug, Default)]
pub(crate) struct Transports {
    by_target: HashMap<u64, Arc<Transport>, RandomState>,
    clients: Clients,
    names: Names,
    resolvers: Arc<Resolvers>,
}

type Clients = HashMap<UpstreamTlsConfig, Arc<TlsClient>, RandomState>;
type Names = HashMap<(String, DnsConfig), Arc<Name>, RandomState>;

/// What targets share: upstreams that want the same TLS have the same sessions, and a name is looked up once.
struct Building<'a> {
    previous: Option<&'a Transports>,
    clients: Clients,
    names: Names,
    resolvers: Arc<Resolvers>,
}

impl Transports {
    /// Reads what the table's upstreams need for TLS. What has not changed since `previous` is taken over from it.
    ///
    /// # Errors
    /// Each upstream whose files are of no use, and why.
    pub(crate) fn prepare(table: &RouteTable, previous: Option<&Self>) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let transports = Self::build(table, previous, |upstream, fault| {
            let message = format!("the targets of `{}` cannot be reached by TLS: {fault}", upstream.name);
            problems.push(Diagnostic::new(Code::TLS_FILE, message));
        });
        if problems.is_empty() { Ok(transports) } else { Err(problems) }
    }

    /// The same for a table that must serve as well as it can; files that are missing are taken up when they come.
    pub(crate) fn restore(table: &RouteTable) -> Self {
        Self::build(table, None, |upstream, fault| {
            tracing::error!(upstream = &*upstream.name, fault, "serving without the targets of an upstream");
        })
    }

    fn build(table: &RouteTable, previous: Option<&Self>, mut report: impl FnMut(&Upstream, &str)) -> Self {
        let resolvers = previous.map(|previous| Arc::clone(&previous.resolvers)).unwrap_or_default();
        let (clients, names) = (Clients::default(), Names::default());
        let mut building = Building { previous, clients, names, resolvers };
        let mut by_target = HashMap::default();
        for upstream in table.upstreams.iter().chain(&table.services) {
            let config = upstream.config();
            let client = match upstream.targets.iter().any(|target| target.addr.tls) {
                true => Some(building.client(&config.tls)),
                false => None,
            };
            if let Some(client) = &client {
                if let Some(fault) = client.fault() {
                    report(upstream, &fault);
                } else if config.tls.insecure_skip_verify {
                    let message = "nobody verifies who the targets are: insecure_skip_verify";
                    tracing::warn!(upstream = &*upstream.name, message);
                }
            }
            for target in &upstream.targets {
                let place = building.place(&target.addr, &config.dns);
                let transport = Transport::new(config, target, place, client.as_ref());
                by_target.insert(target.state.id, building.unless_known(target.state.id, transport));
            }
        }
        let Building { previous: _, clients, names, resolvers } = building;
        Self { by_target, clients, names, resolvers }
    }

    /// Waits until every name has been asked for once, but no longer than `patience`: with DNS away, traffic to
    /// addresses must not wait, nor a change be refused that has nothing to do with it.
    pub(crate) async fn settle(&self, patience: Duration) {
        let all = async {
            for name in self.names.values() {
                name.settled().await;
            }
        };
        // what has no answer yet is told of by whoever asks
        let _ = timeout(patience, all).await;
    }

    /// What connections by TLS are made with.
    pub(crate) fn tls_clients(&self) -> impl Iterator<Item = &Arc<TlsClient>> {
        self.clients.values()
    }

    /// How a target of the table is reached.
    pub(crate) fn to(&self, target: &Target) -> Option<&Arc<Transport>> {
        self.by_target.get(&target.state.id)
    }
}

impl Building<'_> {
    /// Its files are read in any case, so that a table is refused whose targets cannot be reached.
    fn client(&mut self, config: &UpstreamTlsConfig) -> Arc<TlsClient> {
        let known = self.previous.and_then(|previous| previous.clients.get(config));
        let client = self.clients.entry(config.clone()).or_insert_with(|| {
            let client = known.map_or_else(|| Arc::new(TlsClient::unread(config)), Arc::clone);
            client.read();
            client
        });
        Arc::clone(client)
    }

    fn place(&mut self, addr: &TargetAddr, dns: &DnsConfig) -> Place {
        if let Some(address) = addr.ip() {
            return Place::Address(address);
        }
        let key = (addr.host.clone(), dns.clone());
        let known = self.names.get(&key).or_else(|| self.previous?.names.get(&key));
        let name = match known {
            Some(known) => Arc::clone(known),
            None => Name::follow(&addr.host, dns, &self.resolvers),
        };
        self.names.insert(key, Arc::clone(&name));
        Place::Name(name)
    }

    /// The same object as before where nothing has changed: its probes go on.
    fn unless_known(&self, id: u64, new: Transport) -> Arc<Transport> {
        let known = self.previous.and_then(|previous| previous.by_target.get(&id));
        known.filter(|known| known.is_secured_like(&new)).map_or_else(|| Arc::new(new), Arc::clone)
    }
}

impl Transport {
    fn new(config: &UpstreamConfig, target: &Target, place: Place, client: Option<&Arc<TlsClient>>) -> Self {
        let name = config.tls.server_name.as_ref().map_or(target.addr.host.as_str(), |name| name.as_str());
        let security = match client.filter(|_| target.addr.tls) {
            None => Security::Plain,
            Some(client) => match server_name(name) {
                Ok(server_name) => Security::Tls {
                    client: Arc::clone(client),
                    server_name,
                    verified: !config.tls.insecure_skip_verify,
                },
                Err(error) => Security::Unusable(format!("{name}: {error}").into()),
            },
        };
        Self {
            place,
            port: target.addr.port,
            security,
            protocol: config.protocol,
            send_proxy_protocol: config.send_proxy_protocol,
        }
    }

    /// Of two transports to one target, whether they differ in nothing: the rest of its config stays while it does.
    fn is_secured_like(&self, other: &Self) -> bool {
        match (&self.security, &other.security) {
            (Security::Plain, Security::Plain) => true,
            (Security::Tls { client, .. }, Security::Tls { client: other, .. }) => Arc::ptr_eq(client, other),
            _ => false,
        }
    }
}
