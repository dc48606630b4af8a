//! `GatewayConfig`: the shape of the YAML, every default in its place; leaves validate themselves.
//!
//! The same types are made from YAML ([`load`]) and from the wire ([`wire`]); whether the whole makes sense is decided
//! by building a [`crate::table::RouteTable`] from it, nowhere else.

pub mod answer;
pub mod health;
pub mod leaf;
mod list;
pub mod listener;
pub mod load;
pub mod mirror;
mod schema;
pub mod split;
pub mod transport;
pub mod wire;

pub use schema::schema;

use crate::filter::FilterConfig;
use answer::{RedirectConfig, RespondConfig};
use health::{HealthCheckConfig, OnAllUnhealthy, OutlierConfig};
use leaf::{ByteSize, Duration, HeaderMatch, HostPattern, Method, QueryMatch, TargetAddr};
use listener::{HttpProtocol, ListenerConfig, ListenerTlsConfig, ProxyProtocol, RedirectHttpsConfig};
use mirror::MirrorConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use split::ShareConfig;
use transport::{DnsConfig, SendProxyProtocol, UpstreamProtocol, UpstreamTlsConfig};

/// A whole config file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// The default listener, and the limits of the connections of all listeners.
    #[serde(default)]
    pub server: ServerConfig,
    /// Further listeners.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ListenerConfig>,
    /// Named groups of targets, for routes that share them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list::long")]
    pub upstreams: Vec<UpstreamConfig>,
    /// What is served, and by whom.
    #[serde(default, deserialize_with = "list::long")]
    pub routes: Vec<RouteConfig>,
    /// Filters of every route; a route's own filter of the same kind replaces the global one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub global_filters: Vec<FilterConfig>,
}

/// The default listener, and the limits of the connections of all listeners.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// TCP port; 0 takes any free one, which the instance reports (for tests).
    pub port: u16,
    /// As of any listener.
    pub protocols: Vec<HttpProtocol>,
    /// As of any listener.
    pub proxy_protocol: ProxyProtocol,
    /// As of any listener.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "leaf::Network::list")]
    #[schemars(with = "Vec<leaf::Network>")]
    pub proxy_protocol_from: Vec<ipnet::IpNet>,
    /// As of any listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTlsConfig>,
    /// As of any listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_https: Option<RedirectHttpsConfig>,
    /// The whole request, head and body, must have arrived by then: 408.
    pub read_timeout: Duration,
    /// A client that takes no byte of the response for this long is disconnected.
    pub write_timeout: Duration,
    /// An idle keep-alive connection is closed after this.
    pub idle_timeout: Duration,
    /// From the first byte of a request to the end of its head: 408.
    pub header_timeout: Duration,
    /// Request line and headers together, 1 KiB to 1 MiB: 431.
    pub max_header_bytes: ByteSize,
    /// Header fields of a request, 1 to 1000: 431.
    pub max_headers: u32,
    /// The request target (path and query): 414.
    pub max_target_bytes: ByteSize,
    /// The request body: 413; 0 for no limit.
    pub max_body_bytes: ByteSize,
    /// Client connections of each listener on one instance; 0 for no limit.
    pub max_connections: u64,
    /// Peers whose `X-Forwarded-*` headers are believed.
    #[serde(deserialize_with = "leaf::Network::list")]
    #[schemars(with = "Vec<leaf::Network>")]
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// On SIGTERM: how long `/readyz` fails before connections are closed.
    pub drain_delay: Duration,
    /// On SIGTERM: how long requests in flight may still take after `drain_delay`.
    pub drain_timeout: Duration,
    /// Requests that a connection of HTTP/2 may have open at once, 1 to 10000.
    pub max_concurrent_streams: u32,
    /// A client of HTTP/2 that has a request open and says nothing for so long is asked for a sign of life; as long again
    /// without one, and the connection is closed. 0 asks nobody.
    pub ping_interval: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            port: 8080,
            protocols: listener::every_protocol(),
            proxy_protocol: ProxyProtocol::Off,
            proxy_protocol_from: Vec::new(),
            tls: None,
            redirect_https: None,
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            header_timeout: Duration::from_secs(10),
            max_header_bytes: ByteSize(64 * 1024),
            max_headers: 100,
            max_target_bytes: ByteSize(8 * 1024),
            max_body_bytes: ByteSize(0),
            max_connections: 0,
            trusted_proxies: Vec::new(),
            drain_delay: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
            max_concurrent_streams: 128,
            ping_interval: Duration::from_secs(30),
        }
    }
}

/// One server that requests are sent to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// `http://host:port` or `https://host:port`, without a path.
    pub addr: TargetAddr,
    /// Share of the traffic relative to the other targets; 0 takes no new requests.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// How the next target is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalancerKind {
    /// Each in turn, weights ignored unless 0.
    RoundRobin,
    /// Each in turn as often as its weight says, interleaved smoothly (nginx's algorithm).
    #[default]
    WeightedRoundRobin,
    /// At random, by weight.
    Random,
    /// Of two at random, the one with fewer requests in flight per weight (power of two choices).
    LeastRequest,
    /// The same key goes to the same target; few keys move when targets change (Maglev, NSDI 2016).
    ConsistentHash,
}

impl BalancerKind {
    /// The word in the config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::Random => "random",
            Self::LeastRequest => "least_request",
            Self::ConsistentHash => "consistent_hash",
        }
    }
}

/// A named group of targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// How routes refer to it; also its name in metrics and `gatewayctl status targets`.
    pub name: String,
    /// At least one.
    pub targets: Vec<TargetConfig>,
    /// Default: `weighted_round_robin`.
    #[serde(default)]
    pub balancer: BalancerKind,
    /// What `consistent_hash` hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<Box<leaf::HashOn>>,
    /// TCP connect: 504.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the response: 504.
    #[serde(default = "default_response_timeout")]
    pub response_timeout: Duration,
    /// Connections to each target from one instance, over all its workers.
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
    /// How long a request waits for a connection when `max_connections` are busy: 503.
    #[serde(default = "default_max_connections_wait")]
    pub max_connections_wait: Duration,
    /// An unused connection to a target is closed after this; keep it below the target's own.
    #[serde(default = "default_upstream_idle_timeout")]
    pub idle_timeout: Duration,
    /// Probes of every target; absent: none. `{}` means `GET /health` and the status 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Box<HealthCheckConfig>>,
    /// When targets are taken out because of what becomes of requests; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Box<OutlierConfig>>,
    /// What happens when no target is healthy. Default: `fail_open`.
    #[serde(default)]
    pub on_all_unhealthy: OnAllUnhealthy,
    /// How long the share of a target that has recovered grows, from a tenth to all of it; 0s: full at once.
    #[serde(default = "default_slow_start")]
    pub slow_start: Duration,
    /// Which HTTP is spoken to the targets. Default: `auto`.
    #[serde(default)]
    pub protocol: UpstreamProtocol,
    /// TLS towards `https://` targets; by default their certificates are verified by the authorities of the machine.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: UpstreamTlsConfig,
    /// Whether each connection begins with who the client is: `off`, `v1` or `v2`. Default: `off`.
    #[serde(default)]
    pub send_proxy_protocol: SendProxyProtocol,
    /// How the names of targets become addresses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dns: DnsConfig,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl UpstreamConfig {
    /// A service that the gateway itself asks, named by its address.
    pub(crate) fn of_service(addr: &leaf::TargetAddr) -> Self {
        Self {
            name: addr.to_string(),
            targets: vec![TargetConfig { addr: addr.clone(), weight: one() }],
            balancer: BalancerKind::default(),
            hash_on: None,
            connect_timeout: default_connect_timeout(),
            response_timeout: default_response_timeout(),
            max_connections: default_max_connections(),
            max_connections_wait: default_max_connections_wait(),
            idle_timeout: default_upstream_idle_timeout(),
            health_check: None,
            outlier: None,
            on_all_unhealthy: OnAllUnhealthy::default(),
            slow_start: default_slow_start(),
            protocol: UpstreamProtocol::default(),
            tls: UpstreamTlsConfig::default(),
            send_proxy_protocol: SendProxyProtocol::default(),
            dns: DnsConfig::default(),
        }
    }

    /// Whether targets are reached and spoken to in the same way: a connection for the one would do for the other.
    pub fn reaches_alike(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.tls == other.tls
            && self.send_proxy_protocol == other.send_proxy_protocol
            && self.dns == other.dns
    }
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(1)
}
fn default_response_timeout() -> Duration {
    Duration::from_secs(30)
}
fn default_max_connections() -> u32 {
    1024
}
fn default_max_connections_wait() -> Duration {
    Duration::from_secs(1)
}
fn default_upstream_idle_timeout() -> Duration {
    Duration::from_secs(60)
}
fn default_slow_start() -> Duration {
    Duration::from_secs(10)
}

/// One route: which requests it takes and what happens to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Unique; its name in metrics, logs and `gatewayctl status routes`.
    pub name: String,
    /// `api.example.com` or `*.example.com`; none means every host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPattern>,
    /// Names of listeners, `default` for that of `server`: requests that come by others never meet this route. None means
    /// every listener.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
    /// Every path below this one, by whole segments: `/api` takes `/api` and `/api/x`, not `/apix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<leaf::PathPrefix>,
    /// One exact path, or a template: `/users/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<leaf::PathTemplate>,
    /// None means every method.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// All must be there with these values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// All must be there with these values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<QueryMatch>,
    /// The target gets the path without the prefix; what is left always begins with `/`.
    #[serde(default)]
    pub strip_prefix: bool,
    /// The target gets this in the prefix's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<leaf::PathPrefix>,
    /// The target gets the client's `Host` instead of its own address.
    #[serde(default)]
    pub preserve_host: bool,
    /// WebSocket upgrades are passed through; otherwise refused with 403.
    #[serde(default = "yes")]
    pub websocket: bool,
    /// A WebSocket in which nothing passes for so long is closed; 0 for never.
    #[serde(default = "websocket_idle_timeout")]
    pub websocket_idle_timeout: Duration,
    /// The whole exchange, retries included: 504.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Targets of this route alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetConfig>,
    /// Or the name of an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Or several upstreams, by weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<ShareConfig>,
    /// Copies of its requests go to another upstream, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Box<MirrorConfig>>,
    /// Or no target at all: the client is sent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Box<RedirectConfig>>,
    /// Or no target at all: the gateway answers, always the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Box<RespondConfig>>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancer: Option<BalancerKind>,
    /// With inline `targets`: as in an upstream. With `split`: requests that agree in this stay with one upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<Box<leaf::HashOn>>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Duration>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<Duration>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections_wait: Option<Duration>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Box<HealthCheckConfig>>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier: Option<Box<OutlierConfig>>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_all_unhealthy: Option<OnAllUnhealthy>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Duration>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<UpstreamProtocol>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<UpstreamTlsConfig>>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_proxy_protocol: Option<SendProxyProtocol>,
    /// With inline `targets`: as in an upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Box<DnsConfig>>,
    /// What happens before a request is sent on; the order written here means nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<FilterConfig>,
}

fn websocket_idle_timeout() -> Duration {
    Duration::from_secs(600)
}

fn yes() -> bool {
    true
}

impl RouteConfig {
    /// Whether the gateway answers by itself, so that no target is needed.
    pub fn answers_itself(&self) -> bool {
        self.redirect.is_some() || self.respond.is_some()
    }

    /// The names of the upstreams that its requests may go to, inline targets included.
    pub fn upstream_names(&self) -> impl Iterator<Item = &str> {
        let inline = (!self.targets.is_empty()).then_some(self.name.as_str());
        inline
            .into_iter()
            .chain(self.upstream.as_deref())
            .chain(self.split.iter().map(|share| &*share.upstream))
    }

    /// The upstream that a route with inline `targets` has to itself, named as the route.
    pub fn inline_upstream(&self) -> UpstreamConfig {
        UpstreamConfig {
            name: self.name.clone(),
            targets: self.targets.clone(),
            balancer: self.balancer.unwrap_or_default(),
            hash_on: self.hash_on.clone(),
            connect_timeout: self.connect_timeout.unwrap_or_else(default_connect_timeout),
            response_timeout: self.response_timeout.unwrap_or_else(default_response_timeout),
            max_connections: self.max_connections.unwrap_or_else(default_max_connections),
            max_connections_wait: self.max_connections_wait.unwrap_or_else(default_max_connections_wait),
            idle_timeout: self.idle_timeout.unwrap_or_else(default_upstream_idle_timeout),
            health_check: self.health_check.clone(),
            outlier: self.outlier.clone(),
            on_all_unhealthy: self.on_all_unhealthy.unwrap_or_default(),
            slow_start: self.slow_start.unwrap_or_else(default_slow_start),
            protocol: self.protocol.unwrap_or_default(),
            tls: self.tls.as_deref().cloned().unwrap_or_default(),
            send_proxy_protocol: self.send_proxy_protocol.unwrap_or_default(),
            dns: self.dns.as_deref().cloned().unwrap_or_default(),
        }
    }

    /// The reverse of [`RouteConfig::inline_upstream`], the name left out.
    pub(crate) fn set_inline_upstream(&mut self, upstream: UpstreamConfig) {
        let UpstreamConfig {
            name: _,
            targets,
            balancer,
            hash_on,
            connect_timeout,
            response_timeout,
            max_connections,
            max_connections_wait,
            idle_timeout,
            health_check,
            outlier,
            on_all_unhealthy,
            slow_start,
            protocol,
            tls,
            send_proxy_protocol,
            dns,
        } = upstream;
        self.targets = targets;
        self.balancer = Some(balancer);
        self.hash_on = hash_on;
        self.connect_timeout = Some(connect_timeout);
        self.response_timeout = Some(response_timeout);
        self.max_connections = Some(max_connections);
        self.max_connections_wait = Some(max_connections_wait);
        self.idle_timeout = Some(idle_timeout);
        self.health_check = health_check;
        self.outlier = outlier;
        self.on_all_unhealthy = Some(on_all_unhealthy);
        self.slow_start = Some(slow_start);
        self.protocol = Some(protocol);
        self.tls = (!is_default(&tls)).then(|| Box::new(tls));
        self.send_proxy_protocol = Some(send_proxy_protocol);
        self.dns = (!is_default(&dns)).then(|| Box::new(dns));
    }
}

#[cfg(test)]
mod tests;
