//! `circuit_breaker`: a service that keeps failing gets no requests for a while, then a few to try it.
//!
//! ```yaml
//! - circuit_breaker:
//!     threshold: 5
//!     timeout: 30s
//!     half_open_max: 1
//!     scope: route # or target
//!     error_rate: 0 # or 50%, with window and min_requests
//!     window: 10s
//!     min_requests: 20
//!     shadow: false
//! ```
//!
//! The states are Nygard's (Release It!, 2007); [`crate::breaker`] is what runs.

use super::scope::{Scope, scope};
use crate::config::leaf::{Duration, Fault, Percent};
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
    /// How long it stays open, and up to a tenth longer.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// Requests that may try the service at once when that time is over, and successes that close it; 1 to 1000.
    #[serde(default = "default_half_open_max")]
    #[schemars(range(min = 1, max = 1000))]
    pub half_open_max: NonZeroU32,
    /// One breaker for the route, or one for each of its targets.
    #[serde(default)]
    pub scope: Scope,
    /// The share of failures within `window` that opens it as well; 0: only failures in a row do.
    #[serde(default = "no_error_rate")]
    pub error_rate: Percent,
    /// How far back `error_rate` looks, 100ms to 1h.
    #[serde(default = "default_window")]
    pub window: Duration,
    /// Fewer requests than this within `window` say nothing about the rate; 1 to 100000.
    #[serde(default = "default_min_requests")]
    #[schemars(range(min = 1, max = 100_000))]
    pub min_requests: NonZeroU32,
    /// Count what it would have refused, and refuse nothing.
    #[serde(default)]
    pub shadow: bool,
}

const MAX_HALF_OPEN: u32 = 1000;
const MAX_MIN_REQUESTS: u32 = 100_000;
const MIN_WINDOW_MS: u64 = 100;
const MAX_WINDOW_MS: u64 = 3_600_000;

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_half_open_max() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn no_error_rate() -> Percent {
    Percent::saturating(0)
}

fn default_window() -> Duration {
    Duration::from_secs(10)
}

fn default_min_requests() -> NonZeroU32 {
    const TWENTY: NonZeroU32 = NonZeroU32::new(20).expect("not 0");
    TWENTY
}

impl CircuitBreakerConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.timeout.is_zero() {
            return Err(Fault::new("a breaker that is never open protects nothing")
                .at("timeout")
                .help("write `30s`"));
        }
        if self.half_open_max.get() > MAX_HALF_OPEN {
            let fault =
                Fault::new(format!("`half_open_max` is {}, outside of 1 to 1000", self.half_open_max));
            return Err(fault.at("half_open_max").help("a few requests are enough to try a service"));
        }
        if !(MIN_WINDOW_MS..=MAX_WINDOW_MS).contains(&self.window.as_millis()) {
            let fault = Fault::new(format!("`window` is {}, outside of 100ms to 1h", self.window));
            return Err(fault.at("window").help("write `10s`"));
        }
        if self.min_requests.get() > MAX_MIN_REQUESTS {
            let fault =
                Fault::new(format!("`min_requests` is {}, outside of 1 to 100000", self.min_requests));
            return Err(fault.at("min_requests").help("write `20`"));
        }
        Ok(())
    }
}

impl From<&CircuitBreakerConfig> for v1::CircuitBreaker {
    fn from(config: &CircuitBreakerConfig) -> Self {
        let CircuitBreakerConfig {
            threshold,
            timeout,
            half_open_max,
            scope,
            error_rate,
            window,
            min_requests,
            shadow,
        } = config;
        Self {
            threshold: threshold.get(),
            timeout_ms: timeout.as_millis(),
            half_open_max: half_open_max.get(),
            scope: v1::Scope::from(*scope).into(),
            error_rate_percent: u32::from(error_rate.get()),
            window_ms: window.as_millis(),
            min_requests: min_requests.get(),
            shadow: *shadow,
        }
    }
}

impl TryFrom<v1::CircuitBreaker> for CircuitBreakerConfig {
    type Error = Fault;

    fn try_from(wire: v1::CircuitBreaker) -> Result<Self, Fault> {
        let v1::CircuitBreaker {
            threshold,
            timeout_ms,
            half_open_max,
            scope: scope_number,
            error_rate_percent,
            window_ms,
            min_requests,
            shadow,
        } = wire;
        Ok(Self {
            threshold: positive("threshold", threshold)?,
            timeout: millis("timeout", timeout_ms)?,
            half_open_max: positive("half_open_max", half_open_max)?,
            scope: scope(scope_number)?,
            error_rate: Percent::new(error_rate_percent).map_err(|fault| fault.at("error_rate"))?,
            window: millis("window", window_ms)?,
            min_requests: positive("min_requests", min_requests)?,
            shadow,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::test_support::{fault, filter, wire_round_trip};

    #[test]
    fn what_is_left_out_is_explicit_on_the_wire() {
        let wire = v1::Filter::from(&filter("circuit_breaker: {threshold: 5}"));
        let expected = v1::CircuitBreaker {
            threshold: 5,
            timeout_ms: 30_000,
            half_open_max: 1,
            scope: v1::Scope::Route.into(),
            error_rate_percent: 0,
            window_ms: 10_000,
            min_requests: 20,
            shadow: false,
        };
        assert_eq!(wire.kind, Some(v1::filter::Kind::CircuitBreaker(expected)));
    }

    #[test]
    fn every_setting_survives_the_wire() {
        wire_round_trip("circuit_breaker: {threshold: 5, timeout: 10s, half_open_max: 3}");
        wire_round_trip(
            "circuit_breaker: {threshold: 5, scope: target, error_rate: 50%, window: 1m, min_requests: 100, shadow: true}",
        );
    }

    #[test]
    fn what_would_never_open_is_refused() {
        assert_eq!(fault("circuit_breaker: {timeout: 30s}"), "`threshold` is missing");
        assert!(fault("circuit_breaker: {threshold: 5, timeout: 0s}").contains("never open"));
    }

    #[test]
    fn what_is_outside_of_its_range_is_refused() {
        for (settings, part) in [
            ("half_open_max: 1001", "`half_open_max` is 1001, outside of 1 to 1000"),
            ("window: 50ms", "`window` is 50ms, outside of 100ms to 1h"),
            ("window: 2h", "`window` is 2h, outside of 100ms to 1h"),
            ("min_requests: 100001", "`min_requests` is 100001, outside of 1 to 100000"),
            ("error_rate: 101%", "`101%` is more than 100%"),
            ("error_rate: 50", "`50` has no unit"),
        ] {
            assert_eq!(fault(&format!("circuit_breaker: {{threshold: 5, {settings}}}")), part);
        }
    }
}
