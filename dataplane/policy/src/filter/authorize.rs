//! `authorize`: what a caller whom an `auth` filter has found must be allowed to do.
//!
//! ```yaml
//! - authorize:
//!     scopes: [orders:read] # all of them
//!     claims: {role: [admin, auditor], tenant: [eu]} # of each claim, one of the values
//! ```
//!
//! [`Authorize`] is what runs. A consumer with a key or a password has no token: its metadata stand for the claims.

use super::Caller;
use crate::config::leaf::{Fault, quoted, text_leaf};
use crate::config::wire::parse_all;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What a caller's token must say; all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthorizeConfig {
    /// All must be among the token's, in its claim `scope` or `scp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<ScopeToken>,
    /// Names of claims, each with the values of which it must have one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Vec<ClaimValue>>,
}

/// A scope (RFC 6749 §3.3): visible ASCII without quotes and backslashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScopeToken(pub String);

/// A text, number or boolean, as a claim may hold it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimValue(pub String);

text_leaf!(ScopeToken, "a scope such as `orders:read`", "A scope of OAuth 2: `orders:read`.", "pattern": r#"^[!#-\[\]-~]+$"#);
text_leaf!(
    ClaimValue,
    "a text, a number or a boolean",
    "A value that a claim may have: a text, a number or a boolean.",
    "type": ["string", "number", "boolean"]
);

impl FromStr for ScopeToken {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let allowed = |byte: u8| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~');
        if !text.is_empty() && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(Fault::new(format!("{} is not a scope", quoted(text)))
            .help("write one scope for each entry: `[orders:read, orders:write]`"))
    }
}

impl fmt::Display for ScopeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClaimValue {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ClaimValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AuthorizeConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.scopes.is_empty() && self.claims.is_empty() {
            return Err(Fault::new("`authorize` asks for nothing, so every caller is let in")
                .help("write `scopes: [orders:read]`, or remove the filter"));
        }
        for (name, values) in &self.claims {
            if name.is_empty() {
                return Err(Fault::new("a claim has an empty name").at("claims").help("name the claim"));
            }
            if values.is_empty() {
                return Err(Fault::new(format!("the claim {} has no value that is allowed", quoted(name)))
                    .at("claims")
                    .help("list the values of which a caller must have one"));
            }
        }
        Ok(())
    }
}

/// An `authorize` filter at run time.
#[derive(Debug)]
pub struct Authorize {
    config: AuthorizeConfig,
}

/// Where tokens hold their scopes: RFC 8693 §4.2 and RFC 9068 §2.2.3, and what Okta and Entra ID write.
const SCOPE_CLAIMS: [&str; 2] = ["scope", "scp"];

impl Authorize {
    /// Takes over the settings.
    pub fn new(config: &AuthorizeConfig) -> Self {
        Self { config: config.clone() }
    }

    /// Whether the caller may do what the route is for; nobody may if nobody is known.
    pub fn allows(&self, caller: Option<&Caller>) -> bool {
        self.missing(caller).is_none()
    }

    /// What the caller would have to have, if it may not do what the route is for.
    pub fn missing(&self, caller: Option<&Caller>) -> Option<Missing<'_>> {
        let Some(caller) = caller else { return Some(Missing::Caller) };
        let AuthorizeConfig { scopes, claims } = &self.config;
        let has_scope = |scope: &ScopeToken| {
            SCOPE_CLAIMS.iter().any(|claim| Said::by(caller, claim).is_some_and(|said| said.lists(&scope.0)))
        };
        let has_claim = |(name, values): &(&String, &Vec<ClaimValue>)| {
            Said::by(caller, name).is_some_and(|said| values.iter().any(|value| said.is(&value.0)))
        };
        let scope = scopes.iter().find(|scope| !has_scope(scope)).map(Missing::Scope);
        scope.or_else(|| {
            let claim = claims.iter().find(|claim| !has_claim(claim));
            claim.map(|(name, values)| Missing::Claim(name, values))
        })
    }
}

/// What a caller lacks.
#[derive(Debug, Clone, Copy)]
pub enum Missing<'a> {
    /// Nobody is known to ask.
    Caller,
    /// This scope.
    Scope(&'a ScopeToken),
    /// This claim with one of these values.
    Claim(&'a str, &'a [ClaimValue]),
}

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => f.write_str("nobody is known to ask: no credentials were needed"),
            Self::Scope(scope) => write!(f, "the caller lacks the scope {scope}"),
            Self::Claim(name, values) => {
                let values: Vec<String> = values.iter().map(ClaimValue::to_string).collect();
                write!(f, "the caller's claim {name} is not {}", values.join(" or "))
            }
        }
    }
}

/// What is said of a caller under one name.
enum Said<'a> {
    Claim(&'a Value),
    Metadata(&'a str),
}

impl<'a> Said<'a> {
    fn by(caller: &'a Caller, name: &str) -> Option<Self> {
        let claim = caller.claims.as_ref().and_then(|claims| {
            // names with dots exist (`https://a.example/roles`), so the whole name goes first
            claims.get(name).or_else(|| nested(claims, name))
        });
        let metadata = || Some(Self::Metadata(caller.metadata.as_ref()?.get(name)?));
        claim.map(Self::Claim).or_else(metadata)
    }

    /// Whether it is a value, or a list that holds it.
    fn is(&self, wanted: &str) -> bool {
        match self {
            Self::Claim(Value::Array(items)) => items.iter().any(|item| equals(item, wanted)),
            Self::Claim(value) => equals(value, wanted),
            Self::Metadata(text) => *text == wanted,
        }
    }

    /// The same for scopes, which may also stand in one text, separated by spaces.
    fn lists(&self, scope: &str) -> bool {
        let in_text = |text: &str| text.split(' ').any(|one| one == scope);
        match self {
            Self::Claim(Value::String(text)) => in_text(text),
            Self::Metadata(text) => in_text(text),
            Self::Claim(_) => self.is(scope),
        }
    }
}

/// `realm_access.roles`: a claim within claims.
fn nested<'a>(claims: &'a serde_json::Map<String, Value>, name: &str) -> Option<&'a Value> {
    let (first, rest) = name.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))
}

fn equals(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        Value::Bool(truth) => wanted == if *truth { "true" } else { "false" },
        Value::Number(number) => number.to_string() == wanted,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

impl From<&AuthorizeConfig> for v1::Authorize {
    fn from(AuthorizeConfig { scopes, claims }: &AuthorizeConfig) -> Self {
        let claim = |(name, values): (&String, &Vec<ClaimValue>)| v1::RequiredClaim {
            name: name.clone(),
            values: values.iter().map(ClaimValue::to_string).collect(),
        };
        Self {
            scopes: scopes.iter().map(ScopeToken::to_string).collect(),
            claims: claims.iter().map(claim).collect(),
        }
    }
}

impl TryFrom<v1::Authorize> for AuthorizeConfig {
    type Error = Fault;

    fn try_from(v1::Authorize { scopes, claims }: v1::Authorize) -> Result<Self, Fault> {
        let claim = |v1::RequiredClaim { name, values }| {
            let values = parse_all("claims", &values)?;
            Ok((name, values))
        };
        Ok(Self {
            scopes: parse_all("scopes", &scopes)?,
            claims: claims.into_iter().map(claim).collect::<Result<_, Fault>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::test_support::{fault, filter, wire_round_trip};
    use crate::filter::{FilterConfig, Scheme};
    use serde_json::json;
    use std::sync::Arc;

    fn authorize(settings: &str) -> Authorize {
        match filter(&format!("authorize: {{{settings}}}")) {
            FilterConfig::Authorize(config) => Authorize::new(&config),
            other => panic!("{other:?}"),
        }
    }

    /// The caller of a token that says `claims`.
    fn token(claims: Value) -> Caller {
        let Value::Object(claims) = claims else { panic!("{claims}") };
        Caller { name: "alice".into(), scheme: Scheme::Jwt, claims: Some(Arc::new(claims)), metadata: None }
    }

    fn consumer(metadata: &[(&str, &str)]) -> Caller {
        let metadata = metadata.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let metadata = Some(Arc::new(metadata));
        Caller { name: "alice".into(), scheme: Scheme::ApiKey, claims: None, metadata }
    }

    #[test]
    fn every_setting_survives_the_wire() {
        wire_round_trip(
            "authorize: {scopes: [orders:read, 'https://a.example/x'], claims: {role: [admin, auditor], level: [3, true]}}",
        );
    }

    #[test]
    fn what_lets_in_everybody_or_nobody_is_refused() {
        assert!(fault("authorize: {}").contains("every caller is let in"));
        assert!(fault("authorize: {claims: {role: []}}").contains("no value that is allowed"));
        assert!(fault("authorize: {claims: {'': [a]}}").contains("an empty name"));
        assert!(fault("authorize: {scopes: ['orders:read orders:write']}").contains("is not a scope"));
    }

    #[test]
    fn all_scopes_are_asked_for_however_a_token_writes_them() {
        let authorize = authorize("scopes: [orders:read, orders:write]");
        for (claims, allowed) in [
            (json!({"scope": "orders:write profile orders:read"}), true),
            (json!({"scp": ["orders:read", "orders:write"]}), true),
            (json!({"scp": "orders:read orders:write"}), true),
            (json!({"scope": "orders:read", "scp": ["orders:write"]}), true),
            (json!({"scope": "orders:read"}), false),
            (json!({"scope": "orders:readorders:write"}), false),
            (json!({"scope": ["orders:read orders:write"]}), false),
            (json!({"scope": {"orders:read": true, "orders:write": true}}), false),
            (json!({"scope": null}), false),
            (json!({"roles": ["orders:read", "orders:write"]}), false),
            (json!({}), false),
        ] {
            assert_eq!(authorize.allows(Some(&token(claims.clone()))), allowed, "{claims}");
        }
        assert!(!authorize.allows(None));
    }

    #[test]
    fn of_each_claim_one_value_is_asked_for() {
        let authorize = authorize("claims: {role: [admin, auditor], level: [3], staff: [true]}");
        let with = |role: Value| token(json!({"role": role, "level": 3, "staff": true}));
        for (role, allowed) in [
            (json!("admin"), true),
            (json!("auditor"), true),
            (json!(["guest", "admin"]), true),
            (json!("Admin"), false),
            (json!("admin auditor"), false),
            (json!(["administrator"]), false),
            (json!([["admin"]]), false),
            (json!([]), false),
            (json!(null), false),
        ] {
            assert_eq!(authorize.allows(Some(&with(role.clone()))), allowed, "{role}");
        }
        assert!(!authorize.allows(Some(&token(json!({"role": "admin", "level": 3})))));
        assert!(!authorize.allows(Some(&token(json!({"role": "admin", "level": 4, "staff": true})))));
    }

    #[test]
    fn a_claim_within_claims_is_reached_by_dots_and_a_dotted_name_goes_first() {
        let authorize = authorize("claims: {realm_access.roles: [admin]}");
        assert!(authorize.allows(Some(&token(json!({"realm_access": {"roles": ["admin"]}})))));
        assert!(authorize.allows(Some(&token(json!({"realm_access.roles": "admin"})))));
        let both = json!({"realm_access.roles": "guest", "realm_access": {"roles": ["admin"]}});
        assert!(!authorize.allows(Some(&token(both))));
        assert!(!authorize.allows(Some(&token(json!({"realm_access": ["roles", "admin"]})))));
    }

    #[test]
    fn the_metadata_of_a_consumer_stand_for_claims() {
        let authorize = authorize("scopes: [orders:read], claims: {role: [admin]}");
        assert!(authorize.allows(Some(&consumer(&[("scope", "orders:read x"), ("role", "admin")]))));
        assert!(!authorize.allows(Some(&consumer(&[("scope", "orders:read"), ("role", "guest")]))));
        assert!(!authorize.allows(Some(&consumer(&[]))));
    }
}
