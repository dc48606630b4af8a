//! Whether an attempt may be made, and at which target: breakers, health and limits have their say.

use super::Sending;
use crate::pool::Place;
use http::StatusCode;
use policy::breaker::{Begun, Breaker, Permit};
use policy::clock::Now;
use policy::concurrency::{Concurrency, Slot};
use policy::outcome::Outcome;
use policy::rejection::Rejection;
use policy::table::Scoped;
use policy::upstream::{NoPick, Upstream};
use std::sync::Arc;
use std::time::Duration;

/// The target of an attempt and the right to make it.
pub(super) struct Admission<'a> {
    pub(super) at: usize,
    permit: Option<Permit<'a>>,
    slot: Option<Slot>,
}

/// A call of which the response has begun: its trailers will say how it went.
pub(crate) struct Unjudged {
    upstream: Arc<Upstream>,
    at: usize,
    /// How long the head of the response took.
    latency: Duration,
    breaker: Option<(Arc<Breaker>, Begun)>,
}

impl Unjudged {
    /// Tells breaker and upstream.
    pub(crate) fn judge(self, outcome: Outcome, now: Now) {
        self.upstream.record(self.at, outcome, self.latency, now);
        if let Some((breaker, begun)) = self.breaker {
            breaker.ended(begun, outcome, now);
        }
    }
}

/// The targets that attempts were made at: a retry goes to another.
#[derive(Default)]
pub(super) struct Tried {
    positions: [u32; Tried::MOST],
    count: usize,
}

impl Tried {
    /// No config allows more attempts.
    const MOST: usize = 11;

    fn contains(&self, at: usize) -> bool {
        self.positions[..self.count].iter().any(|tried| *tried as usize == at)
    }

    fn add(&mut self, at: usize) {
        if let Some(free) = self.positions.get_mut(self.count) {
            *free = at as u32;
            self.count += 1;
        }
    }
}

impl<'a> Sending<'a> {
    /// The next attempt, once there is room for it.
    pub(super) async fn admit(&mut self) -> Result<Admission<'a>, Rejection> {
        let (at, permit) = self.choose()?;
        let slot = match self.backend.concurrency.as_ref().map(|limit| &limit.running) {
            None => None,
            Some(Scoped::Route(limit)) => {
                if self.slot_of_route.is_none() {
                    self.slot_of_route = Some(self.slot(limit).await?);
                }
                None
            }
            Some(Scoped::Targets(limits)) => Some(self.slot(&limits[at]).await?),
        };
        self.tried.add(at);
        Ok(Admission { at, permit, slot })
    }

    /// A target that was not tried before, if there is one, and the permit of the breaker that covers it.
    fn choose(&self) -> Result<(usize, Option<Permit<'a>>), Rejection> {
        let now = self.now();
        match self.backend.breaker.as_ref().map(|breaker| &breaker.running) {
            None => Ok((self.pick(now, |_| true)?, None)),
            Some(Scoped::Route(breaker)) => {
                let permit = breaker.acquire(now).map_err(|refused| open(refused.retry_after))?;
                Ok((self.pick(now, |_| true)?, Some(permit)))
            }
            Some(Scoped::Targets(breakers)) => self.choose_by_breaker(breakers, now),
        }
    }

    fn choose_by_breaker(
        &self,
        breakers: &'a [Arc<Breaker>],
        now: Now,
    ) -> Result<(usize, Option<Permit<'a>>), Rejection> {
        // another thread may take a half-open breaker's last permit between the choice and the permit
        for _ in 0..=breakers.len() {
            let at = match self.pick(now, |at| breakers[at].admits(now)) {
                Err(Rejection::CircuitOpen { .. }) => break,
                picked => picked?,
            };
            if let Ok(permit) = breakers[at].acquire(now) {
                return Ok((at, Some(permit)));
            }
        }
        let refusals = breakers.iter().filter_map(|breaker| breaker.acquire(now).err());
        Err(open(refusals.map(|refused| refused.retry_after).min().unwrap_or_default()))
    }

    /// A usable target that `admits` lets through, not tried before and with a place free; failing that, one where
    /// the request has to wait; failing that, one that was tried before.
    fn pick(&self, now: Now, admits: impl Fn(usize) -> bool) -> Result<usize, Rejection> {
        let upstream = &self.backend.upstream;
        let fresh = |at| !self.tried.contains(at) && admits(at);
        let limits = match self.backend.concurrency.as_ref().map(|limit| &limit.running) {
            Some(Scoped::Targets(limits)) => &limits[..],
            Some(Scoped::Route(_)) | None => &[],
        };
        let has_place = |at: usize| limits.get(at).is_none_or(|limit| limit.has_place());
        let mut picked = upstream.pick(self.key, now, |at| fresh(at) && has_place(at));
        if picked == Err(NoPick::NotAdmitted) && !limits.is_empty() {
            picked = upstream.pick(self.key, now, fresh);
        }
        if picked == Err(NoPick::NotAdmitted) && self.tried.count > 0 {
            picked = upstream.pick(self.key, now, &admits);
        }
        picked.map_err(|none| match none {
            NoPick::NoTarget => Rejection::NoTarget,
            NoPick::Unhealthy => Rejection::NoHealthyTarget,
            NoPick::NotAdmitted => open(Duration::ZERO),
        })
    }

    /// A place among the requests in flight, at once or after a short wait.
    async fn slot(&self, limit: &Arc<Concurrency>) -> Result<Slot, Rejection> {
        if let Some(slot) = limit.try_acquire() {
            return Ok(slot);
        }
        let wait = limit.wait().ok_or(Rejection::ConcurrencyLimited)?;
        let slot = self.timing.patiently(limit.queue_timeout(), wait).await?;
        slot.ok_or_else(|| {
            limit.count_refused();
            Rejection::ConcurrencyLimited
        })
    }

    /// Tells breaker and upstream how an attempt ended; what is left is its place among the requests in flight.
    pub(super) fn judge(&mut self, admission: Admission<'a>, outcome: Option<Outcome>) -> Option<Place> {
        let Admission { at, permit, slot } = admission;
        let upstream = &self.backend.upstream;
        if let Some(outcome) = outcome.filter(|_| permit.is_some() || upstream.watches_outcomes()) {
            let now = self.now();
            if self.exchange.call.is_some() && outcome == Outcome::Response(StatusCode::OK) {
                self.unjudged = Some(Box::new(self.begun(at, permit, now)));
            } else {
                upstream.record(at, outcome, self.timing.elapsed(), now);
                match permit {
                    Some(permit) if outcome.is_failure() => permit.failed(now, outcome),
                    Some(permit) => permit.succeeded(now),
                    None => {}
                }
            }
        }
        slot.map(|slot| self.place(slot, outcome))
    }

    /// A call whose head says nothing of how it went.
    fn begun(&self, at: usize, permit: Option<Permit<'a>>, now: Now) -> Unjudged {
        let breaker = self.backend.breaker.as_ref().and_then(|breaker| breaker.running.covering(at));
        Unjudged {
            upstream: Arc::clone(&self.backend.upstream),
            at,
            latency: self.timing.elapsed(),
            breaker: breaker.cloned().zip(permit.map(|permit| permit.began(now))),
        }
    }

    pub(super) fn place(&self, slot: Slot, outcome: Option<Outcome>) -> Place {
        Place { slot, latency: self.timing.elapsed(), outcome }
    }
}

fn open(retry_after: Duration) -> Rejection {
    Rejection::CircuitOpen { retry_after }
}
