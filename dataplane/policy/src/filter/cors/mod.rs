//! `cors`: what pages of other origins may do through a browser; preflights are answered here.
//!
//! ```yaml
//! - cors:
//!     allow_origins: ["https://app.example.com", "https://*.example.org"] # or ["*"]
//!     allow_methods: [GET, POST, PUT, DELETE]
//!     allow_headers: [X-Request-ID]
//!     expose_headers: [ETag]
//!     allow_credentials: false
//!     max_age: 10m
//! ```
//!
//! The protocol is that of the WHATWG Fetch standard, section "CORS protocol"; [`Cors`] is what runs.

mod origin;
mod runtime;

pub use origin::{Origin, Wildcard};
pub use runtime::Cors;

use crate::config::leaf::{Duration, Fault, HeaderName, Method};
use crate::config::wire::{millis, parse_all, texts};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CorsConfig {
    /// Whose pages may call; at least one.
    pub allow_origins: Vec<Origin>,
    /// Default: GET, HEAD and POST, which need no preflight.
    #[serde(default = "safelisted_methods")]
    pub allow_methods: Vec<Method>,
    /// Request headers beyond those that need no preflight; `*`: all but `Authorization`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_headers: Vec<HeaderName>,
    /// Response headers that the page may read beyond the few that it always may; `*`: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<HeaderName>,
    /// Whether cookies and other credentials are sent; not with `*`.
    #[serde(default)]
    pub allow_credentials: bool,
    /// How long a browser may remember the answer to a preflight, in whole seconds. Default: 5s, the browsers' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
}

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
        if self.max_age.is_some_and(|age| !age.as_millis().is_multiple_of(1000)) {
            let fault = Fault::new("`max_age` is not a whole number of seconds, as its header counts them");
            return Err(fault.at("max_age").help("write `10m`"));
        }
        if self.allow_credentials { self.check_credentials() } else { Ok(()) }
    }

    /// With credentials `*` is no wildcard (Fetch, "CORS protocol and credentials").
    fn check_credentials(&self) -> Result<(), Fault> {
        // any page can make itself a frame whose origin is `null`
        for open in [Origin::Any, Origin::Null] {
            if self.allow_origins.contains(&open) {
                let fault = Fault::new(format!(
                    "`allow_credentials` with the origin `{open}` would let every page act as its visitor"
                ));
                return Err(fault.at("allow_credentials").help("list the origins that may use credentials"));
            }
        }
        for (key, names) in [("allow_headers", &self.allow_headers), ("expose_headers", &self.expose_headers)]
        {
            if has_wildcard(names) {
                let fault = Fault::new(format!(
                    "`*` in `{key}` with `allow_credentials` would be the name of a header to browsers"
                ));
                return Err(fault.at(key).help("list the headers"));
            }
        }
        Ok(())
    }
}

fn has_wildcard(names: &[HeaderName]) -> bool {
    names.iter().any(|name| name.0 == "*")
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
mod tests;
