//! Whether a config makes sense as a whole: everything that no single value can know.

use crate::config::leaf::{Duration, HashOn, TargetAddr, quoted};
use crate::config::{BalancerKind, GatewayConfig, RouteConfig, ServerConfig, TargetConfig, UpstreamConfig};
use crate::diagnostic::suggest::nearest;
use crate::diagnostic::{Code, ConfigPath, Problem};
use crate::filter::{FilterConfig, FilterKind, SERVED};
use crate::router::{Conflict, ConflictKind, PathMatch, RouteMatch, Router};
use crate::table::Purpose;
use http::HeaderValue;
use std::collections::HashMap;

/// More than anybody reads; what costs time for each problem stops here.
const ENOUGH: usize = 100;

/// Smaller heads than this are sent by hardly any client.
const MIN_HEADER_BYTES: u64 = 1024;

/// The router of a config that makes sense, or everything that does not.
pub(super) fn check(config: &GatewayConfig, purpose: Purpose) -> Result<Router, Vec<Problem>> {
    let mut check = Check { config, purpose, problems: Vec::new() };
    check.server(&config.server);
    check.names();
    let upstreams = ConfigPath::root().key("upstreams");
    for (at, upstream) in config.upstreams.iter().enumerate() {
        check.upstream(upstream, &upstreams.index(at));
    }
    let names: HashMap<&str, usize> =
        config.upstreams.iter().enumerate().map(|(at, upstream)| (upstream.name.as_str(), at)).collect();
    for (at, route) in config.routes.iter().enumerate() {
        check.route(route, &route_path(at), &names);
    }
    check.filters(&config.global_filters, &ConfigPath::root().key("global_filters"));
    let router = check.router();
    match router {
        Some(router) if check.problems.is_empty() => Ok(router),
        _ => Err(check.problems),
    }
}

fn route_path(at: usize) -> ConfigPath {
    ConfigPath::root().key("routes").index(at)
}

struct Check<'a> {
    config: &'a GatewayConfig,
    purpose: Purpose,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn server(&mut self, server: &ServerConfig) {
        let path = ConfigPath::root().key("server");
        self.not_zero(&path, "read_timeout", server.read_timeout);
        self.not_zero(&path, "write_timeout", server.write_timeout);
        self.not_zero(&path, "idle_timeout", server.idle_timeout);
        self.not_zero(&path, "header_timeout", server.header_timeout);
        self.within(
            &path,
            "max_header_bytes",
            server.max_header_bytes.0,
            MIN_HEADER_BYTES..=1 << 20,
            "1KiB to 1MiB",
        );
        self.within(&path, "max_target_bytes", server.max_target_bytes.0, 64..=1 << 20, "64 bytes to 1MiB");
        self.within(&path, "max_headers", u64::from(server.max_headers), 1..=1000, "1 to 1000");
        if server.max_target_bytes > server.max_header_bytes && server.max_header_bytes.0 >= MIN_HEADER_BYTES
        {
            let (target, header) = (server.max_target_bytes, server.max_header_bytes);
            let message =
                format!("`max_target_bytes` is {target}, more than the {header} of `max_header_bytes`");
            let problem = Problem::new(Code::CONTRADICTION, path.key("max_target_bytes"), message);
            self.report(problem.help("the target is a part of the head: lower the one or raise the other"));
        }
    }

    fn not_zero(&mut self, path: &ConfigPath, key: &str, duration: Duration) {
        if duration.is_zero() {
            let problem = Problem::new(
                Code::OUT_OF_RANGE,
                path.key(key),
                format!("`{key}` is 0, so nothing could ever be in time"),
            );
            self.report(problem.help("leave the key out for its default, or write a time such as `30s`"));
        }
    }

    fn within(
        &mut self,
        path: &ConfigPath,
        key: &str,
        value: u64,
        range: std::ops::RangeInclusive<u64>,
        words: &str,
    ) {
        if !range.contains(&value) {
            let message = format!("`{key}` is {value}, outside of {words}");
            self.report(Problem::new(Code::OUT_OF_RANGE, path.key(key), message));
        }
    }

    /// Names of routes and upstreams: well-formed, and each of one thing. Inline targets make an upstream of the
    /// route's name, so these share the upstreams' names.
    fn names(&mut self) {
        let config = self.config;
        let upstreams = config.upstreams.iter().enumerate();
        let upstreams =
            upstreams.map(|(at, one)| (one.name.as_str(), ConfigPath::root().key("upstreams").index(at)));
        let seen = self.distinct("upstream", upstreams);
        let routes = config.routes.iter().enumerate().map(|(at, one)| (one.name.as_str(), route_path(at)));
        self.distinct("route", routes);
        for (at, route) in config.routes.iter().enumerate().filter(|(_, route)| !route.targets.is_empty()) {
            let Some(upstream) = seen.get(route.name.as_str()) else { continue };
            let message = format!(
                "route `{0}` has its own targets, but there is also an upstream named `{0}`",
                route.name
            );
            let problem = Problem::new(Code::DUPLICATE_NAME, route_path(at).key("name"), message)
                .help(format!(
                    "rename one of them, or write `upstream: {}` in place of `targets`",
                    route.name
                ))
                .related(upstream.key("name"), "the upstream");
            self.report(problem);
        }
    }

    fn distinct<'n>(
        &mut self,
        kind: &str,
        names: impl Iterator<Item = (&'n str, ConfigPath)>,
    ) -> HashMap<&'n str, ConfigPath> {
        let mut seen: HashMap<&str, ConfigPath> = HashMap::new();
        for (name, path) in names {
            self.name(name, &path);
            if let Some(first) = seen.get(name) {
                let problem = Problem::new(
                    Code::DUPLICATE_NAME,
                    path.key("name"),
                    format!("two {kind}s are named `{name}`"),
                )
                .help("rename one of them: names tell them apart in metrics, logs and `gatewayctl`")
                .related(first.key("name"), "the first one");
                self.report(problem);
            } else {
                seen.insert(name, path);
            }
        }
        seen
    }

    fn name(&mut self, name: &str, path: &ConfigPath) {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let message = if name.is_empty() {
            "the name is empty".to_owned()
        } else if name.len() > 128 {
            format!("the name has {} characters, more than 128", name.len())
        } else if let Some(bad) = name.chars().find(|c| !c.is_ascii() || !allowed(*c as u8)) {
            format!("the name holds {}", quoted(&bad.to_string()))
        } else {
            return;
        };
        let problem = Problem::new(Code::BAD_NAME, path.key("name"), message);
        self.report(problem.help("a name is made of letters, digits, `.`, `_` and `-`"));
    }

    fn upstream(&mut self, upstream: &UpstreamConfig, path: &ConfigPath) {
        self.targets(&upstream.targets, path);
        self.hash_on(upstream.balancer, upstream.hash_on.as_ref(), path);
        self.not_zero(path, "connect_timeout", upstream.connect_timeout);
        self.not_zero(path, "response_timeout", upstream.response_timeout);
        self.not_zero(path, "idle_timeout", upstream.idle_timeout);
        if upstream.max_connections == 0 {
            let message = "`max_connections` is 0, so no request could be sent";
            let problem = Problem::new(Code::OUT_OF_RANGE, path.key("max_connections"), message);
            self.report(problem.help("leave the key out for its default of 1024"));
        }
    }

    fn targets(&mut self, targets: &[TargetConfig], path: &ConfigPath) {
        let path = path.key("targets");
        if targets.is_empty() {
            let problem = Problem::new(Code::NO_TARGETS, path, "there are no targets");
            return self.report(problem.help("add at least one: `- addr: http://host:port`"));
        }
        if targets.iter().all(|target| target.weight == 0) {
            let problem = Problem::new(
                Code::NO_WEIGHT,
                path.clone(),
                "every target has the weight 0, so none gets requests",
            );
            self.report(problem.help("give at least one of them a weight of 1 or more"));
        }
        let mut seen: HashMap<&TargetAddr, usize> = HashMap::with_capacity(targets.len());
        for (at, target) in targets.iter().enumerate() {
            let addr = path.index(at).key("addr");
            if let Some(first) = seen.get(&target.addr) {
                let problem = Problem::new(
                    Code::DUPLICATE_TARGET,
                    addr.clone(),
                    format!("`{}` is a target twice", target.addr),
                )
                .help("remove one of them, and give the other the sum of the weights")
                .related(path.index(*first).key("addr"), "the first one");
                self.report(problem);
            } else {
                seen.insert(&target.addr, at);
            }
            if is_this_gateway(&target.addr, self.config.server.port) {
                let problem =
                    Problem::new(Code::SELF_TARGET, addr, format!("`{}` is the gateway itself", target.addr))
                        .help("requests would go round in a circle: change the target, or `server.port`");
                self.report(problem);
            }
        }
    }

    fn hash_on(&mut self, balancer: BalancerKind, hash_on: Option<&HashOn>, path: &ConfigPath) {
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

    fn route(&mut self, route: &'a RouteConfig, path: &ConfigPath, upstreams: &HashMap<&str, usize>) {
        self.path_match(route, path);
        self.rewrite(route, path);
        self.backend(route, path, upstreams);
        for (at, header) in route.headers.iter().enumerate() {
            if HeaderValue::from_str(&header.value).is_err() {
                let message = "no header can have this value";
                let path = path.key("headers").index(at).key("value");
                self.report(Problem::new(Code::BAD_VALUE, path, message).help("remove control characters"));
            }
        }
        if let Some(timeout) = route.timeout {
            self.not_zero(path, "timeout", timeout);
        }
        self.filters(&route.filters, &path.key("filters"));
    }

    fn path_match(&mut self, route: &RouteConfig, path: &ConfigPath) {
        let problem = match (&route.prefix, &route.path) {
            (Some(_), None) | (None, Some(_)) => return,
            (None, None) => Problem::new(
                Code::PATH_MATCH,
                path.clone(),
                format!("route `{}` has neither `prefix` nor `path`", route.name),
            )
            .help("add `prefix: /` for every path"),
            (Some(_), Some(_)) => Problem::new(
                Code::PATH_MATCH,
                path.key("path"),
                format!("route `{}` has both `prefix` and `path`", route.name),
            )
            .help("keep `prefix` for a path and all below it, or `path` for one path; two routes for both")
            .related(path.key("prefix"), "the prefix"),
        };
        self.report(problem);
    }

    fn rewrite(&mut self, route: &RouteConfig, path: &ConfigPath) {
        let by_path = route.path.is_some() && route.prefix.is_none();
        if route.strip_prefix && route.rewrite.is_some() && !by_path {
            let problem = Problem::new(
                Code::CONTRADICTION,
                path.key("strip_prefix"),
                "`strip_prefix` and `rewrite` exclude each other",
            );
            self.report(
                problem
                    .help("`rewrite: /` is the same as `strip_prefix`: keep one")
                    .related(path.key("rewrite"), "the rewrite"),
            );
        }
        for (key, set) in [("strip_prefix", route.strip_prefix), ("rewrite", route.rewrite.is_some())] {
            if set && by_path {
                let problem = Problem::new(
                    Code::CONTRADICTION,
                    path.key(key),
                    format!("`{key}` needs `prefix`, but the route has `path`"),
                );
                self.report(
                    problem
                        .help(format!("remove `{key}`, or match by `prefix`"))
                        .related(path.key("path"), "the path"),
                );
            }
        }
    }

    fn backend(&mut self, route: &RouteConfig, path: &ConfigPath, upstreams: &HashMap<&str, usize>) {
        let Some(upstream) = &route.upstream else {
            if route.targets.is_empty() {
                let message = format!("route `{}` has neither `targets` nor `upstream`", route.name);
                let problem = Problem::new(Code::BACKEND, path.clone(), message);
                return self.report(
                    problem.help("add `targets: [{addr: \"http://host:port\"}]`, or name an `upstream`"),
                );
            }
            return self.upstream(&route.inline_upstream(), path);
        };
        if !route.targets.is_empty() {
            let message = format!("route `{}` has both `targets` and `upstream`", route.name);
            let problem = Problem::new(Code::BACKEND, path.key("upstream"), message)
                .related(path.key("targets"), "the targets");
            self.report(problem.help("keep one of them"));
        }
        for key in upstream_keys(route) {
            let message =
                format!("`{key}` belongs to the upstream `{upstream}`, not to a route that names it");
            let problem = Problem::new(Code::CONTRADICTION, path.key(key), message);
            self.report(
                problem.help(format!(
                    "move `{key}` to the upstream; a route may have it with its own `targets`"
                )),
            );
        }
        if !upstreams.contains_key(upstream.as_str()) {
            self.unknown_upstream(upstream, path);
        }
    }

    fn unknown_upstream(&mut self, name: &str, path: &ConfigPath) {
        let near = match self.problems.len() {
            ..ENOUGH => nearest(name, self.config.upstreams.iter().map(|upstream| upstream.name.as_str())),
            _ => None,
        };
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.config.upstreams.is_empty() => {
                "there are no `upstreams`: add it there, or give the route `targets`".into()
            }
            None => "add it under `upstreams`, or give the route `targets`".into(),
        };
        let message = format!("no upstream is named `{name}`");
        self.report(Problem::new(Code::UNKNOWN_UPSTREAM, path.key("upstream"), message).help(help));
    }

    fn filters(&mut self, filters: &[FilterConfig], path: &ConfigPath) {
        let mut seen: HashMap<FilterKind, usize> = HashMap::new();
        for (at, filter) in filters.iter().enumerate() {
            let kind = filter.kind();
            let path_of = |at: usize| path.index(at).key(kind.name());
            if let Some(first) = seen.insert(kind, at).filter(|_| !kind.repeats()) {
                let message = format!("`{}` stands twice in one list", kind.name());
                let problem = Problem::new(Code::DUPLICATE_FILTER, path_of(at), message);
                self.report(problem.help("remove one of them").related(path_of(first), "the first one"));
            }
            if let Err(fault) = filter.check() {
                let at = fault.at.map_or(path_of(at), |key| path_of(at).key(key));
                self.report(Problem {
                    help: fault.help,
                    ..Problem::new(Code::FILTER_SETTINGS, at, fault.message)
                });
            }
            if self.purpose == Purpose::Serve && !SERVED.contains(&kind) {
                let message =
                    format!("the filter `{}` does not run in this version of the gateway", kind.name());
                let help = "remove it: a config is served as a whole or not at all; `gatewayctl validate` accepts it";
                self.report(Problem::new(Code::FILTER_NOT_SERVED, path_of(at), message).help(help));
            }
        }
    }

    /// The router over the routes that say what they take, and its conflicts.
    fn router(&mut self) -> Option<Router> {
        let usable =
            self.config.routes.iter().enumerate().filter_map(|(at, route)| Some((at, route_match(route)?)));
        let (positions, matches): (Vec<_>, Vec<_>) = usable.unzip();
        match Router::build(&matches) {
            Ok(router) => Some(router),
            Err(conflicts) => {
                for conflict in conflicts {
                    self.conflict(&conflict, &positions);
                }
                None
            }
        }
    }

    fn conflict(&mut self, conflict: &Conflict, positions: &[usize]) {
        let Conflict { route, by, kind, host } = conflict;
        let (route, by) = (positions[*route], positions[*by]);
        let (name, other) = (&self.config.routes[route].name, &self.config.routes[by].name);
        let host = host.as_ref().map(|host| format!(" on host `{host}`")).unwrap_or_default();
        let problem = match kind {
            ConflictKind::Duplicate => Problem::new(
                Code::DUPLICATE_ROUTE,
                match_path(&self.config.routes[route], route),
                format!("route `{name}` takes the same requests as route `{other}`{host}"),
            )
            .help("remove one of them, or tell them apart by hosts, methods, headers or query"),
            ConflictKind::Unreachable => Problem::new(
                Code::UNREACHABLE_ROUTE,
                match_path(&self.config.routes[route], route),
                format!("route `{name}` never gets a request: route `{other}` takes them all{host}"),
            )
            .help(format!(
                "put it before route `{other}` if it is meant for some of its requests, or remove it"
            )),
        };
        self.report(problem.related(match_path(&self.config.routes[by], by), format!("route `{other}`")));
    }
}

/// Where a route says which paths it takes.
fn match_path(route: &RouteConfig, at: usize) -> ConfigPath {
    route_path(at).key(if route.prefix.is_some() { "prefix" } else { "path" })
}

fn route_match(route: &RouteConfig) -> Option<RouteMatch> {
    let path = match (&route.prefix, &route.path) {
        (Some(prefix), None) => PathMatch::Prefix(prefix.clone()),
        (None, Some(path)) => PathMatch::Template(path.clone()),
        (None, None) | (Some(_), Some(_)) => return None,
    };
    Some(RouteMatch {
        hosts: route.hosts.clone(),
        path,
        methods: route.methods.iter().map(|method| method.0.clone()).collect(),
        headers: route.headers.iter().map(|header| (header.name.0.clone(), header.value.clone())).collect(),
        query: route.query.iter().map(|query| (query.name.clone(), query.value.clone())).collect(),
    })
}

/// The keys of an upstream that a route sets.
fn upstream_keys(route: &RouteConfig) -> impl Iterator<Item = &'static str> {
    let keys = [
        ("balancer", route.balancer.is_some()),
        ("hash_on", route.hash_on.is_some()),
        ("connect_timeout", route.connect_timeout.is_some()),
        ("response_timeout", route.response_timeout.is_some()),
        ("max_connections", route.max_connections.is_some()),
        ("max_connections_wait", route.max_connections_wait.is_some()),
        ("idle_timeout", route.idle_timeout.is_some()),
    ];
    keys.into_iter().filter(|(_, set)| *set).map(|(key, _)| key)
}

fn is_this_gateway(addr: &TargetAddr, port: u16) -> bool {
    let local =
        addr.host == "localhost" || addr.ip().is_some_and(|ip| ip.is_loopback() || ip.is_unspecified());
    local && port != 0 && addr.port == port
}
