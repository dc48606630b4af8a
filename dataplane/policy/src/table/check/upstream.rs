//! What a group of targets must be, in an upstream or in a route of its own.

use super::Check;
use crate::config::health::{HealthCheckConfig, OutlierConfig, ProbeKind};
use crate::config::leaf::{Duration, HashOn, TargetAddr};
use crate::config::transport::{DnsConfig, UpstreamTlsConfig};
use crate::config::{BalancerKind, RouteConfig, TargetConfig, UpstreamConfig};
use crate::diagnostic::{Code, Place, Problem};
use foldhash::fast::RandomState;
use http::header::{self, HeaderName};
use std::collections::HashMap;

/// Targets and how they are used, as an upstream or a route has them; none where a default is left unwritten, which
/// is always right.
pub(super) struct Group<'a> {
    pub(super) targets: &'a [TargetConfig],
    balancer: BalancerKind,
    hash_on: Option<&'a HashOn>,
    timeouts: [(&'static str, Option<Duration>); 3],
    max_connections: Option<u32>,
    health_check: Option<&'a HealthCheckConfig>,
    outlier: Option<&'a OutlierConfig>,
    pub(super) tls: Option<&'a UpstreamTlsConfig>,
    pub(super) dns: Option<&'a DnsConfig>,
}

impl<'a> Group<'a> {
    pub(super) fn of_upstream(upstream: &'a UpstreamConfig) -> Self {
        Self {
            targets: &upstream.targets,
            balancer: upstream.balancer,
            hash_on: upstream.hash_on.as_deref(),
            timeouts: [
                ("connect_timeout", Some(upstream.connect_timeout)),
                ("response_timeout", Some(upstream.response_timeout)),
                ("idle_timeout", Some(upstream.idle_timeout)),
            ],
            max_connections: Some(upstream.max_connections),
            health_check: upstream.health_check.as_deref(),
            outlier: upstream.outlier.as_deref(),
            tls: Some(&upstream.tls).filter(|tls| **tls != UpstreamTlsConfig::default()),
            dns: Some(&upstream.dns).filter(|dns| **dns != DnsConfig::default()),
        }
    }

    pub(super) fn of_route(route: &'a RouteConfig) -> Self {
        Self {
            targets: &route.targets,
            balancer: route.balancer.unwrap_or_default(),
            hash_on: route.hash_on.as_deref(),
            timeouts: [
                ("connect_timeout", route.connect_timeout),
                ("response_timeout", route.response_timeout),
                ("idle_timeout", route.idle_timeout),
            ],
            max_connections: route.max_connections,
            health_check: route.health_check.as_deref(),
            outlier: route.outlier.as_deref(),
            tls: route.tls.as_deref().filter(|tls| **tls != UpstreamTlsConfig::default()),
            dns: route.dns.as_deref().filter(|dns| **dns != DnsConfig::default()),
        }
    }
}

impl Check<'_> {
    pub(super) fn upstream(&mut self, group: &Group<'_>, path: &Place<'_>) {
        self.targets(group.targets, &path.key("targets"));
        self.hash_on(group.balancer, group.hash_on, path);
        for (key, duration) in group.timeouts {
            if let Some(duration) = duration {
                self.not_zero(path, key, duration);
            }
        }
        if group.max_connections == Some(0) {
            let message = "`max_connections` is 0, so no request could be sent";
            let problem = Problem::new(Code::OUT_OF_RANGE, path.key("max_connections"), message);
            self.report(problem.help("leave the key out for its default of 1024"));
        }
        if let Some(health_check) = group.health_check {
            self.health_check(health_check, &path.key("health_check"));
        }
        if let Some(outlier) = group.outlier {
            self.outlier(outlier, &path.key("outlier"));
        }
        self.reach(group, path);
    }

    fn health_check(&mut self, config: &HealthCheckConfig, path: &Place<'_>) {
        self.not_zero(path, "interval", config.interval);
        self.not_zero(path, "timeout", config.timeout);
        for (key, kinds, _) in
            probe_keys(config).into_iter().filter(|(_, kinds, set)| *set && !kinds.contains(&config.kind))
        {
            let kind = ProbeKind::name(config.kind);
            let message = format!("`{key}` has no meaning for a probe of the type `{kind}`");
            let names: Vec<_> = kinds.iter().map(|kind| format!("`{}`", kind.name())).collect();
            let help = format!("remove it; it is for the type {}", names.join(" or "));
            self.report(Problem::new(Code::CONTRADICTION, path.key(key), message).help(help));
        }
        if config.expected_status.as_ref().is_some_and(Vec::is_empty) {
            let message = "`expected_status` is empty, so no target would ever be healthy";
            let problem = Problem::new(Code::OUT_OF_RANGE, path.key("expected_status"), message);
            self.report(problem.help("leave the key out for its default of 200"));
        }
        let head = config.method.as_ref().is_some_and(|method| method.0 == http::Method::HEAD);
        if head && config.body_contains.is_some() {
            let message = "the response to `HEAD` has no body that could contain anything";
            let problem = Problem::new(Code::CONTRADICTION, path.key("body_contains"), message);
            self.report(
                problem.help("remove `method`, or `body_contains`").related(path.key("method"), "the method"),
            );
        }
        self.header_values(&config.headers, path);
        for (at, header) in
            config.headers.iter().enumerate().filter(|(_, header)| OURS.contains(&header.name.0))
        {
            let message = format!("the header `{}` is not for a probe to choose", header.name);
            let problem =
                Problem::new(Code::CONTRADICTION, path.key("headers").index(at).key("name"), message);
            self.report(problem.help("remove it; what `Host` says is set by `host`"));
        }
    }

    fn outlier(&mut self, config: &OutlierConfig, path: &Place<'_>) {
        self.not_zero(path, "base_ejection", config.base_ejection);
        if let Some(latency) = config.latency {
            self.not_zero(path, "latency", latency);
        }
        if config.max_ejection < config.base_ejection {
            let (max, base) = (config.max_ejection, config.base_ejection);
            let message = format!("`max_ejection` is {max}, less than the {base} of `base_ejection`");
            let problem = Problem::new(Code::CONTRADICTION, path.key("max_ejection"), message);
            self.report(problem.help("raise the one or lower the other"));
        }
        self.within(path, "max_ejection_percent", config.max_ejection_percent.into(), 1..=100, "1 to 100");
    }

    fn targets(&mut self, targets: &[TargetConfig], path: &Place<'_>) {
        if targets.is_empty() {
            let problem = Problem::new(Code::NO_TARGETS, *path, "there are no targets");
            return self.report(problem.help("add at least one: `- addr: http://host:port`"));
        }
        if targets.iter().all(|target| target.weight == 0) {
            let message = "every target has the weight 0, so none gets requests";
            let problem = Problem::new(Code::NO_WEIGHT, *path, message);
            self.report(problem.help("give at least one of them a weight of 1 or more"));
        }
        let mut seen: HashMap<&TargetAddr, usize, RandomState> = HashMap::default();
        for (at, TargetConfig { addr, weight: _ }) in targets.iter().enumerate() {
            if let Some(first) = seen.get(addr) {
                let message = format!("`{addr}` is a target twice");
                let problem = Problem::new(Code::DUPLICATE_TARGET, path.index(at).key("addr"), message)
                    .help("remove one of them, and give the other the sum of the weights")
                    .related(path.index(*first).key("addr"), "the first one");
                self.report(problem);
            } else {
                seen.insert(addr, at);
            }
            self.not_this_gateway(addr, &path.index(at).key("addr"));
        }
    }

    /// Where requests are sent, or asked about.
    pub(super) fn not_this_gateway(&mut self, addr: &TargetAddr, path: &Place<'_>) {
        let ports = self.config.listeners.iter().map(|listener| listener.port);
        if ports.chain([self.config.server.port]).any(|port| is_this_gateway(addr, port)) {
            let problem = Problem::new(Code::SELF_TARGET, *path, format!("`{addr}` is the gateway itself"));
            self.report(
                problem
                    .help("requests would go round in a circle: change the target, or the listener's port"),
            );
        }
    }

    fn hash_on(&mut self, balancer: BalancerKind, hash_on: Option<&HashOn>, path: &Place<'_>) {
        let problem = match (balancer, hash_on) {
            (BalancerKind::ConsistentHash, None) => {
                Problem::new(Code::HASH_ON, path.key("balancer"), "`consistent_hash` needs `hash_on`")
                    .help("add `hash_on: header:NAME`, `cookie:NAME`, `client_ip` or `path`")
            }
            (BalancerKind::ConsistentHash, Some(_)) | (_, None) => return,
            (_, Some(_)) => {
                Problem::new(Code::HASH_ON, path.key("hash_on"), "`hash_on` is only for `consistent_hash`")
                    .help("add `balancer: consistent_hash`, or remove `hash_on`")
            }
        };
        self.report(problem);
    }
}

/// What names the host of a probe, and what would break its framing.
const OURS: [HeaderName; 8] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
];

/// The keys that not every type of probe has: for which they are, and whether they are set.
fn probe_keys(config: &HealthCheckConfig) -> [(&'static str, &'static [ProbeKind], bool); 7] {
    const HTTP: &[ProbeKind] = &[ProbeKind::Http];
    [
        ("path", HTTP, config.path.is_some()),
        ("method", HTTP, config.method.is_some()),
        ("headers", HTTP, !config.headers.is_empty()),
        ("expected_status", HTTP, config.expected_status.is_some()),
        ("body_contains", HTTP, config.body_contains.is_some()),
        ("host", &[ProbeKind::Http, ProbeKind::Grpc], config.host.is_some()),
        ("service", &[ProbeKind::Grpc], config.service.is_some()),
    ]
}

fn is_this_gateway(addr: &TargetAddr, port: u16) -> bool {
    let local =
        addr.host == "localhost" || addr.ip().is_some_and(|ip| ip.is_loopback() || ip.is_unspecified());
    local && port != 0 && addr.port == port
}
