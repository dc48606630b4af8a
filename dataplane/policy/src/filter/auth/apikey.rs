//! `type: apikey`: a key that the caller and the gateway share.

use super::unmasked;
use crate::config::leaf::{Fault, HeaderName, PathPrefix, Secret};
use crate::config::wire::{parse, parse_all, texts};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// `type: apikey`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyConfig {
    /// Where the key is sent; default: `X-API-Key`.
    #[serde(default = "default_header")]
    pub header: HeaderName,
    /// At least one.
    pub keys: Vec<ApiKey>,
    /// Paths, and all below them, that need no key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_paths: Vec<PathPrefix>,
}

/// A caller and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Who it is, in logs and for the target.
    pub name: String,
    /// What the caller sends.
    pub key: Secret,
}

pub(super) fn default_header() -> HeaderName {
    HeaderName(http::HeaderName::from_static("x-api-key"))
}

impl ApiKeyConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.keys.is_empty() {
            return Err(Fault::new("`keys` is empty, so nobody would be let in")
                .at("keys")
                .help("add a key"));
        }
        let mut names = HashSet::new();
        let mut keys = HashSet::new();
        for ApiKey { name, key } in &self.keys {
            unmasked(key.expose(), "keys")?;
            if name.is_empty() {
                return Err(Fault::new("a key has an empty `name`").at("keys").help("name who uses the key"));
            }
            if !names.insert(name) {
                return Err(Fault::new(format!("two keys are named `{name}`"))
                    .at("keys")
                    .help("rename one of them"));
            }
            if !keys.insert(key.expose()) {
                let fault = Fault::new(format!("the key of `{name}` is also another caller's"));
                return Err(fault.at("keys").help("give each caller a key of its own"));
            }
        }
        Ok(())
    }
}

impl From<&ApiKeyConfig> for v1::ApiKeyAuth {
    fn from(ApiKeyConfig { header, keys, exclude_paths }: &ApiKeyConfig) -> Self {
        Self {
            header: header.to_string(),
            keys: keys.iter().map(v1::ApiKey::from).collect(),
            exclude_paths: texts(exclude_paths),
        }
    }
}

impl TryFrom<v1::ApiKeyAuth> for ApiKeyConfig {
    type Error = Fault;

    fn try_from(v1::ApiKeyAuth { header, keys, exclude_paths }: v1::ApiKeyAuth) -> Result<Self, Fault> {
        Ok(Self {
            header: parse("header", &header)?,
            keys: keys.into_iter().map(ApiKey::try_from).collect::<Result<_, _>>()?,
            exclude_paths: parse_all("exclude_paths", &exclude_paths)?,
        })
    }
}

impl From<&ApiKey> for v1::ApiKey {
    fn from(ApiKey { name, key }: &ApiKey) -> Self {
        Self { name: name.clone(), key: key.expose().to_owned() }
    }
}

impl TryFrom<v1::ApiKey> for ApiKey {
    type Error = Fault;

    fn try_from(v1::ApiKey { name, key }: v1::ApiKey) -> Result<Self, Fault> {
        Ok(Self { name, key: parse("key", &key)? })
    }
}
