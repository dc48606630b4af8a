//! The hosts a route is for.

use super::fault::quoted;
use super::{Fault, text_leaf};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `api.example.com` or `*.example.com`, lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host alone; an IPv6 address in brackets.
    Exact(String),
    /// `*.example.com`: one or more labels before `example.com`; holds `example.com`.
    Wildcard(String),
}

text_leaf!(
    HostPattern,
    "a host such as `api.example.com`",
    "A host without a port: `api.example.com`, or `*.example.com` for every name below example.com.",
    "pattern": r"^(\*\.)?[^*/:]+$|^\[[0-9a-fA-F:.]+\]$"
);

impl FromStr for HostPattern {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let bad = |why: &str| Fault::new(format!("{} {why}", quoted(text)));
        if text == "*" {
            return Err(bad("is not a host pattern").help("leave `hosts` out to take every host"));
        }
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr = inner.parse().map_err(|_| bad("is not an IPv6 address"))?;
            return Ok(Self::Exact(format!("[{address}]")));
        }
        if text.contains("://") || text.contains('/') {
            return Err(bad("is not a host").help("write the host alone, without scheme and path"));
        }
        if let Some((host, _)) = text.split_once(':') {
            return Err(bad("has a port").help(format!("write `{host}`; the port is the listener's")));
        }
        let host = text.to_ascii_lowercase();
        if let Some(name) = host.strip_prefix("*.") {
            check_name(name).map_err(|why| bad(&format!("is not a host pattern: {why}")))?;
            if name.parse::<Ipv4Addr>().is_ok() {
                return Err(bad("is not a host pattern: an address has no names below it"));
            }
            return Ok(Self::Wildcard(name.to_owned()));
        }
        if host.contains('*') {
            return Err(bad("is not a host pattern")
                .help("`*` stands only for whole names at the front: `*.example.com`"));
        }
        check_name(&host).map_err(|why| bad(&format!("is not a host: {why}")))?;
        Ok(Self::Exact(host))
    }
}

/// Whether a lower-case text is a DNS name (underscores too, as service discovery uses them) or an IPv4 address.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if !name.is_ascii() {
        return Err("a name outside ASCII is written in its `xn--` form");
    }
    if name.len() > 253 {
        return Err("a name has at most 253 characters");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err("there is nothing between two dots, or at an end");
        }
        if label.len() > 63 {
            return Err("a part between dots has at most 63 characters");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a part between dots neither begins nor ends with `-`");
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err("it may hold letters, digits, `-`, `_` and dots");
        }
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|b| b.is_ascii_digit()) && name.parse::<Ipv4Addr>().is_err() {
        return Err("it looks like an IPv4 address, but is none");
    }
    Ok(())
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(name) => write!(f, "*.{name}"),
        }
    }
}
