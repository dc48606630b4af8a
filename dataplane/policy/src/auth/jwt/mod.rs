//! Tokens: parsed strictly, checked by keys of their own algorithm's family, remembered for as long as they hold.
//!
//! RFC 7515 and 7519 with the advice of RFC 8725. What a token says about where its key is (`jwk`, `jku`, `x5c`, `x5u`)
//! is not looked at.

mod claims;
mod json;
mod key;
mod key_set;
mod token;

use super::cache::{Cache, Verified};
use super::credential::{
    Credential, after_scheme, in_authorization, in_cookie, in_header, in_query, remove_cookie,
    remove_parameter,
};
use super::{AuthContext, Finding, Memory, Proven};
use crate::filter::auth::{JwtConfig, JwtKeys, TokenSource};
use crate::filter::{Caller, Scheme};
use crate::rejection::Cause;
use claims::Rules;
use http::HeaderName;
use http::header::AUTHORIZATION;
use http::request::Parts;
use jsonwebtoken::Algorithm;
use std::sync::Arc;
use token::Token;

pub use key::{BadKey, Key, Keys};
pub use key_set::{KeySet, KeySetView, KeySets, KeyWait, Loaded};

/// Longer ones are not looked at: a real token is a tenth of it.
const MAX_TOKEN: usize = 16 * 1024;

const BEARER: &str = "Bearer";

/// One `auth: {type: jwt}` at work, shared by all workers.
#[derive(Debug)]
pub(crate) struct Verifier {
    source: TokenSource,
    forward: bool,
    /// Empty: whatever the key is for.
    algorithms: Box<[Algorithm]>,
    keys: KeyRing,
    rules: Rules,
    told: Box<[(String, HeaderName)]>,
    cache: Cache,
}

#[derive(Debug)]
enum KeyRing {
    Fixed(Keys),
    Fetched(Arc<KeySet>),
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Cause(Cause),
    /// The key is not among those that were fetched.
    KeyMissing,
}

impl From<Cause> for Refusal {
    fn from(cause: Cause) -> Self {
        Self::Cause(cause)
    }
}

impl Verifier {
    pub(crate) fn new(config: &JwtConfig, key_sets: &KeySets) -> Self {
        let keys = match (&config.keys, config.keys.known()) {
            (JwtKeys::JwksUrl(url), _) => KeyRing::Fetched(key_sets.get(url.uri())),
            (_, Some(keys)) => KeyRing::Fixed(keys),
            // keys that cannot be read are no config; without keys nobody is let in
            (_, None) => KeyRing::Fixed(Keys::default()),
        };
        let told = config.claims_to_headers.iter().map(|(claim, header)| (claim.clone(), header.0.clone()));
        Self {
            source: config.from.clone(),
            forward: config.forward,
            algorithms: config.algorithms.iter().map(|algorithm| algorithm.0).collect(),
            keys,
            rules: Rules::new(config),
            told: told.collect(),
            cache: Cache::default(),
        }
    }

    fn key_set(&self) -> Option<&Arc<KeySet>> {
        match &self.keys {
            KeyRing::Fixed(_) => None,
            KeyRing::Fetched(set) => Some(set),
        }
    }

    /// In another table its keys are still needed.
    pub(super) fn keep_key_set(&self, key_sets: &KeySets) {
        if let Some(set) = self.key_set() {
            key_sets.keep(set);
        }
    }

    pub(super) fn examine(&self, parts: &Parts, cx: &AuthContext, memory: Memory) -> Finding {
        let token = match self.find(parts) {
            Ok(Some(token)) => token,
            Ok(None) => return Finding::Absent,
            Err(cause) => return Finding::Refused(cause),
        };
        let proved = match memory {
            Memory::Used => self.prove(&token, cx.unix_seconds),
            Memory::Untouched => self.prove_anew(&token, cx.unix_seconds),
        };
        match proved {
            Ok(verified) => Finding::Found(Arc::clone(&verified.proven)),
            Err(Refusal::Cause(cause)) => Finding::Refused(cause),
            Err(Refusal::KeyMissing) => match &self.keys {
                KeyRing::Fetched(set) => Finding::KeyMissing(Arc::clone(set)),
                KeyRing::Fixed(_) => Finding::Refused(Cause::UnknownKey),
            },
        }
    }

    fn find<'a>(&self, parts: &'a Parts) -> Credential<'a> {
        match &self.source {
            TokenSource::Authorization => in_authorization(&parts.headers, BEARER),
            TokenSource::Header(name) => Ok(in_header(&parts.headers, name)?.map(|value| match value {
                std::borrow::Cow::Borrowed(value) => after_scheme(value, BEARER).unwrap_or(value).into(),
                owned => owned,
            })),
            TokenSource::Cookie(name) => in_cookie(&parts.headers, name),
            TokenSource::Query(name) => in_query(&parts.uri, name),
        }
    }

    pub(super) fn withdraw(&self, parts: &mut Parts) {
        if self.forward {
            return;
        }
        match &self.source {
            // another scheme's credentials are not ours to take
            TokenSource::Authorization if !matches!(self.find(parts), Ok(None)) => {
                parts.headers.remove(AUTHORIZATION);
            }
            TokenSource::Authorization => {}
            TokenSource::Header(name) => drop(parts.headers.remove(name)),
            TokenSource::Cookie(name) => remove_cookie(&mut parts.headers, name),
            TokenSource::Query(name) => remove_parameter(parts, name),
        }
    }

    /// Whether a token holds, from memory if it was seen a moment ago.
    fn prove(&self, token: &[u8], now: u64) -> Result<Arc<Verified>, Refusal> {
        check_length(token)?;
        // the epoch first: keys that change meanwhile leave what is remembered under a name that nobody asks for
        let epoch = self.key_set().map_or(0, |set| set.epoch());
        let name = self.cache.name(epoch, token);
        if let Some(verified) = self.cache.get(name, now) {
            return Ok(verified);
        }
        let verified = Arc::new(self.verify(token, now)?);
        self.cache.insert(name, epoch, token.len(), Arc::clone(&verified));
        Ok(verified)
    }

    /// The same without a look at what is remembered.
    fn prove_anew(&self, token: &[u8], now: u64) -> Result<Arc<Verified>, Refusal> {
        check_length(token)?;
        self.verify(token, now).map(Arc::new)
    }

    fn verify(&self, token: &[u8], now: u64) -> Result<Verified, Refusal> {
        let token = Token::parse(token)?;
        if !self.algorithms.is_empty() && !self.algorithms.contains(&token.algorithm) {
            return Err(Cause::WrongAlgorithm.into());
        }
        match &self.keys {
            KeyRing::Fixed(keys) => keys.verify(&token)?,
            KeyRing::Fetched(set) => match set.keys() {
                None => return Err(Refusal::KeyMissing),
                Some(keys) => keys.verify(&token).map_err(|cause| match cause {
                    Cause::UnknownKey => Refusal::KeyMissing,
                    cause => cause.into(),
                })?,
            },
        }
        let claims = token.claims()?;
        let expires = self.rules.check(&claims, now)?;
        let claims = Arc::new(claims);
        let name = claims.get("sub").and_then(serde_json::Value::as_str).unwrap_or_default().into();
        let caller = Caller { name, scheme: Scheme::Jwt, claims: Some(Arc::clone(&claims)), metadata: None };
        let told = self.told.iter().filter_map(|(claim, header)| Some((header, claims.get(claim)?)));
        let proven = Proven::new(Arc::new(caller), told).ok_or(Cause::BadClaim)?;
        Ok(Verified::new(Arc::new(proven), expires, now))
    }
}

fn check_length(token: &[u8]) -> Result<(), Cause> {
    if token.len() > MAX_TOKEN { Err(Cause::TooLong) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
