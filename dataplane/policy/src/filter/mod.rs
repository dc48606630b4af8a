//! The filters of a route: one file each, with its YAML, its config type and its wire form.

pub mod auth;
pub mod authorize;
pub mod body_limit;
mod caller;
pub mod circuit_breaker;
pub mod compression;
pub mod concurrency;
pub mod cors;
pub mod forward_auth;
pub mod grpc_web;
pub mod headers;
pub mod ip;
pub mod logging;
pub mod metrics;
pub mod rate_limit;
pub mod request_id;
pub mod retry;
mod scope;
pub mod tracing;

#[cfg(test)]
pub(crate) mod test_support;

use crate::config::leaf::Fault;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use caller::{Caller, Scheme};
pub use scope::Scope;

/// One entry of `filters` or `global_filters`: a map with a single key, the filter's kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterConfig {
    /// At most so many requests a second.
    RateLimit(rate_limit::RateLimitConfig),
    /// Only callers that can prove who they are.
    Auth(auth::AuthConfig),
    /// No requests to a target that keeps failing.
    CircuitBreaker(circuit_breaker::CircuitBreakerConfig),
    /// At most so many requests in flight.
    Concurrency(concurrency::ConcurrencyConfig),
    /// Failed attempts are made again.
    Retry(retry::RetryConfig),
    /// What browsers may do from other origins.
    Cors(cors::CorsConfig),
    /// Only clients of certain addresses.
    Ip(ip::IpConfig),
    /// Only callers that a service of the operator's own lets in.
    ForwardAuth(forward_auth::ForwardAuthConfig),
    /// Only callers that are allowed to.
    Authorize(authorize::AuthorizeConfig),
    /// Only bodies up to a size.
    BodyLimit(body_limit::BodyLimitConfig),
    /// Smaller responses for clients that can read them.
    Compression(compression::CompressionConfig),
    /// gRPC-Web in front of targets that speak gRPC.
    GrpcWeb(grpc_web::GrpcWebConfig),
    /// Changes to the headers.
    Headers(headers::HeadersConfig),
    /// Under which header a request has its id.
    RequestId(request_id::RequestIdConfig),
    /// The access log.
    Logging(logging::LoggingConfig),
    /// Counters and histograms of the requests.
    Metrics(metrics::MetricsConfig),
    /// Spans, sent to a collector.
    Tracing(tracing::TracingConfig),
}

/// Which filter, without its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the variants are those of FilterConfig")]
pub enum FilterKind {
    RateLimit,
    Auth,
    CircuitBreaker,
    Concurrency,
    Retry,
    Cors,
    Ip,
    ForwardAuth,
    Authorize,
    BodyLimit,
    Compression,
    GrpcWeb,
    Headers,
    RequestId,
    Logging,
    Metrics,
    Tracing,
}

impl FilterKind {
    /// The key in the config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::Auth => "auth",
            Self::CircuitBreaker => "circuit_breaker",
            Self::Concurrency => "concurrency",
            Self::Retry => "retry",
            Self::Cors => "cors",
            Self::Ip => "ip",
            Self::ForwardAuth => "forward_auth",
            Self::Authorize => "authorize",
            Self::BodyLimit => "body_limit",
            Self::Compression => "compression",
            Self::GrpcWeb => "grpc_web",
            Self::Headers => "headers",
            Self::RequestId => "request_id",
            Self::Logging => "logging",
            Self::Metrics => "metrics",
            Self::Tracing => "tracing",
        }
    }

    /// Whether one list may hold several of it: any of several `auth` lets a request in.
    pub const fn repeats(self) -> bool {
        matches!(self, Self::Auth)
    }
}

impl FilterConfig {
    /// Which filter it is.
    pub const fn kind(&self) -> FilterKind {
        match self {
            Self::RateLimit(_) => FilterKind::RateLimit,
            Self::Auth(_) => FilterKind::Auth,
            Self::CircuitBreaker(_) => FilterKind::CircuitBreaker,
            Self::Concurrency(_) => FilterKind::Concurrency,
            Self::Retry(_) => FilterKind::Retry,
            Self::Cors(_) => FilterKind::Cors,
            Self::Ip(_) => FilterKind::Ip,
            Self::ForwardAuth(_) => FilterKind::ForwardAuth,
            Self::Authorize(_) => FilterKind::Authorize,
            Self::BodyLimit(_) => FilterKind::BodyLimit,
            Self::Compression(_) => FilterKind::Compression,
            Self::GrpcWeb(_) => FilterKind::GrpcWeb,
            Self::Headers(_) => FilterKind::Headers,
            Self::RequestId(_) => FilterKind::RequestId,
            Self::Logging(_) => FilterKind::Logging,
            Self::Metrics(_) => FilterKind::Metrics,
            Self::Tracing(_) => FilterKind::Tracing,
        }
    }

    /// Whether its settings make sense together; each alone is checked by its type.
    pub fn check(&self) -> Result<(), Fault> {
        match self {
            Self::Auth(config) => config.check(),
            Self::CircuitBreaker(config) => config.check(),
            Self::Concurrency(config) => config.check(),
            Self::Cors(config) => config.check(),
            Self::Ip(config) => config.check(),
            Self::ForwardAuth(config) => config.check(),
            Self::Authorize(config) => config.check(),
            Self::BodyLimit(config) => config.check(),
            Self::Compression(config) => config.check(),
            Self::Headers(config) => config.check(),
            Self::RequestId(config) => config.check(),
            Self::RateLimit(config) => config.check(),
            Self::Retry(config) => config.check(),
            Self::Logging(config) => config.check(),
            Self::Metrics(_) | Self::GrpcWeb(_) => Ok(()),
            Self::Tracing(config) => config.check(),
        }
    }
}

impl From<&FilterConfig> for v1::Filter {
    fn from(filter: &FilterConfig) -> Self {
        use v1::filter::Kind;
        let kind = match filter {
            FilterConfig::RateLimit(config) => Kind::RateLimit(config.into()),
            FilterConfig::Auth(config) => Kind::Auth(config.into()),
            FilterConfig::CircuitBreaker(config) => Kind::CircuitBreaker(config.into()),
            FilterConfig::Concurrency(config) => Kind::Concurrency(config.into()),
            FilterConfig::Retry(config) => Kind::Retry(config.into()),
            FilterConfig::Cors(config) => Kind::Cors(config.into()),
            FilterConfig::Ip(config) => Kind::Ip(config.into()),
            FilterConfig::ForwardAuth(config) => Kind::ForwardAuth(config.into()),
            FilterConfig::Authorize(config) => Kind::Authorize(config.into()),
            FilterConfig::BodyLimit(config) => Kind::BodyLimit(config.into()),
            FilterConfig::Compression(config) => Kind::Compression(config.into()),
            FilterConfig::GrpcWeb(config) => Kind::GrpcWeb(config.into()),
            FilterConfig::Headers(config) => Kind::Headers(config.into()),
            FilterConfig::RequestId(config) => Kind::RequestId(config.into()),
            FilterConfig::Logging(config) => Kind::Logging(config.into()),
            FilterConfig::Metrics(config) => Kind::Metrics(config.into()),
            FilterConfig::Tracing(config) => Kind::Tracing(config.into()),
        };
        v1::Filter { kind: Some(kind) }
    }
}

impl TryFrom<v1::Filter> for FilterConfig {
    type Error = Fault;

    fn try_from(v1::Filter { kind }: v1::Filter) -> Result<Self, Fault> {
        use v1::filter::Kind;
        match kind {
            None => Err(Fault::new("is a filter that this version does not know")),
            Some(Kind::RateLimit(wire)) => wire.try_into().map(Self::RateLimit),
            Some(Kind::Auth(wire)) => wire.try_into().map(Self::Auth),
            Some(Kind::CircuitBreaker(wire)) => wire.try_into().map(Self::CircuitBreaker),
            Some(Kind::Concurrency(wire)) => wire.try_into().map(Self::Concurrency),
            Some(Kind::Retry(wire)) => wire.try_into().map(Self::Retry),
            Some(Kind::Cors(wire)) => wire.try_into().map(Self::Cors),
            Some(Kind::Ip(wire)) => wire.try_into().map(Self::Ip),
            Some(Kind::ForwardAuth(wire)) => wire.try_into().map(Self::ForwardAuth),
            Some(Kind::Authorize(wire)) => wire.try_into().map(Self::Authorize),
            Some(Kind::BodyLimit(wire)) => wire.try_into().map(Self::BodyLimit),
            Some(Kind::Compression(wire)) => wire.try_into().map(Self::Compression),
            Some(Kind::GrpcWeb(wire)) => Ok(Self::GrpcWeb(wire.into())),
            Some(Kind::Headers(wire)) => wire.try_into().map(Self::Headers),
            Some(Kind::RequestId(wire)) => wire.try_into().map(Self::RequestId),
            Some(Kind::Logging(wire)) => wire.try_into().map(Self::Logging),
            Some(Kind::Metrics(wire)) => wire.try_into().map(Self::Metrics),
            Some(Kind::Tracing(wire)) => wire.try_into().map(Self::Tracing),
        }
    }
}
