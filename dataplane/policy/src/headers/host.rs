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
    let (end, has_upper) = if text.starts_with(b"[") { address_end(text)? } else { name_end(text)? };
    let (name, rest) = text.split_at(end);
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Rejection::InvalidHost);
    }
    let name = std::str::from_utf8(name).map_err(|_| Rejection::InvalidHost)?;
    let name = if has_upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) };
    Ok(Host { name, port: parse_port(rest)? })
}

/// Longest name that DNS can hold.
const MAX_NAME: usize = 253;

/// Where a bracketed IPv6 address ends, and whether it has capitals.
fn address_end(text: &[u8]) -> Result<(usize, bool), Rejection> {
    let end = text.iter().position(|&byte| byte == b']').ok_or(Rejection::InvalidHost)?;
    let address = std::str::from_utf8(&text[1..end]).map_err(|_| Rejection::InvalidHost)?;
    address.parse::<std::net::Ipv6Addr>().map_err(|_| Rejection::InvalidHost)?;
    Ok((end + 1, address.bytes().any(|byte| byte.is_ascii_uppercase())))
}

/// Where a name ends, and whether it has capitals: letters, digits, `-`, `_` and single dots, which is what DNS and
/// every peer agree on.
fn name_end(text: &[u8]) -> Result<(usize, bool), Rejection> {
    let (mut previous, mut seen) = (Class::Dot, 0);
    let mut end = text.len();
    for (at, &byte) in text.iter().enumerate() {
        let class = CLASS[usize::from(byte)];
        if class == Class::Colon {
            end = at;
            break;
        }
        if class == Class::Dot && previous == Class::Dot {
            return Err(Rejection::InvalidHost);
        }
        seen |= class as u8;
        previous = class;
    }
    if seen & Class::Other as u8 != 0 {
        Err(Rejection::InvalidHost)
    } else {
        Ok((end, seen & Class::Upper as u8 != 0))
    }
}

/// What a byte is in a host; one bit each, so that a whole name is judged by the sum of its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    Plain = 1,
    Upper = 2,
    Dot = 4,
    Colon = 8,
    Other = 16,
}

const CLASS: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => Class::Plain,
            b'A'..=b'Z' => Class::Upper,
            b'.' => Class::Dot,
            b':' => Class::Colon,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

/// What follows the host: nothing, or `:` and a number.
fn parse_port(rest: &[u8]) -> Result<Option<u16>, Rejection> {
    match rest {
        [] => Ok(None),
        [b':', digits @ ..] if !digits.is_empty() => {
            let add = |port: u16, digit: &u8| {
                let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
                port.checked_mul(10)?.checked_add(digit)
            };
            digits.iter().try_fold(0, add).map(Some).ok_or(Rejection::InvalidHost)
        }
        _ => Err(Rejection::InvalidHost),
    }
}
