//! `rate_limit`: at most so many requests a second; what is above gets 429, or waits its turn.
//!
//! ```yaml
//! - rate_limit:
//!     qps: 1000
//!     burst: 2000 # default: qps
//!     algorithm: token_bucket # or sliding_window (with `window`), leaky_bucket (with `max_wait`)
//!     key: client_ip # default: one bucket for the route, or for all of them under `global_filters`
//!     max_keys: 100000
//!     shadow: false
//!     headers: ietf
//! ```
//!
//! What it does at run time is in [`crate::limiter`].

mod key;

pub use key::LimitKey;

use crate::config::leaf::{Duration, Fault};
use crate::config::wire::{millis, parse, positive};
use crate::rejection::QuotaHeaders;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

/// Keys that a limit remembers unless told otherwise: 1.6 MB of token buckets.
const DEFAULT_MAX_KEYS: u32 = 100_000;
const MAX_KEYS: RangeInclusive<u32> = 1_000..=10_000_000;

/// How many requests pass, counted how and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Requests a second in the long run.
    pub qps: NonZeroU32,
    /// `token_bucket`: requests that may come at once after a pause. `leaky_bucket`: requests that may wait at once.
    /// Default: `qps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
    /// How requests are counted.
    #[serde(default)]
    pub algorithm: LimitAlgorithm,
    /// `sliding_window`: over how long; `qps` × `window` is a whole number of requests. Default: `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
    /// `leaky_bucket`: a request that would have to wait longer is refused. Default: `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Duration>,
    /// What has a bucket of its own. Default: `route` in a route, `global` under `global_filters`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<LimitKey>,
    /// With a `key` that has many values: how many of them are remembered at once, 1000 to 10000000; default: 100000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1000, max = 10_000_000))]
    pub max_keys: Option<u32>,
    /// Count what would be refused, and refuse nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// How a refused client is told of its quota.
    #[serde(default)]
    pub headers: QuotaHeaders,
}

/// How requests are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitAlgorithm {
    /// A bucket of `burst` tokens, refilled by `qps` a second; each request takes one.
    #[default]
    TokenBucket,
    /// At most `qps` × `window` requests in any span of `window`.
    SlidingWindow,
    /// Requests leave 1/`qps` apart; up to `burst` of them wait their turn.
    LeakyBucket,
}

impl LimitAlgorithm {
    /// As it stands in the config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TokenBucket => "token_bucket",
            Self::SlidingWindow => "sliding_window",
            Self::LeakyBucket => "leaky_bucket",
        }
    }
}

impl RateLimitConfig {
    /// `burst`, or its default.
    pub fn burst(&self) -> NonZeroU32 {
        self.burst.unwrap_or(self.qps)
    }

    /// `window`, or its default.
    pub fn window(&self) -> Duration {
        self.window.unwrap_or(Duration::from_secs(1))
    }

    /// `max_wait`, or its default.
    pub fn max_wait(&self) -> Duration {
        self.max_wait.unwrap_or(Duration::from_secs(1))
    }

    /// `max_keys`, or its default.
    pub fn max_keys(&self) -> u32 {
        self.max_keys.unwrap_or(DEFAULT_MAX_KEYS)
    }

    /// Requests that pass in one `window`; `None` when that is no number of requests.
    pub fn window_quota(&self) -> Option<NonZeroU32> {
        let thousandths = u64::from(self.qps.get()).checked_mul(self.window().as_millis())?;
        let whole = thousandths.is_multiple_of(1000).then_some(thousandths / 1000)?;
        NonZeroU32::new(u32::try_from(whole).ok()?)
    }

    fn has_one_bucket(&self) -> bool {
        self.key.as_ref().is_none_or(LimitKey::is_one)
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        self.foreign_key()?;
        let zero = |key: &str| Fault::new(format!("`{key}` is 0")).at(key).help("write a time such as `1s`");
        match self.algorithm {
            LimitAlgorithm::SlidingWindow if self.window().is_zero() => return Err(zero("window")),
            LimitAlgorithm::SlidingWindow if self.window_quota().is_none() => {
                let (qps, window) = (self.qps, self.window());
                let message = format!(
                    "`qps` × `window` is {qps} × {window}, which is not a whole number of requests up to 4294967295"
                );
                return Err(Fault::new(message)
                    .at("window")
                    .help("choose a window in which a whole number of requests passes, such as `1s`"));
            }
            LimitAlgorithm::LeakyBucket if self.max_wait().is_zero() => {
                return Err(zero("max_wait").help("where no request should wait, write `token_bucket`"));
            }
            _ => {}
        }
        match self.max_keys {
            Some(keys) if !MAX_KEYS.contains(&keys) => {
                let (least, most) = MAX_KEYS.into_inner();
                Err(Fault::new(format!("`max_keys` is {keys}, outside of {least} to {most}")).at("max_keys"))
            }
            _ => Ok(()),
        }
    }

    /// A key that would do nothing, since it belongs to another algorithm or another kind of `key`.
    fn foreign_key(&self) -> Result<(), Fault> {
        let algorithm = self.algorithm.name();
        let by_algorithm = |key: &str, of: &str| {
            Fault::new(format!("`{key}` has no meaning for `algorithm: {algorithm}`"))
                .at(key)
                .help(format!("remove it, or write `algorithm: {of}`"))
        };
        match self.algorithm {
            LimitAlgorithm::SlidingWindow if self.burst.is_some() => {
                return Err(by_algorithm("burst", "token_bucket")
                    .help("remove it: all that `window` allows, `qps` × `window`, may come at once"));
            }
            LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket if self.window.is_some() => {
                return Err(by_algorithm("window", "sliding_window"));
            }
            LimitAlgorithm::TokenBucket | LimitAlgorithm::SlidingWindow if self.max_wait.is_some() => {
                return Err(by_algorithm("max_wait", "leaky_bucket"));
            }
            _ => {}
        }
        if self.max_keys.is_some() && self.has_one_bucket() {
            return Err(Fault::new("`max_keys` has no meaning here: this limit has one bucket")
                .at("max_keys")
                .help("remove it, or add a `key` such as `client_ip`"));
        }
        Ok(())
    }
}

impl From<LimitAlgorithm> for v1::LimitAlgorithm {
    fn from(algorithm: LimitAlgorithm) -> Self {
        match algorithm {
            LimitAlgorithm::TokenBucket => Self::TokenBucket,
            LimitAlgorithm::SlidingWindow => Self::SlidingWindow,
            LimitAlgorithm::LeakyBucket => Self::LeakyBucket,
        }
    }
}

fn algorithm(wire: i32) -> Result<LimitAlgorithm, Fault> {
    match v1::LimitAlgorithm::try_from(wire) {
        Ok(v1::LimitAlgorithm::TokenBucket) => Ok(LimitAlgorithm::TokenBucket),
        Ok(v1::LimitAlgorithm::SlidingWindow) => Ok(LimitAlgorithm::SlidingWindow),
        Ok(v1::LimitAlgorithm::LeakyBucket) => Ok(LimitAlgorithm::LeakyBucket),
        Ok(v1::LimitAlgorithm::Unspecified) | Err(_) => {
            Err(Fault::new("is not one this version knows").at("algorithm"))
        }
    }
}

impl From<QuotaHeaders> for v1::QuotaHeaders {
    fn from(style: QuotaHeaders) -> Self {
        match style {
            QuotaHeaders::Ietf => Self::Ietf,
            QuotaHeaders::Legacy => Self::Legacy,
            QuotaHeaders::Off => Self::Off,
        }
    }
}

fn quota_headers(wire: i32) -> Result<QuotaHeaders, Fault> {
    match v1::QuotaHeaders::try_from(wire) {
        Ok(v1::QuotaHeaders::Ietf) => Ok(QuotaHeaders::Ietf),
        Ok(v1::QuotaHeaders::Legacy) => Ok(QuotaHeaders::Legacy),
        Ok(v1::QuotaHeaders::Off) => Ok(QuotaHeaders::Off),
        Ok(v1::QuotaHeaders::Unspecified) | Err(_) => {
            Err(Fault::new("is not one this version knows").at("headers"))
        }
    }
}

/// What has a meaning is written out, defaults included, so that a snapshot means the same to every version.
impl From<&RateLimitConfig> for v1::RateLimit {
    fn from(config: &RateLimitConfig) -> Self {
        let RateLimitConfig {
            qps,
            burst: _,
            algorithm,
            window: _,
            max_wait: _,
            key,
            max_keys: _,
            shadow,
            headers,
        } = config;
        let only = |meant: bool, value: u64| meant.then_some(value);
        let windowed = *algorithm == LimitAlgorithm::SlidingWindow;
        let queues = *algorithm == LimitAlgorithm::LeakyBucket;
        Self {
            qps: qps.get(),
            burst: (!windowed).then(|| config.burst().get()),
            algorithm: v1::LimitAlgorithm::from(*algorithm).into(),
            window_ms: only(windowed, config.window().as_millis()),
            max_wait_ms: only(queues, config.max_wait().as_millis()),
            key: key.as_ref().map(LimitKey::to_string),
            max_keys: (!config.has_one_bucket()).then(|| config.max_keys()),
            shadow: *shadow,
            headers: v1::QuotaHeaders::from(*headers).into(),
        }
    }
}

impl TryFrom<v1::RateLimit> for RateLimitConfig {
    type Error = Fault;

    fn try_from(wire: v1::RateLimit) -> Result<Self, Fault> {
        let v1::RateLimit {
            qps,
            burst,
            algorithm: kind,
            window_ms,
            max_wait_ms,
            key,
            max_keys,
            shadow,
            headers,
        } = wire;
        Ok(Self {
            qps: positive("qps", qps)?,
            burst: burst.map(|burst| positive("burst", burst)).transpose()?,
            algorithm: algorithm(kind)?,
            window: window_ms.map(|window| millis("window", window)).transpose()?,
            max_wait: max_wait_ms.map(|wait| millis("max_wait", wait)).transpose()?,
            key: key.map(|key| parse("key", &key)).transpose()?,
            max_keys,
            shadow,
            headers: quota_headers(headers)?,
        })
    }
}

#[cfg(test)]
mod tests;
