//! What stands between a route's requests and its targets: limits, breaker, concurrency, retries.
//!
//! Each has a state that an edit elsewhere must not touch, so it is taken over from the table before as long as its own
//! settings, and what it watches, stay the same.

use super::chain::effective;
use super::{Route, RouteTable};
use crate::breaker::Breaker;
use crate::concurrency::Concurrency;
use crate::config::{GatewayConfig, RouteConfig};
use crate::filter::circuit_breaker::CircuitBreakerConfig;
use crate::filter::concurrency::ConcurrencyConfig;
use crate::filter::rate_limit::{LimitKey, RateLimitConfig};
use crate::filter::retry::RetryConfig;
use crate::filter::{FilterConfig, Scope};
use crate::limiter::RateLimit;
use crate::retry::RetryPolicy;
use crate::upstream::{Target, TargetState, Upstream};
use std::sync::Arc;

/// A route's protection; without filters all of it is absent and costs nothing.
#[derive(Debug, Default)]
pub struct Guard {
    /// All must let a request pass; the route's own comes first, that of all routes last.
    pub limits: Vec<Limit>,
    /// Refuses at once what would fail anyway.
    pub breaker: Option<Kept<CircuitBreakerConfig, Scoped<Breaker>>>,
    /// Bounds the requests in flight.
    pub concurrency: Option<Kept<ConcurrencyConfig, Scoped<Concurrency>>>,
    /// Tries again.
    pub retry: Option<Kept<RetryConfig, Arc<RetryPolicy>>>,
}

impl Guard {
    /// Every breaker, with the position of its target if it covers only that.
    pub fn breakers(&self) -> impl Iterator<Item = (Option<usize>, &Arc<Breaker>)> {
        self.breaker.iter().flat_map(|kept| kept.running.all())
    }

    /// Every concurrency limit, with the position of its target if it covers only that.
    pub fn concurrency_limits(&self) -> impl Iterator<Item = (Option<usize>, &Arc<Concurrency>)> {
        self.concurrency.iter().flat_map(|kept| kept.running.all())
    }
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

    /// Every one, with the position of its target if it covers only that.
    fn all(&self) -> impl Iterator<Item = (Option<usize>, &Arc<T>)> {
        let (route, targets): (_, &[Arc<T>]) = match self {
            Self::Route(one) => (Some((None, one)), &[]),
            Self::Targets(all) => (None, all),
        };
        route.into_iter().chain(targets.iter().enumerate().map(|(at, one)| (Some(at), one)))
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
    pub(super) fn build(&self, route: &RouteConfig, upstream: &Upstream, before: Option<&Route>) -> Guard {
        let mut guard = Guard { limits: self.limits(route, before), ..Guard::default() };
        // of other targets nothing is known
        let same_upstream = before.filter(|before| before.upstream.name == upstream.name);
        for filter in effective(&route.filters, &self.config.global_filters) {
            match filter {
                FilterConfig::CircuitBreaker(config) => {
                    let known =
                        same_upstream.and_then(|before| Some((before, before.guard.breaker.as_ref()?)));
                    guard.breaker = Some(scoped(config, config.scope, upstream, known, Breaker::new));
                }
                FilterConfig::Concurrency(config) => {
                    let known =
                        same_upstream.and_then(|before| Some((before, before.guard.concurrency.as_ref()?)));
                    guard.concurrency = Some(scoped(config, config.scope, upstream, known, Concurrency::new));
                }
                FilterConfig::Retry(config) => {
                    let known = before.and_then(|before| before.guard.retry.as_ref());
                    let same = known.filter(|kept| kept.config == *config).cloned();
                    let new = || Kept { config: config.clone(), running: RetryPolicy::new(config) };
                    guard.retry = Some(same.unwrap_or_else(new));
                }
                _ => {}
            }
        }
        guard
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

/// Takes over what ran for the same settings.
fn scoped<C: Clone + PartialEq, T>(
    config: &C,
    scope: Scope,
    upstream: &Upstream,
    known: Option<(&Route, &Kept<C, Scoped<T>>)>,
    new: impl Fn(&C) -> Arc<T>,
) -> Kept<C, Scoped<T>> {
    let known = known.filter(|(_, kept)| kept.config == *config);
    let before = |state: &Arc<TargetState>| {
        let (route, kept) = known?;
        let at = route.upstream.targets.iter().position(|target| Arc::ptr_eq(&target.state, state))?;
        kept.running.covering(at).cloned()
    };
    let running = match (scope, known.map(|(_, kept)| &kept.running)) {
        (Scope::Route, Some(Scoped::Route(one))) => Scoped::Route(one.clone()),
        (Scope::Route, _) => Scoped::Route(new(config)),
        (Scope::Target, _) => {
            let one = |target: &Target| before(&target.state).unwrap_or_else(|| new(config));
            Scoped::Targets(upstream.targets.iter().map(one).collect())
        }
    };
    Kept { config: config.clone(), running }
}

#[cfg(test)]
mod tests;
