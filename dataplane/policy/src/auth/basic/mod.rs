//! Names and passwords. A password takes a quarter of a second to check, so it is checked aside and once, and then
//! remembered, right or wrong, for as long as the users stay the same.

use super::cache::{Cache, Name, Verified};
use super::credential::in_authorization;
use super::{Finding, Proven};
use crate::filter::auth::{BasicConfig, BasicUser, PasswordHash};
use crate::filter::{Caller, Scheme};
use crate::rejection::Cause;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event_listener::{Event, EventListener};
use http::header::AUTHORIZATION;
use http::request::Parts;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const BASIC: &str = "Basic";

/// Longer credentials are not looked at.
const MAX_CREDENTIALS: usize = 1024;

/// One `auth: {type: basic}` at work, shared by all workers.
#[derive(Debug)]
pub(super) struct Passwords {
    users: HashMap<String, User>,
    /// What an unknown name is checked against, so that the time says nothing about who is known.
    decoys: Box<[PasswordHash]>,
    cache: Cache,
    under_way: Mutex<HashMap<Name, Arc<Event>>>,
}

#[derive(Debug)]
struct User {
    hash: PasswordHash,
    proven: Option<Arc<Proven>>,
}

/// Credentials that nobody has checked yet.
pub struct PasswordCheck {
    passwords: Arc<Passwords>,
    /// Of the credentials, in the cache.
    name: Name,
    user: String,
    password: Vec<u8>,
}

/// The work itself, for a thread that may be busy for a second.
pub struct PasswordJob {
    check: PasswordCheck,
    done: Arc<Event>,
}

impl PasswordCheck {
    /// Nobody should wait longer: then the request is refused.
    pub const AT_MOST: Duration = Duration::from_secs(5);

    /// What resolves when the check is over, and the check, unless another request with the same credentials has begun
    /// it: a browser opens six connections at once.
    pub fn begin(self) -> (EventListener, Option<PasswordJob>) {
        let mut under_way = self.passwords.under_way.lock();
        if let Some(done) = under_way.get(&self.name) {
            return (done.listen(), None);
        }
        let done = Arc::new(Event::new());
        let listener = done.listen();
        under_way.insert(self.name, Arc::clone(&done));
        drop(under_way);
        (listener, Some(PasswordJob { check: self, done }))
    }
}

impl PasswordJob {
    /// Checks and remembers; not if nobody waits any more. Dropped without it, nothing is known of the credentials.
    pub fn run(self) {
        if self.done.total_listeners() > 0 {
            let PasswordCheck { passwords, name, user, password } = &self.check;
            passwords.learn(*name, user, password);
        }
    }
}

impl Drop for PasswordJob {
    fn drop(&mut self) {
        self.check.passwords.under_way.lock().remove(&self.check.name);
        self.done.notify(usize::MAX);
    }
}

impl fmt::Debug for PasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordCheck").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Passwords {
    pub(super) fn new(config: &BasicConfig) -> Self {
        let user = |BasicUser { name, hash }: &BasicUser| {
            let caller =
                Caller { name: name.as_str().into(), scheme: Scheme::Basic, claims: None, metadata: None };
            let proven = Proven::new(Arc::new(caller), std::iter::empty()).map(Arc::new);
            (name.clone(), User { hash: hash.clone(), proven })
        };
        Self {
            users: config.users.iter().map(user).collect(),
            decoys: config.users.iter().map(|user| user.hash.clone()).collect(),
            cache: Cache::default(),
            under_way: Mutex::default(),
        }
    }

    pub(super) fn examine(self: &Arc<Self>, parts: &Parts) -> Finding {
        let credentials = match in_authorization(&parts.headers, BASIC) {
            Ok(Some(credentials)) => credentials,
            Ok(None) => return Finding::Absent,
            Err(cause) => return Finding::Refused(cause),
        };
        if credentials.len() > MAX_CREDENTIALS {
            return Finding::Refused(Cause::TooLong);
        }
        let name = self.cache.name(0, &credentials);
        if let Some(verified) = self.cache.get(name, 0) {
            return Finding::Found(Arc::clone(&verified.proven));
        }
        if self.cache.is_wrong(name) {
            return Finding::Refused(Cause::WrongCredentials);
        }
        match parse(&credentials) {
            Some((user, password)) => {
                Finding::Unchecked(PasswordCheck { passwords: Arc::clone(self), name, user, password })
            }
            None => Finding::Refused(Cause::Malformed),
        }
    }

    pub(super) fn withdraw(&self, parts: &mut Parts) {
        // another scheme's credentials are not ours to take
        if !matches!(in_authorization(&parts.headers, BASIC), Ok(None)) {
            parts.headers.remove(AUTHORIZATION);
        }
    }

    fn learn(&self, name: Name, user: &str, password: &[u8]) {
        let known = self.users.get(user);
        let hash = known.map_or_else(|| self.decoy(user), |user| Some(&user.hash));
        let holds = hash.is_some_and(|hash| hash.is_of(password));
        match known.and_then(|user| user.proven.as_ref()).filter(|_| holds) {
            Some(proven) => {
                let verified = Verified::for_good(Arc::clone(proven));
                self.cache.insert(name, 0, password.len(), Arc::new(verified));
            }
            None => self.cache.insert_wrong(name),
        }
    }

    /// The same for the same name each time, for names of users have the same hash each time as well.
    fn decoy(&self, user: &str) -> Option<&PasswordHash> {
        let at = self.cache.name(0, user.as_bytes()) % self.decoys.len().max(1) as Name;
        self.decoys.get(at as usize)
    }
}

/// RFC 7617 §2: base64 of `name:password`, without control characters.
fn parse(credentials: &[u8]) -> Option<(String, Vec<u8>)> {
    let decoded = STANDARD.decode(credentials).ok()?;
    let text = str::from_utf8(&decoded).ok().filter(|text| !text.chars().any(char::is_control))?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests;
