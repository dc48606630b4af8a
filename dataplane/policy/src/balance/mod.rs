//! Which target of an upstream takes a request; one file per algorithm.
//!
//! Every algorithm obeys one rule: as long as a target with a weight above 0 is usable, one is picked; a target with
//! weight 0 never is. None of them locks or allocates. What a pick costs grows with the targets only after several
//! attempts met targets that are not usable.

mod consistent_hash;
mod hash;
mod least_request;
mod random;
mod request_key;
mod round_robin;
mod weighted;
mod weighted_round_robin;

#[cfg(test)]
mod tests;

use crate::config::BalancerKind;
use crate::config::leaf::HashOn;
use consistent_hash::ConsistentHash;
pub use hash::hash_key;
use least_request::LeastRequest;
use random::Random;
pub(crate) use request_key::cookie;
pub use request_key::request_key;
use round_robin::RoundRobin;
use weighted_round_robin::WeightedRoundRobin;

/// Chooses among the targets of an upstream, by their positions.
#[derive(Debug)]
pub struct Balancer {
    algorithm: Algorithm,
    hash_on: Option<HashOn>,
}

#[derive(Debug)]
enum Algorithm {
    RoundRobin(RoundRobin),
    WeightedRoundRobin(WeightedRoundRobin),
    Random(Random),
    LeastRequest(LeastRequest),
    ConsistentHash(ConsistentHash),
}

impl Balancer {
    /// For targets given by a key that stays the same from config to config (their address) and a weight.
    pub fn new(kind: BalancerKind, hash_on: Option<HashOn>, targets: &[(String, u32)]) -> Self {
        let algorithm = match kind {
            BalancerKind::RoundRobin => Algorithm::RoundRobin(RoundRobin::new(targets)),
            BalancerKind::WeightedRoundRobin => {
                Algorithm::WeightedRoundRobin(WeightedRoundRobin::new(targets))
            }
            BalancerKind::Random => Algorithm::Random(Random::new(targets)),
            BalancerKind::LeastRequest => Algorithm::LeastRequest(LeastRequest::new(targets)),
            BalancerKind::ConsistentHash => Algorithm::ConsistentHash(ConsistentHash::new(targets)),
        };
        Self { algorithm, hash_on: hash_on.filter(|_| kind == BalancerKind::ConsistentHash) }
    }

    /// Which part of a request [`hash_key`] is to be fed with; `None` when no key is wanted.
    pub fn hash_on(&self) -> Option<&HashOn> {
        self.hash_on.as_ref()
    }

    /// The position of a target, or `None` when no target with a weight above 0 is usable.
    ///
    /// `key` matters to `consistent_hash` alone, which without one picks at random; `load` is a target's number of
    /// requests in flight and matters to `least_request` alone. Both closures may be called several times per target.
    pub fn pick(
        &self,
        key: Option<u64>,
        load: impl Fn(usize) -> u32,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        match &self.algorithm {
            Algorithm::RoundRobin(round_robin) => round_robin.pick(usable),
            Algorithm::WeightedRoundRobin(weighted_round_robin) => weighted_round_robin.pick(usable),
            Algorithm::Random(random) => random.pick(usable),
            Algorithm::LeastRequest(least_request) => least_request.pick(load, usable),
            Algorithm::ConsistentHash(consistent_hash) => consistent_hash.pick(key, usable),
        }
    }
}

/// The targets with a weight above 0: position and weight.
fn eligible(targets: &[(String, u32)]) -> impl Iterator<Item = (usize, u32)> {
    targets
        .iter()
        .enumerate()
        .map(|(position, (_, weight))| (position, *weight))
        .filter(|(_, weight)| *weight > 0)
}
