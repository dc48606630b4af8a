//! `split`: the requests of one route, shared out among several upstreams.
//!
//! ```yaml
//! routes:
//!   - name: users
//!     prefix: /users
//!     split:
//!       - {upstream: users, weight: 95}
//!       - {upstream: canary, weight: 5, when: [{header: X-Canary, value: "1"}, {cookie: canary, value: always}]}
//!     hash_on: cookie:session
//! ```

use super::leaf::{Fault, HashOn, HeaderName, quoted};
use super::wire::{WireError, convert_all, parse, required};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The share of one upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareConfig {
    /// The name of an upstream.
    pub upstream: String,
    /// Relative to the other shares; 0 takes only what `when` sends here.
    pub weight: u32,
    /// Any of these sends a request here, whatever the weights say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<ShareCondition>,
}

/// A header or a cookie, and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareCondition {
    /// The name of a request header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderName>,
    /// Or the name of a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// Case matters.
    pub value: String,
}

impl ShareCondition {
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let Self { header, cookie, value } = self;
        if header.is_some() == cookie.is_some() {
            return Err(Fault::new("a condition has either `header` or `cookie`")
                .help("write `{header: X-Canary, value: \"1\"}` or `{cookie: canary, value: always}`"));
        }
        // a cookie's name is a token, as a header's is (RFC 6265, section 4.1.1)
        if let Some(name) = cookie.as_ref().filter(|name| name.parse::<http::HeaderName>().is_err()) {
            return Err(Fault::new(format!("{} is not a cookie name", quoted(name))).at("cookie"));
        }
        let separates = |byte: u8| cookie.is_some() && byte == b';';
        if http::HeaderValue::from_str(value).is_err() || value.bytes().any(separates) {
            let what = if cookie.is_some() { "cookie" } else { "header" };
            return Err(Fault::new(format!("no {what} can have this value")).at("value"));
        }
        Ok(())
    }
}

/// A split and what keeps a client with its share.
pub(super) fn to_wire(shares: &[ShareConfig], hash_on: Option<&HashOn>) -> v1::Split {
    v1::Split { shares: shares.iter().map(v1::Share::from).collect(), hash_on: hash_on.map(v1::HashOn::from) }
}

/// The reverse of [`to_wire`].
pub(super) fn from_wire(
    v1::Split { shares, hash_on }: v1::Split,
) -> Result<(Vec<ShareConfig>, Option<HashOn>), WireError> {
    if shares.is_empty() {
        return Err(Fault::new("has no shares").at("split").into());
    }
    Ok((convert_all("split", shares)?, hash_on.map(super::wire::hash_on).transpose()?))
}

impl From<&ShareConfig> for v1::Share {
    fn from(ShareConfig { upstream, weight, when }: &ShareConfig) -> Self {
        Self {
            upstream: upstream.clone(),
            weight: *weight,
            when: when.iter().map(v1::ShareCondition::from).collect(),
        }
    }
}

impl TryFrom<v1::Share> for ShareConfig {
    type Error = WireError;

    fn try_from(v1::Share { upstream, weight, when }: v1::Share) -> Result<Self, WireError> {
        Ok(Self { upstream, weight, when: convert_all("when", when)? })
    }
}

impl From<&ShareCondition> for v1::ShareCondition {
    fn from(ShareCondition { header, cookie, value }: &ShareCondition) -> Self {
        use v1::share_condition::Name;
        let header = header.as_ref().map(|name| Name::Header(name.to_string()));
        Self { name: header.or_else(|| cookie.clone().map(Name::Cookie)), value: value.clone() }
    }
}

impl TryFrom<v1::ShareCondition> for ShareCondition {
    type Error = Fault;

    fn try_from(v1::ShareCondition { name, value }: v1::ShareCondition) -> Result<Self, Fault> {
        use v1::share_condition::Name;
        let (header, cookie) = match required("header", name)? {
            Name::Header(name) => (Some(parse("header", &name)?), None),
            Name::Cookie(name) => (None, Some(name)),
        };
        Ok(Self { header, cookie, value })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Any share, also one that makes no sense.
    pub(in crate::config) fn share() -> impl Strategy<Value = ShareConfig> {
        let named = prop_oneof![
            "[a-z]{1,9}"
                .prop_map(|name| name.parse().expect("a header name"))
                .prop_map(|name| (Some(name), None)),
            "[a-z]{1,9}".prop_map(|name| (None, Some(name))),
        ];
        let condition =
            (named, ".{0,9}").prop_map(|((header, cookie), value)| ShareCondition { header, cookie, value });
        ("[a-z]{1,9}", any::<u32>(), vec(condition, 0..3)).prop_map(|(upstream, weight, when)| ShareConfig {
            upstream,
            weight,
            when,
        })
    }

    #[test]
    fn a_condition_names_one_thing_that_a_request_can_have() {
        let condition = |header: Option<&str>, cookie: Option<&str>, value: &str| ShareCondition {
            header: header.map(|name| name.parse().unwrap()),
            cookie: cookie.map(str::to_owned),
            value: value.to_owned(),
        };
        assert_eq!(condition(Some("X-Canary"), None, "1; 2").check(), Ok(()));
        assert_eq!(condition(None, Some("canary"), "always").check(), Ok(()));
        for (bad, at) in [
            (condition(None, None, "1"), None),
            (condition(Some("X-Canary"), Some("canary"), "1"), None),
            (condition(None, Some("a b"), "1"), Some("cookie")),
            (condition(None, Some("canary"), "1; 2"), Some("value")),
            (condition(Some("X-Canary"), None, "a\nb"), Some("value")),
        ] {
            assert_eq!(bad.check().map_err(|fault| fault.at), Err(at.map(str::to_owned)), "{bad:?}");
        }
    }
}
