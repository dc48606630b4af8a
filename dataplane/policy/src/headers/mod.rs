//! What a proxy must look at, drop and set in the headers of both directions (RFC 9110 §7, RFC 9112 §6).
//!
//! hyper frames messages soundly but forwards whatever they say; the holes it leaves are closed here, in one walk over
//! the headers of each message, so that nothing is looked up that is not there.

mod hop_by_hop;
mod host;
mod raw;
mod reserved;
#[cfg(test)]
mod tests;
mod trailer;

pub(crate) use hop_by_hop::is_hop_by_hop;
pub use host::{Host, parse_host};
pub use raw::is_plainly_chunked;
pub use reserved::Reserved;
pub(crate) use trailer::forbid as forbid_trailers;

use crate::rejection::Rejection;
use hop_by_hop::HopByHop;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};

/// What one walk over a request's headers found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Inbound {
    /// `Connection` names more than `close`, `keep-alive`, `te` and `upgrade`.
    names_hop_by_hop: bool,
    /// Fields that never go further and are there.
    hop_by_hop: HopByHop,
    /// `TE` is there.
    has_te: bool,
    /// `Content-Length` is there.
    has_length: bool,
    /// `Trailer` is there.
    has_trailer: bool,
    /// The body is chunked. A parser may have dropped or tidied up what stood beside it: ask [`is_plainly_chunked`].
    pub chunked: bool,
    /// A well-formed WebSocket handshake (RFC 6455 §4.1).
    pub websocket: bool,
    /// `Upgrade` asks for something else; RFC 9110 §7.8 lets us ignore it, and we drop it.
    upgrade: bool,
    /// A field that tells the target who the client is: ours to say.
    has_forwarding: bool,
    /// `X-Request-ID` is there.
    pub has_request_id: bool,
    /// `Via` is there.
    pub has_via: bool,
}

/// Headers by which this gateway speaks to the target: `Connection` must not name them, clients must not set them.
pub(crate) fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "via"
            | "content-length"
            | "transfer-encoding"
            | "authorization"
            | "cookie"
            | "x-request-id"
            | "x-real-ip"
            | "forwarded"
    ) || name.starts_with("x-forwarded-")
}

/// A value that no other message has. In HTTP/2, HPACK would keep it for the next messages, search all that it has kept of
/// the same name for each of them, and give up what does come again; as one that is never indexed (RFC 7541 §7.1.3) it
/// is only written.
pub fn unrepeated(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

impl Inbound {
    /// Walks over the request's headers once.
    ///
    /// # Errors
    /// The refusal that the request has earned: it is never forwarded.
    pub fn examine(headers: &HeaderMap, method: &Method, version: Version) -> Result<Self, Rejection> {
        let mut found = Inbound::default();
        let (mut lengths, mut codings, mut hosts) = (0, 0, 0);
        let (mut upgrade_websocket, mut connection_upgrade, mut ws_key, mut ws_version) =
            (false, false, 0, 0);
        for (name, value) in headers {
            match name.as_str() {
                "host" => hosts += 1,
                "content-length" => {
                    lengths += 1;
                    found.has_length = true;
                    // hyper parsed it; digits only, so that nobody downstream can read another number
                    if value.is_empty() || !value.as_bytes().iter().all(u8::is_ascii_digit) {
                        return Err(Rejection::InvalidFraming);
                    }
                }
                "transfer-encoding" => {
                    found.chunked = true;
                    found.hop_by_hop.meet(name);
                    codings += 1;
                    if codings > 1 || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                        return Err(Rejection::UnsupportedTransferEncoding);
                    }
                }
                "connection" => {
                    found.hop_by_hop.meet(name);
                    connection_upgrade |= found.read_connection(value)?;
                }
                "keep-alive"
                | "proxy-connection"
                | "proxy-authenticate"
                | "proxy-authorization"
                | "proxy"
                | "http2-settings" => found.hop_by_hop.meet(name),
                "te" => found.has_te = true,
                "trailer" => found.has_trailer = true,
                "upgrade" => {
                    found.upgrade = true;
                    upgrade_websocket |= value.as_bytes().eq_ignore_ascii_case(b"websocket");
                }
                "sec-websocket-key" => ws_key += if is_websocket_key(value.as_bytes()) { 1 } else { 2 },
                "sec-websocket-version" => {
                    ws_version += usize::from(value == "13") + 2 * usize::from(value != "13")
                }
                "expect" if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
                    return Err(Rejection::ExpectationFailed);
                }
                "expect" => found.hop_by_hop.meet(name),
                "via" => found.has_via = true,
                "x-request-id" => found.has_request_id = true,
                "x-real-ip" | "forwarded" => found.has_forwarding = true,
                other if other.starts_with("x-forwarded-") => found.has_forwarding = true,
                other if other.contains('_') => found.read_underscored(&other.replace('_', "-"))?,
                _ => {}
            }
        }
        if lengths + codings > 1 {
            return Err(Rejection::InvalidFraming);
        }
        if hosts > 1 {
            return Err(Rejection::InvalidHost);
        }
        // a stream has such fields only where an extended CONNECT was brought into this form
        let upgradable = matches!(version, Version::HTTP_11 | Version::HTTP_2);
        let handshake = upgrade_websocket && connection_upgrade && upgradable;
        if handshake && method == Method::GET && !found.has_length && !found.chunked {
            if ws_key != 1 || ws_version != 1 {
                return Err(Rejection::InvalidHeader);
            }
            found.websocket = true;
        }
        Ok(found)
    }

    /// A name with `_`, here written with `-`: many servers read the two alike.
    fn read_underscored(&mut self, name: &str) -> Result<(), Rejection> {
        match name {
            // nobody frames a message so who does not hope that somebody reads it as the real one
            "content-length" | "transfer-encoding" => return Err(Rejection::InvalidFraming),
            name if is_ours(name) => self.has_forwarding = true,
            _ => {}
        }
        Ok(())
    }

    /// Reads one `Connection` value; whether it names `upgrade`.
    fn read_connection(&mut self, value: &HeaderValue) -> Result<bool, Rejection> {
        let mut upgrade = false;
        let text = value.to_str().map_err(|_| Rejection::InvalidHeader)?;
        for option in text.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            let known = ["close", "keep-alive", "te", "upgrade", "http2-settings"];
            match known.iter().find(|known| option.eq_ignore_ascii_case(known)) {
                Some(&"upgrade") => upgrade = true,
                Some(_) => {}
                None if is_ours(&option.to_ascii_lowercase()) => return Err(Rejection::InvalidHeader),
                None => self.names_hop_by_hop = true,
            }
        }
        Ok(upgrade)
    }

    /// Drops what must not reach the target: hop-by-hop fields, what `Connection` names, and the client's copies of
    /// fields that are ours to set (unless a trusted proxy set them).
    pub fn strip(&self, headers: &mut HeaderMap, peer_is_trusted: bool) {
        if self.names_hop_by_hop {
            remove_named(headers);
        }
        self.hop_by_hop.remove(headers);
        if self.has_te && !te_allows_trailers(headers) {
            headers.remove(header::TE);
        }
        if self.upgrade && !self.websocket {
            headers.remove(header::UPGRADE);
        }
        if self.has_trailer {
            trailer::forbid(headers, trailer::is_never_trailing);
        }
        if self.has_forwarding {
            remove_forwarding(headers, peer_is_trusted);
        }
    }
}

/// What a response's head says of where it ends and of its connection (RFC 9112 §6.3, §9.3).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// `Content-Length`.
    pub length: Option<u64>,
    /// `Transfer-Encoding: chunked`; then there is no length.
    pub chunked: bool,
    /// `Connection: close`.
    pub close: bool,
    /// `Connection: keep-alive`.
    pub keep_alive: bool,
}

/// What a response says of its framing; drops what must not reach the client.
///
/// # Errors
/// [`Rejection::InvalidResponse`] for framing that two readers could read in two ways.
pub fn clean_response(headers: &mut HeaderMap, switching: bool) -> Result<Framing, Rejection> {
    let mut framing = Framing::default();
    let (mut hop_by_hop, mut named) = (HopByHop::default(), false);
    for (name, value) in &*headers {
        match name.as_str() {
            "content-length" if framing.length.is_some() => return Err(Rejection::InvalidResponse),
            "content-length" => framing.length = Some(length(value)?),
            "transfer-encoding" => {
                hop_by_hop.meet(name);
                if framing.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(Rejection::InvalidResponse);
                }
                framing.chunked = true;
            }
            "connection" => {
                hop_by_hop.meet(name);
                let options = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                for option in options {
                    if option.eq_ignore_ascii_case(b"close") {
                        framing.close = true;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        framing.keep_alive = true;
                    } else {
                        named |= !option.eq_ignore_ascii_case(b"upgrade");
                    }
                }
            }
            "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "http2-settings"
            | "te"
            | "upgrade" => hop_by_hop.meet(name),
            _ => {}
        }
    }
    if framing.chunked && framing.length.is_some() {
        return Err(Rejection::InvalidResponse);
    }
    if switching {
        return Ok(framing);
    }
    if named {
        remove_named(headers);
    }
    hop_by_hop.remove(headers);
    Ok(framing)
}

/// Digits only, so that nobody downstream can read another number.
fn length(value: &HeaderValue) -> Result<u64, Rejection> {
    let digits = value.as_bytes();
    let text = value.to_str().ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
    text.and_then(|text| text.parse().ok()).ok_or(Rejection::InvalidResponse)
}

/// Drops every field that a `Connection` value names, except those that frame the message.
fn remove_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|option| HeaderName::try_from(option.trim()).ok())
        .filter(|name| !is_ours(name.as_str()) && *name != header::TE && *name != header::UPGRADE)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// 16 bytes in base64 (RFC 6455 §4.1).
fn is_websocket_key(value: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    value.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(is_digit))
}

fn te_allows_trailers(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::TE).iter();
    values.next().is_some_and(|one| one.as_bytes().eq_ignore_ascii_case(b"trailers"))
        && values.next().is_none()
}

/// Drops the client's own word on who it is. From a trusted proxy the dashed names stay; `X_Forwarded_For` and its like
/// never do: many servers read `_` and `-` alike.
fn remove_forwarding(headers: &mut HeaderMap, peer_is_trusted: bool) {
    remove_if(headers, |name| {
        let underscored = name.contains('_') && is_ours(&name.replace('_', "-"));
        let claimed = name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-");
        underscored || (claimed && !peer_is_trusted)
    });
}

/// Keeps such fields of a client from the target, in the head and behind the body.
pub(crate) fn withhold(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    trailer::forbid(headers, &unwanted);
    remove_if(headers, unwanted);
}

/// Drops every field of such a name.
fn remove_if(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let drop: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in drop {
        headers.remove(name);
    }
}

/// Whether CGI-like targets, to which `_` and `-` are the same, take one name for the other.
pub(crate) fn alike(name: &str, other: &str) -> bool {
    let dash = |byte| if byte == b'_' { b'-' } else { byte };
    name.len() == other.len() && name.bytes().zip(other.bytes()).all(|(a, b)| dash(a) == dash(b))
}
