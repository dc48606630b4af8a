//! The buckets of a limit with a key: found by 64 bits of hash, bounded in number, and forgotten where it loses least.
//!
//! A table has 16 shards or more, each behind a lock that is held for some tens of nanoseconds. A shard is a
//! set-associative cache: a key belongs to one set of eight ways. A full set gives the way of a bucket that is as good as
//! new; if there is none, the shard doubles; if it has its full size, the bucket of which least is used goes, and begins
//! anew should its key come back. So a flood of new keys, of which each has used one request, displaces its own kind
//! before the key that is at its limit. Memory grows with the keys in use, up to `max_keys` × (8 bytes + the state of a
//! key).

use super::Meter;
use crate::clock::Now;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::ops::Range;
use std::time::Duration;

const WAYS: usize = 8;
/// Sets that are looked at under one lock when the table is viewed: about a microsecond.
const VIEWED: usize = 8;
const MIN_SHARDS: u32 = 16;
/// Words of state in a shard, so that those who wait while it doubles wait for some ten thousand steps at most.
const MAX_WORDS: usize = 1 << 14;

pub(super) struct Table<M> {
    meter: M,
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    /// Sets of a shard when it is full-grown, a power of two.
    most: usize,
}

/// The hashes of the keys in a set, one cache line; 0 is a free way.
#[derive(Debug, Clone, Default)]
#[repr(align(64))]
struct Set([u64; WAYS]);

#[derive(Debug, Default)]
struct Shard {
    /// None before the first key, else a power of two.
    sets: Vec<Set>,
    /// Of every way in turn.
    states: Vec<u64>,
    keys: u64,
    evicted: u64,
}

impl<M: Meter> Table<M> {
    /// A table of at most so many keys, at least a thousand.
    pub(super) fn new(meter: M, max_keys: u32) -> Self {
        let sets = max_keys / WAYS as u32;
        let largest = (MAX_WORDS / (WAYS * meter.words())).max(1) as u32;
        // a power of two, so that a set that is divided in two always fits
        let most = 1 << (sets / MIN_SHARDS).clamp(1, largest).ilog2();
        let shards = (0..(sets / most).max(1)).map(|_| CachePadded::default()).collect();
        Self { meter, shards, most: most as usize }
    }

    /// As [`Meter::admit`], for the bucket of a key.
    pub(super) fn admit(&self, key: u64, now: Now) -> Result<Duration, Duration> {
        let key = key.max(1);
        let mut shard = self.shard(key).lock();
        let way = match shard.find(key) {
            Some(way) => way,
            None => shard.insert(key, &self.meter, self.most, now),
        };
        self.meter.admit(shard.state_mut(way, &self.meter), now)
    }

    pub(super) fn meter(&self) -> &M {
        &self.meter
    }

    /// A copy of a key's state; as new for a key that is not there.
    pub(super) fn state_of(&self, key: u64) -> Box<[u64]> {
        let key = key.max(1);
        let shard = self.shard(key).lock();
        match shard.find(key) {
            Some(way) => shard.state(way, &self.meter).into(),
            None => vec![0; self.meter.words()].into(),
        }
    }

    /// By the upper half of the hash; the set is found by the lower.
    fn shard(&self, key: u64) -> &Mutex<Shard> {
        &self.shards[(((key >> 32) * self.shards.len() as u64) >> 32) as usize]
    }

    /// What is left in the emptiest bucket, the number of keys, and of those forgotten while in use.
    pub(super) fn view(&self, now: Now) -> (f64, u64, u64) {
        let (mut used, mut keys, mut evicted) = (0, 0, 0);
        for shard in &self.shards {
            for from in (0..self.most).step_by(VIEWED) {
                let shard = shard.lock();
                if from == 0 {
                    keys += shard.keys;
                    evicted += shard.evicted;
                }
                if from >= shard.sets.len() {
                    break;
                }
                let ways = from * WAYS..(from + VIEWED).min(shard.sets.len()) * WAYS;
                let most = ways.map(|way| self.meter.used(shard.state(way, &self.meter), now)).max();
                used = used.max(most.unwrap_or(0));
            }
        }
        (self.meter.left(used), keys, evicted)
    }
}

impl Shard {
    /// The ways of the set that a key belongs to.
    fn ways(&self, key: u64) -> Range<usize> {
        let set = key as usize & (self.sets.len() - 1);
        set * WAYS..(set + 1) * WAYS
    }

    fn find(&self, key: u64) -> Option<usize> {
        if self.sets.is_empty() {
            return None;
        }
        let first = self.ways(key).start;
        self.sets[first / WAYS].0.iter().position(|one| *one == key).map(|way| first + way)
    }

    fn state(&self, way: usize, meter: &impl Meter) -> &[u64] {
        &self.states[way * meter.words()..(way + 1) * meter.words()]
    }

    fn state_mut(&mut self, way: usize, meter: &impl Meter) -> &mut [u64] {
        &mut self.states[way * meter.words()..(way + 1) * meter.words()]
    }

    fn tag(&mut self, way: usize) -> &mut u64 {
        &mut self.sets[way / WAYS].0[way % WAYS]
    }

    /// A way for a key that has none, with a state as new.
    fn insert(&mut self, key: u64, meter: &impl Meter, most: usize, now: Now) -> usize {
        if self.sets.is_empty() {
            self.resize(1, meter);
        }
        let (mut way, mut used) = self.least_used(key, meter, now);
        while used > 0 && self.sets.len() < most {
            self.grow(meter, now);
            (way, used) = self.least_used(key, meter, now);
        }
        let tag = self.tag(way);
        let was_free = std::mem::replace(tag, key) == 0;
        self.keys += u64::from(was_free);
        self.evicted += u64::from(used > 0);
        self.state_mut(way, meter).fill(0);
        way
    }

    /// The state of a free way is as new, so that it comes before all that are in use.
    fn least_used(&self, key: u64, meter: &impl Meter, now: Now) -> (usize, u64) {
        let ways = self.ways(key);
        let first = ways.start;
        ways.map(|way| (way, meter.used(self.state(way, meter), now)))
            .min_by_key(|(_, used)| *used)
            .unwrap_or((first, 0))
    }

    fn resize(&mut self, sets: usize, meter: &impl Meter) {
        self.sets = vec![Set::default(); sets];
        self.states = vec![0; sets * WAYS * meter.words()];
        self.keys = 0;
    }

    /// Twice the sets, each divided in two by another bit of the hash; buckets that are as good as new stay behind.
    fn grow(&mut self, meter: &impl Meter, now: Now) {
        let sets = self.sets.len();
        let old = std::mem::take(self);
        self.evicted = old.evicted;
        self.resize(sets * 2, meter);
        let keys = old.sets.iter().flat_map(|set| set.0);
        for (key, state) in keys.zip(old.states.chunks_exact(meter.words())) {
            if key != 0 && meter.used(state, now) > 0 {
                let ways = self.ways(key);
                let free = ways.clone().find(|way| *self.tag(*way) == 0).unwrap_or(ways.start);
                *self.tag(free) = key;
                self.state_mut(free, meter).copy_from_slice(state);
                self.keys += 1;
            }
        }
    }
}
