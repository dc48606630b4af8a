//! The generic cell rate algorithm (ITU-T I.371, virtual scheduling): `token_bucket` and `leaky_bucket`.
//!
//! All that is kept is the theoretical arrival time (TAT), when the next request would come if all came at the given
//! rate. A request passes if the TAT lies at most a tolerance ahead of it, and moves it on by one request. With the
//! tolerance of `burst` - 1 requests this is the token bucket: the bucket holds `burst` less the requests that the TAT
//! lies ahead. As a leaky bucket, a request that comes ahead of the TAT waits for it.
//!
//! Time is counted in requests, as a fixed-point number: the next request is exactly one further, so that no rounding
//! adds up, however the rate divides a second. There are 31 to 32 bits for what comes in a second, so a unit is less
//! than half a nanosecond, and the 64 bits last for 136 years.

use super::Meter;
use crate::clock::{Now, nanos};
use crossbeam_utils::CachePadded;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Position of the binary point in [`Gcra::scale`].
const SCALE_BITS: u32 = 61;
const NANOS_PER_SEC: u128 = 1_000_000_000;

/// A rate and how far requests may run ahead of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gcra {
    /// Units in a nanosecond.
    scale: u64,
    /// Units in a second.
    per_second: u64,
    /// Units in a request.
    one: u64,
    /// How far the TAT may lie ahead, in units.
    tolerance: u64,
    burst: u32,
    /// Whether requests wait for the TAT.
    shapes: bool,
}

impl Gcra {
    pub(super) fn token_bucket(qps: NonZeroU32, burst: NonZeroU32) -> Self {
        let rate = Self::rate(qps, burst);
        Self { tolerance: u64::from(burst.get() - 1) * rate.one, ..rate }
    }

    /// A request that passes at once is not in the queue, so there may be `burst` behind it.
    pub(super) fn leaky_bucket(qps: NonZeroU32, burst: NonZeroU32, max_wait: Duration) -> Self {
        let rate = Self::rate(qps, burst);
        let queue = u64::from(burst.get()) * rate.one;
        Self { tolerance: queue.min(rate.units(nanos(max_wait))), shapes: true, ..rate }
    }

    fn rate(qps: NonZeroU32, burst: NonZeroU32) -> Self {
        let shift = qps.leading_zeros();
        let per_second = u64::from(qps.get()) << shift;
        // rounded up: a whole number of units in some time must not become one less
        let scale = (u128::from(per_second) << SCALE_BITS).div_ceil(NANOS_PER_SEC);
        Self {
            scale: saturated(scale),
            per_second,
            one: 1 << shift,
            tolerance: 0,
            burst: burst.get(),
            shapes: false,
        }
    }

    fn units(&self, nanos: u64) -> u64 {
        saturated((u128::from(nanos) * u128::from(self.scale)) >> SCALE_BITS)
    }

    /// The first nanosecond at which so many units have passed.
    fn duration(&self, units: u64) -> Duration {
        let nanos = (u128::from(units) * NANOS_PER_SEC).div_ceil(u128::from(self.per_second));
        Duration::from_nanos(saturated(nanos))
    }

    /// The new TAT and how far the old one lay ahead; or how much too far that is.
    fn arrive(&self, tat: u64, now: u64) -> Result<(u64, u64), u64> {
        let ahead = tat.saturating_sub(now);
        match ahead.checked_sub(self.tolerance) {
            None | Some(0) => Ok((tat.max(now).saturating_add(self.one), ahead)),
            Some(excess) => Err(excess),
        }
    }

    fn wait(&self, ahead: u64) -> Duration {
        if self.shapes && ahead > 0 { self.duration(ahead) } else { Duration::ZERO }
    }
}

fn saturated(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Of a key only its TAT is kept; that of a new one has passed.
impl Meter for Gcra {
    fn words(&self) -> usize {
        1
    }

    fn admit(&self, state: &mut [u64], now: Now) -> Result<Duration, Duration> {
        let (tat, ahead) =
            self.arrive(state[0], self.units(now.as_nanos())).map_err(|excess| self.duration(excess))?;
        state[0] = tat;
        Ok(self.wait(ahead))
    }

    fn used(&self, state: &[u64], now: Now) -> u64 {
        state[0].saturating_sub(self.units(now.as_nanos()))
    }

    /// The requests that would pass now.
    fn left(&self, used: u64) -> f64 {
        let room = (self.tolerance + self.one).saturating_sub(used);
        (room as f64 / self.one as f64).min(f64::from(self.burst))
    }
}

/// One bucket: its TAT.
///
/// Nothing else depends on the word, so relaxed ordering is enough: all changes of one atomic have one order.
#[derive(Debug, Default)]
pub(super) struct Cell(CachePadded<AtomicU64>);

impl Cell {
    /// As [`Meter::admit`]. A refusal writes nothing, so that those who are refused do not slow down those who pass.
    pub(super) fn admit(&self, meter: &Gcra, now: Now) -> Result<Duration, Duration> {
        let now = meter.units(now.as_nanos());
        let mut tat = self.0.load(Ordering::Relaxed);
        loop {
            let (next, ahead) = meter.arrive(tat, now).map_err(|excess| meter.duration(excess))?;
            match self.0.compare_exchange_weak(tat, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(meter.wait(ahead)),
                Err(changed) => tat = changed,
            }
        }
    }

    /// What [`Meter`] calls a state.
    pub(super) fn state(&self) -> [u64; 1] {
        [self.0.load(Ordering::Relaxed)]
    }

    pub(super) fn left(&self, meter: &Gcra, now: Now) -> f64 {
        meter.left(meter.used(&self.state(), now))
    }
}
