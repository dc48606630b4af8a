//! How the fields are called, by the schema.

use super::form::Unit;
use crate::filter::logging::LogSchema;
use http::Version;

/// A field's name as it stands in a line, with what comes before its value.
pub(super) struct Name {
    pub(super) json: &'static str,
    pub(super) text: &'static str,
}

macro_rules! name {
    ($name:literal) => {
        Name { json: concat!(",\"", $name, "\":"), text: concat!(" ", $name, "=") }
    };
}

pub(super) struct Names {
    pub(super) unit: Unit,
    /// The protocol is named with its version.
    whole_version: bool,
    pub(super) timestamp: Name,
    pub(super) method: Name,
    pub(super) path: Name,
    pub(super) status_code: Name,
    pub(super) duration: Name,
    pub(super) client_ip: Name,
    pub(super) target: Name,
    pub(super) request_id: Name,
    pub(super) user_agent: Name,
    pub(super) error: Name,
    pub(super) route: Name,
    pub(super) reason: Name,
    pub(super) grpc_status: Name,
    pub(super) trace_id: Name,
    pub(super) consumer: Name,
    pub(super) client_cert_subject: Name,
    pub(super) client_cert_fingerprint: Name,
    pub(super) config_version: Name,
    pub(super) attempts: Name,
    pub(super) bytes_in: Name,
    pub(super) bytes_out: Name,
    pub(super) upstream: Name,
    pub(super) upstream_time: Name,
    pub(super) protocol: Name,
    pub(super) host: Name,
    pub(super) query: Name,
}

static DEFAULT: Names = Names {
    unit: Unit::Milliseconds,
    whole_version: true,
    timestamp: name!("timestamp"),
    method: name!("method"),
    path: name!("path"),
    status_code: name!("status_code"),
    duration: name!("duration_ms"),
    client_ip: name!("client_ip"),
    target: name!("target"),
    request_id: name!("request_id"),
    user_agent: name!("user_agent"),
    error: name!("error"),
    route: name!("route"),
    reason: name!("reason"),
    grpc_status: name!("grpc_status"),
    trace_id: name!("trace_id"),
    consumer: name!("consumer"),
    client_cert_subject: name!("client_cert_subject"),
    client_cert_fingerprint: name!("client_cert_fingerprint"),
    config_version: name!("config_version"),
    attempts: name!("attempts"),
    bytes_in: name!("bytes_in"),
    bytes_out: name!("bytes_out"),
    upstream: name!("upstream"),
    upstream_time: name!("upstream_ms"),
    protocol: name!("protocol"),
    host: name!("host"),
    query: name!("query"),
};

/// The attribute names of OpenTelemetry where it has one; its durations are in seconds.
static OTEL: Names = Names {
    unit: Unit::Seconds,
    whole_version: false,
    timestamp: name!("timestamp"),
    method: name!("http.request.method"),
    path: name!("url.path"),
    status_code: name!("http.response.status_code"),
    duration: name!("http.server.request.duration"),
    client_ip: name!("client.address"),
    target: name!("gateway.target"),
    request_id: name!("gateway.request_id"),
    user_agent: name!("user_agent.original"),
    error: name!("error.message"),
    route: name!("gateway.route"),
    reason: name!("error.type"),
    grpc_status: name!("rpc.grpc.status_code"),
    trace_id: name!("trace_id"),
    consumer: name!("enduser.id"),
    client_cert_subject: name!("tls.client.subject"),
    client_cert_fingerprint: name!("tls.client.hash.sha256"),
    config_version: name!("gateway.config_version"),
    attempts: name!("gateway.attempts"),
    bytes_in: name!("http.request.body.size"),
    bytes_out: name!("http.response.body.size"),
    upstream: name!("gateway.upstream"),
    upstream_time: name!("gateway.upstream.duration"),
    protocol: name!("network.protocol.version"),
    host: name!("server.address"),
    query: name!("url.query"),
};

impl Names {
    pub(super) fn of(schema: LogSchema) -> &'static Self {
        match schema {
            LogSchema::Default => &DEFAULT,
            LogSchema::Otel => &OTEL,
        }
    }

    pub(super) fn version(&self, version: Version) -> &'static str {
        let whole = match version {
            Version::HTTP_09 => "HTTP/0.9",
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_3 => "HTTP/3",
            _ => "HTTP/1.1",
        };
        if self.whole_version { whole } else { whole.trim_start_matches("HTTP/") }
    }
}
