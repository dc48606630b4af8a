//! `Host`: exactly `uri-host [":" port]` (RFC 9110 §7.2), without userinfo, list, path or anything to argue about.

use crate::rejection::Rejection;
use std::borrow::Cow;

/// The host a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    /// Lower case, no port, no trailing dot; an IPv6 address keeps its brackets.
    pub name: Cow<'a, str>,
    /// As written.
    pub port: Option<u16>,
}

/// Parses a `Host` value or an authority.
///
/// # Errors
/// [`Rejection::InvalidHost`] for everything that is not plainly a host.
pub fn parse_host(text: &[u8]) -> Result<Host<'_>, Rejection> {
    let text = std::str::from_utf8(text).map_err(|_| Rejection::InvalidHost)?;
    let end = if text.starts_with('[') { address_end(text)? } else { name_end(text.as_bytes())? };
    let (name, rest) = text.split_at(end);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Rejection::InvalidHost);
    }
    let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    };
    Ok(Host { name, port: parse_port(rest)? })
}

/// Longest name that DNS can hold.
const MAX_NAME: usize = 253;

/// Where a bracketed IPv6 address ends.
fn address_end(text: &str) -> Result<usize, Rejection> {
    let end = text.find(']').ok_or(Rejection::InvalidHost)?;
    text[1..end].parse::<std::net::Ipv6Addr>().map_err(|_| Rejection::InvalidHost)?;
    Ok(end + 1)
}

/// Where a name ends: letters, digits, `-`, `_` and single dots, which is what DNS and every peer agree on.
fn name_end(text: &[u8]) -> Result<usize, Rejection> {
    let mut previous = b'.';
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b':' => return Ok(at),
            b'.' if previous == b'.' => return Err(Rejection::InvalidHost),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => previous = byte,
            _ => return Err(Rejection::InvalidHost),
        }
    }
    Ok(text.len())
}

/// What follows the host: nothing, or `:` and digits.
fn parse_port(rest: &str) -> Result<Option<u16>, Rejection> {
    let Some(digits) = rest.strip_prefix(':') else {
        return if rest.is_empty() { Ok(None) } else { Err(Rejection::InvalidHost) };
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Rejection::InvalidHost);
    }
    digits.parse().map(Some).map_err(|_| Rejection::InvalidHost)
}
