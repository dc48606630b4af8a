//! Which route takes a request: host, then path, then header and query conditions, then method.
//!
//! # The rules
//!
//! 1. **Host.** The routes of the exact host are asked first, then those of the matching wildcards from the longest to
//!    the shortest, then those without a host.
//! 2. **Path.** Within a host, an exact path goes before a `{param}` template, a template before a prefix. Of two
//!    templates the one that is literal where they first differ goes first; of two prefixes the longer. A parameter
//!    stands for one whole, non-empty segment. A prefix ends at a segment boundary; the prefix `/` takes everything.
//! 3. **Conditions.** Of the routes with the same host and path, those with more header and query conditions are asked
//!    first, then the order of the config decides. Each condition must hold; when a header or parameter occurs several
//!    times, one occurrence with the value is enough. That a route is for some listeners is one condition more, however
//!    many they are.
//! 4. **Fallback.** If no route at a path has its conditions met, the next path of the host is asked, then the next
//!    host. If conditions are met and only the method is not, the search ends with "method not allowed" and the methods
//!    of exactly those routes: what a path does not allow must not reach a broader route, which may well be meant for
//!    less guarded things.
//! 5. **Methods.** None listed means all. A listed `GET` includes `HEAD`.
//!
//! Two routes that rules 1 to 5 cannot tell apart, or one that they can never choose, are a [`Conflict`].

mod condition;
mod conflict;
mod contest;
mod tree;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use crate::config::leaf::{HostPattern, PathPrefix, PathTemplate};
use condition::{Candidate, Conditions, method_bit};
pub use conflict::{Conflict, ConflictKind};
pub use contest::{Contender, Fit};
use foldhash::fast::RandomState;
use http::{HeaderMap, HeaderName, Method};
use std::collections::HashMap;
use std::ops::ControlFlow::{self, Break, Continue};
use tree::{Forest, Key, Paths, Root};

/// Which requests a route takes.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteMatch {
    /// None means every host.
    pub hosts: Vec<HostPattern>,
    /// The names of its listeners; none means every listener.
    pub listeners: Vec<String>,
    /// The paths.
    pub path: PathMatch,
    /// None means every method.
    pub methods: Vec<Method>,
    /// All must be there with these values.
    pub headers: Vec<(HeaderName, String)>,
    /// All must be there with these values, compared after percent-decoding (`+` stays a plus sign).
    pub query: Vec<(String, String)>,
}

/// Which paths a route takes.
#[derive(Debug, Clone, PartialEq)]
pub enum PathMatch {
    /// This path and all below it.
    Prefix(PathPrefix),
    /// This path, or those that fit the template.
    Template(PathTemplate),
}

/// What the router looks at.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// The name of the listener that it comes by.
    pub listener: &'a str,
    /// Lower case, without a port.
    pub host: &'a str,
    /// As [`crate::path::normalize`] gives it.
    pub path: &'a str,
    /// What follows the `?`, as it came.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// The answer to a [`Lookup`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The route at this position takes it.
    Route(usize),
    /// It fits but for the method; these are allowed, in the order of the config, `HEAD` after the `GET` it comes with.
    MethodNotAllowed(Vec<Method>),
    /// Nothing fits.
    None,
}

/// All routes of a table.
#[derive(Debug)]
pub struct Router {
    exact: HashMap<Box<str>, Root, RandomState>,
    /// By what follows the `*.`.
    wildcard: HashMap<Box<str>, Root, RandomState>,
    /// Length of the longest key of `wildcard`: longer ends of a hostile host are not even hashed.
    longest_wildcard: usize,
    any: Option<Root>,
    forest: Forest,
    /// By route.
    conditions: Vec<Conditions>,
    /// As they are written, for whoever asks why one took a request.
    routes: Vec<RouteMatch>,
}

impl Router {
    /// Sorts the routes into their trees; every conflict is reported.
    pub fn build(routes: Vec<RouteMatch>) -> Result<Self, Vec<Conflict>> {
        let conditions: Vec<_> = routes.iter().map(Conditions::of).collect();
        let mut hosts: HashMap<Option<&HostPattern>, Paths, RandomState> = HashMap::default();
        for ((position, route), conditions) in (0..).zip(&routes).zip(&conditions) {
            let (key, candidate) = (Key::of(&route.path), Candidate::new(position, conditions));
            for host in each_host(route) {
                hosts.entry(host).or_default().add(key.clone(), candidate);
            }
        }
        let mut router = Self {
            exact: HashMap::default(),
            wildcard: HashMap::default(),
            longest_wildcard: 0,
            any: None,
            forest: Forest::default(),
            conditions,
            routes: Vec::new(),
        };
        let mut conflicts = Vec::new();
        for (host, paths) in hosts {
            let root = router.forest.plant(paths, &mut |same_path| {
                conflict::settle(same_path, &router.conditions, host, &mut conflicts);
            });
            router.name(host, root);
        }
        router.routes = routes;
        if conflicts.is_empty() { Ok(router) } else { Err(conflict::in_order(conflicts)) }
    }

    fn name(&mut self, host: Option<&HostPattern>, root: Root) {
        match host {
            None => self.any = Some(root),
            Some(HostPattern::Exact(name)) => {
                self.exact.insert(name.as_str().into(), root);
            }
            Some(HostPattern::Wildcard(suffix)) => {
                self.longest_wildcard = self.longest_wildcard.max(suffix.len());
                self.wildcard.insert(suffix.as_str().into(), root);
            }
        }
    }

    /// The route that takes the request; allocates only to list the methods of a refusal.
    pub fn find(&self, lookup: &Lookup<'_>) -> Found {
        let method = method_bit(lookup.method);
        let mut ask = |same_path: &[Candidate]| self.choose(same_path, lookup, method);
        let answer =
            self.roots(lookup.host).try_for_each(|root| self.forest.visit(root, lookup.path, &mut ask));
        match answer {
            Break(found) => found,
            Continue(()) => Found::None,
        }
    }

    /// The trees of the patterns that fit the host, the most specific first.
    fn roots(&self, host: &str) -> impl Iterator<Item = Root> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        let dots = if self.wildcard.is_empty() { "" } else { host };
        let wildcards = dots
            .match_indices('.')
            .filter(|(dot, _)| *dot > 0)
            .map(|(dot, _)| &host[dot + 1..])
            .filter(|suffix| suffix.len() <= self.longest_wildcard)
            .filter_map(|suffix| self.wildcard.get(suffix));
        exact.into_iter().chain(wildcards).copied().chain(self.any)
    }

    /// Rules 3 to 5 for the routes of one path; goes on if no route has its conditions met.
    fn choose(&self, same_path: &[Candidate], lookup: &Lookup<'_>, method: u16) -> ControlFlow<Found> {
        let mut wrong_method = false;
        for candidate in same_path {
            if candidate.holds(&self.conditions, lookup) {
                if candidate.allows(&self.conditions, lookup.method, method) {
                    return Break(Found::Route(candidate.route as usize));
                }
                wrong_method = true;
            }
        }
        if wrong_method { Break(self.method_not_allowed(same_path, lookup)) } else { Continue(()) }
    }

    #[cold]
    fn method_not_allowed(&self, same_path: &[Candidate], lookup: &Lookup<'_>) -> Found {
        let met = same_path.iter().filter(|candidate| candidate.holds(&self.conditions, lookup));
        let mut routes: Vec<_> = met.map(|candidate| candidate.route as usize).collect();
        routes.sort_unstable();
        let mut allowed = Vec::new();
        for method in routes.into_iter().flat_map(|route| self.conditions[route].methods()) {
            if !allowed.contains(method) {
                allowed.push(method.clone());
            }
        }
        Found::MethodNotAllowed(allowed)
    }
}

/// The hosts of a route; `None` stands for every host.
fn each_host(route: &RouteMatch) -> impl Iterator<Item = Option<&HostPattern>> {
    route.hosts.iter().map(Some).chain(route.hosts.is_empty().then_some(None))
}
