//! `concurrency`: at most so many requests in flight; a few more wait for a moment, the rest are refused at once.
//!
//! ```yaml
//! - concurrency:
//!     max: 200
//!     queue: 50
//!     queue_timeout: 100ms
//!     adaptive: false
//!     scope: route # or target
//! ```
//!
//! With `adaptive` the limit follows the latency between a floor and `max`; [`crate::concurrency`] says how.

use super::scope::{Scope, scope};
use crate::config::leaf::{Duration, Fault};
use crate::config::wire::{millis, positive};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// How many requests may be in flight, and how many may wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyConfig {
    /// Requests in flight, 1 to 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: NonZeroU32,
    /// Requests that may wait for one of them to end, at most 100000; 0: none.
    #[serde(default)]
    #[schemars(range(max = 100_000))]
    pub queue: u32,
    /// How long one waits.
    #[serde(default = "default_queue_timeout")]
    pub queue_timeout: Duration,
    /// Lower the limit while latency is higher than without load.
    #[serde(default)]
    pub adaptive: bool,
    /// One limit for the route, or one for each of its targets.
    #[serde(default)]
    pub scope: Scope,
}

const MAX: u32 = 1_000_000;
const MAX_QUEUE: u32 = 100_000;

fn default_queue_timeout() -> Duration {
    Duration::short(100)
}

impl ConcurrencyConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.max.get() > MAX {
            let fault = Fault::new(format!("`max` is {}, outside of 1 to {MAX}", self.max));
            return Err(fault.at("max").help("leave the filter out for no limit"));
        }
        if self.queue > MAX_QUEUE {
            let fault = Fault::new(format!("`queue` is {}, outside of 0 to {MAX_QUEUE}", self.queue));
            return Err(fault.at("queue").help("a queue that is long only makes everything late"));
        }
        if self.queue > 0 && self.queue_timeout.is_zero() {
            let fault = Fault::new("`queue_timeout` is 0, so nothing could ever wait");
            return Err(fault.at("queue_timeout").help("write `100ms`, or `queue: 0` for no queue"));
        }
        Ok(())
    }
}

impl From<&ConcurrencyConfig> for v1::Concurrency {
    fn from(config: &ConcurrencyConfig) -> Self {
        let ConcurrencyConfig { max, queue, queue_timeout, adaptive, scope } = config;
        Self {
            max: max.get(),
            queue: *queue,
            queue_timeout_ms: queue_timeout.as_millis(),
            adaptive: *adaptive,
            scope: v1::Scope::from(*scope).into(),
        }
    }
}

impl TryFrom<v1::Concurrency> for ConcurrencyConfig {
    type Error = Fault;

    fn try_from(wire: v1::Concurrency) -> Result<Self, Fault> {
        let v1::Concurrency { max, queue, queue_timeout_ms, adaptive, scope: scope_number } = wire;
        Ok(Self {
            max: positive("max", max)?,
            queue,
            queue_timeout: millis("queue_timeout", queue_timeout_ms)?,
            adaptive,
            scope: scope(scope_number)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::test_support::{fault, filter, wire_round_trip};

    #[test]
    fn nothing_waits_unless_asked_for() {
        let wire = v1::Filter::from(&filter("concurrency: {max: 200}"));
        let expected = v1::Concurrency {
            max: 200,
            queue: 0,
            queue_timeout_ms: 100,
            adaptive: false,
            scope: v1::Scope::Route.into(),
        };
        assert_eq!(wire.kind, Some(v1::filter::Kind::Concurrency(expected)));
        wire_round_trip(
            "concurrency: {max: 200, queue: 50, queue_timeout: 1s, adaptive: true, scope: target}",
        );
    }

    #[test]
    fn what_could_not_work_is_refused() {
        assert_eq!(fault("concurrency: {queue: 5}"), "`max` is missing");
        for (settings, part) in [
            ("max: 1000001", "`max` is 1000001, outside of 1 to 1000000"),
            ("max: 1, queue: 100001", "`queue` is 100001, outside of 0 to 100000"),
            ("max: 1, queue: 5, queue_timeout: 0s", "`queue_timeout` is 0, so nothing could ever wait"),
        ] {
            assert_eq!(fault(&format!("concurrency: {{{settings}}}")), part);
        }
    }
}
