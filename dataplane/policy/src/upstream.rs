//! Upstreams and their targets at run time; what a target has lived through outlasts every edit that keeps it.

use crate::balance::Balancer;
use crate::config::leaf::TargetAddr;
use crate::config::{TargetConfig, UpstreamConfig};
use crossbeam_utils::CachePadded;
use foldhash::fast::RandomState;
use http::HeaderValue;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// A group of targets and how one is chosen.
#[derive(Debug)]
pub struct Upstream {
    /// The configured name; for inline targets the route's.
    pub name: Arc<str>,
    /// In the order of the config; [`Balancer`] speaks of them by position.
    pub targets: Vec<Target>,
    /// Chooses among `targets`.
    pub balancer: Balancer,
    /// TCP connect.
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the response.
    pub response_timeout: Duration,
    /// Connections to each target from this instance.
    pub max_connections: u32,
    /// How long a request waits for one of them.
    pub max_connections_wait: Duration,
    /// An unused connection is closed after this.
    pub idle_timeout: Duration,
    config: UpstreamConfig,
}

/// One target of an upstream.
#[derive(Debug)]
pub struct Target {
    /// Where to connect.
    pub addr: TargetAddr,
    /// The `Host` it is sent unless the route preserves the client's: `host:port`, port 80 left out.
    pub authority: HeaderValue,
    /// 0 takes no new requests.
    pub weight: u32,
    /// What outlasts a reload.
    pub state: Arc<TargetState>,
}

/// The life of a target, kept while its upstream's name and its address stay the same.
#[derive(Debug)]
pub struct TargetState {
    /// Unique in the process: names its connection pools.
    pub id: u64,
    /// Requests sent and not yet finished.
    pub in_flight: CachePadded<AtomicU32>,
    /// Connections open or being opened, over all workers.
    pub connections: CachePadded<AtomicU32>,
    /// Requests ever sent.
    pub requests: CachePadded<AtomicU64>,
    /// Requests that got no response from it.
    pub failures: AtomicU64,
}

impl Upstream {
    /// The upstream of a checked config; targets that `previous` has too keep their state.
    pub(crate) fn build(config: UpstreamConfig, previous: Option<&Upstream>) -> Self {
        let states = previous.map_or(&[][..], |previous| &previous.targets);
        let states: HashMap<&TargetAddr, &Arc<TargetState>, RandomState> =
            states.iter().map(|target| (&target.addr, &target.state)).collect();
        let target = |TargetConfig { addr, weight }: &TargetConfig| Target {
            addr: addr.clone(),
            authority: authority(addr),
            weight: *weight,
            state: states.get(addr).map_or_else(TargetState::new, |state| Arc::clone(state)),
        };
        let keys: Vec<_> =
            config.targets.iter().map(|target| (target.addr.to_string(), target.weight)).collect();
        Self {
            name: config.name.as_str().into(),
            targets: config.targets.iter().map(target).collect(),
            balancer: Balancer::new(config.balancer, config.hash_on.clone(), &keys),
            connect_timeout: config.connect_timeout.get(),
            response_timeout: config.response_timeout.get(),
            max_connections: config.max_connections,
            max_connections_wait: config.max_connections_wait.get(),
            idle_timeout: config.idle_timeout.get(),
            config,
        }
    }

    /// What it was built from.
    pub fn config(&self) -> &UpstreamConfig {
        &self.config
    }
}

/// A checked host holds nothing that a header value may not; were it otherwise, the target would get an empty `Host`.
fn authority(addr: &TargetAddr) -> HeaderValue {
    HeaderValue::try_from(addr.authority()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

impl TargetState {
    /// A target never seen before.
    pub fn new() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            in_flight: CachePadded::default(),
            connections: CachePadded::default(),
            requests: CachePadded::default(),
            failures: AtomicU64::new(0),
        })
    }
}
