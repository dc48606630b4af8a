//! Who a request is from: the `auth` filters of a route at work; any of them lets a request in.
//!
//! The rule: what cannot be read in one way only is no proof, and what the target is told of a caller comes from here
//! and from nobody else.

mod apikey;
mod basic;
mod cache;
mod credential;
pub mod forward;
mod identity;
pub mod jwt;
mod parameters;

use crate::clock::Now;
use crate::config::leaf::PathPrefix;
use crate::filter::Caller;
use crate::filter::auth::AuthConfig;
use crate::rejection::{Cause, Challenge, Rejection};
use apikey::ApiKeys;
use basic::Passwords;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use identity::Identity;
use jwt::{KeySet, KeySets, KeyWait, Verifier};
use std::sync::Arc;

pub use basic::{PasswordCheck, PasswordJob};
pub(crate) use identity::may_tell;
pub use parameters::CredentialParameters;

/// All `auth` entries of one route.
#[derive(Debug)]
pub struct Authenticator {
    entries: Box<[Entry]>,
    exclude_paths: Box<[PathPrefix]>,
    challenge: Challenge,
    identity: Identity,
}

/// What is known about a moment.
#[derive(Debug, Clone, Copy)]
pub struct AuthContext {
    /// For what lasts: budgets and pauses.
    pub now: Now,
    /// The wall clock, by which tokens expire.
    pub unix_seconds: u64,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision {
    /// It goes on; without a caller where no credentials are asked for.
    Pass(Option<Arc<Caller>>),
    /// It ends here.
    Refuse(Rejection),
    /// It takes a moment: do what the check asks for, then [`Authenticator::resume`]. The request is as it was.
    Slow(SlowCheck),
}

/// What would become of a request, for whoever only asks.
#[derive(Debug)]
pub enum Preview {
    /// No credentials are asked for on this path.
    Excluded,
    /// It goes on, and is from this caller.
    Caller(Arc<Caller>),
    /// It ends here.
    Refused(Rejection),
    /// Its token needs a key that would be fetched first.
    KeyMissing(Arc<KeySet>),
    /// Its password was never seen before, and would be checked first.
    Unchecked,
}

/// What has to happen before it is known whether the request may pass.
#[derive(Debug)]
pub enum SlowCheck {
    /// Keys are being fetched: wait, but not for ever.
    Keys(KeyWait),
    /// A password is to be checked, by a thread that serves no traffic.
    Password(PasswordCheck),
}

#[derive(Debug)]
struct Entry {
    config: AuthConfig,
    provider: Provider,
}

#[derive(Debug, Clone)]
enum Provider {
    Jwt(Arc<Verifier>),
    ApiKey(Arc<ApiKeys>),
    Basic(Arc<Passwords>),
}

/// What one entry says about a request.
enum Finding {
    /// Nothing in it is for this entry.
    Absent,
    /// This is who it is.
    Found(Arc<Proven>),
    /// There are credentials, and they do not hold.
    Refused(Cause),
    /// The token needs a key that is not there, or not yet.
    KeyMissing(Arc<KeySet>),
    /// The password was never seen before.
    Unchecked(PasswordCheck),
}

/// What all entries together say about a request.
enum Examined {
    Proven(Arc<Proven>),
    Refused(Cause),
    KeyMissing(Arc<KeySet>),
    Unchecked(PasswordCheck),
}

/// Whether what was found out earlier counts, and what is found out now is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    Used,
    Untouched,
}

/// A caller, and how the target is told.
#[derive(Debug)]
struct Proven {
    caller: Arc<Caller>,
    headers: Box<[(HeaderName, HeaderValue)]>,
}

impl Authenticator {
    /// Takes over caches from the entries of `previous` that stayed the same, and key sets from `key_sets`.
    pub fn new(configs: &[&AuthConfig], previous: Option<&Self>, key_sets: &KeySets) -> Arc<Self> {
        let known = |config: &AuthConfig| {
            let same = previous?.entries.iter().find(|entry| entry.config == *config)?;
            if let Provider::Jwt(verifier) = &same.provider {
                verifier.keep_key_set(key_sets);
            }
            Some(same.provider.clone())
        };
        let entry = |config: &&AuthConfig| Entry {
            config: (*config).clone(),
            provider: known(config).unwrap_or_else(|| Provider::new(config, key_sets)),
        };
        let scheme = |wanted: fn(&AuthConfig) -> bool| configs.iter().any(|config| wanted(config));
        Arc::new(Self {
            entries: configs.iter().map(entry).collect(),
            exclude_paths: configs.iter().flat_map(|config| config.exclude_paths()).cloned().collect(),
            challenge: Challenge {
                bearer: scheme(|config| matches!(config, AuthConfig::Jwt(_))),
                basic: configs.iter().find_map(|config| match config {
                    AuthConfig::Basic(config) => Some(Challenge::basic(&config.realm)),
                    AuthConfig::Jwt(_) | AuthConfig::ApiKey(_) => None,
                }),
                key: scheme(|config| matches!(config, AuthConfig::ApiKey(_))),
            },
            identity: Identity::new(configs),
        })
    }

    /// Finds out who a request is from, by its normalised `path`.
    ///
    /// When it passes, the credentials that stay here and every header by which the target is told of the caller are
    /// taken out of `parts`, and ours are set. Otherwise `parts` is as it was.
    pub fn check(&self, parts: &mut Parts, path: &str, cx: &AuthContext) -> Decision {
        self.decide(parts, path, cx, true)
    }

    /// The same after what [`Decision::Slow`] asked for, or after its time was up; never slow again.
    pub fn resume(&self, parts: &mut Parts, path: &str, cx: &AuthContext) -> Decision {
        self.decide(parts, path, cx, false)
    }

    /// What [`Authenticator::check`] would say, without anything being remembered or fetched. `parts` is changed as
    /// there.
    pub fn preview(&self, parts: &mut Parts, path: &str, cx: &AuthContext) -> Preview {
        if self.excludes(path) {
            self.pass(parts, None);
            return Preview::Excluded;
        }
        let decision = match self.examine(parts, cx, Memory::Untouched) {
            Examined::Proven(proven) => self.pass(parts, Some(&proven)),
            Examined::Refused(cause) => self.refuse(cause),
            Examined::KeyMissing(keys) if keys.would_ask(cx.now) => return Preview::KeyMissing(keys),
            Examined::KeyMissing(keys) => self.lacking(&keys),
            Examined::Unchecked(_) => return Preview::Unchecked,
        };
        match decision {
            Decision::Pass(Some(caller)) => Preview::Caller(caller),
            Decision::Pass(None) => Preview::Excluded,
            Decision::Refuse(rejection) => Preview::Refused(rejection),
            Decision::Slow(_) => Preview::Refused(Rejection::Internal),
        }
    }

    fn excludes(&self, path: &str) -> bool {
        self.exclude_paths.iter().any(|excluded| excluded.covers(path))
    }

    fn decide(&self, parts: &mut Parts, path: &str, cx: &AuthContext, may_wait: bool) -> Decision {
        if self.excludes(path) {
            return self.pass(parts, None);
        }
        match self.examine(parts, cx, Memory::Used) {
            Examined::Proven(proven) => self.pass(parts, Some(&proven)),
            Examined::Refused(cause) => self.refuse(cause),
            Examined::KeyMissing(keys) => self.without_key(&keys, cx, may_wait),
            Examined::Unchecked(check) if may_wait => Decision::Slow(SlowCheck::Password(check)),
            Examined::Unchecked(_) => Decision::Refuse(Rejection::AuthUnavailable),
        }
    }

    fn examine(&self, parts: &Parts, cx: &AuthContext, memory: Memory) -> Examined {
        let mut cause = Cause::NoCredentials;
        let (mut missing, mut unchecked) = (None, None);
        for entry in &self.entries {
            match entry.provider.examine(parts, cx, memory) {
                Finding::Absent => {}
                Finding::Found(proven) => return Examined::Proven(proven),
                Finding::Refused(why) if cause == Cause::NoCredentials => cause = why,
                Finding::Refused(_) => {}
                Finding::KeyMissing(keys) => missing = missing.or(Some(keys)),
                Finding::Unchecked(check) => unchecked = unchecked.or(Some(check)),
            }
        }
        match (unchecked, missing) {
            (Some(check), _) => Examined::Unchecked(check),
            (None, Some(keys)) => Examined::KeyMissing(keys),
            (None, None) => Examined::Refused(cause),
        }
    }

    /// An unknown `kid` is either a new key or a forgery: the issuer is asked, at a rate that no client decides about.
    fn without_key(&self, keys: &KeySet, cx: &AuthContext, may_wait: bool) -> Decision {
        match may_wait.then(|| keys.ask(cx.now)).flatten() {
            Some(wait) => Decision::Slow(SlowCheck::Keys(wait)),
            None => self.lacking(keys),
        }
    }

    fn lacking(&self, keys: &KeySet) -> Decision {
        if keys.was_loaded() {
            self.refuse(Cause::UnknownKey)
        } else {
            Decision::Refuse(Rejection::AuthUnavailable)
        }
    }

    fn refuse(&self, cause: Cause) -> Decision {
        Decision::Refuse(Rejection::Unauthenticated { challenge: self.challenge.clone(), cause })
    }

    fn pass(&self, parts: &mut Parts, proven: Option<&Proven>) -> Decision {
        self.identity.strip(&mut parts.headers);
        for entry in &self.entries {
            entry.provider.withdraw(parts);
        }
        for (name, value) in proven.iter().flat_map(|proven| &proven.headers) {
            parts.headers.insert(name, value.clone());
        }
        Decision::Pass(proven.map(|proven| Arc::clone(&proven.caller)))
    }
}

impl Provider {
    fn new(config: &AuthConfig, key_sets: &KeySets) -> Self {
        match config {
            AuthConfig::Jwt(config) => Self::Jwt(Arc::new(Verifier::new(config, key_sets))),
            AuthConfig::ApiKey(config) => Self::ApiKey(Arc::new(ApiKeys::new(config))),
            AuthConfig::Basic(config) => Self::Basic(Arc::new(Passwords::new(config))),
        }
    }

    fn examine(&self, parts: &Parts, cx: &AuthContext, memory: Memory) -> Finding {
        match self {
            Self::Jwt(verifier) => verifier.examine(parts, cx, memory),
            Self::ApiKey(keys) => keys.examine(parts),
            Self::Basic(passwords) => passwords.examine(parts),
        }
    }

    /// Takes the credentials out of the request unless they go on to the target.
    fn withdraw(&self, parts: &mut Parts) {
        match self {
            Self::Jwt(verifier) => verifier.withdraw(parts),
            Self::ApiKey(keys) => keys.withdraw(parts),
            Self::Basic(passwords) => passwords.withdraw(parts),
        }
    }
}

#[cfg(test)]
mod tests;
