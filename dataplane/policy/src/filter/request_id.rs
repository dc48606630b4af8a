//! `request_id`: under which header a request carries its id, and whose ids are taken over.
//!
//! ```yaml
//! - request_id:
//!     header: X-Request-ID
//!     trust: trusted_proxies # or all, none
//! ```
//!
//! Every request has an id, with or without this filter; the target gets it and the client gets it back.

use crate::config::leaf::{Fault, HeaderName};
use crate::config::wire::parse;
use crate::headers::Reserved;
use http::{HeaderMap, HeaderValue};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The header of the id, and whose ids are taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestIdConfig {
    /// Default: `X-Request-ID`.
    #[serde(default = "default_header")]
    pub header: HeaderName,
    /// Whose ids are taken over, if they are well formed. Default: `trusted_proxies`.
    #[serde(default)]
    pub trust: Trust,
}

/// Whose ids are taken over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Those of peers in `server.trusted_proxies`.
    #[default]
    TrustedProxies,
    /// Everybody's.
    All,
    /// Nobody's: every request gets a new one.
    None,
}

/// A client's id is kept up to this length.
const MAX_LENGTH: usize = 128;

const X_REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");

fn default_header() -> HeaderName {
    HeaderName(X_REQUEST_ID)
}

impl Default for RequestIdConfig {
    fn default() -> Self {
        Self { header: default_header(), trust: Trust::default() }
    }
}

impl RequestIdConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        let name = &self.header.0;
        match Reserved::of(name).filter(|_| *name != X_REQUEST_ID) {
            Some(reserved) => Err(Fault::new(format!("`{name}` {}", reserved.reason()))
                .at("header")
                .help("leave it out for `X-Request-ID`, or choose another name")),
            None => Ok(()),
        }
    }

    /// The id that the request came with, if it is one to take over: one value of 1 to 128 letters, digits, `-`, `_`
    /// and `.`, so that no log and no target can read anything else into it.
    pub fn accepted(&self, headers: &HeaderMap, peer_is_trusted: bool) -> Option<HeaderValue> {
        let believed = match self.trust {
            Trust::TrustedProxies => peer_is_trusted,
            Trust::All => true,
            Trust::None => false,
        };
        let mut values = headers.get_all(&self.header.0).iter().filter(|_| believed);
        let value = values.next().filter(|_| values.next().is_none())?;
        is_well_formed(value.as_bytes()).then(|| value.clone())
    }
}

fn is_well_formed(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_LENGTH).contains(&id.len()) && id.iter().all(plain)
}

impl From<Trust> for v1::RequestIdTrust {
    fn from(trust: Trust) -> Self {
        match trust {
            Trust::TrustedProxies => Self::TrustedProxies,
            Trust::All => Self::All,
            Trust::None => Self::None,
        }
    }
}

fn trust(wire: i32) -> Result<Trust, Fault> {
    match v1::RequestIdTrust::try_from(wire) {
        Ok(v1::RequestIdTrust::TrustedProxies) => Ok(Trust::TrustedProxies),
        Ok(v1::RequestIdTrust::All) => Ok(Trust::All),
        Ok(v1::RequestIdTrust::None) => Ok(Trust::None),
        Ok(v1::RequestIdTrust::Unspecified) | Err(_) => {
            Err(Fault::new("is not one this version knows").at("trust"))
        }
    }
}

impl From<&RequestIdConfig> for v1::RequestId {
    fn from(RequestIdConfig { header, trust }: &RequestIdConfig) -> Self {
        Self { header: header.to_string(), trust: v1::RequestIdTrust::from(*trust).into() }
    }
}

impl TryFrom<v1::RequestId> for RequestIdConfig {
    type Error = Fault;

    fn try_from(wire: v1::RequestId) -> Result<Self, Fault> {
        let v1::RequestId { header, trust: trusted } = wire;
        Ok(Self { header: parse("header", &header)?, trust: trust(trusted)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::FilterConfig;
    use crate::filter::test_support::{fault, filter, wire_round_trip};

    fn request_id(settings: &str) -> RequestIdConfig {
        match filter(&format!("request_id: {{{settings}}}")) {
            FilterConfig::RequestId(config) => config,
            other => panic!("{other:?}"),
        }
    }

    fn sent(name: &'static str, ids: &[&str]) -> HeaderMap {
        ids.iter().map(|id| (http::HeaderName::from_static(name), id.parse().expect("a value"))).collect()
    }

    #[test]
    fn every_setting_survives_the_wire() {
        assert_eq!(request_id(""), RequestIdConfig::default());
        for trust in ["trusted_proxies", "all", "none"] {
            wire_round_trip(&format!("request_id: {{header: X-Correlation-ID, trust: {trust}}}"));
        }
    }

    #[test]
    fn an_id_is_taken_over_from_those_who_are_trusted() {
        let headers = sent("x-request-id", &["abc"]);
        for (trust, from_proxy, from_client) in
            [("trusted_proxies", true, false), ("all", true, true), ("none", false, false)]
        {
            let config = request_id(&format!("trust: {trust}"));
            assert_eq!(config.accepted(&headers, true).is_some(), from_proxy, "{trust}");
            assert_eq!(config.accepted(&headers, false).is_some(), from_client, "{trust}");
        }
        let renamed = request_id("header: X-Correlation-ID, trust: all");
        assert_eq!(renamed.accepted(&headers, true), None);
        assert!(renamed.accepted(&sent("x-correlation-id", &["abc"]), true).is_some());
    }

    #[test]
    fn an_id_that_is_not_well_formed_is_not_taken_over() {
        let config = RequestIdConfig::default();
        let longest = "a".repeat(128);
        for id in [
            "a",
            "0190a5d8-7f6b-7c3e-9a41-0123456789ab",
            "Root=1".split('=').next().expect("a part"),
            &longest,
        ] {
            assert!(config.accepted(&sent("x-request-id", &[id]), true).is_some(), "{id}");
        }
        let too_long = "a".repeat(129);
        for ids in [&[""][..], &["a b"], &["a\"b"], &["a,b"], &["a;b"], &["a", "a"], &[&too_long], &[]] {
            assert_eq!(config.accepted(&sent("x-request-id", ids), true), None, "{ids:?}");
        }
    }

    #[test]
    fn a_header_with_another_meaning_is_refused() {
        for name in ["Host", "Content-Length", "Connection", "Via", "X-Forwarded-For"] {
            assert!(fault(&format!("request_id: {{header: {name}}}")).starts_with('`'), "{name}");
        }
    }
}
