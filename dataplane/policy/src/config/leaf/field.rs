//! Methods, header names and what a route or a hash looks at in a request.

use super::fault::quoted;
use super::{Fault, text_leaf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A method token in upper case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Method(pub http::Method);

/// A header and its value: what a request must have to take a route, or what a probe sends.
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

text_leaf!(Method, "a method such as `GET`", "A method in upper case: `GET`.", "pattern": "^[A-Z][A-Z0-9!#$%&'*+.^_`|~-]*$");
text_leaf!(HeaderName, "a header name such as `X-Version`", "A header name; case does not matter.", "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$");
text_leaf!(
    HashOn,
    "a key such as `header:X-User`",
    "What decides about the target: `header:NAME`, `cookie:NAME`, `client_ip` or `path`.",
    "pattern": "^(header:.+|cookie:.+|client_ip|path)$"
);

impl FromStr for Method {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if text == "*" {
            return Err(Fault::new("`*` is not a method")
                .help("list the methods: `[GET, POST]`; a route without `methods` takes every one"));
        }
        let upper = text.to_ascii_uppercase();
        match http::Method::from_bytes(upper.as_bytes()) {
            Err(_) => Err(Fault::new(format!("{} is not a method", quoted(text)))
                .help("write one method for each entry: `[GET, POST]`")),
            Ok(http::Method::CONNECT | http::Method::TRACE) => {
                Err(Fault::new(format!("{} is never served", quoted(&upper))).help("leave it out"))
            }
            Ok(_) if upper != text => {
                Err(Fault::new(format!("{} is not in upper case", quoted(text)))
                    .help(format!("write `{upper}`")))
            }
            Ok(method) => Ok(Self(method)),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl FromStr for HeaderName {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        header_name(text).map(Self)
    }
}

fn header_name(text: &str) -> Result<http::HeaderName, Fault> {
    text.parse().map_err(|_| {
        Fault::new(format!("{} is not a header name", quoted(text)))
            .help("write the name alone, as in `X-Version`")
    })
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl FromStr for HashOn {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text.split_once(':') {
            Some(("header", name)) => header_name(name).map(Self::Header),
            // a cookie's name is a token, as a header's is (RFC 6265, section 4.1.1)
            Some(("cookie", name)) if name.parse::<http::HeaderName>().is_ok() => {
                Ok(Self::Cookie(name.to_owned()))
            }
            Some(("cookie", name)) => Err(Fault::new(format!("{} is not a cookie name", quoted(name)))),
            None if text == "client_ip" => Ok(Self::ClientIp),
            None if text == "path" => Ok(Self::Path),
            _ => Err(Fault::new(format!("{} is nothing to hash on", quoted(text)))
                .help("write `header:NAME`, `cookie:NAME`, `client_ip` or `path`")),
        }
    }
}

impl fmt::Display for HashOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::ClientIp => f.write_str("client_ip"),
            Self::Path => f.write_str("path"),
        }
    }
}
