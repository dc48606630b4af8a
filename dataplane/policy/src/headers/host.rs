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
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']').ok_or(Rejection::InvalidHost)? + 2;
            text[1..end - 1].parse::<std::net::Ipv6Addr>().map_err(|_| Rejection::InvalidHost)?;
            (&text[..end], text[end..].strip_prefix(':').or(text[end..].is_empty().then_some("")))
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, Some("")),
        },
    };
    let port = match port.ok_or(Rejection::InvalidHost)? {
        "" if text.ends_with(':') => return Err(Rejection::InvalidHost),
        "" => None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| Rejection::InvalidHost)?)
        }
        _ => return Err(Rejection::InvalidHost),
    };
    let name = if name.starts_with('[') { name } else { check_name(name)? };
    let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    };
    Ok(Host { name, port })
}

/// Letters, digits, `-`, `_` and `.`: what DNS and every peer agree on; one trailing dot is dropped.
fn check_name(name: &str) -> Result<&str, Rejection> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let valid = !name.is_empty() && name.len() <= 253 && !name.starts_with('.') && !name.contains("..");
    if valid && name.bytes().all(plain) { Ok(name) } else { Err(Rejection::InvalidHost) }
}
