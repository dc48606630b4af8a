//! The headers by which the target is told who calls: nobody else may set them.

use super::Proven;
use crate::config::leaf::HeaderName as Name;
use crate::filter::Caller;
use crate::filter::auth::AuthConfig;
use crate::headers::{alike, is_hop_by_hop, withhold};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use std::sync::Arc;

/// Who it is: a consumer's name, or a token's `sub`.
pub(super) const CONSUMER_NAME: HeaderName = HeaderName::from_static("x-consumer-name");

/// All names of ours begin so.
const PREFIX: &str = "x-consumer-";

/// The header names that a route's entries tell callers by.
#[derive(Debug)]
pub(super) struct Identity {
    /// Besides those that begin with [`PREFIX`].
    names: Box<[HeaderName]>,
}

/// Whether a claim may be sent to the target by this name: not where it would change who is asked, for what, or how
/// the message ends.
pub(crate) fn may_tell(header: &Name) -> bool {
    let name = header.0.as_str().replace('_', "-");
    !crate::headers::is_ours(&name) && !is_hop_by_hop(&name) && !name.starts_with(PREFIX)
}

impl Identity {
    pub(super) fn new(configs: &[&AuthConfig]) -> Self {
        let names = configs.iter().flat_map(|config| match config {
            AuthConfig::Jwt(config) => config.claims_to_headers.values().collect(),
            AuthConfig::ApiKey(_) | AuthConfig::Basic(_) => Vec::new(),
        });
        Self { names: names.map(|name| name.0.clone()).collect() }
    }

    /// Takes out what a client says about itself, in the head and behind the body.
    pub(super) fn strip(&self, headers: &mut HeaderMap) {
        withhold(headers, |name| {
            is_consumer_header(name) || self.names.iter().any(|ours| alike(name, ours.as_str()))
        });
    }
}

/// Whether only the gateway may say this, or what CGI-like targets take for it.
pub(super) fn is_consumer_header(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|start| alike(start, PREFIX))
}

impl Proven {
    /// None when what the target is to be told does not fit into a header: half of the truth could be a wrong one.
    pub(super) fn new<'a>(
        caller: Arc<Caller>,
        told: impl Iterator<Item = (&'a HeaderName, &'a Value)>,
    ) -> Option<Self> {
        let name = match &*caller.name {
            "" => None,
            name => Some((CONSUMER_NAME, header_value(name)?)),
        };
        let told = told.map(|(header, claim)| Some((header.clone(), header_value(&text(claim))?)));
        let headers = name.into_iter().map(Some).chain(told).collect::<Option<_>>()?;
        Some(Self { caller, headers })
    }
}

/// UTF-8 as it is; no control characters.
fn header_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes()).ok().filter(|_| text.trim().len() == text.len())
}

/// Lists and maps as JSON: a list joined by commas could be read with one element more.
fn text(claim: &Value) -> String {
    match claim {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
