//! The filters that see a request before an attempt is made, and its response on the way back.

use super::Upstreams;
use crate::auth::Authenticator;
use crate::auth::forward::ForwardAuth;
use crate::auth::jwt::KeySets;
use crate::config::UpstreamConfig;
use crate::filter::FilterConfig;
use crate::filter::authorize::Authorize;
use crate::filter::compression::Compression;
use crate::filter::cors::Cors;
use crate::filter::headers::HeaderRules;
use crate::filter::ip::IpRules;
use crate::filter::logging::Logging;
use crate::filter::metrics::MetricsConfig;
use crate::filter::request_id::RequestIdConfig;
use crate::filter::tracing::{Tracing, TracingConfig};
use std::sync::Arc;

/// What every response meets, also one to a request that no route takes.
#[derive(Debug, Default)]
pub struct Edge {
    /// Under which header, and whose id: before everything, for whatever happens has an id.
    pub request_id: RequestIdConfig,
    /// A preflight carries no credentials, and a page can only read a refusal that carries these headers.
    pub cors: Option<Arc<Cors>>,
    /// Where nothing is to be traced, none.
    pub tracing: Option<Tracing>,
    /// Whether it is counted.
    pub metrics: MetricsConfig,
    /// Who gets a line, and where. One for all routes that have none of their own.
    pub logging: Option<Arc<Logging>>,
}

/// In the order in which they run; the response meets them in reverse, a refusal too.
#[derive(Debug, Default)]
pub struct Chain {
    /// First, and on every response last.
    pub edge: Edge,
    /// The cheapest refusal.
    pub ip: Option<Box<IpRules>>,
    /// Who asks? After CORS, for a preflight carries no credentials.
    pub auth: Option<Arc<Authenticator>>,
    /// May it, says a service of the operator's? After what costs no question to others.
    pub forward_auth: Option<Box<ForwardAuth>>,
    /// May the caller, once it is known, do this? Before the rate limits: what is not allowed uses up nobody's.
    pub authorize: Option<Box<Authorize>>,
    /// How large a body may be; `max_body_bytes` of the listener holds as well.
    pub body_limit: Option<u64>,
    /// Before what may look at the head that the target gets.
    pub grpc_web: bool,
    /// The response, before headers are changed that may say more of it.
    pub compression: Option<Compression>,
    /// Last, for they may name whatever the others found out.
    pub headers: Option<Box<HeaderRules>>,
}

impl Edge {
    pub(super) fn build(own: &[FilterConfig], global: &[FilterConfig]) -> Self {
        let mut edge = Self::default();
        for filter in effective(own, global) {
            match filter {
                FilterConfig::RequestId(config) => edge.request_id = config.clone(),
                FilterConfig::Cors(config) => edge.cors = Some(Cors::new(config)),
                FilterConfig::Metrics(config) => edge.metrics = config.clone(),
                _ => {}
            }
        }
        edge.tracing = tracing(global).map(|global| Tracing::new(tracing(own), global));
        edge
    }
}

impl Chain {
    /// `before` is that of the same route in the table before.
    pub(super) fn build(
        own: &[FilterConfig],
        global: &[FilterConfig],
        before: Option<&Self>,
        services: &mut Upstreams<'_>,
        key_sets: &KeySets,
    ) -> Self {
        let mut chain = Self { edge: Edge::build(own, global), ..Self::default() };
        let mut auth = Vec::new();
        for filter in effective(own, global) {
            match filter {
                FilterConfig::Ip(config) => chain.ip = Some(Box::new(IpRules::new(config))),
                FilterConfig::Authorize(config) => chain.authorize = Some(Box::new(Authorize::new(config))),
                FilterConfig::BodyLimit(config) => chain.body_limit = Some(config.max.0),
                FilterConfig::Compression(config) => chain.compression = Some(Compression::new(config)),
                FilterConfig::GrpcWeb(_) => chain.grpc_web = true,
                FilterConfig::Headers(config) => chain.headers = Some(Box::new(HeaderRules::new(config))),
                // these are the edge's
                FilterConfig::RequestId(_)
                | FilterConfig::Cors(_)
                | FilterConfig::Logging(_)
                | FilterConfig::Metrics(_)
                | FilterConfig::Tracing(_) => {}
                // these are the guard's
                FilterConfig::RateLimit(_)
                | FilterConfig::CircuitBreaker(_)
                | FilterConfig::Concurrency(_)
                | FilterConfig::Retry(_) => {}
                FilterConfig::Auth(config) => auth.push(config),
                FilterConfig::ForwardAuth(config) => {
                    let service = services.get_or_add(UpstreamConfig::of_service(&config.url.addr));
                    chain.forward_auth = Some(Box::new(ForwardAuth::new(config, service)));
                }
            }
        }
        if !auth.is_empty() {
            let before = before.and_then(|before| before.auth.as_deref());
            chain.auth = Some(Authenticator::new(&auth, before, key_sets));
        }
        chain
    }
}

/// The one `tracing` in a list.
pub(super) fn tracing(filters: &[FilterConfig]) -> Option<&TracingConfig> {
    filters.iter().find_map(|filter| match filter {
        FilterConfig::Tracing(config) => Some(config),
        _ => None,
    })
}

/// A route's own filters, and the global ones of kinds that it has none of.
pub(super) fn effective<'f>(
    own: &'f [FilterConfig],
    global: &'f [FilterConfig],
) -> impl Iterator<Item = &'f FilterConfig> {
    let replaced = |global: &&FilterConfig| !own.iter().any(|own| own.kind() == global.kind());
    own.iter().chain(global.iter().filter(replaced))
}
