//! What ends within a window of time, gathered without a lock; at its end one thread hands it to the [`Gradient`].

use super::gradient::{Gradient, Observed};
use crate::clock::Now;
use crate::grpc::GrpcStatus;
use crate::outcome::Outcome;
use crossbeam_utils::CachePadded;
use http::StatusCode;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// A window ends at the first request that ends after this, if there were [`SAMPLES`] by then (Envoy:
/// `concurrency_update_interval`).
const WINDOW: Duration = Duration::from_millis(100);
const SAMPLES: u32 = 25;

/// Longer ones weigh no more, so that the sum of a window fits.
const LONGEST: Duration = Duration::from_secs(60);
const COUNT_BITS: u32 = 20;

#[derive(Debug)]
pub(super) struct Sampler {
    /// Microseconds of latency in all, and below them 20 bits of how many requests that were.
    latencies: CachePadded<AtomicU64>,
    overloads: AtomicU32,
    peak: AtomicU32,
    /// When the window ends, in nanoseconds.
    ends: AtomicU64,
    gradient: Mutex<Gradient>,
}

/// What the end of a request says about how busy the service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Latency,
    Overload,
    None,
}

impl Sign {
    /// A refusal is quick, and a fault may be; neither says how long the work takes. One that says "too busy", or no
    /// word at all, is the sign that there is too much of it.
    fn of(outcome: Option<Outcome>) -> Self {
        match outcome {
            Some(Outcome::Response(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)) => {
                Self::Overload
            }
            Some(Outcome::Call(GrpcStatus::Unavailable | GrpcStatus::ResourceExhausted)) => Self::Overload,
            Some(Outcome::Call(status)) if !status.is_failure() => Self::Latency,
            Some(Outcome::Timeout | Outcome::RefusedStream) => Self::Overload,
            Some(Outcome::Response(status)) if !status.is_server_error() => Self::Latency,
            Some(Outcome::Response(_) | Outcome::Call(_) | Outcome::ConnectFailure | Outcome::Reset)
            | None => Self::None,
        }
    }
}

impl Sampler {
    pub(super) fn new(gradient: Gradient) -> Self {
        Self {
            latencies: CachePadded::default(),
            overloads: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            ends: AtomicU64::new(0),
            gradient: Mutex::new(gradient),
        }
    }

    /// Counts a request; a new limit when that ends a window.
    pub(super) fn record(
        &self,
        latency: Duration,
        in_flight: u32,
        now: Now,
        outcome: Option<Outcome>,
    ) -> Option<u32> {
        match Sign::of(outcome) {
            Sign::None => return None,
            Sign::Overload => {
                self.overloads.fetch_add(1, Ordering::Relaxed);
            }
            Sign::Latency => {
                let micros = latency.min(LONGEST).as_micros() as u64;
                self.latencies.fetch_add(micros << COUNT_BITS | 1, Ordering::Relaxed);
            }
        }
        if self.peak.load(Ordering::Relaxed) < in_flight {
            self.peak.fetch_max(in_flight, Ordering::Relaxed);
        }
        if now.as_nanos() < self.ends.load(Ordering::Relaxed) { None } else { self.end_window(now) }
    }

    /// One thread does it, and the others go on.
    #[cold]
    fn end_window(&self, now: Now) -> Option<u32> {
        let mut gradient = self.gradient.try_lock()?;
        let enough = self.count() >= SAMPLES && now.as_nanos() >= self.ends.load(Ordering::Relaxed);
        if !enough {
            return None;
        }
        let observed = self.take();
        // no shorter than a request takes, so that what ends in the next one began in this one
        let next = now.after(WINDOW.max(observed.latency.unwrap_or_default()));
        self.ends.store(next.as_nanos(), Ordering::Relaxed);
        Some(gradient.update(&observed, now))
    }

    fn count(&self) -> u32 {
        let latencies = self.latencies.load(Ordering::Relaxed) as u32 & ((1 << COUNT_BITS) - 1);
        latencies + self.overloads.load(Ordering::Relaxed)
    }

    fn take(&self) -> Observed {
        let latencies = self.latencies.swap(0, Ordering::Relaxed);
        let count = latencies & ((1 << COUNT_BITS) - 1);
        Observed {
            latency: (latencies >> COUNT_BITS).checked_div(count).map(Duration::from_micros),
            count: count as u32,
            overloads: self.overloads.swap(0, Ordering::Relaxed),
            peak: self.peak.swap(0, Ordering::Relaxed),
        }
    }

    pub(super) fn baseline(&self) -> Option<Duration> {
        self.gradient.lock().baseline()
    }
}
