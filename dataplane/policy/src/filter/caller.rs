//! Who a request is from, as an `auth` or `forward_auth` filter found; limits, `authorize` and logs ask for it.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who a request is from.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// The consumer's name; of a token its `sub`, empty if it has none.
    pub name: Arc<str>,
    /// How it was found out.
    pub scheme: Scheme,
    /// What a token says.
    pub claims: Option<Arc<Map<String, Value>>>,
    /// What the config says about a consumer.
    pub metadata: Option<Arc<BTreeMap<String, String>>>,
}

/// By what a caller has proved itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// A signed token.
    Jwt,
    /// A key that it shares with us.
    ApiKey,
    /// A name and a password.
    Basic,
    /// The word of another service.
    Forward,
}

impl Caller {
    /// A claim of its token.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.as_ref()?.get(name)
    }
}
