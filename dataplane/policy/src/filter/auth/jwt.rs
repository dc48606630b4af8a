//! `type: jwt`: a token signed by who vouches for the caller (RFC 7519, RFC 8725).

use super::unmasked;
use crate::auth::jwt::{Key, Keys};
use crate::config::leaf::{Duration, Fault, HeaderName, PathPrefix, Secret, quoted, text_leaf};
use crate::config::wire::{millis, parse, parse_all, required, texts};
use http::Uri;
use proto::v1;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `type: jwt`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// One of these.
    #[serde(flatten)]
    pub keys: JwtKeys,
    /// Narrows what the keys are for; a key is never used for another family's algorithm. Default: all of its type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<TokenAlgorithm>,
    /// `iss` must be one of them; none: it may be anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<String>,
    /// `aud` must name one of them; none: it may be anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// By how much the clocks of issuer and gateway may differ; up to 5m.
    #[serde(default = "default_leeway")]
    pub leeway: Duration,
    /// A token without `exp` is refused.
    #[serde(default = "yes")]
    pub require_exp: bool,
    /// Claims that must be there, besides `exp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required_claims: Vec<String>,
    /// Claims that the target gets as headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims_to_headers: BTreeMap<String, HeaderName>,
    /// Where the token stands.
    #[serde(default)]
    pub from: TokenSource,
    /// The target gets the token too. Default: true, and false for a token in the query, where it would end in logs.
    #[serde(default = "yes")]
    pub forward: bool,
    /// Paths, and all below them, that need no token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_paths: Vec<PathPrefix>,
}

/// What signatures are checked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JwtKeys {
    /// A key that issuer and gateway share: HS256, HS384, HS512.
    Secret(Secret),
    /// One public key, as PEM.
    PublicKey(PublicKey),
    /// Public keys, as a JWK set.
    Jwks(KeyDocument),
    /// Where the issuer publishes its JWK set.
    JwksUrl(JwksUrl),
}

/// A public key as PEM: RSA of 2048 bits or more, EC of P-256 or P-384, Ed25519.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(String);

/// The text of a JWK set with at least one key that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDocument(String);

/// An `https` or `http` URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JwksUrl(Uri);

/// An algorithm of RFC 7518 or RFC 8037 by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenAlgorithm(pub jsonwebtoken::Algorithm);

/// Where in a request the token stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TokenSource {
    /// `Authorization: Bearer …`
    #[default]
    Authorization,
    /// Another header, with or without `Bearer`.
    Header(http::HeaderName),
    /// A cookie.
    Cookie(String),
    /// A parameter of the query.
    Query(String),
}

text_leaf!(
    PublicKey,
    "a public key as PEM",
    "A public key as PEM (`-----BEGIN PUBLIC KEY-----`), best written as `${file:/path}`."
);
text_leaf!(KeyDocument, "a JWK set as JSON text", "A JWK set as JSON text, best written as `${file:/path}`.");
text_leaf!(JwksUrl, "a URL", "Where a JWK set is: `https://…`.", "pattern": "^https?://");
text_leaf!(
    TokenAlgorithm,
    "an algorithm such as `RS256`",
    "An algorithm of JSON Web Algorithms.",
    "enum": ALGORITHMS.map(|(name, _)| name)
);
text_leaf!(
    TokenSource,
    "a place such as `header`",
    "Where the token stands: `header` (`Authorization: Bearer …`), `header:NAME`, `cookie:NAME` or `query:NAME`.",
    "pattern": "^(header|header:.+|cookie:.+|query:.+)$"
);

const ALGORITHMS: [(&str, jsonwebtoken::Algorithm); 12] = {
    use jsonwebtoken::Algorithm as A;
    [
        ("HS256", A::HS256),
        ("HS384", A::HS384),
        ("HS512", A::HS512),
        ("RS256", A::RS256),
        ("RS384", A::RS384),
        ("RS512", A::RS512),
        ("PS256", A::PS256),
        ("PS384", A::PS384),
        ("PS512", A::PS512),
        ("ES256", A::ES256),
        ("ES384", A::ES384),
        ("EdDSA", A::EdDSA),
    ]
};

pub(super) const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);
const MAX_LEEWAY: Duration = Duration::from_secs(300);

fn default_leeway() -> Duration {
    DEFAULT_LEEWAY
}

fn yes() -> bool {
    true
}

impl JwtConfig {
    /// How many bytes a secret must have: as many as the longest hash that it is used with (RFC 7518 §3.2).
    pub(crate) fn least_secret(&self) -> usize {
        use jsonwebtoken::Algorithm::{HS384, HS512};
        let least = |TokenAlgorithm(algorithm): &TokenAlgorithm| match algorithm {
            HS512 => 64,
            HS384 => 48,
            _ => 32,
        };
        self.algorithms.iter().map(least).max().unwrap_or(32)
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        if let JwtKeys::Secret(secret) = &self.keys {
            unmasked(secret.expose(), "secret")?;
        }
        if self.leeway > MAX_LEEWAY {
            let fault = Fault::new(format!("`leeway` is {}, more than 5m", self.leeway));
            return Err(fault.at("leeway").help("it makes up for clocks that differ: `30s`"));
        }
        self.check_algorithms()?;
        let mut headers: Vec<&HeaderName> = Vec::new();
        for header in self.claims_to_headers.values() {
            if !crate::auth::may_tell(header) {
                let fault = Fault::new(format!("no claim may be sent as `{header}`"));
                return Err(fault.at("claims_to_headers").help("choose a name of your own, as in `X-User`"));
            }
            if headers.contains(&header) {
                let fault = Fault::new(format!("two claims are sent as `{header}`"));
                return Err(fault.at("claims_to_headers").help("give each claim a header of its own"));
            }
            headers.push(header);
        }
        Ok(())
    }

    /// Each must be one that some key is for; what keys a URL will give is not known yet, but none of them is a secret.
    fn check_algorithms(&self) -> Result<(), Fault> {
        let keys = self.keys.known();
        let usable = |algorithm: &TokenAlgorithm| match &keys {
            Some(keys) => keys.suit(algorithm.0),
            None => algorithm.0.family() != jsonwebtoken::AlgorithmFamily::Hmac,
        };
        let Some(bad) = self.algorithms.iter().find(|algorithm| !usable(algorithm)) else { return Ok(()) };
        let fault = Fault::new(format!("`{bad}` is not an algorithm that the `{}` is for", self.keys));
        Err(fault.at("algorithms").help("leave `algorithms` out to take all that the keys are for"))
    }
}

impl JwtKeys {
    /// The keys themselves; none when they are still to be fetched.
    pub(crate) fn known(&self) -> Option<Keys> {
        match self {
            Self::Secret(secret) => Some(Keys::one(Key::from_secret(secret.expose().as_bytes()))),
            // both were parsed when they were read
            Self::PublicKey(PublicKey(pem)) => Key::from_pem(pem).ok().map(Keys::one),
            Self::Jwks(KeyDocument(json)) => Keys::from_jwks(json.as_bytes()).ok(),
            Self::JwksUrl(_) => None,
        }
    }
}

impl JwksUrl {
    /// The URL.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// Whether it leads over a network, and others on the way can answer in the issuer's place.
    pub(crate) fn is_open_to_others(&self) -> bool {
        let host = self.0.host().unwrap_or_default().trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.0.scheme_str() == Some("http") && !here
    }
}

/// Four keys beside the others: schemars' own form of a flattened enum would let unknown keys pass.
impl JsonSchema for JwtKeys {
    fn schema_name() -> Cow<'static, str> {
        "JwtKeys".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {
                "secret": generator.subschema_for::<Secret>(),
                "public_key": generator.subschema_for::<PublicKey>(),
                "jwks": generator.subschema_for::<KeyDocument>(),
                "jwks_url": generator.subschema_for::<JwksUrl>(),
            },
        })
    }
}

/// The key in the config.
impl fmt::Display for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "secret",
            Self::PublicKey(_) => "public_key",
            Self::Jwks(_) => "jwks",
            Self::JwksUrl(_) => "jwks_url",
        })
    }
}

impl FromStr for PublicKey {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        Key::from_pem(text).map_err(|why| Fault::new(format!("the public key cannot be used: {why}")))?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyDocument {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        Keys::from_jwks(text.as_bytes())
            .map_err(|why| Fault::new(format!("the JWK set cannot be used: {why}")))?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for JwksUrl {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        const HELP: &str = "write where the issuer publishes its keys: `https://issuer.example/jwks.json`";
        let bad = |why: &str| Fault::new(format!("{} {why}", quoted(text))).help(HELP);
        let uri: Uri = text.parse().map_err(|_| bad("is not a URL"))?;
        if !matches!(uri.scheme_str(), Some("https" | "http")) {
            return Err(bad("is not an `https` URL"));
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => Err(bad("has a user name")),
            Some(authority) if !authority.host().is_empty() => Ok(Self(uri)),
            _ => Err(bad("names no host")),
        }
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TokenAlgorithm {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match ALGORITHMS.iter().find(|(name, _)| *name == text) {
            Some((_, algorithm)) => Ok(Self(*algorithm)),
            None if text.eq_ignore_ascii_case("none") => {
                Err(Fault::new("`none` is no signature, so anybody could be anybody").help("leave it out"))
            }
            None => {
                let known = ALGORITHMS.map(|(name, _)| name).join(", ");
                let fault = Fault::new(format!("{} is not an algorithm", quoted(text)));
                Err(fault.help(format!("known algorithms: {known}")))
            }
        }
    }
}

impl fmt::Display for TokenAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ALGORITHMS.iter().find(|(_, algorithm)| *algorithm == self.0).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl TokenSource {
    /// What is in a query ends in the logs of whoever sees it.
    pub(super) const fn forwards_by_default(&self) -> bool {
        !matches!(self, Self::Query(_))
    }
}

impl FromStr for TokenSource {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text.split_once(':') {
            None if text == "header" => Ok(Self::Authorization),
            Some(("header", name)) => name.parse().map(|HeaderName(name)| match name {
                http::header::AUTHORIZATION => Self::Authorization,
                name => Self::Header(name),
            }),
            // a cookie's name is a token, as a header's is (RFC 6265, section 4.1.1)
            Some(("cookie", name)) if name.parse::<http::HeaderName>().is_ok() => {
                Ok(Self::Cookie(name.to_owned()))
            }
            Some(("cookie", name)) => Err(Fault::new(format!("{} is not a cookie name", quoted(name)))),
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            _ => Err(Fault::new(format!("{} is no place for a token", quoted(text)))
                .help("write `header`, `header:NAME`, `cookie:NAME` or `query:NAME`")),
        }
    }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization => f.write_str("header"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
        }
    }
}

impl From<&JwtConfig> for v1::JwtAuth {
    fn from(config: &JwtConfig) -> Self {
        use v1::jwt_auth::Keys;
        let JwtConfig {
            keys,
            algorithms,
            issuers,
            audiences,
            leeway,
            require_exp,
            required_claims,
            claims_to_headers,
            from,
            forward,
            exclude_paths,
        } = config;
        let keys = match keys {
            JwtKeys::Secret(secret) => Keys::Secret(secret.expose().to_owned()),
            JwtKeys::PublicKey(pem) => Keys::PublicKey(pem.to_string()),
            JwtKeys::Jwks(json) => Keys::Jwks(json.to_string()),
            JwtKeys::JwksUrl(url) => Keys::JwksUrl(url.to_string()),
        };
        let header = |(claim, header): (&String, &HeaderName)| v1::ClaimHeader {
            claim: claim.clone(),
            header: header.to_string(),
        };
        Self {
            keys: Some(keys),
            exclude_paths: texts(exclude_paths),
            algorithms: texts(algorithms),
            issuers: issuers.clone(),
            audiences: audiences.clone(),
            leeway_ms: leeway.as_millis(),
            require_exp: *require_exp,
            required_claims: required_claims.clone(),
            claims_to_headers: claims_to_headers.iter().map(header).collect(),
            from: from.to_string(),
            forward: *forward,
        }
    }
}

impl TryFrom<v1::JwtAuth> for JwtConfig {
    type Error = Fault;

    fn try_from(wire: v1::JwtAuth) -> Result<Self, Fault> {
        use v1::jwt_auth::Keys;
        let v1::JwtAuth {
            keys,
            exclude_paths,
            algorithms,
            issuers,
            audiences,
            leeway_ms,
            require_exp,
            required_claims,
            claims_to_headers,
            from,
            forward,
        } = wire;
        let keys = match required("keys", keys)? {
            Keys::Secret(secret) => JwtKeys::Secret(parse("secret", &secret)?),
            Keys::PublicKey(pem) => JwtKeys::PublicKey(parse("public_key", &pem)?),
            Keys::Jwks(json) => JwtKeys::Jwks(parse("jwks", &json)?),
            Keys::JwksUrl(url) => JwtKeys::JwksUrl(parse("jwks_url", &url)?),
        };
        let header = |v1::ClaimHeader { claim, header }: v1::ClaimHeader| {
            Ok((claim, parse("claims_to_headers", &header)?))
        };
        Ok(Self {
            keys,
            algorithms: parse_all("algorithms", &algorithms)?,
            issuers,
            audiences,
            leeway: millis("leeway", leeway_ms)?,
            require_exp,
            required_claims,
            claims_to_headers: claims_to_headers.into_iter().map(header).collect::<Result<_, Fault>>()?,
            from: parse("from", &from)?,
            forward,
            exclude_paths: parse_all("exclude_paths", &exclude_paths)?,
        })
    }
}
