//! Keys that callers share with us, found by their hash: how long a comparison takes says nothing about a key.

use super::credential::in_header;
use super::{Finding, Proven};
use crate::filter::auth::{ApiKey, ApiKeyConfig};
use crate::filter::{Caller, Scheme};
use crate::rejection::Cause;
use http::HeaderName;
use http::request::Parts;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct ApiKeys {
    header: HeaderName,
    by_hash: HashMap<[u8; 32], Option<Arc<Proven>>>,
}

impl ApiKeys {
    pub(super) fn new(config: &ApiKeyConfig) -> Self {
        let one = |ApiKey { name, key }: &ApiKey| {
            let caller =
                Caller { name: name.as_str().into(), scheme: Scheme::ApiKey, claims: None, metadata: None };
            let proven = Proven::new(Arc::new(caller), std::iter::empty()).map(Arc::new);
            (Sha256::digest(key.expose()).into(), proven)
        };
        Self { header: config.header.0.clone(), by_hash: config.keys.iter().map(one).collect() }
    }

    pub(super) fn examine(&self, parts: &Parts) -> Finding {
        match in_header(&parts.headers, &self.header) {
            Err(cause) => Finding::Refused(cause),
            Ok(None) => Finding::Absent,
            Ok(Some(key)) => {
                let hash: [u8; 32] = Sha256::digest(&key).into();
                match self.by_hash.get(&hash) {
                    Some(Some(proven)) => Finding::Found(Arc::clone(proven)),
                    Some(None) | None => Finding::Refused(Cause::WrongCredentials),
                }
            }
        }
    }

    pub(super) fn withdraw(&self, parts: &mut Parts) {
        parts.headers.remove(&self.header);
    }
}
