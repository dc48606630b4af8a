//! `headers`: what is added to, set in and removed from the headers of requests and responses.
//!
//! ```yaml
//! - headers:
//!     request:
//!       remove: [X-Debug]
//!       set: {X-Caller: "{consumer}", X-Edge: "eu-1; ip={client_ip}"}
//!       add: {X-Trace: "{request_id}"}
//!     response:
//!       set: {Strict-Transport-Security: "max-age=31536000"}
//!       remove: [Server]
//! ```
//!
//! [`HeaderRules`] is what runs.

mod fields;
mod rules;
mod template;

pub use fields::Fields;
pub use rules::HeaderRules;
pub use template::{Template, Vars};

use crate::config::leaf::{Fault, HeaderName};
use crate::config::wire::{parse, parse_all, texts};
use crate::headers::Reserved;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Changes to requests and to responses.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadersConfig {
    /// On its way to the target.
    #[serde(default, skip_serializing_if = "Changes::is_none")]
    pub request: Changes,
    /// On its way to the client; the gateway's own answers, too.
    #[serde(default, skip_serializing_if = "Changes::is_none")]
    pub response: Changes,
}

/// Changes to one message, made in this order: `remove`, `set`, `add`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// In the place of whatever is there.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub set: Fields,
    /// Besides whatever is there.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub add: Fields,
    /// Taken out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<HeaderName>,
}

impl HeadersConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.request.is_none() && self.response.is_none() {
            return Err(
                Fault::new("`headers` changes nothing").help("write `request: {set: {X-Name: value}}`")
            );
        }
        self.request.check().map_err(|fault| fault.at("request"))?;
        self.response.check().map_err(|fault| fault.at("response"))
    }
}

impl Changes {
    fn is_none(&self) -> bool {
        let Self { set, add, remove } = self;
        set.is_empty() && add.is_empty() && remove.is_empty()
    }

    fn check(&self) -> Result<(), Fault> {
        let Self { set, add, remove } = self;
        for name in set.names().chain(add.names()).chain(remove) {
            if let Some(reserved) = Reserved::of(&name.0) {
                return Err(Fault::new(format!("`{name}` {}", reserved.reason())).help(reserved.help()));
            }
        }
        if let Some(name) = remove.iter().find(|name| set.names().any(|set| set == *name)) {
            return Err(Fault::new(format!("`{name}` is both set and removed"))
                .help("`set` alone replaces whatever is there"));
        }
        Ok(())
    }
}

impl From<&HeadersConfig> for v1::Headers {
    fn from(HeadersConfig { request, response }: &HeadersConfig) -> Self {
        Self { request: Some(request.into()), response: Some(response.into()) }
    }
}

impl From<&Changes> for v1::HeaderChanges {
    fn from(Changes { set, add, remove }: &Changes) -> Self {
        let fields = |fields: &Fields| {
            let one = |(name, value): &(HeaderName, Template)| v1::HeaderField {
                name: name.to_string(),
                value: value.to_string(),
            };
            fields.iter().map(one).collect()
        };
        Self { set: fields(set), add: fields(add), remove: texts(remove) }
    }
}

impl TryFrom<v1::Headers> for HeadersConfig {
    type Error = Fault;

    fn try_from(v1::Headers { request, response }: v1::Headers) -> Result<Self, Fault> {
        let changes = |key, wire: Option<v1::HeaderChanges>| {
            wire.map_or_else(|| Ok(Changes::default()), Changes::try_from)
                .map_err(|fault: Fault| fault.at(key))
        };
        Ok(Self { request: changes("request", request)?, response: changes("response", response)? })
    }
}

impl TryFrom<v1::HeaderChanges> for Changes {
    type Error = Fault;

    fn try_from(v1::HeaderChanges { set, add, remove }: v1::HeaderChanges) -> Result<Self, Fault> {
        let fields = |fields: Vec<v1::HeaderField>| {
            let one = |v1::HeaderField { name, value }| Ok((parse("name", &name)?, parse("value", &value)?));
            fields.into_iter().map(one).collect::<Result<Vec<_>, _>>().and_then(Fields::new)
        };
        Ok(Self { set: fields(set)?, add: fields(add)?, remove: parse_all("remove", &remove)? })
    }
}

#[cfg(test)]
mod tests;
