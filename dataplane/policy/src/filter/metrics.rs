//! `metrics`: counters and histograms of the requests, for Prometheus.
//!
//! Without the filter they are on: what it is there for is to turn them off, for a route or for all.
//!
//! ```yaml
//! - metrics:
//!     enabled: false
//! ```

use crate::config::leaf::Fault;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether requests are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// Requests are counted unless a config says otherwise.
impl Default for MetricsConfig {
    fn default() -> Self {
        Self { enabled: yes() }
    }
}

fn yes() -> bool {
    true
}

impl From<&MetricsConfig> for v1::Metrics {
    fn from(MetricsConfig { enabled }: &MetricsConfig) -> Self {
        Self { enabled: *enabled }
    }
}

impl TryFrom<v1::Metrics> for MetricsConfig {
    type Error = Fault;

    fn try_from(v1::Metrics { enabled }: v1::Metrics) -> Result<Self, Fault> {
        Ok(Self { enabled })
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::test_support::{fault, filter, wire_round_trip};

    #[test]
    fn on_unless_switched_off_by_a_boolean() {
        assert_eq!(filter("metrics: {}"), filter("metrics: {enabled: true}"));
        wire_round_trip("metrics: {enabled: false}");
        assert_eq!(fault("metrics: {enabled: off}"), "expected true or false, found `off`");
    }
}
