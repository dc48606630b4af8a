//! The scalar values of a config: each type parses its text and cannot hold a bad value.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A time span with its unit: `500ms`, `30s`, `1m30s`; whole milliseconds, at most 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

/// A size with its unit: `64KiB`, `10MiB`, or a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetAddr {
    /// Lower case; an IPv6 address without brackets.
    pub host: String,
    /// 80 when none is written.
    pub port: u16,
}

/// `api.example.com` or `*.example.com`, lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host alone.
    Exact(String),
    /// `*.example.com`: one or more labels before `example.com`; holds `example.com`.
    Wildcard(String),
}

/// A normalised path without a trailing slash (`/` itself excepted).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPrefix(pub String);

/// An exact path, or one with `{name}` in place of whole segments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathTemplate(pub String);

/// A method token in upper case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Method(pub http::Method);

/// A header that must be there with exactly this value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderMatch {
    /// Case does not matter.
    pub name: HeaderName,
    /// Case matters.
    pub value: String,
}

/// A header field name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HeaderName(pub http::HeaderName);

/// A query parameter that must be there with exactly this value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryMatch {
    /// After percent-decoding.
    pub name: String,
    /// After percent-decoding.
    pub value: String,
}

/// `header:NAME`, `cookie:NAME`, `client_ip` or `path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOn {
    /// The value of a request header.
    Header(http::HeaderName),
    /// The value of a cookie.
    Cookie(String),
    /// The client's address as `trusted_proxies` allow it to be known.
    ClientIp,
    /// The normalised path.
    Path,
}

impl Duration {
    /// Whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// The value.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}
