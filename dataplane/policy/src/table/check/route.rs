//! What a route must be by itself: its path, its backend, its filters.

use super::upstream::Group;
use super::{Check, ENOUGH};
use crate::config::leaf::{Fault, HeaderMatch};
use crate::config::{RouteConfig, UpstreamConfig};
use crate::diagnostic::nearest;
use crate::diagnostic::{Code, Place, Problem};
use crate::filter::FilterConfig;
use http::HeaderValue;

impl<'a> Check<'a> {
    pub(super) fn route(&mut self, route: &RouteConfig, path: &Place<'_>) {
        self.path_match(route, path);
        self.listeners_of(route, &path.key("listeners"));
        self.rewrite(route, path);
        self.backend(route, path);
        self.header_values(&route.headers, path);
        if let Some(timeout) = route.timeout {
            self.not_zero(path, "timeout", timeout);
        }
        let filters = path.key("filters");
        self.filters(&route.filters, &filters);
        self.limits(Some(route), &filters);
        self.authorize(route, path, &filters);
        self.tracing(route, &filters);
        self.body_limits(&route.filters, &filters);
        self.try_timeout(route, path, &filters);
    }

    pub(super) fn header_values(&mut self, headers: &[HeaderMatch], path: &Place<'_>) {
        for (at, header) in headers.iter().enumerate() {
            if HeaderValue::from_str(&header.value).is_err() {
                let message = "no header can have this value";
                let problem =
                    Problem::new(Code::BAD_VALUE, path.key("headers").index(at).key("value"), message);
                self.report(problem.help("remove control characters"));
            }
        }
    }

    fn path_match(&mut self, route: &RouteConfig, path: &Place<'_>) {
        let problem = match (&route.prefix, &route.path) {
            (Some(_), None) | (None, Some(_)) => return,
            (None, None) => Problem::new(
                Code::PATH_MATCH,
                *path,
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

    fn rewrite(&mut self, route: &RouteConfig, path: &Place<'_>) {
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

    fn backend(&mut self, route: &RouteConfig, path: &Place<'_>) {
        if route.answers_itself() {
            return self.answer(route, path);
        }
        let backends = [
            ("targets", !route.targets.is_empty()),
            ("upstream", route.upstream.is_some()),
            ("split", !route.split.is_empty()),
        ];
        let mut set = backends.into_iter().filter(|(_, set)| *set).map(|(key, _)| key);
        let Some(first) = set.next() else {
            let message = format!("route `{}` has none of `targets`, `upstream` and `split`", route.name);
            let problem = Problem::new(Code::BACKEND, *path, message);
            return self.report(
                problem.help(
                    "add `targets: [{addr: \"http://host:port\"}]`, or name an `upstream`; a route that needs none has `redirect` or `respond`",
                ),
            );
        };
        for other in set {
            let message = format!("route `{}` has both `{first}` and `{other}`", route.name);
            let problem = Problem::new(Code::BACKEND, path.key(other), message)
                .related(path.key(first), format!("the {first}"));
            self.report(problem.help("keep one of them"));
        }
        if let Some(mirror) = &route.mirror {
            self.mirror(mirror, route, &path.key("mirror"));
        }
        match (&route.upstream, &*route.split) {
            (Some(upstream), _) => {
                self.belongs_to(&format!("the upstream `{upstream}`"), route, path, &[]);
                self.known_upstream(upstream, &path.key("upstream"));
            }
            (None, []) => self.upstream(&Group::of_route(route), path),
            (None, shares) => {
                // here it keeps clients with their shares
                self.belongs_to("the upstreams of its `split`", route, path, &["hash_on"]);
                self.split(shares, &path.key("split"));
            }
        }
    }

    /// What a route may say of its own targets alone, but for some keys that it may say all the same.
    fn belongs_to(&mut self, owner: &str, route: &RouteConfig, path: &Place<'_>, but_for: &[&str]) {
        for key in upstream_keys(route).filter(|key| !but_for.contains(key)) {
            let message = format!("`{key}` belongs to {owner}, not to a route that names it");
            let problem = Problem::new(Code::CONTRADICTION, path.key(key), message);
            self.report(
                problem.help(format!(
                    "move `{key}` to the upstream; a route may have it with its own `targets`"
                )),
            );
        }
    }

    /// The upstream of that name, which must be there.
    pub(super) fn known_upstream(&mut self, name: &str, place: &Place<'_>) -> Option<&'a UpstreamConfig> {
        let config = self.config;
        let known = self.upstreams.get(name).and_then(|at| config.upstreams.get(*at));
        if known.is_none() {
            self.unknown_upstream(name, place);
        }
        known
    }

    fn unknown_upstream(&mut self, name: &str, place: &Place<'_>) {
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
        self.report(Problem::new(Code::UNKNOWN_UPSTREAM, *place, message).help(help));
    }

    pub(super) fn filters(&mut self, filters: &[FilterConfig], path: &Place<'_>) {
        for (at, filter) in filters.iter().enumerate() {
            let kind = filter.kind();
            let entry = path.index(at);
            let place = entry.key(kind.name());
            let first =
                filters[..at].iter().position(|other| other.kind() == kind).filter(|_| !kind.repeats());
            if let Some(first) = first {
                let message = format!("`{}` stands twice in one list", kind.name());
                let problem = Problem::new(Code::DUPLICATE_FILTER, place, message).help("remove one of them");
                self.report(problem.related(path.index(first).key(kind.name()), "the first one"));
            }
            if let Err(Fault { message, at, help }) = filter.check() {
                let place = at.as_deref().map_or(place, |key| place.key(key));
                self.report(Problem { help, ..Problem::new(Code::FILTER_SETTINGS, place, message) });
            }
            if let FilterConfig::ForwardAuth(config) = filter {
                self.not_this_gateway(&config.url.addr, &place.key("url"));
            }
        }
    }
}

/// The keys of an upstream that a route sets.
pub(super) fn upstream_keys(route: &RouteConfig) -> impl Iterator<Item = &'static str> {
    let keys = [
        ("balancer", route.balancer.is_some()),
        ("hash_on", route.hash_on.is_some()),
        ("connect_timeout", route.connect_timeout.is_some()),
        ("response_timeout", route.response_timeout.is_some()),
        ("max_connections", route.max_connections.is_some()),
        ("max_connections_wait", route.max_connections_wait.is_some()),
        ("idle_timeout", route.idle_timeout.is_some()),
        ("health_check", route.health_check.is_some()),
        ("outlier", route.outlier.is_some()),
        ("on_all_unhealthy", route.on_all_unhealthy.is_some()),
        ("slow_start", route.slow_start.is_some()),
        ("protocol", route.protocol.is_some()),
        ("tls", route.tls.is_some()),
        ("send_proxy_protocol", route.send_proxy_protocol.is_some()),
        ("dns", route.dns.is_some()),
    ];
    keys.into_iter().filter(|(_, set)| *set).map(|(key, _)| key)
}
