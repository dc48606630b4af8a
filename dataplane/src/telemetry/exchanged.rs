//! An exchange that is over, as those see it that tell of it.

use crate::telemetry::traces::Trace;
use crate::worker::TableHandle;
use http::{HeaderValue, Version};
use policy::auth::forward::ForwardAuth;
use policy::client_certificate::ClientCertificate;
use policy::grpc::GrpcStatus;
use policy::table::Route;
use policy::upstream::Upstream;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// An exchange that is over, as far as it went. Everything is borrowed: who wants nothing of it copies nothing.
pub(crate) struct Exchanged<'a> {
    /// When the first byte of its head came.
    pub(crate) began: Instant,
    /// The same by the wall clock: nanoseconds since the Unix epoch.
    pub(crate) unix_nanos: u64,
    pub(crate) duration: Duration,
    /// As the client sent it; empty when no head could be read.
    pub(crate) method: &'a str,
    /// As the client sent it, without the query; empty when no head could be read.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) host: Option<&'a HeaderValue>,
    pub(crate) user_agent: Option<&'a HeaderValue>,
    pub(crate) version: Version,
    pub(crate) scheme: &'static str,
    pub(crate) peer: SocketAddr,
    /// The peer, or whom a trusted proxy names.
    pub(crate) client_ip: IpAddr,
    pub(crate) request_id: &'a str,
    pub(crate) consumer: Option<&'a str>,
    /// What the client has shown to its listener.
    pub(crate) client_certificate: Option<&'a ClientCertificate>,
    /// By which it was served.
    pub(crate) table: Option<&'a TableHandle>,
    /// The position of the route that took it, in the table.
    pub(crate) route_at: Option<usize>,
    pub(crate) route: Option<&'a Route>,
    /// Which of the route's backends it was for.
    pub(crate) backend: usize,
    /// Of that backend.
    pub(crate) upstream: Option<&'a Upstream>,
    /// Every attempt, in order.
    pub(crate) tries: &'a [Try],
    /// What was asked of the service of its `forward_auth`, where that is traced.
    pub(crate) service: Option<(&'a Try, &'a ForwardAuth)>,
    /// There would have been another, had the budget of retries allowed it.
    pub(crate) retry_denied: bool,
    /// A rate limit would have refused it, but for its shadow mode.
    pub(crate) would_limit: bool,
    /// What the client got; 499 when it left before a response began.
    pub(crate) status: u16,
    /// Why the gateway answered itself, or how a response that had begun broke off. None: the target's answer, whole.
    pub(crate) reason: Option<&'static str>,
    /// How it ended, where it was a gRPC call.
    pub(crate) grpc_status: Option<GrpcStatus>,
    /// What went wrong, for people.
    pub(crate) error: Option<&'a str>,
    /// The gateway made the response.
    pub(crate) local: bool,
    /// Of the request's body.
    pub(crate) bytes_in: u64,
    /// Of the response's body.
    pub(crate) bytes_out: u64,
    /// None where nothing is traced, and where it ended before that was known.
    pub(crate) trace: Option<&'a Trace>,
}

/// One attempt at a target, or a question to a service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Try {
    /// The position of the target in the upstream.
    pub(crate) target: usize,
    pub(crate) began: Instant,
    /// To the head of the response, or to the failure.
    pub(crate) took: Duration,
    pub(crate) ended: TryEnd,
    /// On a connection that had served before.
    pub(crate) reused: bool,
    /// The id of its span; 0 where nothing is traced.
    pub(crate) span: u64,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TryEnd {
    /// With a response.
    Status(u16),
    /// Without one, for this reason.
    Failed(&'static str),
    /// The client left while it went on.
    Abandoned,
}
