//! The route table: built from a config, all or nothing; building one is what validation means.

mod answer;
mod backend;
mod chain;
mod check;
mod guard;
mod listener;
mod logs;
mod warn;

use crate::auth::CredentialParameters;
use crate::auth::jwt::KeySets;
use crate::breaker::Breaker;
use crate::concurrency::Concurrency;
use crate::config::{GatewayConfig, RouteConfig, ServerConfig, UpstreamConfig};
use crate::diagnostic::Problem;
use crate::filter::cors::Cors;
use crate::filter::tracing::TracingConfig;
use crate::headers::Host;
use crate::mirror::Mirror;
use crate::rejection::Rejection;
use crate::router::{Found, Lookup, Router};
use crate::split::Split;
use crate::upstream::{Target, Upstream};
use foldhash::fast::RandomState;
use guard::Guards;
use http::HeaderMap;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use answer::Answer;
pub use backend::Backend;
pub use chain::{Chain, Edge};
pub use guard::{Guard, Kept, Limit, Reach, Scoped};
pub use listener::Listener;
pub use logs::LogDestination;
pub(crate) use warn::warnings;

/// Everything a data plane needs to serve, immutable.
#[derive(Debug)]
pub struct RouteTable {
    /// The snapshot's version; 0 for a table that was only validated.
    pub version: u64,
    /// The snapshot's sha256, lower-case hex; empty for a table that was only validated.
    pub sha256: String,
    /// The limits of connections, and whom to trust.
    pub server: ServerConfig,
    /// That of `server` first, then in the order of the config.
    pub listeners: Vec<Arc<Listener>>,
    /// Every upstream, inline ones included.
    pub upstreams: Vec<Arc<Upstream>>,
    /// The services that `forward_auth` filters ask: an upstream for each address.
    pub services: Vec<Arc<Upstream>>,
    /// In the order of the config.
    pub routes: Vec<Route>,
    /// The keys that tokens are checked with and that are fetched.
    pub key_sets: KeySets,
    /// What is not shown of queries.
    pub credential_parameters: CredentialParameters,
    router: Router,
    /// What a request meets that no route takes: the global filters.
    pub unrouted: Edge,
    /// Where spans go, if any are made.
    pub tracing: Option<TracingConfig>,
    /// Where lines of access logs go, each place once.
    pub log_outputs: Box<[LogDestination]>,
    /// The rate limit that all routes count on together.
    limit_of_all: Option<Limit>,
}

/// A route at run time.
#[derive(Debug)]
pub struct Route {
    /// The configured name.
    pub name: Arc<str>,
    /// How the path changes on its way to the target.
    pub rewrite: Rewrite,
    /// The target gets the client's `Host`.
    pub preserve_host: bool,
    /// WebSocket upgrades pass.
    pub websocket: bool,
    /// For how long nothing may pass in one; `None` for ever.
    pub websocket_idle_timeout: Option<Duration>,
    /// The whole exchange.
    pub timeout: Option<Duration>,
    /// Where it goes: one, or one for each share of its split; without targets where the gateway answers.
    pub backends: Box<[Backend]>,
    /// Which of several it goes to.
    pub split: Option<Arc<Split>>,
    /// Where copies of its requests go.
    pub mirror: Option<Arc<Mirror>>,
    /// What the gateway answers by itself, if nothing is sent on.
    pub answer: Option<Box<Answer>>,
    /// What its requests go through first.
    pub chain: Chain,
    /// What protects all of its backends together.
    pub guard: Guard,
}

/// What becomes of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    /// Sent as normalised.
    Keep,
    /// The first `prefix_len` bytes are replaced by `with` (no trailing slash; empty for `strip_prefix`).
    Prefix {
        /// Length of the matched prefix in bytes; 0 for the prefix `/`.
        prefix_len: usize,
        /// What stands there instead.
        with: String,
    },
}

impl RouteTable {
    /// The table of a config, or everything that is wrong with the config.
    ///
    /// What has not changed since `previous` is taken over from it: an upstream with the same config is the same
    /// [`Arc`], and a target that stays in its upstream keeps its state.
    pub fn build(config: &GatewayConfig, previous: Option<&RouteTable>) -> Result<RouteTable, Vec<Problem>> {
        let router = check::check(config)?;
        let known =
            |all: fn(&RouteTable) -> &Vec<Arc<Upstream>>| previous.map_or(&[][..], |table| all(table));
        let expected = config.upstreams.len() + config.routes.len();
        let mut upstreams = Upstreams::new(known(|table| &table.upstreams), expected);
        let mut services = Upstreams::new(known(|table| &table.services), 0);
        for upstream in &config.upstreams {
            upstreams.add(upstream.clone());
        }
        let guards = Guards::new(config, previous);
        let key_sets = KeySets::after(previous.map(|table| &table.key_sets));
        let known = previous.map_or(&[][..], |table| &table.routes);
        let known: HashMap<&str, &Route, RandomState> =
            known.iter().map(|route| (&*route.name, route)).collect();
        let build = |route: &RouteConfig| {
            let before = known.get(&*route.name).copied();
            Route::build(route, &mut upstreams, &mut services, &guards, &key_sets, before)
        };
        let mut routes: Vec<Route> = config.routes.iter().map(build).collect();
        let mut unrouted = Edge::build(&[], &config.global_filters);
        let log_outputs = logs::place(config, &mut routes, &mut unrouted);
        Ok(Self {
            version: 0,
            sha256: String::new(),
            server: config.server.clone(),
            listeners: config
                .every_listener()
                .into_iter()
                .map(|one| Arc::new(Listener::build(one)))
                .collect(),
            upstreams: upstreams.all,
            services: services.all,
            routes,
            router,
            unrouted,
            tracing: chain::tracing(&config.global_filters).cloned(),
            log_outputs,
            key_sets,
            credential_parameters: CredentialParameters::of(config),
            limit_of_all: guards.into_limit_of_all(),
        })
    }

    /// The same table as part of a snapshot.
    #[must_use]
    pub fn identified(self, version: u64, sha256: String) -> RouteTable {
        Self { version, sha256, ..self }
    }

    /// The position of the route that takes a request. A preflight asks about another one: the route that would take
    /// that answers it.
    ///
    /// # Errors
    /// [`Rejection::NoRoute`], or [`Rejection::MethodNotAllowed`].
    pub fn route_of(
        &self,
        parts: &Parts,
        listener: &str,
        host: &Host<'_>,
        path: &str,
    ) -> Result<usize, Rejection> {
        let asked_method = Cors::asked_method(parts);
        let lookup = |method| {
            let (query, headers) = (parts.uri.query(), &parts.headers);
            self.find(&Lookup { listener, host: &host.name, path, query, method, headers })
        };
        if let Some(method) = &asked_method
            && let Ok(at) = lookup(method)
            && self.routes.get(at).is_some_and(|route| route.chain.edge.cors.is_some())
        {
            return Ok(at);
        }
        lookup(&parts.method)
    }

    /// Which requests each route takes, by its position.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The position of the route for a host, a path and a method.
    pub fn find(&self, lookup: &Lookup<'_>) -> Result<usize, Rejection> {
        match self.router.find(lookup) {
            Found::Route(index) => Ok(index),
            Found::MethodNotAllowed(allow) => Err(Rejection::MethodNotAllowed { allow }),
            Found::None => Err(Rejection::NoRoute),
        }
    }
}

impl Route {
    fn build(
        config: &RouteConfig,
        upstreams: &mut Upstreams<'_>,
        services: &mut Upstreams<'_>,
        guards: &Guards<'_>,
        key_sets: &KeySets,
        before: Option<&Route>,
    ) -> Self {
        let mirror = config.mirror.as_ref().and_then(|config| {
            let before = before.and_then(|before| before.mirror.as_deref());
            Some(Arc::new(Mirror::build(config, upstreams.get(&config.upstream)?, before)))
        });
        let mut named: Vec<_> = config
            .upstream
            .iter()
            .chain(config.split.iter().map(|share| &share.upstream))
            .filter_map(|name| upstreams.get(name))
            .collect();
        if named.is_empty() {
            named.push(match config.answers_itself() {
                true => Arc::new(Upstream::build(config.inline_upstream(), None)),
                false => upstreams.add(config.inline_upstream()),
            });
        }
        Self {
            name: config.name.as_str().into(),
            rewrite: Rewrite::build(config),
            answer: Answer::build(config).map(Box::new),
            mirror,
            preserve_host: config.preserve_host,
            websocket: config.websocket,
            websocket_idle_timeout: Some(config.websocket_idle_timeout.get()).filter(|time| !time.is_zero()),
            timeout: config.timeout.map(crate::config::leaf::Duration::get),
            chain: Chain::build(
                &config.filters,
                guards.global_filters(),
                before.map(|before| &before.chain),
                services,
                key_sets,
            ),
            guard: guards.build(config, before),
            backends: guards.backends(config, named, before),
            split: Split::build(
                &config.split,
                config.hash_on.as_deref(),
                before.and_then(|before| before.split.as_ref()),
            ),
        }
    }

    /// The position of the backend that takes a request; `path` is the normalised one.
    pub fn choose(&self, headers: &HeaderMap, client: IpAddr, path: &str) -> usize {
        self.split.as_ref().map_or(0, |split| split.choose(headers, client, path))
    }

    /// Every breaker, with its target if it covers only that.
    pub fn breakers(&self) -> impl Iterator<Item = (Option<&Target>, &Arc<Breaker>)> {
        backend::each(&self.backends, |backend| backend.breaker.as_ref().map(|kept| &kept.running))
    }

    /// Every concurrency limit, with its target if it covers only that.
    pub fn concurrency_limits(&self) -> impl Iterator<Item = (Option<&Target>, &Arc<Concurrency>)> {
        backend::each(&self.backends, |backend| backend.concurrency.as_ref().map(|kept| &kept.running))
    }
}

impl Rewrite {
    /// The target's path where it differs from what the client sent; the query stays as it came.
    ///
    /// # Errors
    /// [`Rejection::InvalidTarget`] when what comes out is none.
    pub fn apply(&self, uri: &Uri, path: Cow<'_, str>) -> Result<Option<Uri>, Rejection> {
        let unchanged = matches!(path, Cow::Borrowed(_)) && uri.authority().is_none();
        if unchanged && *self == Self::Keep {
            return Ok(None);
        }
        let query = uri.query();
        let mut text = String::with_capacity(path.len() + query.map_or(0, |query| query.len() + 1) + 32);
        match self {
            Self::Keep => text.push_str(&path),
            Self::Prefix { prefix_len, with } => {
                let rest = path.get(*prefix_len..).unwrap_or("");
                text.push_str(with);
                // the remainder of a whole-segment prefix is empty or begins with a slash
                if text.is_empty() && rest.is_empty() {
                    text.push('/');
                }
                text.push_str(rest);
            }
        }
        if let Some(query) = query {
            text.push('?');
            text.push_str(query);
        }
        PathAndQuery::try_from(text)
            .map(|target| Some(Uri::from(target)))
            .map_err(|_| Rejection::InvalidTarget)
    }

    fn build(config: &RouteConfig) -> Self {
        let Some(prefix) = &config.prefix else { return Self::Keep };
        let without_slash = |path: &str| path.trim_end_matches('/').len();
        let prefix_len = without_slash(&prefix.0);
        match &config.rewrite {
            Some(with) => Self::Prefix { prefix_len, with: with.0[..without_slash(&with.0)].to_owned() },
            None if config.strip_prefix => Self::Prefix { prefix_len, with: String::new() },
            None => Self::Keep,
        }
    }
}

/// The upstreams of a table under construction, each found by name.
struct Upstreams<'a> {
    previous: HashMap<&'a str, &'a Arc<Upstream>, RandomState>,
    by_name: HashMap<Arc<str>, usize, RandomState>,
    all: Vec<Arc<Upstream>>,
}

impl<'a> Upstreams<'a> {
    fn new(previous: &'a [Arc<Upstream>], expected: usize) -> Self {
        Self {
            previous: previous.iter().map(|upstream| (&*upstream.name, upstream)).collect(),
            by_name: HashMap::with_capacity_and_hasher(expected, RandomState::default()),
            all: Vec::with_capacity(expected),
        }
    }

    fn get(&self, name: &str) -> Option<Arc<Upstream>> {
        self.by_name.get(name).map(|index| self.all[*index].clone())
    }

    fn get_or_add(&mut self, config: UpstreamConfig) -> Arc<Upstream> {
        self.get(&config.name).unwrap_or_else(|| self.add(config))
    }

    fn add(&mut self, config: UpstreamConfig) -> Arc<Upstream> {
        let upstream = match self.previous.get(config.name.as_str()) {
            Some(same) if *same.config() == config => Arc::clone(same),
            other => Arc::new(Upstream::build(config, other.map(|previous| &***previous))),
        };
        self.by_name.insert(upstream.name.clone(), self.all.len());
        self.all.push(upstream.clone());
        upstream
    }
}

#[cfg(test)]
mod tests;
