//! How many requests may be in flight at once: a limit, a short queue in front of it, and a limit that finds itself.
//!
//! A slot that becomes free goes straight to the first that waits, whichever thread that is on; a newcomer cannot
//! overtake it. Who stops waiting leaves the queue, and a slot it was just given goes to the next. There is no timer
//! here: whoever waits drops the [`Wait`] when its time is over.
//!
//! Without anybody waiting, a slot costs one compare-and-swap to take and one to give back. The queue has a lock, which
//! only those take who wait, or end while others wait.

mod gradient;
mod load;
mod queue;
mod sampler;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use crate::clock::Now;
use crate::filter::concurrency::ConcurrencyConfig;
use crate::outcome::Outcome;
use crossbeam_utils::CachePadded;
use gradient::Gradient;
use load::Load;
use parking_lot::Mutex;
use queue::{Queue, Returned, Ticket};
use sampler::Sampler;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A limit of requests in flight, shared by all workers.
#[derive(Debug)]
pub struct Concurrency {
    load: CachePadded<AtomicU64>,
    /// What holds now: `max`, or less with `adaptive`.
    limit: AtomicU32,
    max: u32,
    queue_length: u32,
    queue_timeout: Duration,
    adaptive: Option<Sampler>,
    queue: Mutex<Queue>,
    waited: AtomicU64,
    refused: AtomicU64,
}

/// A request in flight; dropped it makes room for the next.
pub struct Slot {
    of: Arc<Concurrency>,
}

/// A request that waits for a slot; dropped it leaves the queue.
#[must_use = "a wait does nothing unless it is awaited"]
pub struct Wait {
    place: Option<Place>,
}

enum Place {
    /// A slot became free before there was a need to wait.
    Free(Slot),
    Queued(Arc<Concurrency>, Ticket),
}

/// A limit as its operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConcurrencyView {
    /// Requests that may be in flight now.
    pub limit: u32,
    /// Requests that may ever be in flight.
    pub max: u32,
    /// Requests in flight; more than `limit` when that has just been lowered.
    pub in_flight: u32,
    /// Requests that wait.
    pub queued: u32,
    /// Requests that may wait.
    pub queue: u32,
    /// Requests that had to wait.
    pub waited: u64,
    /// Requests refused: the queue was full, or they waited too long.
    pub refused: u64,
    /// Whether `limit` follows the latency.
    pub adaptive: bool,
    /// The latency without load that an adaptive limit goes by; `None` before it is known.
    pub baseline: Option<Duration>,
}

impl Concurrency {
    /// A limit with nothing in flight.
    pub fn new(config: &ConcurrencyConfig) -> Arc<Self> {
        let ConcurrencyConfig { max, queue, queue_timeout, adaptive, scope: _ } = config;
        let max = max.get();
        Arc::new(Self {
            load: CachePadded::default(),
            limit: AtomicU32::new(if *adaptive { Gradient::first_limit(max) } else { max }),
            max,
            queue_length: *queue,
            queue_timeout: queue_timeout.get(),
            adaptive: adaptive.then(|| Sampler::new(Gradient::new(max))),
            queue: Mutex::default(),
            waited: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// A slot if one is free and nobody waits for it.
    pub fn try_acquire(self: &Arc<Self>) -> Option<Slot> {
        let mut load = self.load();
        while let Some(entered) = load.entered(self.limit()) {
            match self.replace(load, entered) {
                Ok(()) => return Some(Slot { of: Arc::clone(self) }),
                Err(changed) => load = changed,
            }
        }
        None
    }

    /// Whether [`Concurrency::try_acquire`] would give a slot now: for choosing a target.
    pub fn has_place(&self) -> bool {
        self.load().entered(self.limit()).is_some()
    }

    /// A place in the queue; `None` when the queue is full, which is counted as a refusal.
    pub fn wait(self: &Arc<Self>) -> Option<Wait> {
        let mut queue = self.queue.lock();
        let mut load = self.load();
        loop {
            let (next, free) = match load.entered(self.limit()) {
                Some(entered) => (entered, true),
                None if load.queued() >= self.queue_length => {
                    self.count_refused();
                    return None;
                }
                None => (load.lined_up(), false),
            };
            match self.replace(load, next) {
                Ok(()) if free => {
                    let slot = Slot { of: Arc::clone(self) };
                    return Some(Wait { place: Some(Place::Free(slot)) });
                }
                Ok(()) => {
                    self.waited.fetch_add(1, Ordering::Relaxed);
                    return Some(Wait { place: Some(Place::Queued(Arc::clone(self), queue.push())) });
                }
                Err(changed) => load = changed,
            }
        }
    }

    /// How long a request may wait.
    pub fn queue_timeout(&self) -> Duration {
        self.queue_timeout
    }

    /// Notes that a request waited for as long as it may, and was refused.
    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// As an operator sees it.
    pub fn view(&self) -> ConcurrencyView {
        let load = self.load();
        ConcurrencyView {
            limit: self.limit(),
            max: self.max,
            in_flight: load.in_flight(),
            queued: load.queued(),
            queue: self.queue_length,
            waited: self.waited.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            adaptive: self.adaptive.is_some(),
            baseline: self.adaptive.as_ref().and_then(Sampler::baseline),
        }
    }

    fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    fn load(&self) -> Load {
        Load(self.load.load(Ordering::Acquire))
    }

    fn replace(&self, load: Load, by: Load) -> Result<(), Load> {
        let changed = self.load.compare_exchange_weak(load.0, by.0, Ordering::AcqRel, Ordering::Acquire);
        changed.map(|_| ()).map_err(Load)
    }

    fn release(&self) {
        let mut load = self.load();
        while load.queued() == 0 {
            match self.replace(load, load.left()) {
                Ok(()) => return,
                Err(changed) => load = changed,
            }
        }
        if let Some(waker) = self.hand_over() {
            waker.wake();
        }
    }

    /// The slot goes to the first in the queue, unless the limit has been lowered meanwhile.
    fn hand_over(&self) -> Option<Waker> {
        let mut queue = self.queue.lock();
        let mut load = self.load();
        loop {
            let stays = load.queued() > 0 && load.in_flight() <= self.limit();
            let next = if stays { load.gone_from_line() } else { load.left() };
            match self.replace(load, next) {
                Ok(()) if stays => return queue.grant(),
                Ok(()) => return None,
                Err(changed) => load = changed,
            }
        }
    }

    /// The limit is another one; if it was raised, some of those who wait need not wait any longer.
    fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
        while let Some(granted) = self.let_in(limit) {
            if let Some(waker) = granted {
                waker.wake();
            }
        }
    }

    /// Lets the first in the queue in: its waker, if it has one by now; `None` when there is no room or nobody waits.
    fn let_in(&self, limit: u32) -> Option<Option<Waker>> {
        if self.load().queued() == 0 {
            return None;
        }
        let mut queue = self.queue.lock();
        let mut load = self.load();
        loop {
            match self.replace(load, load.let_in(limit)?) {
                Ok(()) => return Some(queue.grant()),
                Err(changed) => load = changed,
            }
        }
    }

    fn give_back(&self, ticket: Ticket) {
        let mut queue = self.queue.lock();
        let returned = queue.give_back(ticket);
        if returned == Returned::Waiting {
            let mut load = self.load();
            while let Err(changed) = self.replace(load, load.gone_from_line()) {
                load = changed;
            }
        }
        drop(queue);
        if returned == Returned::Granted {
            self.release();
        }
    }
}

impl Slot {
    /// The request has ended: how long it took until the head of the response, and how, as far as that says something
    /// about the service. What an adaptive limit goes by.
    pub fn finished(self, latency: Duration, now: Now, outcome: Option<Outcome>) {
        let Some(sampler) = &self.of.adaptive else { return };
        let in_flight = self.of.load().in_flight();
        if let Some(limit) = sampler.record(latency, in_flight, now, outcome) {
            self.of.set_limit(limit);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.of.release();
    }
}

impl Future for Wait {
    type Output = Slot;

    /// # Panics
    /// When it is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Slot> {
        match self.place.take() {
            Some(Place::Free(slot)) => Poll::Ready(slot),
            Some(Place::Queued(of, ticket)) => {
                let granted = of.queue.lock().poll(ticket, cx);
                if granted {
                    return Poll::Ready(Slot { of });
                }
                self.place = Some(Place::Queued(of, ticket));
                Poll::Pending
            }
            None => panic!("a wait was polled after it was ready"),
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(Place::Queued(of, ticket)) = self.place.take() {
            of.give_back(ticket);
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").finish_non_exhaustive()
    }
}
