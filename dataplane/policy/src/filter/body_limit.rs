//! `body_limit`: how large the body of a request may be; 413 beyond it.
//!
//! ```yaml
//! - body_limit:
//!     max: 10MiB
//! ```
//!
//! As `server.max_body_bytes`, which bounds it, but for one route: judged by `Content-Length` before a byte of the body
//! is read, and while it streams otherwise.

use crate::config::leaf::{ByteSize, Fault};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BodyLimitConfig {
    /// 1 byte or more.
    pub max: ByteSize,
}

impl BodyLimitConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.max.0 == 0 {
            return Err(Fault::new("`max` is 0, so no request could have a body")
                .at("max")
                .help("leave the filter out for no limit but `server.max_body_bytes`"));
        }
        Ok(())
    }
}

impl From<&BodyLimitConfig> for v1::BodyLimit {
    fn from(BodyLimitConfig { max }: &BodyLimitConfig) -> Self {
        Self { max_bytes: max.0 }
    }
}

impl TryFrom<v1::BodyLimit> for BodyLimitConfig {
    type Error = Fault;

    fn try_from(v1::BodyLimit { max_bytes }: v1::BodyLimit) -> Result<Self, Fault> {
        Ok(Self { max: ByteSize(max_bytes) })
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::test_support::{fault, wire_round_trip};

    #[test]
    fn a_limit_survives_the_wire_and_is_not_0() {
        wire_round_trip("body_limit: {max: 10MiB}");
        wire_round_trip("body_limit: {max: 1}");
        assert!(fault("body_limit: {max: 0}").contains("no request could have a body"));
        assert_eq!(fault("body_limit: {}"), "`max` is missing");
    }
}
