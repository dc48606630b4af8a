//! What one worker remembers of the requests that ended last, for whoever asks what became of one.
//!
//! Slots of a fixed number are filled again and again: when all have been used once, remembering allocates nothing. What
//! failed has slots of its own, so that it is still there when everything else has been overwritten a hundred times.

mod slot;

#[cfg(test)]
mod tests;

use super::Exchanged;
use proto::v1;
use slot::Slot;
use std::time::Duration;

/// Requests that a target answered, and well: so few that what is written stays in the processor's cache.
const SERVED: usize = 512;
/// Requests that the gateway refused because of what they are.
const REFUSED: usize = 1024;
/// Requests that failed, were broken off, were tried again, or took long.
const TROUBLED: usize = 2048;

/// What takes longer is worth to be remembered for longer.
const LONG: Duration = Duration::from_secs(1);

/// The newest of each kind.
pub(crate) struct Recent {
    served: Ring,
    refused: Ring,
    troubled: Ring,
}

struct Ring {
    slots: Vec<Slot>,
    most: usize,
    /// The slot that is written next, once all are in use.
    next: usize,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { served: Ring::new(SERVED), refused: Ring::new(REFUSED), troubled: Ring::new(TROUBLED) }
    }

    pub(crate) fn remember(&mut self, of: &Exchanged<'_>) {
        self.ring_for(of).slot().fill(of);
    }

    fn ring_for(&mut self, of: &Exchanged<'_>) -> &mut Ring {
        let broken_off = of.reason.is_some() && !of.local;
        if of.status >= 500 || broken_off || of.tries.len() > 1 || of.duration >= LONG {
            &mut self.troubled
        } else if of.local && of.status >= 400 {
            &mut self.refused
        } else {
            &mut self.served
        }
    }

    /// Every remembered request with this id.
    pub(crate) fn recall(&self, request_id: &str) -> v1::Recollection {
        let named = |slot: &&Slot| slot.request_id() == request_id.as_bytes();
        v1::Recollection {
            requests: self.slots().filter(named).map(Slot::told).collect(),
            remembered: self.slots().count() as u64,
            oldest_ms: self.slots().map(Slot::began_ms).min().unwrap_or(0),
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        [&self.served, &self.refused, &self.troubled].into_iter().flat_map(|ring| &ring.slots)
    }
}

impl Ring {
    fn new(most: usize) -> Self {
        Self { slots: Vec::new(), most, next: 0 }
    }

    /// A new slot, or the one that was filled before all others.
    fn slot(&mut self) -> &mut Slot {
        let at = self.next;
        self.next = (at + 1) % self.most;
        if at == self.slots.len() {
            self.slots.push(Slot::default());
        }
        &mut self.slots[at]
    }
}

/// A request for whoever watches them end.
pub(crate) fn told(of: &Exchanged<'_>) -> v1::PastRequest {
    let mut slot = Slot::default();
    slot.fill(of);
    slot.told()
}

/// What workers remember, put together.
pub(crate) fn merged(of_workers: impl IntoIterator<Item = v1::Recollection>) -> v1::Recollection {
    let mut all = v1::Recollection::default();
    for v1::Recollection { requests, remembered, oldest_ms } in of_workers {
        all.requests.extend(requests);
        all.remembered += remembered;
        let known = [all.oldest_ms, oldest_ms].into_iter().filter(|ms| *ms > 0);
        all.oldest_ms = known.min().unwrap_or(0);
    }
    all.requests.sort_by_key(|request| std::cmp::Reverse(request.began_us));
    all
}
