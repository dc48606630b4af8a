//! Which routes a request comes near, in the order in which they are asked: for whoever wonders why one took it.

use super::condition::{Candidate, Unmet, method_bit};
use super::{HostPattern, Lookup, PathMatch, Root, RouteMatch, Router};
use http::Method;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow::Continue;

/// A route whose host and path fit a request, or whose path does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// Its position.
    pub route: usize,
    /// What it makes of the request.
    pub fit: Fit,
}

/// What a route makes of a request, taken alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// It would take it.
    Takes,
    /// It takes other methods only: these.
    Method(Vec<Method>),
    /// It asks for this header or parameter.
    Condition(String),
    /// It is for these listeners only.
    Listener(String),
    /// It is for other hosts only, and would take it there.
    Host(String),
}

impl Router {
    /// The routes that the request comes past if none ends the search, in the order in which they are asked; then those
    /// that only the host keeps from taking it.
    pub fn contenders(&self, lookup: &Lookup<'_>) -> Vec<Contender> {
        let method = method_bit(lookup.method);
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        let fitting: Vec<Root> = self.roots(lookup.host).collect();
        for root in &fitting {
            self.walk(*root, lookup, |candidate| {
                let route = candidate.route as usize;
                if seen.insert(route) {
                    found.push(Contender { route, fit: self.fit(candidate, lookup, method) });
                }
            });
        }
        let others = self.exact.values().chain(self.wildcard.values()).chain(&self.any);
        let mut elsewhere = Vec::new();
        for root in others.filter(|root| !fitting.contains(root)) {
            self.walk(*root, lookup, |candidate| {
                let route = candidate.route as usize;
                if self.fit(candidate, lookup, method) == Fit::Takes && seen.insert(route) {
                    elsewhere.push(route);
                }
            });
        }
        elsewhere.sort_unstable();
        found.extend(elsewhere.into_iter().map(|route| Contender { route, fit: self.other_host(route) }));
        found
    }

    fn walk(&self, root: Root, lookup: &Lookup<'_>, mut see: impl FnMut(Candidate)) {
        let _ = self.forest.visit::<()>(root, lookup.path, &mut |same_path: &[Candidate]| {
            same_path.iter().copied().for_each(&mut see);
            Continue(())
        });
    }

    fn fit(&self, candidate: Candidate, lookup: &Lookup<'_>, method: u16) -> Fit {
        let conditions = &self.conditions[candidate.route as usize];
        match conditions.unmet(lookup) {
            Some(Unmet::Listener(names)) => Fit::Listener(names.join(", ")),
            Some(Unmet::Header(name, value)) => Fit::Condition(format!("the header {name}: {value}")),
            Some(Unmet::Parameter(name, value)) => {
                Fit::Condition(format!("the query parameter {name}={value}"))
            }
            None if candidate.allows(&self.conditions, lookup.method, method) => Fit::Takes,
            None => Fit::Method(conditions.methods().to_vec()),
        }
    }

    fn other_host(&self, route: usize) -> Fit {
        let hosts: Vec<String> = self.routes[route].hosts.iter().map(ToString::to_string).collect();
        Fit::Host(hosts.join(", "))
    }

    /// Why `first` is asked before `second` for this host and path, by the rules in their order.
    pub fn precedence(&self, first: usize, second: usize, host: &str) -> String {
        let (a, b) = (&self.routes[first], &self.routes[second]);
        let (a_host, b_host) = (HostRank::of(a, host), HostRank::of(b, host));
        if a_host != b_host {
            return format!("{a_host} goes before {b_host}");
        }
        let (a_path, b_path) = (PathRank::of(&a.path), PathRank::of(&b.path));
        if a_path.kind() != b_path.kind() {
            return format!("{a_path} goes before {b_path}");
        }
        if a.path != b.path {
            return match (a_path, b_path) {
                (PathRank::Prefix(a), PathRank::Prefix(b)) => {
                    format!("the prefix {a} is longer than {}", if b.is_empty() { "/" } else { b })
                }
                _ => format!("{a_path} is literal where {b_path} has a parameter"),
            };
        }
        let count = |route: usize| self.conditions[route].count();
        match count(first).cmp(&count(second)) {
            Ordering::Equal => "it stands earlier in the config".to_owned(),
            _ if !self.conditions[first].listeners.is_empty()
                && self.conditions[second].listeners.is_empty() =>
            {
                "it is for this listener, and not for every one".to_owned()
            }
            _ => format!("it asks for more, by headers and query ({} to {})", count(first), count(second)),
        }
    }

    /// The path of a route as it is written, `/*` behind a prefix.
    pub fn pattern(&self, route: usize) -> String {
        match &self.routes[route].path {
            PathMatch::Prefix(prefix) => format!("{}/*", prefix.0.trim_end_matches('/')),
            PathMatch::Template(template) => template.0.clone(),
        }
    }
}

/// How exactly a route names the host of a request; the first goes before the others.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HostRank<'a> {
    Exact(&'a str),
    Wildcard(&'a str),
    Any,
}

impl<'a> HostRank<'a> {
    fn of(route: &'a RouteMatch, host: &str) -> Self {
        let exact = route.hosts.iter().find_map(|pattern| match pattern {
            HostPattern::Exact(name) if name == host => Some(Self::Exact(name)),
            _ => None,
        });
        let below =
            |name: &str| host.strip_suffix(name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'));
        let wildcards = route.hosts.iter().filter_map(|pattern| match pattern {
            HostPattern::Wildcard(name) if below(name) => Some(name),
            _ => None,
        });
        exact
            .or_else(|| wildcards.max_by_key(|name| name.len()).map(|name| Self::Wildcard(name)))
            .unwrap_or(Self::Any)
    }
}

impl fmt::Display for HostRank<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "the host {name}"),
            Self::Wildcard(name) => write!(f, "the hosts *.{name}"),
            Self::Any => f.write_str("a route for every host"),
        }
    }
}

/// How exactly a route names a path; the first goes before the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathRank<'a> {
    Exact(&'a str),
    Template(&'a str),
    Prefix(&'a str),
}

impl<'a> PathRank<'a> {
    fn of(path: &'a PathMatch) -> Self {
        match path {
            PathMatch::Prefix(prefix) => Self::Prefix(prefix.0.trim_end_matches('/')),
            PathMatch::Template(template) if template.0.contains('{') => Self::Template(&template.0),
            PathMatch::Template(template) => Self::Exact(&template.0),
        }
    }

    fn kind(self) -> u8 {
        match self {
            Self::Exact(_) => 0,
            Self::Template(_) => 1,
            Self::Prefix(_) => 2,
        }
    }
}

impl fmt::Display for PathRank<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "the exact path {path}"),
            Self::Template(path) => write!(f, "the template {path}"),
            Self::Prefix("") => f.write_str("the prefix /"),
            Self::Prefix(path) => write!(f, "the prefix {path}"),
        }
    }
}
