//! Every response the gateway makes itself: status, stable reason, `Proxy-Status` error type; closed and exhaustive.
//!
//! Only this file knows the status of a gateway-made response. The reason is the same in the header, the body, the
//! access log and the metric.

mod challenge;
mod quota;

pub use challenge::{Cause, Challenge};
pub use quota::{Limited, QuotaHeaders};

use crate::grpc::GrpcStatus;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use quota::retry_header;
use std::time::Duration;

/// Why the gateway answers by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// The request head does not parse or breaks RFC 9112.
    MalformedRequest,
    /// Plain HTTP on a port that speaks TLS.
    PlainText,
    /// No, several, or an unusable `Host`, or one that contradicts the target.
    InvalidHost,
    /// The request target is not origin-form or absolute-form, or holds what cannot be normalised without doubt.
    InvalidTarget,
    /// Content-Length and Transfer-Encoding are contradictory or unusable.
    InvalidFraming,
    /// `Connection` names a header that must not be dropped, or a field is not what it may be.
    InvalidHeader,
    /// The transfer coding is not `chunked`.
    UnsupportedTransferEncoding,
    /// No route takes this host and path.
    NoRoute,
    /// A route takes the path, but not the method.
    MethodNotAllowed {
        /// What `Allow` says, in the order of the config.
        allow: Vec<Method>,
    },
    /// CONNECT and TRACE are not served.
    MethodNotServed,
    /// No credentials, or none that hold.
    Unauthenticated {
        /// How the client could prove itself.
        challenge: Challenge,
        /// What was wrong, for the log.
        cause: Cause,
    },
    /// `authorize`: the caller is known and may not do this.
    Forbidden,
    /// `ip`: requests from this address are not let in.
    AddressDenied,
    /// Whether the credentials hold cannot be found out: the issuer's keys, or the service that decides, are missing.
    AuthUnavailable,
    /// The head or the body did not arrive in time.
    RequestTimeout,
    /// The body is larger than `max_body_bytes`.
    BodyTooLarge,
    /// The target is longer than `max_target_bytes`.
    TargetTooLong,
    /// `Expect` asks for something other than `100-continue`.
    ExpectationFailed,
    /// The head is larger than `max_header_bytes` or has more than `max_headers` fields.
    HeadTooLarge,
    /// An upgrade that the route does not allow, or to something other than WebSocket.
    UpgradeRefused,
    /// The request went through this gateway before (`Via`).
    Loop,
    /// The target has a name for which DNS has never given an address.
    NameUnresolved,
    /// The target refused the connection, or it could not be made.
    ConnectFailed,
    /// The TLS handshake with the target failed.
    TlsFailed,
    /// The target did not prove by its certificate that it is who it should be.
    TlsCertificate,
    /// The target closed or reset the connection before a response.
    UpstreamReset,
    /// The target's response breaks HTTP or our limits.
    InvalidResponse,
    /// The target refused the stream, or closed the connection, before it had looked at the request (HTTP/2).
    StreamRefused,
    /// The rate limit of the route, or the one of all routes, is used up.
    RateLimited(Limited),
    /// The upstream has no target that may take the request: none is configured with a weight, or all are drained.
    NoTarget,
    /// Every target is unhealthy or ejected, and the upstream says `on_all_unhealthy: fail_closed`.
    NoHealthyTarget,
    /// The circuit breaker of the route is open, or those of all its targets are.
    CircuitOpen {
        /// When a request may be tried again.
        retry_after: Duration,
    },
    /// `concurrency`: as many requests as may be are in flight and its queue is full, or the wait was too long.
    ConcurrencyLimited,
    /// All `max_connections` of the target stayed busy.
    PoolExhausted,
    /// The listener holds `max_connections` clients.
    TooManyConnections,
    /// The TCP connect took longer than `connect_timeout`.
    ConnectTimeout,
    /// The response head took longer than `response_timeout`.
    ResponseTimeout,
    /// One attempt took longer than `per_try_timeout`, and there was no other.
    TryTimeout,
    /// The whole exchange took longer than the route's `timeout`.
    RouteTimeout,
    /// A call took longer than the client's `grpc-timeout`.
    DeadlineExceeded,
    /// A defect of ours; the log has the details.
    Internal,
}

impl Rejection {
    /// One of each, for tests and for metrics that start at zero.
    pub const ALL: [Rejection; 41] = [
        Rejection::MalformedRequest,
        Rejection::PlainText,
        Rejection::InvalidHost,
        Rejection::InvalidTarget,
        Rejection::InvalidFraming,
        Rejection::InvalidHeader,
        Rejection::UnsupportedTransferEncoding,
        Rejection::NoRoute,
        Rejection::MethodNotAllowed { allow: Vec::new() },
        Rejection::MethodNotServed,
        Rejection::Unauthenticated { challenge: Challenge::NONE, cause: Cause::NoCredentials },
        Rejection::Forbidden,
        Rejection::AddressDenied,
        Rejection::AuthUnavailable,
        Rejection::RequestTimeout,
        Rejection::BodyTooLarge,
        Rejection::TargetTooLong,
        Rejection::ExpectationFailed,
        Rejection::HeadTooLarge,
        Rejection::UpgradeRefused,
        Rejection::Loop,
        Rejection::NameUnresolved,
        Rejection::ConnectFailed,
        Rejection::TlsFailed,
        Rejection::TlsCertificate,
        Rejection::UpstreamReset,
        Rejection::InvalidResponse,
        Rejection::StreamRefused,
        Rejection::RateLimited(Limited::EXAMPLE),
        Rejection::NoTarget,
        Rejection::NoHealthyTarget,
        Rejection::CircuitOpen { retry_after: Duration::from_secs(1) },
        Rejection::ConcurrencyLimited,
        Rejection::PoolExhausted,
        Rejection::TooManyConnections,
        Rejection::ConnectTimeout,
        Rejection::ResponseTimeout,
        Rejection::TryTimeout,
        Rejection::RouteTimeout,
        Rejection::DeadlineExceeded,
        Rejection::Internal,
    ];

    /// Everything fixed about it: status, reason, RFC 9209 error type, and the sentence for the client.
    const fn facts(&self) -> (StatusCode, &'static str, &'static str, &'static str) {
        use Rejection as R;
        use StatusCode as S;
        match self {
            R::MalformedRequest => {
                (S::BAD_REQUEST, "malformed_request", "http_request_error", "the request is not valid HTTP")
            }
            R::PlainText => (
                S::BAD_REQUEST,
                "plain_text",
                "http_request_error",
                "this port speaks TLS: the request must be made by https",
            ),
            R::InvalidHost => (
                S::BAD_REQUEST,
                "invalid_host",
                "http_request_error",
                "the request must name exactly one valid host",
            ),
            R::InvalidTarget => (
                S::BAD_REQUEST,
                "invalid_target",
                "http_request_error",
                "the request target is invalid or ambiguous",
            ),
            R::InvalidFraming => (
                S::BAD_REQUEST,
                "invalid_framing",
                "http_request_error",
                "the length of the request body is ambiguous",
            ),
            R::InvalidHeader => {
                (S::BAD_REQUEST, "invalid_header", "http_request_error", "a request header is not acceptable")
            }
            R::UnsupportedTransferEncoding => (
                S::NOT_IMPLEMENTED,
                "unsupported_transfer_encoding",
                "http_request_error",
                "the only transfer coding served is chunked",
            ),
            R::NoRoute => {
                (S::NOT_FOUND, "no_route", "destination_not_found", "no route matches this host and path")
            }
            R::MethodNotAllowed { .. } => (
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "http_request_denied",
                "the route does not allow this method",
            ),
            R::MethodNotServed => {
                (S::NOT_IMPLEMENTED, "method_not_served", "http_request_denied", "this method is not served")
            }
            R::Unauthenticated { .. } => (
                S::UNAUTHORIZED,
                "unauthenticated",
                "http_request_denied",
                "the request needs credentials that are valid here",
            ),
            R::Forbidden => {
                (S::FORBIDDEN, "forbidden", "http_request_denied", "the caller is not allowed to do this")
            }
            R::AddressDenied => (
                S::FORBIDDEN,
                "address_denied",
                "http_request_denied",
                "requests from this address are not allowed",
            ),
            R::AuthUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "auth_unavailable",
                "proxy_internal_error",
                "credentials cannot be checked at the moment",
            ),
            R::RequestTimeout => (
                S::REQUEST_TIMEOUT,
                "request_timeout",
                "http_request_error",
                "the request did not arrive in time",
            ),
            R::BodyTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "http_request_denied",
                "the request body is too large",
            ),
            R::TargetTooLong => {
                (S::URI_TOO_LONG, "target_too_long", "http_request_error", "the request target is too long")
            }
            R::ExpectationFailed => (
                S::EXPECTATION_FAILED,
                "expectation_failed",
                "http_request_error",
                "the only expectation served is 100-continue",
            ),
            R::HeadTooLarge => (
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head_too_large",
                "http_request_error",
                "the request headers are too large",
            ),
            R::UpgradeRefused => {
                (S::FORBIDDEN, "upgrade_refused", "http_request_denied", "this upgrade is not allowed here")
            }
            R::Loop => (
                S::LOOP_DETECTED,
                "loop_detected",
                "proxy_loop_detected",
                "the request has been through this gateway before",
            ),
            R::NameUnresolved => {
                (S::BAD_GATEWAY, "name_unresolved", "dns_error", "the service could not be found")
            }
            R::ConnectFailed => {
                (S::BAD_GATEWAY, "connect_failed", "connection_refused", "the service could not be reached")
            }
            R::TlsFailed => (
                S::BAD_GATEWAY,
                "tls_failed",
                "tls_protocol_error",
                "no secure connection to the service could be made",
            ),
            R::TlsCertificate => (
                S::BAD_GATEWAY,
                "tls_certificate",
                "tls_certificate_error",
                "the service could not prove that it is the right one",
            ),
            R::UpstreamReset => (
                S::BAD_GATEWAY,
                "upstream_reset",
                "connection_terminated",
                "the service closed the connection without an answer",
            ),
            R::InvalidResponse => (
                S::BAD_GATEWAY,
                "invalid_response",
                "http_protocol_error",
                "the service gave an invalid answer",
            ),
            R::StreamRefused => (
                S::SERVICE_UNAVAILABLE,
                "stream_refused",
                "destination_unavailable",
                "the service took no more requests at the moment",
            ),
            R::RateLimited(_) => (
                S::TOO_MANY_REQUESTS,
                "rate_limited",
                "http_request_denied",
                "too many requests: the rate limit is used up",
            ),
            R::NoTarget => (
                S::SERVICE_UNAVAILABLE,
                "no_target",
                "destination_unavailable",
                "no instance of the service is available",
            ),
            R::NoHealthyTarget => (
                S::SERVICE_UNAVAILABLE,
                "no_healthy_target",
                "destination_unavailable",
                "no instance of the service is healthy",
            ),
            R::CircuitOpen { .. } => (
                S::SERVICE_UNAVAILABLE,
                "circuit_open",
                "destination_unavailable",
                "the service failed too often and is given time to recover",
            ),
            R::ConcurrencyLimited => (
                S::SERVICE_UNAVAILABLE,
                "concurrency_limited",
                "connection_limit_reached",
                "the service is at its limit of requests in flight",
            ),
            R::PoolExhausted => (
                S::SERVICE_UNAVAILABLE,
                "pool_exhausted",
                "connection_limit_reached",
                "the service is at its connection limit",
            ),
            R::TooManyConnections => (
                S::SERVICE_UNAVAILABLE,
                "too_many_connections",
                "connection_limit_reached",
                "the gateway is at its connection limit",
            ),
            R::ConnectTimeout => (
                S::GATEWAY_TIMEOUT,
                "connect_timeout",
                "connection_timeout",
                "the service did not accept the connection in time",
            ),
            R::ResponseTimeout => (
                S::GATEWAY_TIMEOUT,
                "response_timeout",
                "http_response_timeout",
                "the service did not answer in time",
            ),
            R::TryTimeout => (
                S::GATEWAY_TIMEOUT,
                "try_timeout",
                "http_response_timeout",
                "the service did not answer in the time of one attempt",
            ),
            R::RouteTimeout => (
                S::GATEWAY_TIMEOUT,
                "route_timeout",
                "http_response_timeout",
                "the exchange took longer than this route allows",
            ),
            R::DeadlineExceeded => (
                S::GATEWAY_TIMEOUT,
                "deadline_exceeded",
                "http_response_timeout",
                "the call took longer than its client would wait",
            ),
            R::Internal => (
                S::INTERNAL_SERVER_ERROR,
                "internal",
                "proxy_internal_error",
                "the gateway failed; the request id finds the cause in its log",
            ),
        }
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.facts().0
    }

    /// The stable reason code: header, body, log and metric label alike.
    pub const fn reason(&self) -> &'static str {
        self.facts().1
    }

    /// The error type of RFC 9209, section 2.3.
    pub const fn proxy_error(&self) -> &'static str {
        self.facts().2
    }

    /// One sentence for the client; nothing internal.
    pub const fn title(&self) -> &'static str {
        self.facts().3
    }

    /// What it is to a gRPC client. Where gRPC maps an HTTP status to a status of calls it is that, but that what was
    /// refused for being too much is `RESOURCE_EXHAUSTED`, and what was too late `DEADLINE_EXCEEDED`.
    pub const fn grpc_status(&self) -> GrpcStatus {
        use GrpcStatus as G;
        use Rejection as R;
        match self {
            R::MalformedRequest
            | R::InvalidHost
            | R::InvalidTarget
            | R::InvalidFraming
            | R::InvalidHeader
            | R::UnsupportedTransferEncoding
            | R::ExpectationFailed
            | R::PlainText
            | R::Loop
            | R::Internal => G::Internal,
            R::NoRoute | R::MethodNotAllowed { .. } | R::MethodNotServed => G::Unimplemented,
            R::Unauthenticated { .. } => G::Unauthenticated,
            R::Forbidden | R::AddressDenied | R::UpgradeRefused => G::PermissionDenied,
            R::BodyTooLarge | R::TargetTooLong | R::HeadTooLarge | R::RateLimited(_) => G::ResourceExhausted,
            R::AuthUnavailable
            | R::ConnectFailed
            | R::NameUnresolved
            | R::TlsFailed
            | R::TlsCertificate
            | R::UpstreamReset
            | R::StreamRefused
            | R::InvalidResponse
            | R::NoTarget
            | R::NoHealthyTarget
            | R::CircuitOpen { .. }
            | R::ConcurrencyLimited
            | R::PoolExhausted
            | R::TooManyConnections => G::Unavailable,
            R::RequestTimeout
            | R::ConnectTimeout
            | R::ResponseTimeout
            | R::TryTimeout
            | R::RouteTimeout
            | R::DeadlineExceeded => G::DeadlineExceeded,
        }
    }

    /// Position in [`Rejection::ALL`], for counters in an array.
    pub fn index(&self) -> usize {
        let reason = self.reason();
        Self::ALL.iter().position(|one| one.reason() == reason).unwrap_or(Self::ALL.len() - 1)
    }

    /// Whether the bytes that follow on the connection can no longer be trusted to be a request.
    pub const fn closes_connection(&self) -> bool {
        matches!(
            self,
            Rejection::MalformedRequest
                | Rejection::PlainText
                | Rejection::InvalidHost
                | Rejection::InvalidTarget
                | Rejection::InvalidFraming
                | Rejection::InvalidHeader
                | Rejection::UnsupportedTransferEncoding
                | Rejection::MethodNotServed
                | Rejection::RequestTimeout
                | Rejection::BodyTooLarge
                | Rejection::TargetTooLong
                | Rejection::ExpectationFailed
                | Rejection::HeadTooLarge
                | Rejection::TooManyConnections
        )
    }

    /// The problem document of RFC 9457.
    pub fn problem(&self, who: &Who<'_>) -> String {
        serde_json::json!({
            "type": "about:blank",
            "title": self.title(),
            "status": self.status().as_u16(),
            "reason": self.reason(),
            "request_id": who.request_id,
            "gateway": who.instance,
            "config_version": who.version,
        })
        .to_string()
    }

    /// The `Proxy-Status` field of RFC 9209: who, which error, our reason, which config version.
    pub fn proxy_status(&self, who: &Who<'_>) -> HeaderValue {
        who.proxy_status(self.proxy_error(), self.reason())
    }

    /// The fields that tell the client what to do instead: `Allow`, `Retry-After`, the quota.
    pub fn advice(&self) -> Vec<(HeaderName, HeaderValue)> {
        match self {
            Self::MethodNotAllowed { allow } => {
                let methods = allow.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                HeaderValue::try_from(methods).map(|value| (header::ALLOW, value)).into_iter().collect()
            }
            Self::RateLimited(limited) => limited.headers(),
            Self::Unauthenticated { challenge, cause } => challenge.headers(*cause),
            Self::CircuitOpen { retry_after } => vec![retry_header(*retry_after)],
            Self::ConcurrencyLimited | Self::PoolExhausted | Self::AuthUnavailable | Self::StreamRefused => {
                vec![retry_header(Duration::ZERO)]
            }
            _ => Vec::new(),
        }
    }
}

/// Who answers, for which request, by which config.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// The data plane's instance name.
    pub instance: &'a str,
    /// The version of the table that was asked; 0 before there is one.
    pub version: u64,
    /// The id that finds this request in every log.
    pub request_id: &'a str,
}

impl Who<'_> {
    /// The `Proxy-Status` of a refusal that another has worded, for a reason of ours.
    pub fn denied(&self, reason: &str) -> HeaderValue {
        self.proxy_status(Rejection::Forbidden.proxy_error(), reason)
    }

    fn proxy_status(&self, error: &str, reason: &str) -> HeaderValue {
        // an instance name holds only characters that are plain in a quoted string (checked where it is set)
        let text = format!(
            "\"{}\"; error={error}; details=\"{reason}\"; config-version={}",
            self.instance, self.version
        );
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("mini-gateway"))
    }
}

#[cfg(test)]
mod tests;
