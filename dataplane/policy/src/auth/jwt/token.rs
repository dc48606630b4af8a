//! A token in its compact form (RFC 7515 §3.1): three parts of base64url without padding, nothing else.

use super::json;
use crate::rejection::Cause;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

/// A token whose head was read; nothing is proved yet.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// The head and the claims as they were signed.
    pub(super) signed: &'a str,
    pub(super) signature: &'a str,
    claims: &'a str,
}

impl<'a> Token<'a> {
    pub(super) fn parse(token: &'a [u8]) -> Result<Self, Cause> {
        let token = std::str::from_utf8(token).map_err(|_| Cause::Malformed)?;
        let (signed, signature) = token.rsplit_once('.').ok_or(Cause::Malformed)?;
        let (head, claims) = signed.split_once('.').ok_or(Cause::Malformed)?;
        if claims.contains('.') {
            return Err(Cause::Malformed);
        }
        let head = json::object(&decoded(head)?).ok_or(Cause::Malformed)?;
        // RFC 7515 §4.1.11: what is critical and not understood makes a token invalid, and we understand none
        if head.contains_key("crit") {
            return Err(Cause::UnknownCritical);
        }
        let algorithm = match head.get("alg") {
            Some(Value::String(name)) => name.parse().map_err(|_| Cause::WrongAlgorithm)?,
            _ => return Err(Cause::WrongAlgorithm),
        };
        let kid = match head.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Cause::Malformed),
        };
        Ok(Self { algorithm, kid, signed, signature, claims })
    }

    /// What was signed besides the head.
    pub(super) fn payload(&self) -> Result<Vec<u8>, Cause> {
        decoded(self.claims)
    }

    pub(super) fn claims(&self) -> Result<Map<String, Value>, Cause> {
        json::object(&self.payload()?).ok_or(Cause::Malformed)
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, Cause> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Cause::Malformed)
}
