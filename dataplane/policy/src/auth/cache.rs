//! Credentials that were verified before: bounded, tokens never beyond `exp`, nothing of their text kept.

use super::Proven;
use quick_cache::sync::{Cache as Inner, DefaultLifecycle};
use quick_cache::{OptionsBuilder, UnitWeighter, Weighter};
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A token is verified again after so many seconds, whatever it says.
const MAX_AGE: u64 = 60;

/// What all remembered tokens of an `auth` may weigh. The claims of a token take some five times its own bytes.
const MAX_WEIGHT: u64 = 16 << 20;
const WEIGHT_OF_EXTRAS: u64 = 512;
const USUAL_WEIGHT: u64 = 1024;

/// Wrong passwords that are remembered, apart from what holds: whoever guesses must not displace it.
const MAX_WRONG: usize = 4096;

/// The name of a token, or of other credentials, in the cache. 128 bits by a key that nobody knows: no others get the
/// same one.
pub(super) type Name = u128;

/// A token, or other credentials, that held.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) proven: Arc<Proven>,
    /// The first second at which it does not hold any more, or is to be looked at again.
    until: u64,
}

impl Verified {
    pub(super) fn new(proven: Arc<Proven>, expires: Option<u64>, now: u64) -> Self {
        let until = now.saturating_add(MAX_AGE);
        Self { proven, until: expires.map_or(until, |expires| expires.min(until)) }
    }

    /// Of what holds until the config says otherwise.
    pub(super) fn for_good(proven: Arc<Proven>) -> Self {
        Self { proven, until: u64::MAX }
    }
}

pub(super) struct Cache {
    inner: Inner<Name, Remembered, ByLength, BuildHasherDefault<AsIs>>,
    wrong: Inner<Name, (), UnitWeighter, BuildHasherDefault<AsIs>>,
    secret: (u64, u64),
    /// Of which key set the tokens are.
    epoch: AtomicU64,
}

#[derive(Clone)]
struct Remembered {
    verified: Arc<Verified>,
    weight: u64,
}

#[derive(Clone)]
struct ByLength;

impl Weighter<Name, Remembered> for ByLength {
    fn weight(&self, _: &Name, remembered: &Remembered) -> u64 {
        remembered.weight
    }
}

/// The names are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, name: u128) {
        self.0 = name as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Default for Cache {
    fn default() -> Self {
        let options = OptionsBuilder::new()
            .weight_capacity(MAX_WEIGHT)
            .estimated_items_capacity((MAX_WEIGHT / USUAL_WEIGHT) as usize)
            .build();
        let inner = match options {
            Ok(options) => Inner::with_options(
                options,
                ByLength,
                BuildHasherDefault::default(),
                DefaultLifecycle::default(),
            ),
            // only missing options are an error
            Err(_) => Inner::with(
                (MAX_WEIGHT / USUAL_WEIGHT) as usize,
                MAX_WEIGHT,
                ByLength,
                BuildHasherDefault::default(),
                DefaultLifecycle::default(),
            ),
        };
        let wrong = Inner::with(
            MAX_WRONG,
            MAX_WRONG as u64,
            UnitWeighter,
            BuildHasherDefault::default(),
            DefaultLifecycle::default(),
        );
        // what RandomState gives comes from the operating system's randomness
        let secret = || RandomState::new().hash_one(MAX_WEIGHT);
        Self { inner, wrong, secret: (secret(), secret()), epoch: AtomicU64::new(0) }
    }
}

impl Cache {
    pub(super) fn name(&self, epoch: u64, token: &[u8]) -> Name {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1 ^ epoch);
        hasher.write(token);
        hasher.finish128().as_u128()
    }

    pub(super) fn get(&self, name: Name, now: u64) -> Option<Arc<Verified>> {
        let Remembered { verified, .. } = self.inner.get(&name)?;
        if verified.until > now {
            return Some(verified);
        }
        self.inner.remove(&name);
        None
    }

    /// The first token of a new key set empties the cache of those of the old one.
    pub(super) fn insert(&self, name: Name, epoch: u64, length: usize, verified: Arc<Verified>) {
        if self.epoch.fetch_max(epoch, Ordering::AcqRel) < epoch {
            self.inner.clear();
        }
        let weight = length as u64 + WEIGHT_OF_EXTRAS;
        self.inner.insert(name, Remembered { verified, weight });
    }

    /// Whether these credentials are known not to hold.
    pub(super) fn is_wrong(&self, name: Name) -> bool {
        self.wrong.get(&name).is_some()
    }

    pub(super) fn insert_wrong(&self, name: Name) {
        self.wrong.insert(name, ());
    }

    #[cfg(test)]
    pub(super) fn wrong_len(&self) -> usize {
        self.wrong.len()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.inner.len()
    }

    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.inner.weight()
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("tokens", &self.inner.len()).finish_non_exhaustive()
    }
}
