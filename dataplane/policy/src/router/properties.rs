//! The router against a linear matcher written from its documentation, and against matchit.

use super::*;
use http::HeaderValue;
use proptest::collection::{hash_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::cmp::Ordering;
use std::sync::LazyLock;

/// Rules 1 to 5 as a person would carry them out: sort all routes by precedence, ask one after the other.
fn naive(routes: &[RouteMatch], lookup: &Lookup<'_>) -> Found {
    let mut fitting = Vec::new();
    for (position, route) in routes.iter().enumerate() {
        let hosts = route.hosts.iter().filter_map(|host| host_rank(host, lookup.host)).max();
        let host = if route.hosts.is_empty() { Some(HostRank::Any) } else { hosts };
        if let Some(host) = host
            && path_fits(&route.path, lookup.path)
        {
            fitting.push((host, position, route));
        }
    }
    fitting.sort_by(|(host, position, route), (other_host, other_position, other)| {
        let conditions = |route: &RouteMatch| {
            distinct(&route.headers) + distinct(&route.query) + usize::from(!route.listeners.is_empty())
        };
        (other_host.cmp(host))
            .then_with(|| compare_paths(&route.path, &other.path))
            .then_with(|| conditions(other).cmp(&conditions(route)))
            .then_with(|| position.cmp(other_position))
    });
    for group in fitting.chunk_by(|(a, _, x), (b, _, y)| a == b && compare_paths(&x.path, &y.path).is_eq()) {
        let met: Vec<_> = group.iter().filter(|(_, _, route)| conditions_hold(route, lookup)).collect();
        if let Some((_, position, _)) = met.iter().find(|(_, _, route)| allows(route, lookup.method)) {
            return Found::Route(*position);
        }
        if !met.is_empty() {
            let mut in_config = met;
            in_config.sort_by_key(|(_, position, _)| *position);
            return Found::MethodNotAllowed(union(in_config.into_iter().map(|(_, _, route)| *route)));
        }
    }
    Found::None
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum HostRank {
    Any,
    Wildcard(usize),
    Exact,
}

fn host_rank(pattern: &HostPattern, host: &str) -> Option<HostRank> {
    match pattern {
        HostPattern::Exact(name) => (name == host).then_some(HostRank::Exact),
        HostPattern::Wildcard(suffix) => {
            let labels = host.strip_suffix(suffix.as_str())?.strip_suffix('.')?;
            (!labels.is_empty()).then_some(HostRank::Wildcard(suffix.len()))
        }
    }
}

fn is_param(segment: &str) -> bool {
    segment.starts_with('{')
}

fn path_fits(pattern: &PathMatch, path: &str) -> bool {
    match pattern {
        PathMatch::Prefix(prefix) if prefix.0 == "/" => true,
        PathMatch::Prefix(prefix) => path == prefix.0 || path.starts_with(&format!("{}/", prefix.0)),
        PathMatch::Template(template) => {
            let (pattern, path) = (template.0.split('/'), path.split('/'));
            pattern.clone().count() == path.clone().count()
                && pattern.zip(path).all(|(want, have)| want == have || is_param(want) && !have.is_empty())
        }
    }
}

/// The more specific first, both being known to fit the same path.
fn compare_paths(a: &PathMatch, b: &PathMatch) -> Ordering {
    match (a, b) {
        (PathMatch::Prefix(a), PathMatch::Prefix(b)) => b.0.len().cmp(&a.0.len()),
        (PathMatch::Prefix(_), PathMatch::Template(_)) => Ordering::Greater,
        (PathMatch::Template(_), PathMatch::Prefix(_)) => Ordering::Less,
        (PathMatch::Template(a), PathMatch::Template(b)) => {
            let shape = |template: &PathTemplate| template.0.split('/').map(is_param).collect::<Vec<_>>();
            shape(a).cmp(&shape(b))
        }
    }
}

fn distinct<T: PartialEq>(conditions: &[T]) -> usize {
    conditions.iter().enumerate().filter(|(at, one)| !conditions[..*at].contains(one)).count()
}

fn conditions_hold(route: &RouteMatch, lookup: &Lookup<'_>) -> bool {
    let parameters: Vec<_> = lookup.query.unwrap_or("").split('&').collect();
    (route.listeners.is_empty() || route.listeners.iter().any(|listener| listener == lookup.listener))
        && route
            .headers
            .iter()
            .all(|(name, value)| lookup.headers.get_all(name).iter().any(|have| have == value))
        && route.query.iter().all(|(name, value)| parameters.contains(&format!("{name}={value}").as_str()))
}

fn allows(route: &RouteMatch, method: &Method) -> bool {
    route.methods.is_empty()
        || route.methods.contains(method)
        || method == Method::HEAD && route.methods.contains(&Method::GET)
}

fn union<'a>(routes: impl Iterator<Item = &'a RouteMatch>) -> Vec<Method> {
    let mut methods: Vec<Method> = Vec::new();
    let mut add = |method: &Method| {
        if !methods.contains(method) {
            methods.push(method.clone());
        }
    };
    for route in routes {
        for method in &route.methods {
            add(method);
            if method == Method::GET && !route.methods.contains(&Method::HEAD) {
                add(&Method::HEAD);
            }
        }
    }
    methods
}

// few and overlapping values, so that routes and requests meet often
const HOSTS: [&str; 5] = ["a.example.com", "b.example.com", "x.a.example.com", "example.com", "other.org"];
const LISTENERS: [&str; 3] = ["default", "https", "inside"];
const SUFFIXES: [&str; 3] = ["example.com", "a.example.com", "com"];
static METHODS: LazyLock<[Method; 5]> = LazyLock::new(|| {
    ["GET", "HEAD", "POST", "PURGE", "LINK"].map(|method| method.parse().expect("a method"))
});

fn hosts() -> impl Strategy<Value = Vec<HostPattern>> {
    let exact = select(&HOSTS[..]).prop_map(|host| HostPattern::Exact(host.into()));
    let wildcard = select(&SUFFIXES[..]).prop_map(|suffix| HostPattern::Wildcard(suffix.into()));
    vec(prop_oneof![exact, wildcard], 0..3)
}

fn path() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        "(/(a|b|ab|abc)){1,4}".prop_map(|prefix| PathMatch::Prefix(PathPrefix(prefix))),
        Just(PathMatch::Prefix(PathPrefix("/".into()))),
        "(/(a|b|ab|abc|\\{x\\}|\\{y\\})){1,4}/?".prop_map(|path| PathMatch::Template(PathTemplate(path))),
    ]
}

fn header() -> impl Strategy<Value = (HeaderName, String)> {
    ("x-[ab]", "[12]").prop_map(|(name, value)| (name.parse().expect("a header name"), value))
}

prop_compose! {
    fn a_route()(
        hosts in hosts(),
        listeners in subsequence(&LISTENERS[..], 0..2),
        path in path(),
        methods in subsequence(&METHODS[..], 0..3),
        headers in vec(header(), 0..2),
        query in vec(("[pq]", "[12]"), 0..2),
    ) -> RouteMatch {
        let listeners = listeners.into_iter().map(str::to_owned).collect();
        RouteMatch { hosts, listeners, path, methods, headers, query }
    }
}

#[derive(Debug)]
struct Request {
    listener: String,
    host: String,
    path: String,
    query: Option<String>,
    method: Method,
    headers: HeaderMap,
}

impl Request {
    fn lookup(&self) -> Lookup<'_> {
        let Self { listener, host, path, query, method, headers } = self;
        Lookup { listener, host, path, query: query.as_deref(), method, headers }
    }

    /// Made for this route on one of its hosts and listeners, with a path that fits as few other routes as possible.
    fn for_route(
        route: &RouteMatch,
        host: Option<String>,
        listener: Option<&String>,
        method: &Method,
    ) -> Self {
        let path = match &route.path {
            PathMatch::Prefix(prefix) => format!("{}/z/z/z/z/z/z", prefix.0.trim_end_matches('/')),
            PathMatch::Template(template) => template.0.replace("{x}", "z").replace("{y}", "z"),
        };
        let query: Vec<_> = route.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Self {
            listener: listener.map_or("another", String::as_str).to_owned(),
            host: host.map_or("none".into(), |pattern| pattern.replace('*', "z")),
            path,
            query: Some(query.join("&")),
            method: method.clone(),
            headers: header_map(&route.headers),
        }
    }
}

fn header_map(headers: &[(HeaderName, String)]) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_str(text).expect("a header value");
    let mut map = HeaderMap::new();
    for (name, text) in headers {
        map.append(name, value(text));
    }
    map
}

prop_compose! {
    fn a_request()(
        listener in select(&LISTENERS[..]),
        host in select(&HOSTS[..]),
        path in "/|(/(a|b|ab|abc|c)){1,5}/?",
        query in of("([pq]=[12]&){0,2}[pq]=[12]"),
        method in select(&METHODS[..]),
        headers in vec(header(), 0..4),
    ) -> Request {
        Request { listener: listener.into(), host: host.into(), path, query, method, headers: header_map(&headers) }
    }
}

/// Leaves out the routes that conflict, so that the rest builds.
fn without_conflicts(mut routes: Vec<RouteMatch>) -> (Vec<RouteMatch>, Router) {
    loop {
        match Router::build(routes.clone()) {
            Ok(router) => return (routes, router),
            Err(conflicts) => {
                let mut losers: Vec<_> = conflicts.iter().map(|conflict| conflict.route).collect();
                losers.dedup();
                for loser in losers.into_iter().rev() {
                    routes.remove(loser);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn finds_what_the_rules_say(routes in vec(a_route(), 0..40), requests in vec(a_request(), 1..15)) {
        let (routes, router) = without_conflicts(routes);
        for request in requests {
            let lookup = request.lookup();
            prop_assert_eq!(router.find(&lookup), naive(&routes, &lookup), "{:?} in {:#?}", lookup, routes);
        }
    }

    #[test]
    fn a_route_without_conflict_is_reachable(routes in vec(a_route(), 1..30)) {
        let (routes, router) = without_conflicts(routes);
        for (position, route) in routes.iter().enumerate() {
            let host = route.hosts.first().map(ToString::to_string);
            let mut requests = METHODS.iter().chain([&Method::TRACE]).map(|method| Request::for_route(route, host.clone(), route.listeners.first(), method));
            let reached = requests.any(|request| router.find(&request.lookup()) == Found::Route(position));
            prop_assert!(reached, "{position} of {routes:#?}");
        }
    }

    #[test]
    fn a_route_called_unreachable_is(routes in vec(a_route(), 1..40)) {
        for conflict in Router::build(routes.clone()).err().unwrap_or_default() {
            let (loser, winner) = (&routes[conflict.route], &routes[conflict.by]);
            prop_assert!(conflict.by < conflict.route && compare_paths(&loser.path, &winner.path).is_eq());
            if conflict.kind == ConflictKind::Unreachable {
                for method in METHODS.iter() {
                    let request = Request::for_route(loser, conflict.host.clone(), conflict.listener.as_ref(), method);
                    prop_assert_ne!(naive(&routes, &request.lookup()), Found::Route(conflict.route));
                }
            }
        }
    }

    #[test]
    fn agrees_with_matchit(
        templates in hash_set("(/(a|b|ab|\\{x\\})){1,4}", 1..30),
        paths in vec("(/(a|b|ab|c)){1,4}", 1..30),
    ) {
        let mut oracle = matchit::Router::new();
        let mut routes: Vec<RouteMatch> = Vec::new();
        for template in templates {
            if oracle.insert(template.clone(), routes.len()).is_ok() {
                routes.push(super::tests::route(&template));
            }
        }
        let router = Router::build(routes).expect("matchit found no conflict");
        let headers = HeaderMap::new();
        for path in &paths {
            let lookup = Lookup { listener: "default", host: "", path, query: None, method: &Method::GET, headers: &headers };
            let expected = oracle.at(path).map_or(Found::None, |found| Found::Route(*found.value));
            prop_assert_eq!(router.find(&lookup), expected, "{}", path);
        }
    }
}
