//! `circuit_breaker`: a target that keeps failing gets no requests for a while, then a few to try it.
//!
//! ```yaml
//! - circuit_breaker:
//!     threshold: 5
//!     timeout: 30s
//!     half_open_max: 1
//! ```

use crate::config::leaf::{Duration, Fault};
use crate::config::wire::{millis, positive};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// When the breaker opens and how it closes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreakerConfig {
    /// Failures in a row that open it.
    pub threshold: NonZeroU32,
    /// How long it stays open.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// Requests that may try the target at once when that time is over.
    #[serde(default = "default_half_open_max")]
    pub half_open_max: NonZeroU32,
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_half_open_max() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl CircuitBreakerConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.timeout.is_zero() {
            return Err(Fault::new("a breaker that is never open protects nothing")
                .at("timeout")
                .help("write `30s`"));
        }
        Ok(())
    }
}

impl From<&CircuitBreakerConfig> for v1::CircuitBreaker {
    fn from(CircuitBreakerConfig { threshold, timeout, half_open_max }: &CircuitBreakerConfig) -> Self {
        Self {
            threshold: threshold.get(),
            timeout_ms: timeout.as_millis(),
            half_open_max: half_open_max.get(),
        }
    }
}

impl TryFrom<v1::CircuitBreaker> for CircuitBreakerConfig {
    type Error = Fault;

    fn try_from(wire: v1::CircuitBreaker) -> Result<Self, Fault> {
        let v1::CircuitBreaker { threshold, timeout_ms, half_open_max } = wire;
        Ok(Self {
            threshold: positive("threshold", threshold)?,
            timeout: millis("timeout", timeout_ms)?,
            half_open_max: positive("half_open_max", half_open_max)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::test_support::{fault, filter, wire_round_trip};

    #[test]
    fn one_request_tries_the_target_unless_more_are_allowed() {
        let wire = v1::Filter::from(&filter("circuit_breaker: {threshold: 5}"));
        let expected = v1::CircuitBreaker { threshold: 5, timeout_ms: 30_000, half_open_max: 1 };
        assert_eq!(wire.kind, Some(v1::filter::Kind::CircuitBreaker(expected)));
        wire_round_trip("circuit_breaker: {threshold: 5, timeout: 10s, half_open_max: 3}");
    }

    #[test]
    fn what_would_never_open_is_refused() {
        assert_eq!(fault("circuit_breaker: {timeout: 30s}"), "`threshold` is missing");
        assert!(fault("circuit_breaker: {threshold: 5, timeout: 0s}").contains("never open"));
    }
}
