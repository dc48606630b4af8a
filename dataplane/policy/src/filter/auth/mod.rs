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
//! - auth:
//!     type: basic
//!     users:
//!       - {name: ops, hash: "${OPS_HASH}"} # $2b$12$…, $argon2id$…
//! ```

mod apikey;
mod basic;
mod jwt;

pub use apikey::{ApiKey, ApiKeyConfig};
pub use basic::{BasicConfig, BasicUser, PasswordHash, Realm};
pub use jwt::{JwtConfig, JwtKeys, TokenAlgorithm, TokenSource};

use crate::config::leaf::{Duration, Fault, HeaderName, MASK, PathPrefix, Secret};
use jwt::{JwksUrl, KeyDocument, PublicKey};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// How a caller proves itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum AuthConfig {
    /// By a signed token.
    Jwt(Box<JwtConfig>),
    /// By a shared key in a header.
    ApiKey(ApiKeyConfig),
    /// By a name and a password.
    Basic(BasicConfig),
}

/// `AuthConfig` as it is written: serde's own tagged enums read the map ahead of their fields and so forget where in
/// the file each stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "type")]
    scheme: Type,
    #[serde(default)]
    exclude_paths: Vec<PathPrefix>,
    // jwt
    secret: Option<Secret>,
    public_key: Option<PublicKey>,
    jwks: Option<KeyDocument>,
    jwks_url: Option<JwksUrl>,
    algorithms: Option<Vec<TokenAlgorithm>>,
    issuers: Option<Vec<String>>,
    audiences: Option<Vec<String>>,
    leeway: Option<Duration>,
    require_exp: Option<bool>,
    required_claims: Option<Vec<String>>,
    claims_to_headers: Option<BTreeMap<String, HeaderName>>,
    from: Option<TokenSource>,
    forward: Option<bool>,
    // apikey
    header: Option<HeaderName>,
    keys: Option<Vec<ApiKey>>,
    // basic
    users: Option<Vec<BasicUser>>,
    realm: Option<Realm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Jwt,
    ApiKey,
    Basic,
}

impl<'de> Deserialize<'de> for AuthConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer)?.try_into().map_err(serde::de::Error::custom)
    }
}

impl TryFrom<Written> for AuthConfig {
    type Error = Fault;

    fn try_from(written: Written) -> Result<Self, Fault> {
        match written.scheme {
            Type::Jwt => {
                refuse_foreign("jwt", written.of_apikey().into_iter().chain(written.of_basic()))?;
                written.into_jwt().map(Box::new).map(Self::Jwt)
            }
            Type::ApiKey => {
                refuse_foreign("apikey", written.of_jwt().into_iter().chain(written.of_basic()))?;
                written.into_apikey().map(Self::ApiKey)
            }
            Type::Basic => {
                refuse_foreign("basic", written.of_jwt().into_iter().chain(written.of_apikey()))?;
                written.into_basic().map(Self::Basic)
            }
        }
    }
}

fn refuse_foreign(
    scheme: &str,
    mut foreign: impl Iterator<Item = (&'static str, bool)>,
) -> Result<(), Fault> {
    match foreign.find(|(_, set)| *set) {
        None => Ok(()),
        Some((key, _)) => {
            let fault = Fault::new(format!("`{key}` has no meaning for `type: {scheme}`"));
            Err(fault.at(key).help("remove it"))
        }
    }
}

impl Written {
    /// The keys that only `type: jwt` has, and whether they are set.
    fn of_jwt(&self) -> [(&'static str, bool); 13] {
        [
            ("secret", self.secret.is_some()),
            ("public_key", self.public_key.is_some()),
            ("jwks", self.jwks.is_some()),
            ("jwks_url", self.jwks_url.is_some()),
            ("algorithms", self.algorithms.is_some()),
            ("issuers", self.issuers.is_some()),
            ("audiences", self.audiences.is_some()),
            ("leeway", self.leeway.is_some()),
            ("require_exp", self.require_exp.is_some()),
            ("required_claims", self.required_claims.is_some()),
            ("claims_to_headers", self.claims_to_headers.is_some()),
            ("from", self.from.is_some()),
            ("forward", self.forward.is_some()),
        ]
    }

    fn of_apikey(&self) -> [(&'static str, bool); 2] {
        [("header", self.header.is_some()), ("keys", self.keys.is_some())]
    }

    fn of_basic(&self) -> [(&'static str, bool); 2] {
        [("users", self.users.is_some()), ("realm", self.realm.is_some())]
    }

    fn into_jwt(self) -> Result<JwtConfig, Fault> {
        let sources = [
            self.secret.map(JwtKeys::Secret),
            self.public_key.map(JwtKeys::PublicKey),
            self.jwks.map(JwtKeys::Jwks),
            self.jwks_url.map(JwtKeys::JwksUrl),
        ];
        let mut sources = sources.into_iter().flatten();
        let keys = sources.next().ok_or_else(|| {
            Fault::new("`type: jwt` needs a `secret`, `public_key`, `jwks` or `jwks_url`")
                .help("add `secret: ${JWT_SECRET}`, or where the issuer publishes its keys as `jwks_url`")
        })?;
        if let Some(second) = sources.next() {
            let fault = Fault::new(format!("there are keys from two sources: `{keys}` and `{second}`"));
            return Err(fault
                .at(second.to_string())
                .help("keep one, and write another `auth` with the other"));
        }
        let from = self.from.unwrap_or_default();
        Ok(JwtConfig {
            keys,
            algorithms: self.algorithms.unwrap_or_default(),
            issuers: self.issuers.unwrap_or_default(),
            audiences: self.audiences.unwrap_or_default(),
            leeway: self.leeway.unwrap_or(jwt::DEFAULT_LEEWAY),
            require_exp: self.require_exp.unwrap_or(true),
            required_claims: self.required_claims.unwrap_or_default(),
            claims_to_headers: self.claims_to_headers.unwrap_or_default(),
            forward: self.forward.unwrap_or_else(|| from.forwards_by_default()),
            from,
            exclude_paths: self.exclude_paths,
        })
    }

    fn into_apikey(self) -> Result<ApiKeyConfig, Fault> {
        let keys = self.keys.ok_or_else(|| {
            Fault::new("`type: apikey` needs `keys`")
                .help("add `keys: [{name: alice, key: \"${ALICE_KEY}\"}]`")
        })?;
        let header = self.header.unwrap_or_else(apikey::default_header);
        Ok(ApiKeyConfig { header, keys, exclude_paths: self.exclude_paths })
    }

    fn into_basic(self) -> Result<BasicConfig, Fault> {
        let users = self.users.ok_or_else(|| {
            Fault::new("`type: basic` needs `users`")
                .help("add `users: [{name: ops, hash: \"${OPS_HASH}\"}]`")
        })?;
        let realm = self.realm.unwrap_or_default();
        Ok(BasicConfig { users, realm, exclude_paths: self.exclude_paths })
    }
}

impl AuthConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        match self {
            Self::Jwt(config) => config.check(),
            Self::ApiKey(config) => config.check(),
            Self::Basic(config) => config.check(),
        }
    }

    /// Paths, and all below them, that need no credentials.
    pub fn exclude_paths(&self) -> &[PathPrefix] {
        match self {
            Self::Jwt(config) => &config.exclude_paths,
            Self::ApiKey(config) => &config.exclude_paths,
            Self::Basic(config) => &config.exclude_paths,
        }
    }

    /// The parameter of the query in which credentials are looked for.
    pub fn query_parameter(&self) -> Option<&str> {
        match self {
            Self::Jwt(config) => match &config.from {
                TokenSource::Query(name) => Some(name),
                TokenSource::Authorization | TokenSource::Header(_) | TokenSource::Cookie(_) => None,
            },
            // every field by its name, so that a new one is thought about here
            Self::ApiKey(ApiKeyConfig { header: _, keys: _, exclude_paths: _ }) => None,
            Self::Basic(BasicConfig { users: _, realm: _, exclude_paths: _ }) => None,
        }
    }
}

/// A text that an output has shown must not come back as a config: everybody knows what is in it.
pub(super) fn unmasked(secret: &str, at: &str) -> Result<(), Fault> {
    if secret != MASK {
        return Ok(());
    }
    let fault = Fault::new(format!("`{MASK}` is what outputs show in place of a secret, not a secret"));
    Err(fault.at(at).help("write the secret itself, best as `${VARIABLE}` or `${file:/path}`"))
}

impl From<&AuthConfig> for v1::Auth {
    fn from(config: &AuthConfig) -> Self {
        use v1::auth::Scheme;
        let scheme = match config {
            AuthConfig::Jwt(config) => Scheme::Jwt(config.as_ref().into()),
            AuthConfig::ApiKey(config) => Scheme::Apikey(config.into()),
            AuthConfig::Basic(config) => Scheme::Basic(config.into()),
        };
        Self { scheme: Some(scheme) }
    }
}

impl TryFrom<v1::Auth> for AuthConfig {
    type Error = Fault;

    fn try_from(v1::Auth { scheme }: v1::Auth) -> Result<Self, Fault> {
        use v1::auth::Scheme;
        match scheme {
            None => Err(Fault::new("is a kind of `auth` that this version does not know")),
            Some(Scheme::Jwt(wire)) => wire.try_into().map(Box::new).map(Self::Jwt),
            Some(Scheme::Apikey(wire)) => wire.try_into().map(Self::ApiKey),
            Some(Scheme::Basic(wire)) => wire.try_into().map(Self::Basic),
        }
    }
}

#[cfg(test)]
mod tests;
