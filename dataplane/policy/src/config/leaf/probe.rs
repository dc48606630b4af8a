//! What a health check asks for and what it expects.

use super::fault::quoted;
use super::{Fault, text_leaf};
use http::uri::{self, PathAndQuery};
use std::fmt;
use std::str::FromStr;

/// A path with or without a query, as it goes over the wire: `/health?full=1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestPath(pub PathAndQuery);

/// What `Host` may say: `host` or `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority(pub uri::Authority);

/// One status, or all from the first to the last: `200`, `200-299`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

text_leaf!(
    RequestPath,
    "a path such as `/health`",
    "A path with or without a query: `/health`, `/status?full=1`.",
    "pattern": "^/[^#\\s]*$"
);
text_leaf!(
    Authority,
    "a host such as `api.example.com`",
    "A host name or address, with or without a port.",
    "pattern": "^[^/@\\s]+$"
);
text_leaf!(
    StatusRange,
    "a status such as `200`, or `200-299`",
    "A status from 100 to 599, or all from one to another: `200-299`.",
    "type": ["string", "integer"],
    "pattern": "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$",
    "minimum": 100,
    "maximum": 599
);

impl FromStr for RequestPath {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let fault = || {
            Fault::new(format!("{} is not a path", quoted(text)))
                .help("write a path that begins with `/`, percent-encoded, with or without a query")
        };
        match PathAndQuery::from_str(text) {
            Ok(path) if text.starts_with('/') && !text.contains('#') => Ok(Self(path)),
            _ => Err(fault()),
        }
    }
}

impl fmt::Display for RequestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl FromStr for Authority {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match uri::Authority::from_str(text) {
            Ok(authority) if !authority.host().is_empty() && !text.contains('@') => Ok(Self(authority)),
            _ => Err(Fault::new(format!("{} is not a host", quoted(text)))
                .help("write a name or an address, with or without a port: `api.example.com`")),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl StatusRange {
    /// This status alone.
    pub const OK: Self = Self { first: 200, last: 200 };

    /// From one to another, both included, within 100 to 599.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        let valid = first <= last && first >= 100 && last <= 599;
        valid.then_some(Self { first, last })
    }

    /// The first of them.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last of them.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Whether a status is one of them.
    pub fn contains(self, status: http::StatusCode) -> bool {
        (self.first..=self.last).contains(&status.as_u16())
    }
}

impl FromStr for StatusRange {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let status = |text: &str| text.parse().ok().filter(|_| text.len() == 3);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = status(first).zip(status(last)).and_then(|(first, last)| Self::new(first, last));
        range.ok_or_else(|| {
            Fault::new(format!("{} is not a status", quoted(text)))
                .help("write a status from 100 to 599, or a range such as `200-299`")
        })
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_or_a_range_of_them() {
        let contains = |text: &str, status: u16| {
            let range: StatusRange = text.parse().expect("a range");
            assert_eq!(range.to_string(), text);
            range.contains(http::StatusCode::from_u16(status).expect("a status"))
        };
        assert!(contains("204", 204) && !contains("204", 200));
        assert!(contains("200-299", 200) && contains("200-299", 299) && !contains("200-299", 300));
        for bad in ["", "20", "99", "600", "299-200", "200-", "-200", "200-299-300", "2xx", "+20"] {
            assert!(bad.parse::<StatusRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_goes_over_the_wire_as_it_is_written() {
        for good in ["/", "/health", "/a/b%20c?full=1&x"] {
            assert_eq!(good.parse::<RequestPath>().expect("a path").to_string(), good);
        }
        for bad in ["", "health", "http://a/b", "/a b", "/a#b", "*"] {
            assert!(bad.parse::<RequestPath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_may_have_a_port_and_nothing_else() {
        for good in ["a.example", "a.example:8080", "[2001:db8::1]:80", "192.0.2.7"] {
            assert_eq!(good.parse::<Authority>().expect("a host").to_string(), good);
        }
        for bad in ["", "user@a.example", "http://a.example", "a.example/x", "a b", ":80"] {
            assert!(bad.parse::<Authority>().is_err(), "{bad}");
        }
    }
}
