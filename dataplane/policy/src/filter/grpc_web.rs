//! `grpc_web`: calls of pages, which cannot speak gRPC, are translated for targets that speak nothing else.
//!
//! ```yaml
//! - grpc_web: {}
//! ```
//!
//! Both forms are: `application/grpc-web` and `application/grpc-web-text`. Other requests pass as they are.

use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// There is nothing to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrpcWebConfig {}

impl From<&GrpcWebConfig> for v1::GrpcWeb {
    fn from(GrpcWebConfig {}: &GrpcWebConfig) -> Self {
        Self {}
    }
}

impl From<v1::GrpcWeb> for GrpcWebConfig {
    fn from(v1::GrpcWeb {}: v1::GrpcWeb) -> Self {
        Self {}
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::test_support::{fault, wire_round_trip};

    #[test]
    fn it_survives_the_wire_and_has_no_settings() {
        wire_round_trip("grpc_web: {}");
        assert!(fault("grpc_web: {text: true}").contains("unknown"));
    }
}
