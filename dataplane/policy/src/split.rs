//! Which upstream of a `split` takes a request: by a condition that it meets, by a key of its own, or by weight.
//!
//! Without a key the shares are exact: each request takes the next turn of a cycle that all workers walk together, the
//! balancer's `weighted_round_robin`. With one they are those of `consistent_hash`: the same key stays with the same
//! upstream, and when weights change, few keys move.

use crate::balance::{Balancer, cookie, request_key};
use crate::config::BalancerKind;
use crate::config::leaf::HashOn;
use crate::config::split::{ShareCondition, ShareConfig};
use http::HeaderMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The shares of a route, by their positions in the config.
#[derive(Debug)]
pub struct Split {
    shares: Vec<ShareConfig>,
    hash_on: Option<HashOn>,
    balancer: Balancer,
}

/// What decides about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice<'s> {
    /// It meets the condition of a share.
    Condition(usize, &'s ShareCondition),
    /// It has a key, which belongs to a share.
    Key(usize),
    /// Whose turn it is.
    Weight,
}

impl Split {
    /// The one that runs, while nothing about it changes: its cycle goes on.
    pub(crate) fn build(
        shares: &[ShareConfig],
        hash_on: Option<&HashOn>,
        before: Option<&Arc<Self>>,
    ) -> Option<Arc<Self>> {
        if shares.is_empty() {
            return None;
        }
        let same = before.filter(|before| before.shares == shares && before.hash_on.as_ref() == hash_on);
        Some(same.cloned().unwrap_or_else(|| Arc::new(Self::new(shares, hash_on))))
    }

    fn new(shares: &[ShareConfig], hash_on: Option<&HashOn>) -> Self {
        let weights: Vec<_> = shares.iter().map(|share| (share.upstream.clone(), share.weight)).collect();
        let kind = match hash_on {
            Some(_) => BalancerKind::ConsistentHash,
            None => BalancerKind::WeightedRoundRobin,
        };
        let balancer = Balancer::new(kind, hash_on.cloned(), &weights);
        Self { shares: shares.to_vec(), hash_on: hash_on.cloned(), balancer }
    }

    /// The position of the share that takes a request; `path` is the normalised one.
    pub fn choose(&self, headers: &HeaderMap, client: IpAddr, path: &str) -> usize {
        match self.choice(headers, client, path) {
            Choice::Condition(at, _) | Choice::Key(at) => at,
            Choice::Weight => self.pick(None),
        }
    }

    /// What decides about a request, without taking a turn.
    pub fn choice(&self, headers: &HeaderMap, client: IpAddr, path: &str) -> Choice<'_> {
        let meets = |condition: &&ShareCondition| condition.is_met(headers);
        for (at, share) in self.shares.iter().enumerate().filter(|(_, share)| !share.when.is_empty()) {
            if let Some(condition) = share.when.iter().find(meets) {
                return Choice::Condition(at, condition);
            }
        }
        match self.hash_on.as_ref().and_then(|on| request_key(on, headers, client, path)) {
            Some(key) => Choice::Key(self.pick(Some(key))),
            None => Choice::Weight,
        }
    }

    /// A checked split has a share with a weight.
    fn pick(&self, key: Option<u64>) -> usize {
        self.balancer.pick(key, |_| 0, |_| true).unwrap_or_default()
    }

    /// As in the config.
    pub fn shares(&self) -> &[ShareConfig] {
        &self.shares
    }
}

impl ShareCondition {
    fn is_met(&self, headers: &HeaderMap) -> bool {
        let value = self.value.as_bytes();
        match (&self.header, &self.cookie) {
            (Some(name), _) => headers.get_all(&name.0).iter().any(|one| one.as_bytes() == value),
            (None, Some(name)) => cookie(headers, name) == Some(value),
            (None, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header};
    use proptest::prelude::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn share(upstream: &str, weight: u32) -> ShareConfig {
        ShareConfig { upstream: upstream.to_owned(), weight, when: Vec::new() }
    }

    fn canary() -> Vec<ShareConfig> {
        let condition = |header: Option<&str>, cookie: Option<&str>, value: &str| ShareCondition {
            header: header.map(|name| name.parse().unwrap()),
            cookie: cookie.map(str::to_owned),
            value: value.to_owned(),
        };
        let when = vec![condition(Some("X-Canary"), None, "1"), condition(None, Some("canary"), "always")];
        vec![share("users", 95), ShareConfig { when, ..share("canary", 5) }, share("idle", 0)]
    }

    fn counts(split: &Split, requests: usize, headers: impl Fn(usize) -> HeaderMap) -> Vec<usize> {
        let mut counts = vec![0; split.shares.len()];
        for at in 0..requests {
            counts[split.choose(&headers(at), CLIENT, "/")] += 1;
        }
        counts
    }

    #[test]
    fn shares_are_exact_in_each_hundred_of_requests() {
        let split = Split::new(&canary(), None);
        for _ in 0..7 {
            assert_eq!(counts(&split, 100, |_| HeaderMap::new()), [95, 5, 0]);
        }
    }

    proptest! {
        #[test]
        fn shares_are_exact_over_any_number_of_cycles(
            weights in prop::collection::vec(0u32..50, 1..6),
            cycles in 1usize..4,
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let shares: Vec<_> = weights.iter().enumerate().map(|(at, weight)| share(&at.to_string(), *weight)).collect();
            let counted = counts(&Split::new(&shares, None), total as usize * cycles, |_| HeaderMap::new());
            let due: Vec<_> = weights.iter().map(|weight| *weight as usize * cycles).collect();
            prop_assert_eq!(counted, due);
        }
    }

    #[test]
    fn a_condition_comes_before_the_weights_and_takes_no_turn() {
        let split = Split::new(&canary(), None);
        for (name, value, at) in [
            ("x-canary", "1", Some(1)),
            ("x-canary", "2", None),
            ("cookie", "a=b; canary=always", Some(1)),
            ("cookie", "canary=never", None),
            ("cookie", "xcanary=always", None),
        ] {
            let headers: HeaderMap =
                [(name.parse().unwrap(), HeaderValue::from_static(value))].into_iter().collect();
            let choice = split.choice(&headers, CLIENT, "/");
            match at {
                Some(at) => {
                    assert!(matches!(choice, Choice::Condition(found, _) if found == at), "{name}: {value}");
                    assert_eq!(split.choose(&headers, CLIENT, "/"), at);
                }
                None => assert_eq!(choice, Choice::Weight, "{name}: {value}"),
            }
        }
        assert_eq!(counts(&split, 100, |_| HeaderMap::new()), [95, 5, 0]);
    }

    #[test]
    fn a_key_stays_with_its_share_and_few_move_when_weights_change() {
        let on: HashOn = "cookie:session".parse().unwrap();
        let session = |at: usize| {
            let cookie = HeaderValue::try_from(format!("session=s{at}")).unwrap();
            [(header::COOKIE, cookie)].into_iter().collect::<HeaderMap>()
        };
        let before = Split::new(&[share("users", 95), share("canary", 5)], Some(&on));
        let after = Split::new(&[share("users", 90), share("canary", 10)], Some(&on));
        let of = |split: &Split, at| split.choose(&session(at), CLIENT, "/");
        let counted = counts(&before, 10_000, session);
        assert!((400..600).contains(&counted[1]), "{counted:?}");
        let moved = (0..10_000).filter(|at| of(&before, *at) != of(&after, *at)).count();
        assert!((300..800).contains(&moved), "{moved}");
        assert!((0..100).all(|at| of(&before, at) == of(&before, at)));
        assert_eq!(before.choice(&HeaderMap::new(), CLIENT, "/"), Choice::Weight);
    }

    #[test]
    fn the_cycle_goes_on_while_the_split_stays_the_same() {
        let first = Split::build(&canary(), None, None).unwrap();
        let same = Split::build(&canary(), None, Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first, &same));
        let other = Split::build(&canary(), Some(&HashOn::ClientIp), Some(&first)).unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
        assert!(Split::build(&[], None, Some(&first)).is_none());
    }
}
