//! Between a config and its wire form; each field is named on both sides, so that a new one cannot be forgotten.
//!
//! The wire makes every default explicit. What comes back is therefore equal on the wire, and equal as a config
//! except where a default was left unwritten. A field that came to a message after its first version is absent in the
//! tables that earlier versions have stored, and has its default there.

use super::leaf::{ByteSize, Duration, Fault, HashOn, HeaderMatch, Network, QueryMatch, TargetAddr};
use super::listener::{DEFAULT_LISTENER, ListenerConfig};
use super::split;
use super::{BalancerKind, GatewayConfig, RouteConfig, ServerConfig, TargetConfig, UpstreamConfig};
use super::{health, transport};
use crate::filter::FilterConfig;
use proto::v1;
use std::fmt::Display;
use std::num::NonZeroU32;
use std::str::FromStr;

/// What on the wire is not a config, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct WireError {
    /// `routes[3].targets[0].addr`
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl WireError {
    /// The same seen from above.
    fn below(self, parent: impl Display) -> Self {
        let joint = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        Self { path: format!("{parent}{joint}{}", self.path), message: self.message }
    }
}

impl From<Fault> for WireError {
    fn from(Fault { message, at, help: _ }: Fault) -> Self {
        Self { path: at.unwrap_or_default(), message }
    }
}

/// A value that the wire carries as text.
pub(crate) fn parse<T: FromStr<Err = Fault>>(key: &str, text: &str) -> Result<T, Fault> {
    text.parse().map_err(|fault: Fault| fault.at(key))
}

pub(crate) fn parse_all<T: FromStr<Err = Fault>>(key: &str, texts: &[String]) -> Result<Vec<T>, Fault> {
    texts.iter().enumerate().map(|(at, text)| parse(&format!("{key}[{at}]"), text)).collect()
}

pub(crate) fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(T::to_string).collect()
}

pub(crate) fn millis(key: &str, millis: u64) -> Result<Duration, Fault> {
    Duration::from_millis(millis).map_err(|fault| fault.at(key))
}

pub(crate) fn positive(key: &str, number: u32) -> Result<NonZeroU32, Fault> {
    NonZeroU32::new(number).ok_or_else(|| Fault::new("is 0").at(key))
}

pub(crate) fn required<T>(key: &str, message: Option<T>) -> Result<T, Fault> {
    message.ok_or_else(|| Fault::new("is missing").at(key))
}

/// A message that may be absent.
pub(crate) fn below<W, T>(key: &str, message: Option<W>) -> Result<Option<T>, WireError>
where
    T: TryFrom<W>,
    WireError: From<T::Error>,
{
    message.map(T::try_from).transpose().map_err(|error| WireError::from(error).below(key))
}

/// A message that must be there.
fn required_below<W, T>(key: &str, message: Option<W>) -> Result<T, WireError>
where
    T: TryFrom<W>,
    WireError: From<T::Error>,
{
    T::try_from(required(key, message)?).map_err(|error| WireError::from(error).below(key))
}

pub(crate) fn convert_all<W, T>(key: &str, wire: Vec<W>) -> Result<Vec<T>, WireError>
where
    T: TryFrom<W>,
    WireError: From<T::Error>,
{
    // collected as results, they would come without their number, and a list of ten thousand would move as it grows
    let mut converted = Vec::with_capacity(wire.len());
    for (at, item) in wire.into_iter().enumerate() {
        let item =
            T::try_from(item).map_err(|error| WireError::from(error).below(format_args!("{key}[{at}]")))?;
        converted.push(item);
    }
    Ok(converted)
}

impl From<&GatewayConfig> for v1::RouteTable {
    fn from(config: &GatewayConfig) -> Self {
        let GatewayConfig { server, listeners, upstreams, routes, global_filters } = config;
        Self {
            server: Some(server.into()),
            listeners: listeners.iter().map(v1::Listener::from).collect(),
            upstreams: upstreams.iter().map(v1::Upstream::from).collect(),
            routes: routes.iter().map(v1::Route::from).collect(),
            global_filters: global_filters.iter().map(v1::Filter::from).collect(),
        }
    }
}

impl TryFrom<v1::RouteTable> for GatewayConfig {
    type Error = WireError;

    fn try_from(wire: v1::RouteTable) -> Result<Self, WireError> {
        let v1::RouteTable { server, listeners, upstreams, routes, global_filters } = wire;
        Ok(Self {
            server: required_below("server", server)?,
            listeners: convert_all("listeners", listeners)?,
            upstreams: convert_all("upstreams", upstreams)?,
            routes: convert_all("routes", routes)?,
            global_filters: convert_all::<_, FilterConfig>("global_filters", global_filters)?,
        })
    }
}

impl From<&ServerConfig> for v1::Server {
    fn from(config: &ServerConfig) -> Self {
        // destructured in `listener`: protocols … redirect_https
        let ServerConfig {
            port,
            protocols: _,
            proxy_protocol: _,
            proxy_protocol_from: _,
            tls: _,
            redirect_https: _,
            read_timeout,
            write_timeout,
            idle_timeout,
            header_timeout,
            max_header_bytes,
            max_headers,
            max_target_bytes,
            max_body_bytes,
            max_connections,
            trusted_proxies,
            drain_delay,
            drain_timeout,
            max_concurrent_streams,
            ping_interval,
        } = config;
        Self {
            port: u32::from(*port),
            read_timeout_ms: read_timeout.as_millis(),
            write_timeout_ms: write_timeout.as_millis(),
            idle_timeout_ms: idle_timeout.as_millis(),
            header_timeout_ms: header_timeout.as_millis(),
            max_header_bytes: max_header_bytes.0,
            max_headers: *max_headers,
            max_target_bytes: max_target_bytes.0,
            max_body_bytes: max_body_bytes.0,
            max_connections: *max_connections,
            trusted_proxies: texts(trusted_proxies),
            drain_delay_ms: drain_delay.as_millis(),
            drain_timeout_ms: drain_timeout.as_millis(),
            listener: Some((&config.listener()).into()),
            max_concurrent_streams: *max_concurrent_streams,
            ping_interval_ms: ping_interval.as_millis(),
        }
    }
}

impl TryFrom<v1::Server> for ServerConfig {
    type Error = WireError;

    fn try_from(wire: v1::Server) -> Result<Self, WireError> {
        let v1::Server {
            port,
            read_timeout_ms,
            write_timeout_ms,
            idle_timeout_ms,
            header_timeout_ms,
            max_header_bytes,
            max_headers,
            max_target_bytes,
            max_body_bytes,
            max_connections,
            trusted_proxies,
            drain_delay_ms,
            drain_timeout_ms,
            listener,
            max_concurrent_streams,
            ping_interval_ms,
        } = wire;
        let listener = listener.unwrap_or_else(|| (&ServerConfig::default().listener()).into());
        let listener = ListenerConfig::from_wire(DEFAULT_LISTENER.to_owned(), port, listener)?;
        let ListenerConfig {
            name: _,
            port,
            protocols,
            proxy_protocol,
            proxy_protocol_from,
            tls,
            redirect_https,
        } = listener;
        let blocks = parse_all("trusted_proxies", &trusted_proxies)?;
        // no config may say 0
        let max_concurrent_streams = match max_concurrent_streams {
            0 => ServerConfig::default().max_concurrent_streams,
            streams => streams,
        };
        Ok(Self {
            port,
            protocols,
            proxy_protocol,
            proxy_protocol_from,
            tls,
            redirect_https,
            read_timeout: millis("read_timeout", read_timeout_ms)?,
            write_timeout: millis("write_timeout", write_timeout_ms)?,
            idle_timeout: millis("idle_timeout", idle_timeout_ms)?,
            header_timeout: millis("header_timeout", header_timeout_ms)?,
            max_header_bytes: ByteSize(max_header_bytes),
            max_headers,
            max_target_bytes: ByteSize(max_target_bytes),
            max_body_bytes: ByteSize(max_body_bytes),
            max_connections,
            trusted_proxies: blocks.into_iter().map(|Network(block)| block).collect(),
            drain_delay: millis("drain_delay", drain_delay_ms)?,
            drain_timeout: millis("drain_timeout", drain_timeout_ms)?,
            max_concurrent_streams,
            ping_interval: millis("ping_interval", ping_interval_ms)?,
        })
    }
}

impl From<&TargetConfig> for v1::Target {
    fn from(TargetConfig { addr, weight }: &TargetConfig) -> Self {
        Self { addr: addr.to_string(), weight: *weight }
    }
}

impl TryFrom<v1::Target> for TargetConfig {
    type Error = WireError;

    fn try_from(v1::Target { addr, weight }: v1::Target) -> Result<Self, WireError> {
        Ok(Self { addr: parse::<TargetAddr>("addr", &addr)?, weight })
    }
}

impl From<BalancerKind> for v1::BalancerKind {
    fn from(kind: BalancerKind) -> Self {
        match kind {
            BalancerKind::RoundRobin => Self::RoundRobin,
            BalancerKind::WeightedRoundRobin => Self::WeightedRoundRobin,
            BalancerKind::Random => Self::Random,
            BalancerKind::LeastRequest => Self::LeastRequest,
            BalancerKind::ConsistentHash => Self::ConsistentHash,
        }
    }
}

fn balancer_kind(wire: i32) -> Result<BalancerKind, Fault> {
    match v1::BalancerKind::try_from(wire) {
        Ok(v1::BalancerKind::RoundRobin) => Ok(BalancerKind::RoundRobin),
        Ok(v1::BalancerKind::WeightedRoundRobin) => Ok(BalancerKind::WeightedRoundRobin),
        Ok(v1::BalancerKind::Random) => Ok(BalancerKind::Random),
        Ok(v1::BalancerKind::LeastRequest) => Ok(BalancerKind::LeastRequest),
        Ok(v1::BalancerKind::ConsistentHash) => Ok(BalancerKind::ConsistentHash),
        Ok(v1::BalancerKind::Unspecified) | Err(_) => {
            Err(Fault::new(format!("{wire} is a balancer that this version does not know")).at("balancer"))
        }
    }
}

impl From<&HashOn> for v1::HashOn {
    fn from(hash_on: &HashOn) -> Self {
        use v1::hash_on::Key;
        Self {
            key: Some(match hash_on {
                HashOn::Header(name) => Key::Header(name.to_string()),
                HashOn::Cookie(name) => Key::Cookie(name.clone()),
                HashOn::ClientIp => Key::ClientIp(true),
                HashOn::Path => Key::Path(true),
            }),
        }
    }
}

pub(super) fn hash_on(v1::HashOn { key }: v1::HashOn) -> Result<HashOn, Fault> {
    use v1::hash_on::Key;
    match key {
        Some(Key::Header(name)) => parse("hash_on", &format!("header:{name}")),
        Some(Key::Cookie(name)) => parse("hash_on", &format!("cookie:{name}")),
        Some(Key::ClientIp(_)) => Ok(HashOn::ClientIp),
        Some(Key::Path(_)) => Ok(HashOn::Path),
        None => Err(Fault::new("is a key that this version does not know").at("hash_on")),
    }
}

impl From<&UpstreamConfig> for v1::Upstream {
    fn from(config: &UpstreamConfig) -> Self {
        let UpstreamConfig {
            name,
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
        } = config;
        Self {
            name: name.clone(),
            targets: targets.iter().map(v1::Target::from).collect(),
            balancing: Some(v1::Balancing {
                balancer: v1::BalancerKind::from(*balancer).into(),
                hash_on: hash_on.as_deref().map(v1::HashOn::from),
                connect_timeout_ms: connect_timeout.as_millis(),
                response_timeout_ms: response_timeout.as_millis(),
                max_connections: *max_connections,
                max_connections_wait_ms: max_connections_wait.as_millis(),
                idle_timeout_ms: idle_timeout.as_millis(),
                health_check: health_check.as_deref().map(v1::HealthCheck::from),
                outlier: outlier.as_deref().map(v1::Outlier::from),
                on_all_unhealthy: v1::OnAllUnhealthy::from(*on_all_unhealthy).into(),
                slow_start_ms: slow_start.as_millis(),
                protocol: v1::UpstreamProtocol::from(*protocol).into(),
                tls: Some(tls.into()),
                send_proxy_protocol: v1::SendProxyProtocol::from(*send_proxy_protocol).into(),
                dns: Some(dns.into()),
            }),
        }
    }
}

impl TryFrom<v1::Upstream> for UpstreamConfig {
    type Error = WireError;

    fn try_from(v1::Upstream { name, targets, balancing }: v1::Upstream) -> Result<Self, WireError> {
        let v1::Balancing {
            balancer,
            hash_on: key,
            connect_timeout_ms,
            response_timeout_ms,
            max_connections,
            max_connections_wait_ms,
            idle_timeout_ms,
            health_check,
            outlier,
            on_all_unhealthy: all_unhealthy,
            slow_start_ms,
            protocol,
            tls,
            send_proxy_protocol: send_proxy,
            dns,
        } = required("balancing", balancing)?;
        Ok(Self {
            name,
            targets: convert_all("targets", targets)?,
            balancer: balancer_kind(balancer)?,
            hash_on: key.map(hash_on).transpose()?.map(Box::new),
            connect_timeout: millis("connect_timeout", connect_timeout_ms)?,
            response_timeout: millis("response_timeout", response_timeout_ms)?,
            max_connections,
            max_connections_wait: millis("max_connections_wait", max_connections_wait_ms)?,
            idle_timeout: millis("idle_timeout", idle_timeout_ms)?,
            health_check: below("health_check", health_check)?.map(Box::new),
            outlier: below("outlier", outlier)?.map(Box::new),
            on_all_unhealthy: health::on_all_unhealthy(all_unhealthy)?,
            slow_start: millis("slow_start", slow_start_ms)?,
            protocol: transport::protocol(protocol)?,
            tls: below("tls", tls)?.unwrap_or_default(),
            send_proxy_protocol: transport::send_proxy_protocol(send_proxy)?,
            dns: below("dns", dns)?.unwrap_or_default(),
        })
    }
}

impl From<&RouteConfig> for v1::Route {
    fn from(config: &RouteConfig) -> Self {
        use v1::route::{Backend, PathMatch};
        // destructured in `inline_upstream`: targets, balancer … dns
        let RouteConfig {
            name,
            hosts,
            listeners,
            prefix,
            path,
            methods,
            headers,
            query,
            strip_prefix,
            rewrite,
            preserve_host,
            websocket,
            websocket_idle_timeout,
            timeout,
            targets: _,
            upstream,
            split,
            mirror,
            redirect,
            respond,
            balancer: _,
            hash_on,
            connect_timeout: _,
            response_timeout: _,
            max_connections: _,
            max_connections_wait: _,
            idle_timeout: _,
            health_check: _,
            outlier: _,
            on_all_unhealthy: _,
            slow_start: _,
            protocol: _,
            tls: _,
            send_proxy_protocol: _,
            dns: _,
            filters,
        } = config;
        let path_match = match (prefix, path) {
            (Some(prefix), _) => Some(PathMatch::Prefix(prefix.to_string())),
            (None, Some(path)) => Some(PathMatch::Path(path.to_string())),
            (None, None) => None,
        };
        let backend = match (upstream, redirect.as_deref(), respond.as_deref()) {
            (Some(upstream), ..) => Backend::Upstream(upstream.clone()),
            (None, Some(redirect), _) => Backend::Redirect(redirect.into()),
            (None, None, Some(respond)) => Backend::Respond(respond.into()),
            (None, None, None) if !split.is_empty() => {
                Backend::Split(split::to_wire(split, hash_on.as_deref()))
            }
            (None, None, None) => {
                let v1::Upstream { name: _, targets, balancing } = (&config.inline_upstream()).into();
                Backend::Inline(Box::new(v1::Inline { targets, balancing }))
            }
        };
        Self {
            name: name.clone(),
            hosts: texts(hosts),
            listeners: listeners.clone(),
            path_match,
            methods: texts(methods),
            headers: headers.iter().map(v1::HeaderMatch::from).collect(),
            query: query.iter().map(v1::QueryMatch::from).collect(),
            strip_prefix: *strip_prefix,
            rewrite: rewrite.as_ref().map(ToString::to_string),
            preserve_host: *preserve_host,
            websocket: *websocket,
            websocket_idle_timeout_ms: websocket_idle_timeout.as_millis(),
            timeout_ms: timeout.map_or(0, Duration::as_millis),
            backend: Some(backend),
            filters: filters.iter().map(v1::Filter::from).collect(),
            mirror: mirror.as_deref().map(v1::Mirror::from),
        }
    }
}

impl TryFrom<v1::Route> for RouteConfig {
    type Error = WireError;

    fn try_from(wire: v1::Route) -> Result<Self, WireError> {
        use v1::route::{Backend, PathMatch};
        let v1::Route {
            name,
            hosts,
            listeners,
            path_match,
            methods,
            headers,
            query,
            strip_prefix,
            rewrite,
            preserve_host,
            websocket,
            websocket_idle_timeout_ms,
            timeout_ms,
            backend,
            filters,
            mirror,
        } = wire;
        let (prefix, path) = match required("prefix", path_match)? {
            PathMatch::Prefix(prefix) => (Some(parse("prefix", &prefix)?), None),
            PathMatch::Path(path) => (None, Some(parse("path", &path)?)),
        };
        let (mut upstream, mut inline, mut redirect, mut respond) = (None, None, None, None);
        let (mut split, mut hash_on) = (Vec::new(), None);
        match required("upstream", backend)? {
            Backend::Upstream(name) => upstream = Some(name),
            Backend::Inline(inline_wire) => {
                let v1::Inline { targets, balancing } = *inline_wire;
                let wire = v1::Upstream { name: String::new(), targets, balancing };
                inline = Some(UpstreamConfig::try_from(wire)?);
            }
            Backend::Redirect(wire) => redirect = below("redirect", Some(wire))?,
            Backend::Respond(wire) => respond = below("respond", Some(wire))?,
            Backend::Split(wire) => (split, hash_on) = split::from_wire(wire)?,
        }
        let mut route = Self {
            name,
            hosts: parse_all("hosts", &hosts)?,
            listeners,
            prefix,
            path,
            methods: parse_all("methods", &methods)?,
            headers: convert_all("headers", headers)?,
            query: query.into_iter().map(QueryMatch::from).collect(),
            strip_prefix,
            rewrite: rewrite.map(|text| parse("rewrite", &text)).transpose()?,
            preserve_host,
            websocket,
            websocket_idle_timeout: millis("websocket_idle_timeout", websocket_idle_timeout_ms)?,
            timeout: (timeout_ms > 0).then(|| millis("timeout", timeout_ms)).transpose()?,
            targets: Vec::new(),
            upstream,
            split,
            mirror: below("mirror", mirror)?.map(Box::new),
            redirect: redirect.map(Box::new),
            respond: respond.map(Box::new),
            balancer: None,
            hash_on: hash_on.map(Box::new),
            connect_timeout: None,
            response_timeout: None,
            max_connections: None,
            max_connections_wait: None,
            idle_timeout: None,
            health_check: None,
            outlier: None,
            on_all_unhealthy: None,
            slow_start: None,
            protocol: None,
            tls: None,
            send_proxy_protocol: None,
            dns: None,
            filters: convert_all::<_, FilterConfig>("filters", filters)?,
        };
        if let Some(inline) = inline {
            route.set_inline_upstream(inline);
        }
        Ok(route)
    }
}

impl From<&HeaderMatch> for v1::HeaderMatch {
    fn from(HeaderMatch { name, value }: &HeaderMatch) -> Self {
        Self { name: name.to_string(), value: value.clone() }
    }
}

impl TryFrom<v1::HeaderMatch> for HeaderMatch {
    type Error = WireError;

    fn try_from(v1::HeaderMatch { name, value }: v1::HeaderMatch) -> Result<Self, WireError> {
        Ok(Self { name: parse("name", &name)?, value })
    }
}

impl From<&QueryMatch> for v1::QueryMatch {
    fn from(QueryMatch { name, value }: &QueryMatch) -> Self {
        Self { name: name.clone(), value: value.clone() }
    }
}

impl From<v1::QueryMatch> for QueryMatch {
    fn from(v1::QueryMatch { name, value }: v1::QueryMatch) -> Self {
        Self { name, value }
    }
}
