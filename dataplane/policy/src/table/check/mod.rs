//! Whether a config makes sense as a whole: everything that no single value can know.

mod answer;
mod edge;
mod limit;
mod listener;
mod mirror;
mod reach;
mod retry;
mod route;
mod split;
mod upstream;

use crate::config::leaf::{Duration, quoted};
use crate::config::{GatewayConfig, RouteConfig, ServerConfig};
use crate::diagnostic::{Code, ConfigPath, Place, Problem};
use crate::router::{Conflict, ConflictKind, PathMatch, RouteMatch, Router};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use upstream::Group;

/// More than anybody reads; what costs time for each problem stops here.
const ENOUGH: usize = 100;

/// Smaller heads than this are sent by hardly any client.
const MIN_HEADER_BYTES: u64 = 1024;

/// The router of a config that makes sense, or everything that does not.
pub(super) fn check(config: &GatewayConfig) -> Result<Router, Vec<Problem>> {
    let mut check = Check { config, upstreams: Names::default(), problems: Vec::new() };
    check.server(&config.server);
    check.listeners();
    check.names();
    for (at, upstream) in config.upstreams.iter().enumerate() {
        check.upstream(&Group::of_upstream(upstream), &UPSTREAMS.index(at));
    }
    for (at, route) in config.routes.iter().enumerate() {
        check.route(route, &ROUTES.index(at));
    }
    check.filters(&config.global_filters, &GLOBAL_FILTERS);
    check.limits(None, &GLOBAL_FILTERS);
    check.body_limits(&config.global_filters, &GLOBAL_FILTERS);
    let router = check.router();
    match router {
        Some(router) if check.problems.is_empty() => Ok(router),
        _ => Err(check.problems),
    }
}

const SERVER: Place<'_> = Place::Root.key("server");
const LISTENERS: Place<'_> = Place::Root.key("listeners");
const UPSTREAMS: Place<'_> = Place::Root.key("upstreams");
const ROUTES: Place<'_> = Place::Root.key("routes");
const GLOBAL_FILTERS: Place<'_> = Place::Root.key("global_filters");

/// Where in its list each name stands first.
type Names<'a> = HashMap<&'a str, usize, RandomState>;

struct Check<'a> {
    config: &'a GatewayConfig,
    upstreams: Names<'a>,
    problems: Vec<Problem>,
}

impl<'a> Check<'a> {
    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn server(&mut self, server: &ServerConfig) {
        let path = SERVER;
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
        let streams = u64::from(server.max_concurrent_streams);
        self.within(&path, "max_concurrent_streams", streams, 1..=10_000, "1 to 10000");
        if server.max_target_bytes > server.max_header_bytes && server.max_header_bytes.0 >= MIN_HEADER_BYTES
        {
            let (target, header) = (server.max_target_bytes, server.max_header_bytes);
            let message =
                format!("`max_target_bytes` is {target}, more than the {header} of `max_header_bytes`");
            let problem = Problem::new(Code::CONTRADICTION, path.key("max_target_bytes"), message);
            self.report(problem.help("the target is a part of the head: lower the one or raise the other"));
        }
    }

    fn not_zero(&mut self, path: &Place<'_>, key: &str, duration: Duration) {
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
        path: &Place<'_>,
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
        self.upstreams = self.distinct("upstream", &UPSTREAMS, config.upstreams.iter().map(|one| &*one.name));
        self.distinct("route", &ROUTES, config.routes.iter().map(|one| &*one.name));
        for (at, route) in config.routes.iter().enumerate().filter(|(_, route)| !route.targets.is_empty()) {
            let name = &route.name;
            let Some(upstream) = self.upstreams.get(&**name) else { continue };
            let message =
                format!("route `{name}` has its own targets, but there is also an upstream named `{name}`");
            let problem = Problem::new(Code::DUPLICATE_NAME, ROUTES.index(at).key("name"), message)
                .help(format!("rename one of them, or write `upstream: {name}` in place of `targets`"))
                .related(UPSTREAMS.index(*upstream).key("name"), "the upstream");
            self.report(problem);
        }
    }

    fn distinct<'n>(
        &mut self,
        kind: &str,
        list: &Place<'_>,
        names: impl Iterator<Item = &'n str>,
    ) -> Names<'n> {
        let mut seen = Names::default();
        for (at, name) in names.enumerate() {
            self.name(name, &list.index(at));
            if let Some(first) = seen.get(name) {
                let message = format!("two {kind}s are named `{name}`");
                let problem = Problem::new(Code::DUPLICATE_NAME, list.index(at).key("name"), message)
                    .help("rename one of them: names tell them apart in metrics, logs and `gatewayctl`")
                    .related(list.index(*first).key("name"), "the first one");
                self.report(problem);
            } else {
                seen.insert(name, at);
            }
        }
        seen
    }

    fn name(&mut self, name: &str, path: &Place<'_>) {
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

    /// The router over the routes that say what they take, and its conflicts.
    fn router(&mut self) -> Option<Router> {
        let usable =
            self.config.routes.iter().enumerate().filter_map(|(at, route)| Some((at, route_match(route)?)));
        let (positions, matches): (Vec<_>, Vec<_>) = usable.unzip();
        match Router::build(matches) {
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
        let Conflict { route, by, kind, host, listener } = conflict;
        let (route, by) = (positions[*route], positions[*by]);
        let (name, other) = (&self.config.routes[route].name, &self.config.routes[by].name);
        let host = host.as_ref().map(|host| format!(" on host `{host}`")).unwrap_or_default();
        let listener = listener.as_ref().map(|name| format!(" by listener `{name}`")).unwrap_or_default();
        let problem = match kind {
            ConflictKind::Duplicate => Problem::new(
                Code::DUPLICATE_ROUTE,
                match_path(&self.config.routes[route], route),
                format!("route `{name}` takes the same requests as route `{other}`{host}{listener}"),
            )
            .help("remove one of them, or tell them apart by hosts, listeners, methods, headers or query"),
            ConflictKind::Unreachable => Problem::new(
                Code::UNREACHABLE_ROUTE,
                match_path(&self.config.routes[route], route),
                format!(
                    "route `{name}` never gets a request: route `{other}` takes them all{host}{listener}"
                ),
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
    ROUTES.index(at).key(if route.prefix.is_some() { "prefix" } else { "path" }).into()
}

fn route_match(route: &RouteConfig) -> Option<RouteMatch> {
    let path = match (&route.prefix, &route.path) {
        (Some(prefix), None) => PathMatch::Prefix(prefix.clone()),
        (None, Some(path)) => PathMatch::Template(path.clone()),
        (None, None) | (Some(_), Some(_)) => return None,
    };
    Some(RouteMatch {
        hosts: route.hosts.clone(),
        listeners: route.listeners.clone(),
        path,
        methods: route.methods.iter().map(|method| method.0.clone()).collect(),
        headers: route.headers.iter().map(|header| (header.name.0.clone(), header.value.clone())).collect(),
        query: route.query.iter().map(|query| (query.name.clone(), query.value.clone())).collect(),
    })
}
