//! `cors`: what pages of other origins may do through a browser; preflights are answered here.
//!
//! ```yaml
//! - cors:
//!     allow_origins: ["https://app.example.com"] # or ["*"]
//!     allow_methods: [GET, POST, PUT, DELETE]
//!     allow_headers: [X-Request-ID]
//!     expose_headers: [ETag]
//!     allow_credentials: false
//!     max_age: 10m
//! ```

use crate::config::leaf::{Duration, Fault, HeaderName, Method, text_leaf};
use crate::config::wire::{millis, parse_all, texts};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorsConfig {
    /// Whose pages may call; at least one.
    pub allow_origins: Vec<Origin>,
    /// Default: GET, HEAD and POST, which need no preflight.
    #[serde(default = "safelisted_methods")]
    pub allow_methods: Vec<Method>,
    /// Request headers beyond those that need no preflight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_headers: Vec<HeaderName>,
    /// Response headers that the page may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<HeaderName>,
    /// Whether cookies and other credentials are sent; not with `*`.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How long a browser may remember the answer to a preflight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
}

/// `*`, `null` or `scheme://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Every origin.
    Any,
    /// Sandboxed frames and local files.
    Null,
    /// This one, in lower case, as browsers write it.
    One(String),
}

text_leaf!(
    Origin,
    "an origin such as `https://app.example.com`",
    "An origin: `https://app.example.com`, with its port unless it is the scheme's own; `*` for all; `null`.",
    "pattern": r"^(\*|null|[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#@*]+)$"
);

fn safelisted_methods() -> Vec<Method> {
    vec![Method(http::Method::GET), Method(http::Method::HEAD), Method(http::Method::POST)]
}

impl CorsConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.allow_origins.is_empty() {
            let fault =
                Fault::new("`allow_origins` is empty, so no origin would be allowed").at("allow_origins");
            return Err(fault.help("list the origins, or write `[\"*\"]` for all"));
        }
        if self.allow_credentials && self.allow_origins.contains(&Origin::Any) {
            let fault =
                Fault::new("`allow_credentials` with the origin `*` would let every page act as its visitor");
            return Err(fault.at("allow_credentials").help("list the origins that may use credentials"));
        }
        Ok(())
    }
}

impl FromStr for Origin {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let bad = |why: &str| Fault::new(format!("`{text}` {why}"));
        let Some((scheme, authority)) = text.split_once("://") else {
            return Err(bad("is not an origin").help(format!("write `https://{text}`")));
        };
        if let Some(end) = authority.find(['/', '?', '#']) {
            return Err(bad("has a path, which an origin has not")
                .help(format!("write `{scheme}://{}`", &authority[..end])));
        }
        if authority.is_empty()
            || authority.contains(['*', '@'])
            || http::uri::Authority::from_str(authority).is_err()
        {
            return Err(
                bad("is not an origin").help("write `https://host` or `https://host:port`, without `*`")
            );
        }
        let canonical = text.to_ascii_lowercase();
        match (scheme, canonical.strip_suffix(":443"), canonical.strip_suffix(":80")) {
            ("https", Some(without), _) | ("http", _, Some(without)) => {
                Err(bad("has the scheme's own port, which browsers leave out")
                    .help(format!("write `{without}`")))
            }
            _ => Ok(Self::One(canonical)),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "*",
            Self::Null => "null",
            Self::One(origin) => origin,
        })
    }
}

impl From<&CorsConfig> for v1::Cors {
    fn from(config: &CorsConfig) -> Self {
        let CorsConfig {
            allow_origins,
            allow_methods,
            allow_headers,
            expose_headers,
            allow_credentials,
            max_age,
        } = config;
        Self {
            allow_origins: texts(allow_origins),
            allow_methods: texts(allow_methods),
            allow_headers: texts(allow_headers),
            expose_headers: texts(expose_headers),
            allow_credentials: *allow_credentials,
            max_age_ms: max_age.map(Duration::as_millis),
        }
    }
}

impl TryFrom<v1::Cors> for CorsConfig {
    type Error = Fault;

    fn try_from(wire: v1::Cors) -> Result<Self, Fault> {
        let v1::Cors {
            allow_origins,
            allow_methods,
            allow_headers,
            expose_headers,
            allow_credentials,
            max_age_ms,
        } = wire;
        Ok(Self {
            allow_origins: parse_all("allow_origins", &allow_origins)?,
            allow_methods: parse_all("allow_methods", &allow_methods)?,
            allow_headers: parse_all("allow_headers", &allow_headers)?,
            expose_headers: parse_all("expose_headers", &expose_headers)?,
            allow_credentials,
            max_age: max_age_ms.map(|ms| millis("max_age", ms)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::test_support::{fault, wire_round_trip};

    #[test]
    fn every_setting_survives_the_wire() {
        wire_round_trip(
            "cors: {allow_origins: ['https://a.example'], allow_methods: [GET, PUT], allow_headers: [X-A], \
             expose_headers: [ETag], allow_credentials: true, max_age: 10m}",
        );
        wire_round_trip("cors: {allow_origins: ['*', 'null']}");
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused() {
        for text in [
            "app.example.com",
            "https://a.example/",
            "https://*.a.example",
            "https://a.example:443",
            "https://",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
        assert_eq!("HTTPS://A.example:8443".parse(), Ok(Origin::One("https://a.example:8443".into())));
    }

    #[test]
    fn credentials_for_everyone_are_refused() {
        assert!(
            fault("cors: {allow_origins: ['*'], allow_credentials: true}").contains("act as its visitor")
        );
        assert!(fault("cors: {allow_origins: []}").contains("no origin would be allowed"));
    }
}
