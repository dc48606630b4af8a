//! A line of the access log: what is known of an exchange that is over, as bytes.
//!
//! Lines are made on the thread that serves the request, so this allocates nothing but room in the buffer it appends to,
//! and a client may put whatever it likes into a path or an agent: a line stays one line, and one object.

mod escape;
mod form;
mod names;

use crate::client_certificate::ClientCertificate;
use crate::config::leaf::TargetAddr;
use crate::filter::logging::{LogFormat, LogSchema};
use crate::grpc::GrpcStatus;
use form::{Form, Json, Text};
use http::Version;
use names::Names;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

/// A path or a query is shown up to here: more than a listener takes unless it is told to.
pub const LONGEST_TARGET: usize = 8192;
/// Any other text is shown up to here.
pub const LONGEST_TEXT: usize = 1024;

/// An exchange that is over.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// When the first byte of its head came, by the wall clock.
    pub unix_nanos: u64,
    /// From then to the last byte of the response.
    pub duration: Duration,
    /// Empty when no head could be read.
    pub method: &'a str,
    /// Without the query; empty when no head could be read.
    pub path: &'a str,
    /// None where it is not to be shown.
    pub query: Option<&'a str>,
    /// The request's `Host`.
    pub host: Option<&'a [u8]>,
    /// Its `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// Of the request.
    pub version: Version,
    /// The peer, or whom a trusted proxy names.
    pub client_ip: IpAddr,
    /// As in `X-Request-ID`.
    pub request_id: &'a str,
    /// Who asked.
    pub consumer: Option<&'a str>,
    /// What the client has shown to its listener, and what holds.
    pub client_certificate: Option<&'a ClientCertificate>,
    /// By which it was served; 0 before the first one.
    pub config_version: u64,
    /// The name of the route that took it.
    pub route: Option<&'a str>,
    /// Where it went, if that is another name than the route's.
    pub upstream: Option<&'a str>,
    /// Of the last attempt.
    pub target: Option<&'a TargetAddr>,
    /// Of the last attempt, to the head of the response or to its failure.
    pub upstream_time: Option<Duration>,
    /// How many there were.
    pub attempts: u32,
    /// What the client got.
    pub status: u16,
    /// Why the gateway answered itself, or how a response broke off.
    pub reason: Option<&'a str>,
    /// How it ended, where it was a gRPC call.
    pub grpc_status: Option<GrpcStatus>,
    /// What went wrong, for people.
    pub error: Option<&'a str>,
    /// Of the request's body.
    pub bytes_in: u64,
    /// Of the response's body.
    pub bytes_out: u64,
    /// Where it is traced.
    pub trace_id: Option<[u8; 16]>,
}

/// Makes lines; one for each thread.
#[derive(Debug, Default)]
pub struct Lines {
    stamp: Stamp,
}

impl Lines {
    /// Appends the line of an exchange.
    pub fn write(&mut self, to: &mut Vec<u8>, format: LogFormat, schema: LogSchema, of: &Record<'_>) {
        let names = Names::of(schema);
        let time = self.stamp.of(of.unix_nanos);
        match format {
            LogFormat::Json => fields(Json::begin(to), names, &time, of),
            LogFormat::Text => fields(Text::begin(to), names, &time, of),
        }
    }
}

fn fields<F: Form>(mut line: F, names: &Names, time: &[u8], of: &Record<'_>) {
    line.first(&names.timestamp, time, LONGEST_TEXT);
    line.first(&names.method, of.method.as_bytes(), LONGEST_TEXT);
    line.first(&names.path, of.path.as_bytes(), LONGEST_TARGET);
    line.first_number(&names.status_code, of.status);
    line.first_time(&names.duration, of.duration, names.unit);
    line.address(&names.client_ip, of.client_ip);
    match of.target {
        Some(TargetAddr { tls: _, host, port }) => line.host_and_port(&names.target, host, *port),
        None => line.text(&names.target, b"", LONGEST_TEXT),
    }
    line.text(&names.request_id, of.request_id.as_bytes(), LONGEST_TEXT);
    line.text(&names.user_agent, of.user_agent.unwrap_or(b""), LONGEST_TEXT);
    let known = [
        (&names.error, of.error),
        (&names.route, of.route),
        (&names.upstream, of.upstream),
        (&names.reason, of.reason),
        (&names.consumer, of.consumer),
        (&names.client_cert_subject, of.client_certificate.map(|shown| &*shown.subject)),
        (&names.client_cert_fingerprint, of.client_certificate.map(|shown| &*shown.fingerprint)),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            line.text(name, value.as_bytes(), LONGEST_TEXT);
        }
    }
    if let Some(id) = of.trace_id {
        line.hex(&names.trace_id, id);
    }
    if let Some(status) = of.grpc_status {
        line.number(&names.grpc_status, u64::from(status.code()));
    }
    line.number(&names.config_version, of.config_version);
    line.number(&names.attempts, u64::from(of.attempts));
    line.number(&names.bytes_in, of.bytes_in);
    line.number(&names.bytes_out, of.bytes_out);
    if let Some(time) = of.upstream_time {
        line.time(&names.upstream_time, time, names.unit);
    }
    line.text(&names.protocol, names.version(of.version).as_bytes(), LONGEST_TEXT);
    if let Some(host) = of.host {
        line.text(&names.host, host, LONGEST_TEXT);
    }
    if let Some(query) = of.query {
        line.text(&names.query, query.as_bytes(), LONGEST_TARGET);
    }
    line.end();
}

/// RFC 3339 in UTC, of which all but the microseconds stays the same for a second.
#[derive(Debug, Default)]
struct Stamp {
    second: u64,
    /// `2026-11-23T10:00:00.123456Z`; empty before the first one.
    text: [u8; Self::LENGTH],
}

impl Stamp {
    const LENGTH: usize = 27;
    const SECONDS: usize = 19;

    fn of(&mut self, unix_nanos: u64) -> [u8; Self::LENGTH] {
        let (second, micros) = (unix_nanos / 1_000_000_000, unix_nanos / 1000 % 1_000_000);
        if second != self.second || self.text[0] == 0 {
            self.begin(second);
        }
        let mut left = micros;
        for digit in self.text[Self::SECONDS + 1..][..6].iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        self.text
    }

    fn begin(&mut self, second: u64) {
        // 64 bits of nanoseconds end in 2554
        let moment = jiff::Timestamp::from_second(second as i64).unwrap_or_default();
        self.text = *b"1970-01-01T00:00:00.000000Z";
        // it has exactly as many bytes as there is room for
        let _ = write!(&mut self.text[..Self::SECONDS], "{}", moment.strftime("%Y-%m-%dT%H:%M:%S"));
        self.second = second;
    }
}

#[cfg(test)]
mod tests;
