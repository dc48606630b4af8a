//! A target's health as threads share it: one load says that all is well; everything else is behind a lock.

use super::life::{Life, Recovery, Sentence};
use super::{HealthState, HealthView, Thresholds};
use crate::clock::Now;
use crate::config::health::InitialHealth;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const DRAINED: u32 = 1;
const DOWN: u32 = 2;
const EJECTED: u32 = 4;
const RECOVERING: u32 = 8;

/// Nothing will happen by itself.
const NEVER: u64 = u64::MAX;

/// What a pick needs to know about a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Standing {
    /// Takes requests.
    Full,
    /// Takes this part of its share.
    Share(f64),
    /// Unhealthy or ejected.
    Out,
    /// Takes none, whatever happens.
    Drained,
}

/// Written when something happens to a target, read by every pick.
#[derive(Debug)]
pub(crate) struct TargetHealth {
    /// Which of the four hold; 0 as long as all is well.
    gate: AtomicU32,
    /// When an ejection or a recovery ends.
    due: AtomicU64,
    /// When the recovery began.
    recovering_since: AtomicU64,
    /// Errors in a row; in the upper half, failed connections in a row.
    errors: AtomicU64,
    life: Mutex<Life>,
}

impl Default for TargetHealth {
    fn default() -> Self {
        Self {
            gate: AtomicU32::new(0),
            due: AtomicU64::new(NEVER),
            recovering_since: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            life: Mutex::default(),
        }
    }
}

impl TargetHealth {
    /// Whether it takes a request.
    pub(crate) fn standing(&self, now: Now) -> Standing {
        // pairs with `publish`: who sees the bit sees the times
        match self.gate.load(Ordering::Acquire) {
            0 => Standing::Full,
            _ => self.exceptional(now),
        }
    }

    #[cold]
    fn exceptional(&self, now: Now) -> Standing {
        if self.due.load(Ordering::Relaxed) <= now.as_nanos() {
            self.settle(now);
        }
        let gate = self.gate.load(Ordering::Acquire);
        if gate & DRAINED != 0 {
            Standing::Drained
        } else if gate & (DOWN | EJECTED) != 0 {
            Standing::Out
        } else if gate & RECOVERING != 0 {
            let from = Now::from_nanos(self.recovering_since.load(Ordering::Relaxed));
            let until = Now::from_nanos(self.due.load(Ordering::Relaxed));
            Standing::Share(Recovery { from, until }.share(now))
        } else {
            Standing::Full
        }
    }

    /// Does what is due. A pick never waits: who holds the lock does the same, or something newer.
    fn settle(&self, now: Now) {
        if let Some(mut life) = self.life.try_lock() {
            life.settle(now);
            self.publish(&life);
        }
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.gate.load(Ordering::Relaxed) & DRAINED != 0
    }

    pub(crate) fn is_ejected(&self, now: Now) -> bool {
        self.gate.load(Ordering::Acquire) & EJECTED != 0 && self.due.load(Ordering::Relaxed) > now.as_nanos()
    }

    pub(crate) fn drain(&self, drained: bool, now: Now) {
        self.change(now, |life| life.drain(drained, now));
    }

    pub(crate) fn expect_probes(&self, initial: Option<InitialHealth>, now: Now) {
        self.change(now, |life| life.expect_probes(initial, now));
    }

    pub(crate) fn probe(&self, result: Result<(), String>, thresholds: Thresholds, now: Now) {
        self.change(now, |life| life.probe(result, thresholds, now));
    }

    pub(crate) fn forget_ejections(&self, now: Now) {
        self.errors.store(0, Ordering::Relaxed);
        self.change(now, |life| life.forget_ejections(now));
    }

    /// Unless it is out already.
    pub(super) fn eject(&self, sentence: Sentence, now: Now) {
        self.errors.store(0, Ordering::Relaxed);
        self.change(now, |life| {
            if life.can_be_ejected() {
                life.eject(sentence, now);
            }
        });
    }

    pub(crate) fn state(&self, now: Now) -> HealthState {
        self.change(now, |life| life.state())
    }

    pub(crate) fn view(&self, now: Now) -> HealthView {
        self.change(now, |life| life.view(now))
    }

    fn change<T>(&self, now: Now, change: impl FnOnce(&mut Life) -> T) -> T {
        let mut life = self.life.lock();
        life.settle(now);
        let result = change(&mut life);
        self.publish(&life);
        result
    }

    /// With the lock held, so that the atomics follow the order of the changes.
    fn publish(&self, life: &Life) {
        let ejected = life.ejected_until();
        let recovery = life.recovery();
        let due = ejected.or(recovery.map(|recovery| recovery.until)).map_or(NEVER, Now::as_nanos);
        let bit = |holds: bool, bit: u32| if holds { bit } else { 0 };
        let gate = bit(life.is_drained(), DRAINED)
            | bit(life.is_down(), DOWN)
            | bit(ejected.is_some(), EJECTED)
            | bit(recovery.is_some(), RECOVERING);
        self.due.store(due, Ordering::Relaxed);
        self.recovering_since
            .store(recovery.map_or(0, |recovery| recovery.from.as_nanos()), Ordering::Relaxed);
        self.gate.store(gate, Ordering::Release);
    }

    /// An attempt went well.
    pub(super) fn count_success(&self) {
        // a store each time would have every worker fight for the line
        if self.errors.load(Ordering::Relaxed) != 0 {
            self.errors.store(0, Ordering::Relaxed);
        }
    }

    /// An attempt failed: how many have in a row, and how many of them to connect.
    pub(super) fn count_error(&self, connect: bool) -> Errors {
        let count = |before: u64| {
            let Errors { all, connect: connects } = Errors::unpack(before);
            Errors {
                all: all.saturating_add(1),
                connect: if connect { connects.saturating_add(1) } else { 0 },
            }
        };
        let before = self
            .errors
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| Some(count(before).pack()))
            .unwrap_or(0);
        count(before)
    }

    pub(super) fn forget_errors(&self) {
        self.errors.store(0, Ordering::Relaxed);
    }

    /// Whether errors matter: a target that is out already gets only the ends of attempts that began before.
    pub(super) fn is_out(&self) -> bool {
        self.gate.load(Ordering::Relaxed) & (DRAINED | DOWN | EJECTED) != 0
    }
}

/// Of one target, in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Errors {
    pub(super) all: u32,
    pub(super) connect: u32,
}

impl Errors {
    fn unpack(packed: u64) -> Self {
        Self { all: packed as u32, connect: (packed >> 32) as u32 }
    }

    fn pack(self) -> u64 {
        u64::from(self.all) | u64::from(self.connect) << 32
    }
}
