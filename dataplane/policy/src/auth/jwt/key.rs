//! Keys that signatures are checked with; the type of a key decides what algorithms it is for, never the token.

use super::json;
use super::token::Token;
use crate::rejection::Cause;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, crypto};
use serde_json::{Map, Value};

/// More are no set of signing keys, but an attempt to keep us busy.
const MAX_KEYS: usize = 100;

/// A token that does not name its key is tried with so many, for each costs up to 60 µs.
const MAX_TRIED: usize = 4;

const MIN_RSA_BITS: usize = 2048;

/// A key and what it is for.
#[derive(Debug, Clone)]
pub struct Key {
    kid: Option<String>,
    decoding: DecodingKey,
    algorithms: Box<[Algorithm]>,
}

/// The keys of one issuer.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    all: Box<[Key]>,
    /// A `kid` chooses among them; a single key that stands in a config needs no name.
    named: bool,
}

/// Why there is no key to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The text is no PEM of a public key.
    #[error("it is not the PEM of a public key (`-----BEGIN PUBLIC KEY-----`)")]
    NotPem,
    /// A private key signs and has no place in a gateway.
    #[error("it is a private key; the gateway needs only the public one")]
    Private,
    /// Another type or curve.
    #[error("it is neither RSA, nor EC of P-256 or P-384, nor Ed25519")]
    Unsupported,
    /// Shorter than 2048 bits.
    #[error("an RSA key of fewer than 2048 bits can be broken")]
    Weak,
    /// Not a JWK set.
    #[error("it is not a JWK set: JSON with a list of `keys`")]
    NotJwks,
    /// More than anybody signs with.
    #[error("it has {0} keys, more than 100")]
    TooMany(usize),
    /// A JWK set with nothing for us in it.
    #[error("none of its keys can check a signature")]
    NoneUsable,
}

impl Key {
    /// A key that issuer and gateway share.
    pub fn from_secret(secret: &[u8]) -> Self {
        Self::new(None, DecodingKey::from_secret(secret), hmac())
    }

    /// A public key in PEM: `PUBLIC KEY` or `RSA PUBLIC KEY`.
    pub fn from_pem(pem: &str) -> Result<Self, BadKey> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(BadKey::Private);
        }
        // of a certificate the wrong bits would be taken for the key
        if !pem.contains("-----BEGIN PUBLIC KEY-----") && !pem.contains("-----BEGIN RSA PUBLIC KEY-----") {
            return Err(BadKey::NotPem);
        }
        let bytes = pem.trim().as_bytes();
        let of_type = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
        let decoding = of_type.iter().find_map(|from_pem| from_pem(bytes).ok()).ok_or(BadKey::NotPem)?;
        let algorithms = match (decoding.family(), decoding.try_get_as_bytes()) {
            // the key as DER is some bytes longer than its modulus
            (AlgorithmFamily::Rsa, Ok(der)) if der.len() < MIN_RSA_BITS / 8 => return Err(BadKey::Weak),
            (AlgorithmFamily::Rsa, _) => rsa(),
            (AlgorithmFamily::Ec, Ok(point)) => of_point(point).ok_or(BadKey::Unsupported)?,
            (AlgorithmFamily::Ed, _) => vec![Algorithm::EdDSA],
            _ => return Err(BadKey::Unsupported),
        };
        Ok(Self::new(None, decoding, algorithms))
    }

    /// None if it is not for signatures, or not one that we know (RFC 7517 §5: ignored).
    fn from_jwk(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let verifies = |operations: &Value| {
            operations.as_array().is_some_and(|all| all.iter().any(|operation| operation == "verify"))
        };
        if jwk.get("key_ops").is_some_and(|operations| !verifies(operations)) {
            return None;
        }
        let (decoding, mut algorithms) = match text("kty")? {
            "RSA" => (DecodingKey::from_rsa_components(text("n")?, text("e")?).ok()?, rsa()),
            "EC" => {
                let key = DecodingKey::from_ec_components(text("x")?, text("y")?).ok()?;
                let algorithms = of_point(key.try_get_as_bytes().ok()?)?;
                let curve = if algorithms == [Algorithm::ES256] { "P-256" } else { "P-384" };
                (key, (text("crv")? == curve).then_some(algorithms)?)
            }
            "OKP" if text("crv")? == "Ed25519" => {
                (DecodingKey::from_ed_components(text("x")?).ok()?, vec![Algorithm::EdDSA])
            }
            // `oct` is a secret, and what is published is none
            _ => return None,
        };
        if text("kty") == Some("RSA") && modulus_bits(text("n")?) < MIN_RSA_BITS {
            return None;
        }
        if let Some(only) = jwk.get("alg") {
            let only: Algorithm = only.as_str()?.parse().ok()?;
            algorithms.retain(|algorithm| *algorithm == only);
        }
        let kid = text("kid").map(str::to_owned);
        (!algorithms.is_empty()).then(|| Self::new(kid, decoding, algorithms))
    }

    fn new(kid: Option<String>, decoding: DecodingKey, algorithms: Vec<Algorithm>) -> Self {
        Self { kid, decoding, algorithms: algorithms.into() }
    }

    fn signed(&self, token: &Token<'_>) -> bool {
        let signed = token.signed.as_bytes();
        crypto::verify(token.signature, signed, &self.decoding, token.algorithm).unwrap_or(false)
    }
}

fn hmac() -> Vec<Algorithm> {
    AlgorithmFamily::Hmac.algorithms().to_vec()
}

fn rsa() -> Vec<Algorithm> {
    AlgorithmFamily::Rsa.algorithms().to_vec()
}

/// By the length of an uncompressed point (SEC 1 §2.3.3).
fn of_point(point: &[u8]) -> Option<Vec<Algorithm>> {
    match (point.first(), point.len()) {
        (Some(4), 65) => Some(vec![Algorithm::ES256]),
        (Some(4), 97) => Some(vec![Algorithm::ES384]),
        _ => None,
    }
}

/// Six bits a letter; a leading zero would only make it look longer than it is by a byte.
fn modulus_bits(base64url: &str) -> usize {
    base64url.len() * 6 / 8 * 8
}

impl Keys {
    /// A key that stands alone.
    pub fn one(key: Key) -> Self {
        Self { all: Box::new([key]), named: false }
    }

    /// The keys of a JWK set that can check a signature; the others are left out.
    pub fn from_jwks(text: &[u8]) -> Result<Self, BadKey> {
        let set = json::object(text).ok_or(BadKey::NotJwks)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(BadKey::NotJwks)?;
        if keys.len() > MAX_KEYS {
            return Err(BadKey::TooMany(keys.len()));
        }
        let all: Box<[Key]> = keys.iter().filter_map(|key| Key::from_jwk(key.as_object()?)).collect();
        if all.is_empty() {
            return Err(BadKey::NoneUsable);
        }
        Ok(Self { all, named: true })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether one of them is for the algorithm.
    pub fn suit(&self, algorithm: Algorithm) -> bool {
        self.all.iter().any(|key| key.algorithms.contains(&algorithm))
    }

    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(), Cause> {
        let meant = |key: &&Key| match &token.kid {
            Some(kid) if self.named => key.kid.as_ref() == Some(kid),
            _ => true,
        };
        let mut candidates = self.all.iter().filter(meant).peekable();
        if candidates.peek().is_none() {
            return Err(Cause::UnknownKey);
        }
        let mut fitting = candidates.filter(|key| key.algorithms.contains(&token.algorithm)).peekable();
        if fitting.peek().is_none() {
            return Err(Cause::WrongAlgorithm);
        }
        match fitting.take(MAX_TRIED).any(|key| key.signed(token)) {
            true => Ok(()),
            false => Err(Cause::BadSignature),
        }
    }
}
