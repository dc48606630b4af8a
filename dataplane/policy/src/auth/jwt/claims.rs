//! What a token must say, by a clock that is an argument (RFC 7519 §4.1).

use crate::filter::auth::JwtConfig;
use crate::rejection::Cause;
use serde_json::{Map, Value};

#[derive(Debug)]
pub(super) struct Rules {
    leeway: f64,
    require_exp: bool,
    required: Box<[String]>,
    issuers: Box<[String]>,
    audiences: Box<[String]>,
}

impl Rules {
    pub(super) fn new(config: &JwtConfig) -> Self {
        Self {
            leeway: config.leeway.get().as_secs_f64(),
            require_exp: config.require_exp,
            required: config.required_claims.clone().into(),
            issuers: config.issuers.clone().into(),
            audiences: config.audiences.clone().into(),
        }
    }

    /// The second from which it does not hold any more, if there is one.
    pub(super) fn check(&self, claims: &Map<String, Value>, now: u64) -> Result<Option<u64>, Cause> {
        let expires = self.check_time(claims, now)?;
        if self.required.iter().any(|name| claims.get(name).is_none_or(Value::is_null)) {
            return Err(Cause::MissingClaim);
        }
        if claims.get("sub").is_some_and(|subject| !subject.is_string()) {
            return Err(Cause::BadClaim);
        }
        self.check_issuer(claims)?;
        self.check_audience(claims)?;
        Ok(expires)
    }

    fn check_time(&self, claims: &Map<String, Value>, now: u64) -> Result<Option<u64>, Cause> {
        let seconds = now as f64;
        for name in ["nbf", "iat"] {
            if numeric_date(claims, name)?.is_some_and(|begin| seconds + self.leeway < begin) {
                return Err(Cause::NotYetValid);
            }
        }
        match numeric_date(claims, "exp")? {
            Some(end) if seconds >= end + self.leeway => Err(Cause::Expired),
            // a float becomes the nearest integer there is
            Some(end) => Ok(Some((end + self.leeway).ceil() as u64)),
            None if self.require_exp => Err(Cause::MissingClaim),
            None => Ok(None),
        }
    }

    fn check_issuer(&self, claims: &Map<String, Value>) -> Result<(), Cause> {
        let known = |issuer: &Value| self.issuers.iter().any(|known| issuer == known);
        match self.issuers.is_empty() || claims.get("iss").is_some_and(known) {
            true => Ok(()),
            false => Err(Cause::WrongIssuer),
        }
    }

    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), Cause> {
        let ours = |audience: &Value| self.audiences.iter().any(|ours| audience == ours);
        let named = match claims.get("aud") {
            _ if self.audiences.is_empty() => true,
            Some(Value::Array(all)) => all.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        };
        if named { Ok(()) } else { Err(Cause::WrongAudience) }
    }
}

/// Seconds since 1970, possibly with a fraction (RFC 7519 §2); a text that looks like a number is none.
fn numeric_date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Cause> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => number.as_f64().map(Some).ok_or(Cause::BadClaim),
        Some(_) => Err(Cause::BadClaim),
    }
}
