//! `auth`: only callers that can prove who they are; several in one list: any of them lets the request in.
//!
//! ```yaml
//! - auth:
//!     type: jwt # HS256, in `Authorization: Bearer …`
//!     secret: ${JWT_SECRET}
//!     exclude_paths: [/api/v1/users/public]
//! - auth:
//!     type: apikey
//!     header: X-API-Key
//!     keys:
//!       - {name: alice, key: "${ALICE_KEY}"}
//! ```

use crate::config::leaf::{Fault, HeaderName, MASK, PathPrefix, Secret};
use crate::config::wire::{parse, parse_all, texts};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashSet;

/// How a caller proves itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum AuthConfig {
    /// By a signed token.
    Jwt(JwtConfig),
    /// By a shared key in a header.
    ApiKey(ApiKeyConfig),
}

/// `type: jwt`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// The HS256 key.
    pub secret: Secret,
    /// Paths, and all below them, that need no token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_paths: Vec<PathPrefix>,
}

/// `type: apikey`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// Where the key is sent; default: `X-API-Key`.
    #[serde(default = "default_header")]
    pub header: HeaderName,
    /// At least one.
    pub keys: Vec<ApiKey>,
    /// Paths, and all below them, that need no key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_paths: Vec<PathPrefix>,
}

/// A caller and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Who it is, in logs and for the target.
    pub name: String,
    /// What the caller sends.
    pub key: Secret,
}

fn default_header() -> HeaderName {
    HeaderName(http::HeaderName::from_static("x-api-key"))
}

/// `AuthConfig` as it is written: serde's own tagged enums read the map ahead of their fields and so forget where in
/// the file each stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "type")]
    scheme: Scheme,
    secret: Option<Secret>,
    header: Option<HeaderName>,
    keys: Option<Vec<ApiKey>>,
    #[serde(default)]
    exclude_paths: Vec<PathPrefix>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scheme {
    Jwt,
    ApiKey,
}

impl<'de> Deserialize<'de> for AuthConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

impl TryFrom<Written> for AuthConfig {
    type Error = Fault;

    fn try_from(written: Written) -> Result<Self, Fault> {
        let Written { scheme, secret, header, keys, exclude_paths } = written;
        let foreign = |key: &str, scheme: &str| {
            Err(Fault::new(format!("`{key}` has no meaning for `type: {scheme}`")).at(key).help("remove it"))
        };
        match (scheme, secret, header, keys) {
            (Scheme::Jwt, _, Some(_), _) => foreign("header", "jwt"),
            (Scheme::Jwt, _, _, Some(_)) => foreign("keys", "jwt"),
            (Scheme::Jwt, Some(secret), None, None) => Ok(Self::Jwt(JwtConfig { secret, exclude_paths })),
            (Scheme::Jwt, None, None, None) => {
                Err(Fault::new("`type: jwt` needs a `secret`").help("add `secret: ${JWT_SECRET}`"))
            }
            (Scheme::ApiKey, Some(_), _, _) => foreign("secret", "apikey"),
            (Scheme::ApiKey, None, header, Some(keys)) => Ok(Self::ApiKey(ApiKeyConfig {
                header: header.unwrap_or_else(default_header),
                keys,
                exclude_paths,
            })),
            (Scheme::ApiKey, None, _, None) => Err(Fault::new("`type: apikey` needs `keys`")
                .help("add `keys: [{name: alice, key: \"${ALICE_KEY}\"}]`")),
        }
    }
}

impl AuthConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        let config = match self {
            Self::Jwt(config) => return unmasked(&config.secret, "secret"),
            Self::ApiKey(config) => config,
        };
        if config.keys.is_empty() {
            return Err(Fault::new("`keys` is empty, so nobody would be let in")
                .at("keys")
                .help("add a key"));
        }
        let mut names = HashSet::new();
        let mut keys = HashSet::new();
        for ApiKey { name, key } in &config.keys {
            unmasked(key, "keys")?;
            if name.is_empty() {
                return Err(Fault::new("a key has an empty `name`").at("keys").help("name who uses the key"));
            }
            if !names.insert(name) {
                return Err(Fault::new(format!("two keys are named `{name}`"))
                    .at("keys")
                    .help("rename one of them"));
            }
            if !keys.insert(key.expose()) {
                let fault = Fault::new(format!("the key of `{name}` is also another caller's"));
                return Err(fault.at("keys").help("give each caller a key of its own"));
            }
        }
        Ok(())
    }
}

/// A text that an output has shown must not come back as a config: everybody knows what is in it.
fn unmasked(secret: &Secret, at: &str) -> Result<(), Fault> {
    if secret.expose() != MASK {
        return Ok(());
    }
    let fault = Fault::new(format!("`{MASK}` is what outputs show in place of a secret, not a secret"));
    Err(fault.at(at).help("write the secret itself, best as `${VARIABLE}` or `${file:/path}`"))
}

impl From<&AuthConfig> for v1::Auth {
    fn from(config: &AuthConfig) -> Self {
        use v1::auth::Scheme;
        let scheme = match config {
            AuthConfig::Jwt(JwtConfig { secret, exclude_paths }) => Scheme::Jwt(v1::JwtAuth {
                secret: secret.expose().to_owned(),
                exclude_paths: texts(exclude_paths),
            }),
            AuthConfig::ApiKey(ApiKeyConfig { header, keys, exclude_paths }) => {
                Scheme::Apikey(v1::ApiKeyAuth {
                    header: header.to_string(),
                    keys: keys.iter().map(v1::ApiKey::from).collect(),
                    exclude_paths: texts(exclude_paths),
                })
            }
        };
        Self { scheme: Some(scheme) }
    }
}

impl From<&ApiKey> for v1::ApiKey {
    fn from(ApiKey { name, key }: &ApiKey) -> Self {
        Self { name: name.clone(), key: key.expose().to_owned() }
    }
}

impl TryFrom<v1::Auth> for AuthConfig {
    type Error = Fault;

    fn try_from(v1::Auth { scheme }: v1::Auth) -> Result<Self, Fault> {
        use v1::auth::Scheme;
        match scheme {
            None => Err(Fault::new("is a kind of `auth` that this version does not know")),
            Some(Scheme::Jwt(v1::JwtAuth { secret, exclude_paths })) => Ok(Self::Jwt(JwtConfig {
                secret: parse("secret", &secret)?,
                exclude_paths: parse_all("exclude_paths", &exclude_paths)?,
            })),
            Some(Scheme::Apikey(v1::ApiKeyAuth { header, keys, exclude_paths })) => {
                Ok(Self::ApiKey(ApiKeyConfig {
                    header: parse("header", &header)?,
                    keys: keys.into_iter().map(ApiKey::try_from).collect::<Result<_, _>>()?,
                    exclude_paths: parse_all("exclude_paths", &exclude_paths)?,
                }))
            }
        }
    }
}

impl TryFrom<v1::ApiKey> for ApiKey {
    type Error = Fault;

    fn try_from(v1::ApiKey { name, key }: v1::ApiKey) -> Result<Self, Fault> {
        Ok(Self { name, key: parse("key", &key)? })
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::test_support::{fault, filter, wire_round_trip};

    #[test]
    fn every_setting_survives_the_wire() {
        wire_round_trip("auth: {type: jwt, secret: s3cret, exclude_paths: [/public]}");
        wire_round_trip(
            "auth: {type: apikey, header: X-Key, keys: [{name: a, key: k}], exclude_paths: [/open]}",
        );
    }

    #[test]
    fn the_keys_of_the_other_type_are_refused() {
        assert_eq!(
            fault("auth: {type: jwt, secret: s, header: X-A}"),
            "`header` has no meaning for `type: jwt`"
        );
        assert_eq!(fault("auth: {type: apikey, secret: s}"), "`secret` has no meaning for `type: apikey`");
        assert_eq!(fault("auth: {type: jwt}"), "`type: jwt` needs a `secret`");
        assert_eq!(fault("auth: {type: apikey}"), "`type: apikey` needs `keys`");
        assert_eq!(fault("auth: {secret: s}"), "`type` is missing");
    }

    #[test]
    fn keys_that_tell_callers_apart_are_asked_for() {
        assert!(fault("auth: {type: apikey, keys: []}").contains("nobody would be let in"));
        assert!(
            fault("auth: {type: apikey, keys: [{name: a, key: x}, {name: a, key: y}]}").contains("two keys")
        );
        assert!(
            fault("auth: {type: apikey, keys: [{name: a, key: x}, {name: b, key: x}]}")
                .contains("another caller")
        );
        assert!(fault("auth: {type: jwt, secret: ''}").contains("the secret is empty"));
    }

    #[test]
    fn a_masked_secret_is_no_secret() {
        for text in
            ["auth: {type: jwt, secret: '***'}", "auth: {type: apikey, keys: [{name: a, key: '***'}]}"]
        {
            assert!(fault(text).contains("in place of a secret"), "{text}");
        }
    }

    #[test]
    fn no_output_shows_a_secret() {
        for text in
            ["auth: {type: jwt, secret: hunter2}", "auth: {type: apikey, keys: [{name: a, key: hunter2}]}"]
        {
            let filter = filter(text);
            let shown = format!("{filter:?} {}", serde_json::to_string(&filter).expect("json"));
            assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
        }
    }
}
