//! What has a bucket of its own: the route, everything, or each client, consumer, header value or claim.

use crate::config::leaf::{Fault, HeaderName, quoted, text_leaf};
use crate::filter::Caller;
use crate::limiter::{client_ip_hash, key_hash};
use http::HeaderMap;
use serde_json::Value;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `route`, `global`, `client_ip`, `consumer`, `header:NAME` or `claim:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LimitKey {
    /// One bucket for each route.
    Route,
    /// One bucket for all routes.
    Global,
    /// A bucket for each client address; of IPv6 for each /64.
    ClientIp,
    /// A bucket for each consumer that an `auth` filter found.
    Consumer,
    /// A bucket for each value of a request header.
    Header(http::HeaderName),
    /// A bucket for each value of a claim in the caller's token.
    Claim(String),
}

text_leaf!(
    LimitKey,
    "a key such as `client_ip`",
    "What has a bucket of its own: `route`, `global`, `client_ip`, `consumer`, `header:NAME` or `claim:NAME`.",
    "pattern": "^(route|global|client_ip|consumer|header:.+|claim:.+)$"
);

impl LimitKey {
    /// Whether there is a single bucket.
    pub const fn is_one(&self) -> bool {
        matches!(self, Self::Route | Self::Global)
    }

    /// The bucket of a request, as [`crate::limiter::RateLimit::decide`] takes it.
    ///
    /// Requests without the header, consumer or claim share one bucket: leaving it out must not be a way around the
    /// limit.
    pub fn bucket(&self, headers: &HeaderMap, client: IpAddr, caller: Option<&Caller>) -> u64 {
        match self {
            Self::Route | Self::Global => 0,
            Self::ClientIp => client_ip_hash(client),
            Self::Header(name) => {
                headers.get(name).map_or_else(|| key_hash(b""), |value| key_hash(value.as_bytes()))
            }
            Self::Consumer => key_hash(caller.map_or(b"", |caller| caller.name.as_bytes())),
            Self::Claim(name) => match caller.and_then(|caller| caller.claim(name)) {
                Some(Value::String(text)) => key_hash(text.as_bytes()),
                Some(value) => key_hash(value.to_string().as_bytes()),
                None => key_hash(b""),
            },
        }
    }
}

impl FromStr for LimitKey {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        const HELP: &str = "write `route`, `global`, `client_ip`, `consumer`, `header:NAME` or `claim:NAME`";
        match (text, text.split_once(':')) {
            ("route", _) => Ok(Self::Route),
            ("global", _) => Ok(Self::Global),
            ("client_ip", _) => Ok(Self::ClientIp),
            ("consumer", _) => Ok(Self::Consumer),
            (_, Some(("header", name))) => name.parse().map(|HeaderName(name)| Self::Header(name)),
            (_, Some(("claim", name))) if !name.is_empty() => Ok(Self::Claim(name.to_owned())),
            _ => Err(Fault::new(format!("{} is nothing to limit by", quoted(text))).help(HELP)),
        }
    }
}

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route => f.write_str("route"),
            Self::Global => f.write_str("global"),
            Self::ClientIp => f.write_str("client_ip"),
            Self::Consumer => f.write_str("consumer"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Claim(name) => write!(f, "claim:{name}"),
        }
    }
}
