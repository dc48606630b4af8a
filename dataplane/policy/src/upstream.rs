//! Upstreams and their targets at run time; what a target has lived through outlasts every edit that keeps it.

use crate::balance::Balancer;
use crate::config::leaf::TargetAddr;
use crossbeam_utils::CachePadded;
use http::HeaderValue;
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
