//! What stands between a route's requests and its targets: limits, breaker, concurrency, retries.
//!
//! Each has a state that an edit elsewhere must not touch, so it is taken over from the table before as long as its own
//! settings, and what it watches, stay the same.

use super::chain::effective;
use super::{Backend, Route, RouteTable};
use crate::breaker::Breaker;
use crate::concurrency::Concurrency;
use crate::config::{GatewayConfig, RouteConfig};
use crate::filter::rate_limit::{LimitKey, RateLimitConfig};
use crate::filter::retry::RetryConfig;
use crate::filter::{FilterConfig, Scope};
use crate::limiter::RateLimit;
use crate::retry::RetryPolicy;
use crate::upstream::{Target, Upstream};
use std::sync::Arc;

/// What protects a route as a whole; without filters all of it is absent and costs nothing.
#[derive(Debug, Default)]
pub struct Guard {
    /// All must let a request pass; the route's own comes first, that of all routes last.
    pub limits: Vec<Limit>,
    /// Tries again.
    pub retry: Option<Box<Kept<RetryConfig, Arc<RetryPolicy>>>>,
}

/// A rate limit as one route meets it.
#[derive(Debug, Clone)]
pub struct Limit {
    /// Which requests are counted together.
    pub reach: Reach,
    /// What decides; shared with the tables before and after that have the same.
    pub running: Arc<RateLimit>,
}

/// Which routes' requests a rate limit counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those of this route: a limit of its own, or one of `global_filters` with `key: route`.
    Route {
        /// Stands in `global_filters`.
        global: bool,
    },
    /// Those of every route: in `global_filters`.
    All,
}

/// A running filter and what it was built from.
#[derive(Debug, Clone)]
pub struct Kept<C, R> {
    config: C,
    /// Shared with the tables before and after that have the same.
    pub running: R,
}

impl<C, R> Kept<C, R> {
    /// What it was built from.
    pub fn config(&self) -> &C {
        &self.config
    }
}

/// One for the route, or one for each target of its upstream.
#[derive(Debug)]
pub enum Scoped<T> {
    /// `scope: route`
    Route(Arc<T>),
    /// `scope: target`; in the order of the upstream's targets.
    Targets(Box<[Arc<T>]>),
}

impl<T> Scoped<T> {
    /// The one that covers a target.
    pub fn covering(&self, at: usize) -> Option<&Arc<T>> {
        match self {
            Self::Route(one) => Some(one),
            Self::Targets(all) => all.get(at),
        }
    }
}

/// Builds the guards of a table's routes.
pub(super) struct Guards<'a> {
    config: &'a GatewayConfig,
    limit_of_all: Option<Limit>,
}

impl<'a> Guards<'a> {
    pub(super) fn new(config: &'a GatewayConfig, previous: Option<&'a RouteTable>) -> Self {
        let known = previous.and_then(|table| table.limit_of_all.as_ref());
        let limit_of_all = rate_limits(&config.global_filters)
            .filter(|config| Reach::of_global(config) == Reach::All)
            .map(|config| Limit::take_over(known, config, Reach::All))
            .next();
        Self { config, limit_of_all }
    }

    pub(super) fn global_filters(&self) -> &'a [FilterConfig] {
        &self.config.global_filters
    }

    /// The limit that all routes count on: the next table takes it over.
    pub(super) fn into_limit_of_all(self) -> Option<Limit> {
        self.limit_of_all
    }

    /// `before` is the route of the same name in the table before.
    pub(super) fn build(&self, route: &RouteConfig, before: Option<&Route>) -> Guard {
        let mut guard = Guard { limits: self.limits(route, before), retry: None };
        for filter in effective(&route.filters, &self.config.global_filters) {
            if let FilterConfig::Retry(config) = filter {
                let known = before.and_then(|before| before.guard.retry.as_ref());
                let same = known.filter(|kept| kept.config == *config).cloned();
                let new = || Box::new(Kept { config: config.clone(), running: RetryPolicy::new(config) });
                guard.retry = Some(same.unwrap_or_else(new));
            }
        }
        guard
    }

    /// One for each upstream, with what protects it.
    pub(super) fn backends(
        &self,
        route: &RouteConfig,
        upstreams: Vec<Arc<Upstream>>,
        before: Option<&Route>,
    ) -> Box<[Backend]> {
        let mut backends: Box<[Backend]> = upstreams.into_iter().map(Backend::unprotected).collect();
        for filter in effective(&route.filters, &self.config.global_filters) {
            match filter {
                FilterConfig::CircuitBreaker(config) => {
                    let all = Protection { config, scope: config.scope, of: |one| one.breaker.as_ref() }
                        .of_each(&backends, before, Breaker::new);
                    backends.iter_mut().zip(all).for_each(|(backend, one)| backend.breaker = Some(one));
                }
                FilterConfig::Concurrency(config) => {
                    let all = Protection { config, scope: config.scope, of: |one| one.concurrency.as_ref() }
                        .of_each(&backends, before, Concurrency::new);
                    backends.iter_mut().zip(all).for_each(|(backend, one)| backend.concurrency = Some(one));
                }
                _ => {}
            }
        }
        backends
    }

    /// Rate limits do not replace each other: the global one and the route's own both hold.
    ///
    /// The narrowest is asked first: what it refuses must not use up what the other routes and clients share.
    fn limits(&self, route: &RouteConfig, before: Option<&Route>) -> Vec<Limit> {
        let of_route = |config, global| {
            let reach = Reach::Route { global };
            let known =
                before.and_then(|before| before.guard.limits.iter().find(|limit| limit.reach == reach));
            Limit::take_over(known, config, reach)
        };
        let global = rate_limits(&self.config.global_filters)
            .filter(|config| Reach::of_global(config) != Reach::All)
            .map(|config| of_route(config, true));
        let own = rate_limits(&route.filters).map(|config| of_route(config, false));
        own.chain(global).chain(self.limit_of_all.iter().cloned()).collect()
    }
}

fn rate_limits(filters: &[FilterConfig]) -> impl Iterator<Item = &RateLimitConfig> {
    filters.iter().filter_map(|filter| match filter {
        FilterConfig::RateLimit(config) => Some(config),
        _ => None,
    })
}

impl Limit {
    fn take_over(known: Option<&Self>, config: &RateLimitConfig, reach: Reach) -> Self {
        let new = || match reach {
            Reach::All => RateLimit::global(config),
            Reach::Route { .. } => RateLimit::new(config),
        };
        match known.filter(|known| known.running.config() == config) {
            Some(known) => known.clone(),
            None => Self { reach, running: Arc::new(new()) },
        }
    }
}

impl Reach {
    /// A limit in `global_filters` counts all routes together, unless it says otherwise.
    fn of_global(config: &RateLimitConfig) -> Self {
        match config.key {
            Some(LimitKey::Route) => Self::Route { global: true },
            _ => Self::All,
        }
    }
}

/// Where a backend has what protects it.
type Where<C, T> = fn(&Backend) -> Option<&Kept<C, Scoped<T>>>;

/// A filter that protects targets, before it runs.
struct Protection<'a, C, T> {
    config: &'a C,
    scope: Scope,
    of: Where<C, T>,
}

impl<C: Clone + PartialEq, T> Protection<'_, C, T> {
    /// One for each of the new backends. Takes over what ran for the same settings and the same upstream: of other
    /// targets nothing is known.
    fn of_each(
        &self,
        backends: &[Backend],
        before: Option<&Route>,
        new: impl Fn(&C) -> Arc<T>,
    ) -> Vec<Kept<C, Scoped<T>>> {
        let known = |upstream: &Upstream| {
            let before = before?.backends.iter().find(|before| before.upstream.name == upstream.name)?;
            let kept = (self.of)(before).filter(|kept| kept.config == *self.config)?;
            Some((&*before.upstream, &kept.running))
        };
        let of_route = || {
            let running = backends.iter().find_map(|backend| match known(&backend.upstream)? {
                (_, Scoped::Route(one)) => Some(one.clone()),
                (_, Scoped::Targets(_)) => None,
            });
            running.unwrap_or_else(|| new(self.config))
        };
        let of_target = |upstream: &Upstream, target: &Target| {
            let (before, running) = known(upstream)?;
            let same = |other: &Target| Arc::ptr_eq(&other.state, &target.state);
            running.covering(before.targets.iter().position(same)?).cloned()
        };
        let kept = |running| Kept { config: self.config.clone(), running };
        match self.scope {
            Scope::Route => {
                let one = of_route();
                backends.iter().map(|_| kept(Scoped::Route(one.clone()))).collect()
            }
            Scope::Target => {
                let all = backends.iter().map(|Backend { upstream, .. }| {
                    let one = |target| of_target(upstream, target).unwrap_or_else(|| new(self.config));
                    kept(Scoped::Targets(upstream.targets.iter().map(one).collect()))
                });
                all.collect()
            }
        }
    }
}

#[cfg(test)]
mod tests;
