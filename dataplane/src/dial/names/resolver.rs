//! Questions to DNS servers: to those of a config, or as this machine is set up.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use parking_lot::Mutex;
use policy::config::leaf::NameServer;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

/// What decides how this machine looks names up; read again when it has changed.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// How long one server may take; each is asked twice.
const PATIENCE: Duration = Duration::from_secs(2);

/// One for each set of servers that is asked.
#[derive(Default)]
pub(crate) struct Resolvers {
    system: Mutex<Option<System>>,
    configured: Mutex<HashMap<Vec<NameServer>, TokioResolver>>,
}

struct System {
    resolver: TokioResolver,
    read: [Option<SystemTime>; 2],
}

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) addresses: Vec<IpAddr>,
    /// For how long, as the servers say.
    pub(super) ttl: Duration,
}

impl Resolvers {
    /// The addresses of a name, of both families; from this machine's point of view when no servers are named.
    ///
    /// # Errors
    /// In words for an operator.
    pub(super) async fn resolve(&self, host: &str, servers: &[NameServer]) -> Result<Answer, String> {
        let resolver = match servers {
            [] => self.system(),
            servers => self.of(servers),
        };
        let resolver = resolver.map_err(|error| format!("this machine cannot ask: {error}"))?;
        let found = resolver.lookup_ip(host).await.map_err(|error| words(&error))?;
        let addresses: Vec<_> = found.iter().collect();
        match addresses.is_empty() {
            true => Err(NO_ADDRESSES.to_owned()),
            false => {
                let ttl = found.valid_until().saturating_duration_since(Instant::now());
                Ok(Answer { addresses, ttl })
            }
        }
    }

    fn system(&self) -> Result<TokioResolver, NetError> {
        let changed = |file| std::fs::metadata(file).and_then(|file| file.modified()).ok();
        let now = SYSTEM_FILES.map(changed);
        let mut system = self.system.lock();
        if let Some(System { resolver, .. }) = system.as_ref().filter(|system| system.read == now) {
            return Ok(resolver.clone());
        }
        let mut builder = TokioResolver::builder_tokio()?;
        builder.options_mut().cache_size = 0;
        let resolver = builder.build()?;
        *system = Some(System { resolver: resolver.clone(), read: now });
        Ok(resolver)
    }

    fn of(&self, servers: &[NameServer]) -> Result<TokioResolver, NetError> {
        let mut configured = self.configured.lock();
        if let Some(known) = configured.get(servers) {
            return Ok(known.clone());
        }
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect());
        let mut options = ResolverOpts::default();
        options.cache_size = 0;
        options.timeout = PATIENCE;
        options.use_hosts_file = ResolveHosts::Never;
        let provider = TokioRuntimeProvider::default();
        let resolver = TokioResolver::builder_with_config(config, provider).with_options(options).build()?;
        configured.insert(servers.to_vec(), resolver.clone());
        Ok(resolver)
    }
}

const NO_ADDRESSES: &str = "the name has no addresses";

fn words(error: &NetError) -> String {
    if error.is_nx_domain() {
        return "there is no such name".to_owned();
    }
    match error.is_no_records_found() {
        true => NO_ADDRESSES.to_owned(),
        false => error.to_string(),
    }
}

fn server(NameServer(address): &NameServer) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

impl fmt::Debug for Resolvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolvers")
    }
}
