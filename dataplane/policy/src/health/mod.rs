//! Whether a target is well: what probes say, what requests sent to it say, and what an operator says.
//!
//! The three are kept apart and none overrides another: a target takes requests while it is not drained, not unhealthy
//! and not ejected. Back from being unhealthy or ejected it gets a share that grows, so that a cold cache or a pool
//! that is not filled yet does not take it down again.

mod life;
mod outlier;
mod target;

pub(crate) use outlier::Outlier;
pub(crate) use target::{Standing, TargetHealth};

use crate::clock::Now;
use std::fmt;
use std::time::Duration;

/// A target as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HealthState {
    /// Takes requests.
    Healthy,
    /// Takes a share of requests that grows: it was unhealthy or ejected until lately.
    Recovering,
    /// Taken out because of what became of requests; comes back by itself.
    Ejected,
    /// Taken out by its probes, until they are good again.
    Unhealthy,
    /// Taken out by an operator, until an operator brings it back.
    Drained,
}

impl HealthState {
    /// The word for it, everywhere.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Recovering => "recovering",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
            Self::Drained => "drained",
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// All that is to be told about a target's health.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthView {
    /// Where several hold, the one that an operator has to know first.
    pub state: HealthState,
    /// Never empty unless the state is healthy; a healthy target whose last probe failed has one, too.
    pub reason: String,
    /// Since when the state is what it is.
    pub since: Now,
    /// When an ejection or a recovery ends; `None` for what does not end by itself.
    pub until: Option<Now>,
    /// Probes with a result.
    pub probes: u64,
    /// Those that failed.
    pub probe_failures: u64,
    /// How often it was ejected.
    pub ejections: u64,
    /// The part of its usual share that it gets while it recovers.
    pub slow_start_share: Option<f64>,
}

/// How results of probes turn into health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Good probes in a row that make an unhealthy target healthy.
    pub rise: u32,
    /// Failed probes in a row that make a healthy target unhealthy.
    pub fall: u32,
    /// How long the share of a target grows that is healthy again.
    pub slow_start: Duration,
}

#[cfg(test)]
mod tests;
