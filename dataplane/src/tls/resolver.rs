//! Which certificate a client is shown: by the name that it asks for (SNI, RFC 6066 §3).

use foldhash::fast::RandomState;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Certificates by the names that they are made out for.
#[derive(Debug)]
pub(super) struct Certificates {
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>, RandomState>,
    /// For every other name, and clients that name none.
    default: Arc<CertifiedKey>,
}

impl Certificates {
    /// `default` is the first of them; the others come with their names.
    pub(super) fn new(default: Arc<CertifiedKey>) -> Self {
        Self { by_name: HashMap::default(), default }
    }

    /// `name` is lower case; its first label may be `*`. An earlier certificate goes before a later one of that name.
    pub(super) fn add(&mut self, name: String, certificate: Arc<CertifiedKey>) {
        self.by_name.entry(name).or_default().push(certificate);
    }

    /// All that fit: those of the exact name, or else those of its wildcard. A `*` stands for one label (RFC 9525 §6.3).
    fn of(&self, name: &str) -> &[Arc<CertifiedKey>] {
        let name = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(name.to_ascii_lowercase()),
            false => Cow::Borrowed(name),
        };
        let wildcard = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
        self.by_name.get(&*name).or_else(wildcard).map_or(&[], Vec::as_slice)
    }
}

impl ResolvesServerCert for Certificates {
    /// Where a name has several, as with one key of RSA and one of ECDSA, the first that the client can verify.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().map_or(&[][..], |name| self.of(name));
        let usable = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(hello.signature_schemes()).is_some();
        Some(named.iter().find(usable).or_else(|| named.first()).unwrap_or(&self.default).clone())
    }
}
