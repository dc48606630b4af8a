//! `rate_limit` at run time: one limit, shared by all workers, decides about a request in some tens of nanoseconds.
//!
//! | algorithm | is | state of a key |
//! |---|---|---|
//! | `token_bucket` | the generic cell rate algorithm (ITU-T I.371, virtual scheduling): a token bucket without a refill | 8 bytes |
//! | `leaky_bucket` | the same algorithm, asked when a request may leave instead of whether | 8 bytes |
//! | `sliding_window` | a log of passes in at most 100 groups | up to 816 bytes |
//!
//! A limit with one bucket is an atomic word that is changed by compare-and-swap, or only read when the answer is no
//! (`sliding_window`: a lock, and a word to read). A limit with a key keeps its buckets in a table of bounded size.

mod counters;
mod gcra;
mod hash;
mod sliding_window;
mod table;

pub use hash::{client_ip_hash, key_hash};

use crate::clock::Now;
use crate::filter::rate_limit::{LimitAlgorithm, LimitKey, RateLimitConfig};
use crate::rejection::Limited;
use counters::Counters;
use gcra::{Cell, Gcra};
use sliding_window::{SlidingWindow, Window};
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;
use table::Table;

/// One limit and all its buckets.
pub struct RateLimit {
    config: RateLimitConfig,
    key: LimitKey,
    buckets: Buckets,
    /// What a refused client is told, but for when to come back.
    quota: Limited,
    counters: Counters,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It goes on, though it is over the limit: shadow mode.
    WouldLimit,
    /// It goes on after this time; its place is taken whether it waits or not.
    Wait(Duration),
    /// It is refused.
    Limit(Limited),
}

/// What a limit would say to a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preview {
    /// What becomes of the request.
    pub verdict: Verdict,
    /// Requests that are left of the quota of its key.
    pub left: f64,
}

/// A limit as the operator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct LimiterView {
    /// As in the config.
    pub algorithm: &'static str,
    /// As in the config.
    pub key: String,
    /// Requests a second in the long run.
    pub qps: u32,
    /// Requests that may come at once; of a leaky bucket, that may wait at once.
    pub burst: u32,
    /// Nothing is refused, only counted.
    pub shadow: bool,
    /// What is left of `burst`; with several buckets, in the emptiest.
    pub level: f64,
    /// Keys remembered, those that are no longer in use included; 1 without a key.
    pub keys: u64,
    /// Keys forgotten for want of room although something of their quota was used.
    pub evicted: u64,
    /// Requests within the limit that passed at once.
    pub passed: u64,
    /// Requests within the limit that had to wait; in shadow mode, would have had to.
    pub delayed: u64,
    /// Requests refused.
    pub limited: u64,
    /// Requests that shadow mode let pass.
    pub would_limit: u64,
}

/// The arithmetic of an algorithm over the words that it keeps for a key. All words zero: a key never seen.
trait Meter {
    /// How many words.
    fn words(&self) -> usize;

    /// How long the request has to wait; or, nothing being changed, after which time one would pass again.
    fn admit(&self, state: &mut [u64], now: Now) -> Result<Duration, Duration>;

    /// How much of its quota a key has used, in a measure that is only comparable to itself; 0: to forget the key
    /// loses nothing.
    fn used(&self, state: &[u64], now: Now) -> u64;

    /// What `used` leaves of the quota, in requests.
    fn left(&self, used: u64) -> f64;
}

enum Buckets {
    Cell(Gcra, Cell),
    Window(SlidingWindow, Window),
    Cells(Table<Gcra>),
    Windows(Table<SlidingWindow>),
}

impl RateLimit {
    /// The limit of one route.
    pub fn new(config: &RateLimitConfig) -> Self {
        Self::with_default_key(config, LimitKey::Route)
    }

    /// A limit of `global_filters`, which counts the requests of all routes.
    pub fn global(config: &RateLimitConfig) -> Self {
        Self::with_default_key(config, LimitKey::Global)
    }

    fn with_default_key(config: &RateLimitConfig, default: LimitKey) -> Self {
        let key = config.key.clone().unwrap_or(default);
        let keys = (!key.is_one()).then(|| config.max_keys());
        let cells = |meter| match keys {
            None => Buckets::Cell(meter, Cell::default()),
            Some(keys) => Buckets::Cells(Table::new(meter, keys)),
        };
        let buckets = match config.algorithm {
            LimitAlgorithm::TokenBucket => cells(Gcra::token_bucket(config.qps, config.burst())),
            LimitAlgorithm::LeakyBucket => {
                cells(Gcra::leaky_bucket(config.qps, config.burst(), config.max_wait().get()))
            }
            LimitAlgorithm::SlidingWindow => {
                let meter = SlidingWindow::new(quota(config), config.window().get());
                match keys {
                    None => Buckets::Window(meter, Window::new(&meter)),
                    Some(keys) => Buckets::Windows(Table::new(meter, keys)),
                }
            }
        };
        Self { key, buckets, quota: told(config), counters: Counters::default(), config: config.clone() }
    }

    /// What it was built from.
    pub fn config(&self) -> &RateLimitConfig {
        &self.config
    }

    /// What has a bucket of its own; [`LimitKey::bucket`] finds that of a request.
    pub fn key(&self) -> &LimitKey {
        &self.key
    }

    /// Whether it only counts.
    pub fn shadow(&self) -> bool {
        self.config.shadow
    }

    /// Counts a request and says what becomes of it; in shadow mode it passes. `key` is what [`LimitKey::bucket`]
    /// gives.
    pub fn decide(&self, key: u64, now: Now) -> Verdict {
        let admitted = match &self.buckets {
            Buckets::Cell(meter, cell) => cell.admit(meter, now),
            Buckets::Window(meter, window) => window.admit(meter, now),
            Buckets::Cells(table) => table.admit(key, now),
            Buckets::Windows(table) => table.admit(key, now),
        };
        let shadow = self.config.shadow;
        let counts = self.counters.of_this_thread();
        match admitted {
            Ok(Duration::ZERO) => {
                counts.passed();
                Verdict::Pass
            }
            Ok(wait) => {
                counts.delayed();
                if shadow { Verdict::Pass } else { Verdict::Wait(wait) }
            }
            Err(_) if shadow => {
                counts.would_limit();
                Verdict::WouldLimit
            }
            Err(retry_after) => {
                counts.limited();
                Verdict::Limit(Limited { retry_after, ..self.quota })
            }
        }
    }

    /// What [`RateLimit::decide`] would say; nothing is taken and nothing counted.
    pub fn preview(&self, key: u64, now: Now) -> Preview {
        let (admitted, left) = match &self.buckets {
            Buckets::Cell(meter, cell) => preview(meter, &mut cell.state(), now),
            Buckets::Window(meter, window) => preview(meter, &mut window.state(), now),
            Buckets::Cells(table) => preview(table.meter(), &mut table.state_of(key), now),
            Buckets::Windows(table) => preview(table.meter(), &mut table.state_of(key), now),
        };
        let shadow = self.config.shadow;
        let verdict = match admitted {
            Ok(wait) if shadow || wait.is_zero() => Verdict::Pass,
            Ok(wait) => Verdict::Wait(wait),
            Err(_) if shadow => Verdict::WouldLimit,
            Err(retry_after) => Verdict::Limit(Limited { retry_after, ..self.quota }),
        };
        Preview { verdict, left }
    }

    /// How full it is and what it has done. With a key it looks at every bucket, a few at a time.
    pub fn view(&self, now: Now) -> LimiterView {
        let (level, keys, evicted) = match &self.buckets {
            Buckets::Cell(meter, cell) => (cell.left(meter, now), 1, 0),
            Buckets::Window(meter, window) => (window.left(meter, now), 1, 0),
            Buckets::Cells(table) => table.view(now),
            Buckets::Windows(table) => table.view(now),
        };
        let counts = self.counters.sum();
        LimiterView {
            algorithm: self.config.algorithm.name(),
            key: self.key.to_string(),
            qps: self.config.qps.get(),
            burst: quota(&self.config).get(),
            shadow: self.shadow(),
            level,
            keys,
            evicted,
            passed: counts.passed,
            delayed: counts.delayed,
            limited: counts.limited,
            would_limit: counts.would_limit,
        }
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("config", &self.config)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What a meter says to a request, and what is left before it, by a state that nobody else has.
fn preview(meter: &impl Meter, state: &mut [u64], now: Now) -> (Result<Duration, Duration>, f64) {
    let left = meter.left(meter.used(state, now));
    (meter.admit(state, now), left)
}

/// Requests that may come at once, or wait at once. A window that [`RateLimitConfig`] does not allow counts as one
/// request.
fn quota(config: &RateLimitConfig) -> NonZeroU32 {
    match config.algorithm {
        LimitAlgorithm::TokenBucket | LimitAlgorithm::LeakyBucket => config.burst(),
        LimitAlgorithm::SlidingWindow => config.window_quota().unwrap_or(NonZeroU32::MIN),
    }
}

/// Headers count whole seconds, so only a window that does is told as it is; else the rate of a second.
fn told(config: &RateLimitConfig) -> Limited {
    let window = config.window().get();
    let windowed = config.algorithm == LimitAlgorithm::SlidingWindow && window.subsec_nanos() == 0;
    let (quota, window) =
        if windowed { (quota(config), window) } else { (config.qps, Duration::from_secs(1)) };
    Limited { retry_after: Duration::ZERO, quota: quota.get(), window, style: config.headers }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
