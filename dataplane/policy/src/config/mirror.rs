//! `mirror`: copies of a route's requests go to another upstream, whose answers nobody waits for.
//!
//! ```yaml
//! routes:
//!   - name: users
//!     prefix: /users
//!     upstream: users
//!     mirror: {upstream: users-next, percent: 10}
//! ```

use super::leaf::{ByteSize, Duration, Fault, Percentage, Ratio};
use super::wire::{millis, positive};
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// Where copies go, and how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MirrorConfig {
    /// The name of an upstream.
    pub upstream: String,
    /// Of a hundred requests, by chance; at most four decimals. Default: 100, all of them.
    #[serde(default = "all")]
    pub percent: Percentage,
    /// A request with a larger body is not copied; at most 1 MiB. Default: 64 KiB.
    #[serde(default = "default_max_body")]
    pub max_body: ByteSize,
    /// Copies in memory or on their way, on one instance; beyond it requests are not copied. Default: 100.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: NonZeroU32,
    /// A copy that has no answer after this is given up. Default: 5s.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
}

/// Larger bodies would be kept in memory for nobody's sake.
pub(crate) const MOST_BODY: u64 = 1 << 20;

fn all() -> Percentage {
    Percentage(Ratio::ONE)
}

fn default_max_body() -> ByteSize {
    ByteSize(64 * 1024)
}

fn default_max_in_flight() -> NonZeroU32 {
    const DEFAULT: NonZeroU32 = NonZeroU32::new(100).expect("not 0");
    DEFAULT
}

fn default_timeout() -> Duration {
    Duration::from_secs(5)
}

impl From<&MirrorConfig> for v1::Mirror {
    fn from(config: &MirrorConfig) -> Self {
        let MirrorConfig { upstream, percent: Percentage(share), max_body, max_in_flight, timeout } = config;
        Self {
            upstream: upstream.clone(),
            share_millionths: share.millionths(),
            max_body: max_body.0,
            max_in_flight: max_in_flight.get(),
            timeout_ms: timeout.as_millis(),
        }
    }
}

impl TryFrom<v1::Mirror> for MirrorConfig {
    type Error = Fault;

    fn try_from(wire: v1::Mirror) -> Result<Self, Fault> {
        let v1::Mirror { upstream, share_millionths, max_body, max_in_flight, timeout_ms } = wire;
        let share = Ratio::from_millionths(share_millionths).map_err(|fault| fault.at("percent"))?;
        Ok(Self {
            upstream,
            percent: Percentage(share),
            max_body: ByteSize(max_body),
            max_in_flight: positive("max_in_flight", max_in_flight)?,
            timeout: millis("timeout", timeout_ms)?,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any mirror, also one that makes no sense.
    pub(in crate::config) fn mirror() -> impl Strategy<Value = MirrorConfig> {
        (
            "[a-z]{1,9}",
            0u32..=1_000_000,
            any::<u64>(),
            (1u32..).prop_map(|number| NonZeroU32::new(number).expect("not 0")),
            (1u64..=86_400_000).prop_map(|ms| Duration::from_millis(ms).expect("at most 24h")),
        )
            .prop_map(|(upstream, share, max_body, max_in_flight, timeout)| MirrorConfig {
                upstream,
                percent: Percentage(Ratio::from_millionths(share).expect("a ratio")),
                max_body: ByteSize(max_body),
                max_in_flight,
                timeout,
            })
    }
}
