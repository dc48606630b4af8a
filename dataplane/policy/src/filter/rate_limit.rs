//! `rate_limit`: at most so many requests a second; what is above gets 429.
//!
//! ```yaml
//! - rate_limit:
//!     qps: 1000
//!     burst: 2000 # default: qps
//! ```

use crate::config::leaf::Fault;
use crate::config::wire::positive;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// How many requests pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Requests a second in the long run.
    pub qps: NonZeroU32,
    /// Requests that may come at once after a pause; default: `qps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
}

impl From<&RateLimitConfig> for v1::RateLimit {
    fn from(RateLimitConfig { qps, burst }: &RateLimitConfig) -> Self {
        Self { qps: qps.get(), burst: burst.unwrap_or(*qps).get() }
    }
}

impl TryFrom<v1::RateLimit> for RateLimitConfig {
    type Error = Fault;

    fn try_from(v1::RateLimit { qps, burst }: v1::RateLimit) -> Result<Self, Fault> {
        Ok(Self { qps: positive("qps", qps)?, burst: Some(positive("burst", burst)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::test_support::{fault, filter, wire_round_trip};

    #[test]
    fn burst_is_qps_unless_given() {
        let wire = v1::Filter::from(&filter("rate_limit: {qps: 500}"));
        let expected = v1::filter::Kind::RateLimit(v1::RateLimit { qps: 500, burst: 500 });
        assert_eq!(wire.kind, Some(expected));
        wire_round_trip("rate_limit: {qps: 1000, burst: 2000}");
    }

    #[test]
    fn a_limit_of_nothing_is_refused() {
        assert_eq!(
            fault("rate_limit: {qps: 0}"),
            "invalid value `0`: expected a number from 1 to 4294967295"
        );
        assert_eq!(
            fault("rate_limit: {qps: 5, burst: -1}"),
            "invalid value `-1`: expected a number from 1 to 4294967295"
        );
    }
}
