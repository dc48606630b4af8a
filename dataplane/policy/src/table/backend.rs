//! One of the upstreams that a route sends to, and what stands between its requests and the targets.

use super::guard::{Kept, Scoped};
use crate::breaker::Breaker;
use crate::concurrency::Concurrency;
use crate::filter::circuit_breaker::CircuitBreakerConfig;
use crate::filter::concurrency::ConcurrencyConfig;
use crate::upstream::{Target, Upstream};
use std::sync::Arc;

/// An upstream as one route uses it.
#[derive(Debug)]
pub struct Backend {
    /// Whose targets.
    pub upstream: Arc<Upstream>,
    /// Refuses at once what would fail anyway. With `scope: route` one for all backends.
    pub breaker: Option<Kept<CircuitBreakerConfig, Scoped<Breaker>>>,
    /// Bounds the requests in flight. With `scope: route` one for all backends.
    pub concurrency: Option<Kept<ConcurrencyConfig, Scoped<Concurrency>>>,
}

impl Backend {
    pub(super) fn unprotected(upstream: Arc<Upstream>) -> Self {
        Self { upstream, breaker: None, concurrency: None }
    }
}

/// What protects the backends of a route, each once, with its target if it covers only that.
pub(super) fn each<'b, T: 'b>(
    backends: &'b [Backend],
    of: fn(&'b Backend) -> Option<&'b Scoped<T>>,
) -> impl Iterator<Item = (Option<&'b Target>, &'b Arc<T>)> {
    backends.iter().enumerate().flat_map(move |(at, backend)| {
        let (route, targets): (_, &[Arc<T>]) = match of(backend) {
            // the others have the same
            Some(Scoped::Route(one)) if at == 0 => (Some((None, one)), &[]),
            Some(Scoped::Route(_)) | None => (None, &[]),
            Some(Scoped::Targets(all)) => (None, all),
        };
        route.into_iter().chain(backend.upstream.targets.iter().map(Some).zip(targets))
    })
}
