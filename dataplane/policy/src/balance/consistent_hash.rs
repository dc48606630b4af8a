//! `consistent_hash`: the same key goes to the same target, and few keys move when targets change (Maglev, NSDI 2016).
//!
//! Every target lists all slots of a table in an order of its own; in turn, each takes the first slot of its list that
//! is still free, until none is. A key's slot is its hash modulo the size of the table.

use super::eligible;
use super::hash::{hash_key, mix};

/// A prime, so that every step from slot to slot visits all of them. Always the same: a size that followed the number
/// of targets would move every key whenever it changed. Up to 655 targets get shares within 1 % of what is due; of more
/// than 65 537 some would own no slot.
const SLOTS: u32 = 65_537;

/// How many slots a key is sent to in turn before all targets are looked at.
const SLOTS_PER_KEY: usize = 256;

#[derive(Debug)]
pub(super) struct ConsistentHash {
    /// Positions of the targets with a weight above 0, by key: the table must not depend on the order of the config.
    positions: Box<[usize]>,
    /// By slot, an index into `positions`; empty when there are none.
    table: Box<[u32]>,
}

impl ConsistentHash {
    pub(super) fn new(targets: &[(String, u32)]) -> Self {
        let mut members: Vec<_> = eligible(targets).collect();
        members.sort_by(|(a, _), (b, _)| targets[*a].0.cmp(&targets[*b].0));
        let lists = members.iter().map(|(position, weight)| Preference::new(&targets[*position].0, *weight));
        Self {
            table: fill(lists.collect()),
            positions: members.iter().map(|(position, _)| *position).collect(),
        }
    }

    /// The owner of the key's slot; while that is not usable the key is hashed again. So the keys of a target that is
    /// out spread over all others by weight, each always to the same. (The next slot of the table would not do: lists
    /// advance in constant steps, so the targets around those of one target are mostly the same few.)
    pub(super) fn pick(&self, key: Option<u64>, usable: impl Fn(usize) -> bool) -> Option<usize> {
        if self.positions.is_empty() {
            return None;
        }
        let key = key.unwrap_or_else(|| fastrand::u64(..));
        let hashes = std::iter::successors(Some(key), |hash| Some(rehash(*hash)));
        let mut owners = hashes.take(SLOTS_PER_KEY).map(|hash| self.owner(hash));
        owners.find(|position| usable(*position)).or_else(|| self.first_usable_from(key, usable))
    }

    fn owner(&self, hash: u64) -> usize {
        let slot = (hash % u64::from(SLOTS)) as usize;
        self.positions[self.table[slot] as usize]
    }

    /// For when nearly all are out.
    fn first_usable_from(&self, key: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let (before, after) = self.positions.split_at((key % self.positions.len() as u64) as usize);
        after.iter().chain(before).copied().find(|position| usable(*position))
    }
}

/// A target's list of all slots, read from the front.
struct Preference {
    next: u32,
    step: u32,
    weight: u64,
    /// Grows by the weight each round; a slot is due whenever it reaches the largest weight.
    credit: u64,
}

impl Preference {
    fn new(target: &str, weight: u32) -> Self {
        let hash = hash_key(target.as_bytes());
        let other = rehash(hash);
        Self {
            next: (hash % u64::from(SLOTS)) as u32,
            step: (other % u64::from(SLOTS - 1)) as u32 + 1,
            weight: u64::from(weight),
            credit: 0,
        }
    }

    /// The next slot that is free; there must be one.
    fn take(&mut self, table: &[u32]) -> usize {
        loop {
            let slot = self.next as usize;
            self.next = (self.next + self.step) % SLOTS;
            if table[slot] == FREE {
                return slot;
            }
        }
    }
}

/// A second hash that has nothing to do with the first; the constant keeps 0 from standing still.
fn rehash(hash: u64) -> u64 {
    mix(hash.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

const FREE: u32 = u32::MAX;

fn fill(mut lists: Vec<Preference>) -> Box<[u32]> {
    let Some(largest) = lists.iter().map(|list| list.weight).max() else { return Box::default() };
    let mut table = vec![FREE; SLOTS as usize];
    let mut free = table.len();
    loop {
        for (member, list) in lists.iter_mut().enumerate() {
            list.credit += list.weight;
            if list.credit >= largest {
                list.credit -= largest;
                let slot = list.take(&table);
                table[slot] = member as u32;
                free -= 1;
                if free == 0 {
                    return table.into();
                }
            }
        }
    }
}
