//! `compression`: responses are compressed for clients that can read it.
//!
//! ```yaml
//! - compression:
//!     types: [application/json, text/*]
//!     min_bytes: 1KiB
//! ```

mod runtime;

pub use runtime::{Coding, Compression};

use crate::config::leaf::{ByteSize, Fault, quoted, text_leaf};
use crate::config::wire::{parse_all, texts};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What is compressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompressionConfig {
    /// Of which `Content-Type`: `type/subtype` or `type/*`. Default: text, JSON, JavaScript, XML, SVG and WebAssembly.
    #[serde(default = "default_types")]
    pub types: Vec<MediaType>,
    /// A body known to be shorter is left as it is. Default: `1KiB`.
    #[serde(default = "default_min_bytes")]
    pub min_bytes: ByteSize,
}

/// `type/subtype`, or `type/*` for all of a type; lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType(String);

text_leaf!(
    MediaType,
    "a type such as `application/json`",
    "A type of content: `application/json`, or `text/*` for all of a type.",
    "pattern": "^[^/\\s;]+/[^/\\s;]+$"
);

fn default_types() -> Vec<MediaType> {
    [
        "text/*",
        "application/json",
        "application/problem+json",
        "application/javascript",
        "application/xml",
        "application/wasm",
        "image/svg+xml",
    ]
    .map(|text| MediaType(text.to_owned()))
    .to_vec()
}

fn default_min_bytes() -> ByteSize {
    ByteSize(1024)
}

/// An event of a stream must not wait for the next one, so a client could be told nothing by its length either.
const EVENT_STREAM: &str = "text/event-stream";

impl MediaType {
    /// Whether it covers a `Content-Type`, whose parameters do not count.
    fn covers(&self, essence: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(all) => essence.get(..all.len()).is_some_and(|start| start.eq_ignore_ascii_case(all)),
            None => essence.eq_ignore_ascii_case(&self.0),
        }
    }
}

impl FromStr for MediaType {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let token = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
        };
        match text.split_once('/') {
            Some((kind, subtype)) if token(kind) && (subtype == "*" || token(subtype)) => {
                Ok(Self(text.to_ascii_lowercase()))
            }
            _ => Err(Fault::new(format!("{} is not a type of content", quoted(text)))
                .help("write `application/json`, or `text/*` for all of a type")),
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl CompressionConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.types.is_empty() {
            let fault = Fault::new("`types` is empty, so nothing would be compressed").at("types");
            return Err(fault.help("leave the key out for its default, or name a type"));
        }
        if self.types.iter().any(|one| one.0 == EVENT_STREAM) {
            let fault = Fault::new(format!("`{EVENT_STREAM}` is never compressed")).at("types");
            return Err(fault.help("its events are short, and none may wait for the next: remove it"));
        }
        Ok(())
    }
}

impl From<&CompressionConfig> for v1::Compression {
    fn from(CompressionConfig { types, min_bytes }: &CompressionConfig) -> Self {
        Self { types: texts(types), min_bytes: min_bytes.0 }
    }
}

impl TryFrom<v1::Compression> for CompressionConfig {
    type Error = Fault;

    fn try_from(v1::Compression { types, min_bytes }: v1::Compression) -> Result<Self, Fault> {
        Ok(Self { types: parse_all("types", &types)?, min_bytes: ByteSize(min_bytes) })
    }
}

#[cfg(test)]
mod tests;
