//! The spans of an exchange: a SERVER for it, a CLIENT for each attempt and one for the service of a `forward_auth`, by the
//! semantic conventions for HTTP.

use super::Trace;
use super::wire::Message;
use crate::telemetry::{Exchanged, Try, TryEnd};
use http::{HeaderValue, Version};
use opentelemetry_semantic_conventions::attribute as name;
use policy::auth::forward::ForwardAuth;
use policy::upstream::{Target, Upstream};

/// `Span.kind`
const SERVER: u64 = 2;
const CLIENT: u64 = 3;
/// `Status.code`
const ERROR: u64 = 2;
/// `Span.flags`: it is known whether the parent is another process's, and it is.
const PARENT_IS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;
/// `Span.attributes`
const ATTRIBUTES: u32 = 9;

const CONFIG_VERSION: &str = "gateway.config_version";
/// What a span of kind CLIENT calls the service at its other end; older than the conventions, and known everywhere.
const PEER_SERVICE: &str = "peer.service";
const REASON: &str = "gateway.reason";
const REQUEST_ID: &str = "gateway.request_id";
const REUSED: &str = "gateway.connection_reused";

/// A text that a client chooses is kept up to here.
const MAX_TEXT: usize = 1024;

/// What the span of a method is called that is not known, and what its attribute says.
const OTHER: (&str, &str) = ("HTTP", "_OTHER");

/// What the client did, and not the gateway.
const CLIENT_CLOSED: &str = "client_closed";
const STATUS_OF_CLIENT_CLOSED: u16 = 499;

/// Appends the spans of an exchange, each as a field of `ScopeSpans`; says how many they are.
pub(super) fn write(buffer: &mut Vec<u8>, trace: &Trace, of: &Exchanged<'_>) -> usize {
    let mut spans = Message::new(buffer);
    spans.nested(super::batch::SPANS, |span| server(span, trace, of));
    if let Some((one, service)) = of.service {
        let asked =
            Asked { method: ForwardAuth::METHOD.as_str(), upstream: Some(&service.service), resent: 0 };
        spans.nested(super::batch::SPANS, |span| client(span, trace, of, &asked, one));
    }
    for (resent, one) in of.tries.iter().enumerate() {
        let asked = Asked { method: of.method, upstream: of.upstream, resent };
        spans.nested(super::batch::SPANS, |span| client(span, trace, of, &asked, one));
    }
    count(of)
}

/// How many spans an exchange has.
pub(super) fn count(of: &Exchanged<'_>) -> usize {
    1 + of.service.iter().len() + of.tries.len()
}

/// Who is asked in a span of kind CLIENT, and how.
struct Asked<'a> {
    method: &'a str,
    upstream: Option<&'a Upstream>,
    /// How often it was sent before.
    resent: usize,
}

fn server(span: &mut Message<'_>, trace: &Trace, of: &Exchanged<'_>) {
    let context = &trace.context;
    let parent_flags = if context.parent_id == 0 { 0 } else { PARENT_IS_KNOWN | PARENT_IS_REMOTE };
    ids(span, trace, context.span_id, context.parent_id, parent_flags);
    let (method, attribute) = known_method(of.method).map_or(OTHER, |known| (known, known));
    title(span, SERVER, method, of.route.map(|route| &*route.name));
    let ended = of.unix_nanos.saturating_add(of.duration.as_nanos() as u64);
    span.fixed64(7, of.unix_nanos);
    span.fixed64(8, ended);

    let mut text = |key, value: &str| span.text_attribute(ATTRIBUTES, key, value);
    text(name::HTTP_REQUEST_METHOD, attribute);
    if attribute == OTHER.1 && !of.method.is_empty() {
        text(name::HTTP_REQUEST_METHOD_ORIGINAL, cut(of.method));
    }
    text(name::URL_SCHEME, of.scheme);
    text(name::URL_PATH, cut(of.path));
    text(name::NETWORK_PROTOCOL_VERSION, version(of.version));
    text(REQUEST_ID, of.request_id);
    if let Some(route) = of.route {
        text(name::HTTP_ROUTE, &route.name);
    }
    if let Some(agent) = of.user_agent.and_then(readable) {
        text(name::USER_AGENT_ORIGINAL, cut(agent));
    }
    let host = of.host.and_then(readable).map(host_and_port);
    if let Some((host, _)) = host {
        text(name::SERVER_ADDRESS, cut(host));
    }
    address(span, name::CLIENT_ADDRESS, of.client_ip);
    // a proxy in between
    let peer = of.peer.ip().to_canonical();
    if peer != of.client_ip {
        address(span, name::NETWORK_PEER_ADDRESS, peer);
        span.number_attribute(ATTRIBUTES, name::NETWORK_PEER_PORT, u64::from(of.peer.port()));
    }
    if let Some(port) = host.and_then(|(_, port)| port) {
        span.number_attribute(ATTRIBUTES, name::SERVER_PORT, u64::from(port));
    }
    if let Some(table) = of.table {
        span.number_attribute(ATTRIBUTES, CONFIG_VERSION, table.version);
    }
    server_end(span, of);
}

fn server_end(span: &mut Message<'_>, of: &Exchanged<'_>) {
    // nobody was there to get it
    if of.status != STATUS_OF_CLIENT_CLOSED {
        span.number_attribute(ATTRIBUTES, name::HTTP_RESPONSE_STATUS_CODE, u64::from(of.status));
    }
    if let Some(reason) = of.reason {
        span.text_attribute(ATTRIBUTES, REASON, reason);
    }
    let failed = of.status >= 500 || failed_midway(of);
    match of.reason {
        Some(reason) if failed || of.reason == Some(CLIENT_CLOSED) => {
            span.text_attribute(ATTRIBUTES, name::ERROR_TYPE, reason);
        }
        None if failed => status_as_error(span, of.status),
        Some(_) | None => {}
    }
    if failed {
        error(span, of.error.unwrap_or(""));
    }
}

/// A response that had begun did not come to its end, and not because the client was gone.
pub(super) fn failed_midway(of: &Exchanged<'_>) -> bool {
    !of.local && of.reason.is_some_and(|reason| reason != CLIENT_CLOSED)
}

fn client(span: &mut Message<'_>, trace: &Trace, of: &Exchanged<'_>, asked: &Asked<'_>, one: &Try) {
    let Asked { method, upstream, resent } = *asked;
    ids(span, trace, one.span, trace.context.span_id, PARENT_IS_KNOWN);
    let (method, attribute) = known_method(method).map_or(OTHER, |known| (known, known));
    title(span, CLIENT, method, upstream.map(|upstream| &*upstream.name));
    let since = one.began.saturating_duration_since(of.began).as_nanos() as u64;
    let began = of.unix_nanos.saturating_add(since);
    span.fixed64(7, began);
    span.fixed64(8, began.saturating_add(one.took.as_nanos() as u64));

    span.text_attribute(ATTRIBUTES, name::HTTP_REQUEST_METHOD, attribute);
    if let Some(upstream) = upstream {
        span.text_attribute(ATTRIBUTES, PEER_SERVICE, &upstream.name);
        if let Some(Target { addr, .. }) = upstream.targets.get(one.target) {
            span.text_attribute(ATTRIBUTES, name::SERVER_ADDRESS, &addr.host);
            span.number_attribute(ATTRIBUTES, name::SERVER_PORT, u64::from(addr.port));
        }
    }
    span.flag_attribute(ATTRIBUTES, REUSED, one.reused);
    if resent > 0 {
        span.number_attribute(ATTRIBUTES, name::HTTP_REQUEST_RESEND_COUNT, resent as u64);
    }
    match one.ended {
        TryEnd::Status(status) => {
            span.number_attribute(ATTRIBUTES, name::HTTP_RESPONSE_STATUS_CODE, u64::from(status));
            if status >= 400 {
                status_as_error(span, status);
                error(span, "");
            }
        }
        TryEnd::Failed(reason) => {
            span.text_attribute(ATTRIBUTES, name::ERROR_TYPE, reason);
            error(span, "");
        }
        TryEnd::Abandoned => span.text_attribute(ATTRIBUTES, name::ERROR_TYPE, CLIENT_CLOSED),
    }
}

fn ids(span: &mut Message<'_>, trace: &Trace, id: u64, parent: u64, parent_flags: u32) {
    span.bytes(1, &trace.trace_id());
    span.bytes(2, &id.to_be_bytes());
    if parent != 0 {
        span.bytes(4, &parent.to_be_bytes());
    }
    span.fixed32(16, u32::from(trace.context.flags()) | parent_flags);
}

/// `GET users`
fn title(span: &mut Message<'_>, kind: u64, method: &str, of: Option<&str>) {
    match of {
        None => span.joined(5, &[method]),
        Some(of) => span.joined(5, &[method, " ", of]),
    }
    span.varint(6, kind);
}

fn status_as_error(span: &mut Message<'_>, status: u16) {
    let digits = [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
    span.text_attribute(ATTRIBUTES, name::ERROR_TYPE, str::from_utf8(&digits).unwrap_or(""));
}

fn error(span: &mut Message<'_>, message: &str) {
    span.nested(15, |status| {
        if !message.is_empty() {
            status.bytes(2, cut(message).as_bytes());
        }
        status.varint(3, ERROR);
    });
}

fn address(span: &mut Message<'_>, key: &str, ip: std::net::IpAddr) {
    let mut text = [0; 48];
    let mut cursor = std::io::Cursor::new(&mut text[..]);
    // an address is at most 45 bytes long
    let written = std::io::Write::write_fmt(&mut cursor, format_args!("{ip}"));
    let length = cursor.position() as usize;
    if let (Ok(()), Ok(text)) = (written, str::from_utf8(&text[..length])) {
        span.text_attribute(ATTRIBUTES, key, text);
    }
}

/// Those of RFC 9110 and RFC 5789, as the conventions want it; any other would let a client name spans.
fn known_method(method: &str) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

fn readable(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

/// A `Host` that was accepted: its port is a number where there is one.
fn host_and_port(host: &str) -> (&str, Option<u16>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (host, None),
    }
}

/// Not in the middle of a character.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
