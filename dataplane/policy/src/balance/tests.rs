//! Distributions, disruption, and the one rule that every balancer obeys.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;

const KINDS: [BalancerKind; 5] = [
    BalancerKind::RoundRobin,
    BalancerKind::WeightedRoundRobin,
    BalancerKind::Random,
    BalancerKind::LeastRequest,
    BalancerKind::ConsistentHash,
];

fn balancer(kind: BalancerKind, weights: &[u32]) -> Balancer {
    let targets: Vec<_> =
        weights.iter().enumerate().map(|(at, weight)| (format!("10.0.0.{at}:80"), *weight)).collect();
    Balancer::new(kind, Some(HashOn::ClientIp), &targets)
}

/// A pick with all targets idle and usable.
fn next(balancer: &Balancer) -> usize {
    balancer.pick(None, |_| 0, |_| true).expect("a usable target")
}

fn picks(balancer: &Balancer, count: usize) -> Vec<usize> {
    (0..count).map(|_| next(balancer)).collect()
}

/// How often each target is picked out of `count` times.
fn shares(balancer: &Balancer, targets: usize, count: usize, usable: impl Fn(usize) -> bool) -> Vec<u32> {
    let mut shares = vec![0; targets];
    for _ in 0..count {
        shares[balancer.pick(None, |_| 0, &usable).expect("a usable target")] += 1;
    }
    shares
}

/// Pearson's statistic for these counts against these proportions; 0 expected means 0 counted.
fn chi_square(counts: &[u32], proportions: &[u32]) -> f64 {
    let (counted, whole) = (counts.iter().sum::<u32>(), proportions.iter().sum::<u32>());
    let expected = |proportion: u32| f64::from(counted) * f64::from(proportion) / f64::from(whole);
    let term = |(count, proportion): (&u32, &u32)| match expected(*proportion) {
        0.0 if *count > 0 => f64::INFINITY,
        0.0 => 0.0,
        expected => (f64::from(*count) - expected).powi(2) / expected,
    };
    counts.iter().zip(proportions).map(term).sum()
}

/// The value that chi-square with 4 degrees of freedom exceeds once in 10 000 times; the draws are seeded besides.
const CHI_SQUARE_4: f64 = 23.5;

mod round_robin {
    use super::*;

    #[test]
    fn takes_turns_and_ignores_weights() {
        assert_eq!(picks(&balancer(BalancerKind::RoundRobin, &[5, 1, 0, 2]), 7), [0, 1, 3, 0, 1, 3, 0]);
    }

    #[test]
    fn a_target_that_is_out_does_not_favour_its_neighbour() {
        let balancer = balancer(BalancerKind::RoundRobin, &[1, 1, 1]);
        assert_eq!(shares(&balancer, 3, 1000, |target| target != 0), [0, 500, 500]);
    }

    #[test]
    fn the_only_usable_one_is_found_beyond_the_turns() {
        let balancer = balancer(BalancerKind::RoundRobin, &[1; 500]);
        assert_eq!(shares(&balancer, 500, 100, |target| target == 499)[499], 100);
    }
}

mod weighted_round_robin {
    use super::*;

    fn sequence(weights: &[u32], count: usize) -> Vec<usize> {
        picks(&balancer(BalancerKind::WeightedRoundRobin, weights), count)
    }

    #[test]
    fn three_to_one_is_exactly_three_to_one() {
        let balancer = balancer(BalancerKind::WeightedRoundRobin, &[3, 1]);
        assert_eq!(shares(&balancer, 2, 4000, |_| true), [3000, 1000]);
    }

    #[test]
    fn the_order_is_that_of_nginx() {
        assert_eq!(sequence(&[3, 1], 8), [0, 0, 1, 0, 0, 0, 1, 0]);
        // the example of the commit that brought the algorithm to nginx: { a a b a c a a }
        assert_eq!(sequence(&[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(sequence(&[1, 1, 1], 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(sequence(&[0, 2, 0, 1], 6), [1, 3, 1, 1, 3, 1]);
    }

    #[test]
    fn common_factors_do_not_lengthen_the_cycle() {
        assert_eq!(sequence(&[3_000_000_000, 1_000_000_000], 8), sequence(&[3, 1], 8));
        assert_eq!(sequence(&[200, 200, 200], 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_cycle_too_long_is_scaled_and_keeps_every_target() {
        let balancer = balancer(BalancerKind::WeightedRoundRobin, &[u32::MAX, u32::MAX - 1, 1]);
        let shares = shares(&balancer, 3, 8193, |_| true);
        assert_eq!(shares, [4096, 4096, 1]);
    }

    #[test]
    fn the_others_keep_their_proportions_when_one_is_out() {
        let balancer = balancer(BalancerKind::WeightedRoundRobin, &[3, 2, 1]);
        assert_eq!(shares(&balancer, 3, 3000, |target| target != 0), [0, 2000, 1000]);
        assert_eq!(shares(&balancer, 3, 4000, |target| target != 1), [3000, 0, 1000]);
    }

    #[test]
    fn light_targets_share_by_weight_while_a_heavy_one_is_out() {
        fastrand::seed(1);
        let balancer = balancer(BalancerKind::WeightedRoundRobin, &[8000, 3, 1]);
        let shares = shares(&balancer, 3, 4000, |target| target != 0);
        assert!(chi_square(&shares, &[0, 3, 1]) < CHI_SQUARE_4, "{shares:?}");
    }

    #[test]
    fn threads_together_are_exact() {
        let balancer = balancer(BalancerKind::WeightedRoundRobin, &[3, 1, 4]);
        let counts = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| shares(&balancer, 3, 8000, |_| true))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        let total: Vec<u32> = (0..3).map(|target| counts.iter().map(|shares| shares[target]).sum()).collect();
        assert_eq!(total, [12_000, 4000, 16_000]);
    }
}

mod random {
    use super::*;

    #[test]
    fn draws_by_weight() {
        fastrand::seed(2);
        let balancer = balancer(BalancerKind::Random, &[1, 2, 0, 3, 4]);
        let shares = shares(&balancer, 5, 20_000, |_| true);
        assert!(chi_square(&shares, &[1, 2, 0, 3, 4]) < CHI_SQUARE_4, "{shares:?}");
    }

    #[test]
    fn draws_by_weight_among_the_usable() {
        fastrand::seed(3);
        let weights = [1, 2, 3, 1_000_000, 4];
        let balancer = balancer(BalancerKind::Random, &weights);
        let shares = shares(&balancer, 5, 20_000, |target| target != 3);
        assert!(chi_square(&shares, &[1, 2, 3, 0, 4]) < CHI_SQUARE_4, "{shares:?}");
    }
}

mod least_request {
    use super::*;

    #[test]
    fn idle_targets_share_by_weight() {
        fastrand::seed(4);
        let balancer = balancer(BalancerKind::LeastRequest, &[1, 2, 0, 3, 4]);
        let shares = shares(&balancer, 5, 20_000, |_| true);
        assert!(chi_square(&shares, &[1, 2, 0, 3, 4]) < CHI_SQUARE_4, "{shares:?}");
    }

    #[test]
    fn of_two_the_one_with_less_to_do_for_its_weight_is_picked() {
        let balancer = balancer(BalancerKind::LeastRequest, &[3, 1]);
        let pick = |loads: [u32; 2]| {
            let picks: Vec<_> = (0..50).map(|_| balancer.pick(None, |at| loads[at], |_| true)).collect();
            picks.iter().all(|pick| *pick == picks[0]).then_some(picks[0]).flatten()
        };
        assert_eq!(pick([5, 2]), Some(0));
        assert_eq!(pick([7, 2]), Some(1));
        assert_eq!(pick([0, 1]), Some(0));
        assert_eq!(pick([u32::MAX, u32::MAX]), Some(0));
        assert_eq!(pick([6, 2]), None, "a tie is decided by weight, at random");
    }

    #[test]
    fn the_busiest_of_many_is_never_picked() {
        let balancer = balancer(BalancerKind::LeastRequest, &[1; 5]);
        let pick = || balancer.pick(None, |target| u32::from(target == 2), |_| true);
        assert!((0..2000).all(|_| pick() != Some(2)));
    }

    #[test]
    fn the_last_usable_one_is_picked_whatever_its_load() {
        let balancer = balancer(BalancerKind::LeastRequest, &[1, 1]);
        assert_eq!(balancer.pick(None, |_| 1000, |target| target == 1), Some(1));
    }
}

mod consistent_hash {
    use super::*;

    const KEYS: u64 = 20_000;

    fn key(number: u64) -> u64 {
        hash_key(format!("user-{number}").as_bytes())
    }

    fn owner(balancer: &Balancer, number: u64, usable: impl Fn(usize) -> bool) -> usize {
        balancer.pick(Some(key(number)), |_| 0, usable).expect("a usable target")
    }

    fn owners(balancer: &Balancer, usable: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..KEYS).map(|number| owner(balancer, number, &usable)).collect()
    }

    fn counts(owners: &[usize], targets: usize) -> Vec<u32> {
        let mut counts = vec![0; targets];
        owners.iter().for_each(|owner| counts[*owner] += 1);
        counts
    }

    fn moved(before: &[usize], after: &[usize]) -> f64 {
        before.iter().zip(after).filter(|(before, after)| before != after).count() as f64 / KEYS as f64
    }

    #[test]
    fn a_key_stays_where_it_is() {
        let (one, other) = (
            balancer(BalancerKind::ConsistentHash, &[1; 5]),
            balancer(BalancerKind::ConsistentHash, &[1; 5]),
        );
        assert_eq!(owners(&one, |_| true), owners(&other, |_| true));
    }

    #[test]
    fn the_order_of_the_config_means_nothing() {
        let targets: Vec<_> = (0..7).map(|at| (format!("10.0.0.{at}:80"), at % 3 + 1)).collect();
        let backwards: Vec<_> = targets.iter().rev().cloned().collect();
        let balancer = Balancer::new(BalancerKind::ConsistentHash, None, &targets);
        let other = Balancer::new(BalancerKind::ConsistentHash, None, &backwards);
        for number in 0..1000 {
            assert_eq!(owner(&balancer, number, |_| true), 6 - owner(&other, number, |_| true));
        }
    }

    #[test]
    fn keys_spread_by_weight() {
        let counts = counts(&owners(&balancer(BalancerKind::ConsistentHash, &[1, 2, 0, 3, 4]), |_| true), 5);
        assert!(chi_square(&counts, &[1, 2, 0, 3, 4]) < CHI_SQUARE_4, "{counts:?}");
    }

    #[test]
    fn few_keys_move_when_a_target_goes_or_comes() {
        let ten = owners(&balancer(BalancerKind::ConsistentHash, &[1; 10]), |_| true);
        let nine = owners(&balancer(BalancerKind::ConsistentHash, &[1; 9]), |_| true);
        let middle =
            owners(&balancer(BalancerKind::ConsistentHash, &[1, 1, 1, 1, 0, 1, 1, 1, 1, 1]), |_| true);
        for other in [nine, middle] {
            let moved = moved(&ten, &other);
            assert!((0.09..0.13).contains(&moved), "a tenth has to, but {moved} moved");
        }
    }

    #[test]
    fn only_the_keys_of_a_target_that_is_out_move_and_they_spread() {
        let balancer = balancer(BalancerKind::ConsistentHash, &[1; 5]);
        let (all, without) = (owners(&balancer, |_| true), owners(&balancer, |target| target != 2));
        let mut refugees = Vec::new();
        for (before, after) in all.iter().zip(&without) {
            if *before == 2 {
                refugees.push(*after);
            } else {
                assert_eq!(before, after);
            }
        }
        let counts = counts(&refugees, 5);
        assert!(chi_square(&counts, &[1, 1, 0, 1, 1]) < CHI_SQUARE_4, "{counts:?}");
    }

    #[test]
    fn a_request_without_a_key_goes_anywhere_by_weight() {
        fastrand::seed(5);
        let balancer = balancer(BalancerKind::ConsistentHash, &[1, 2, 0, 3, 4]);
        let shares = shares(&balancer, 5, 20_000, |_| true);
        assert!(chi_square(&shares, &[1, 2, 0, 3, 4]) < CHI_SQUARE_4, "{shares:?}");
    }

    #[test]
    fn the_only_usable_one_is_found_beyond_the_slots_of_a_key() {
        let balancer = balancer(BalancerKind::ConsistentHash, &[1; 5000]);
        assert!((0..100).all(|number| owner(&balancer, number, |target| target == 4999) == 4999));
    }

    #[test]
    fn only_this_kind_asks_for_a_key() {
        for kind in KINDS {
            let wanted = (kind == BalancerKind::ConsistentHash).then_some(&HashOn::ClientIp);
            assert_eq!(balancer(kind, &[1]).hash_on(), wanted);
        }
    }

    /// Addresses that differ in one digit must not end up with related preferences.
    #[test]
    fn every_target_owns_its_share_of_slots() {
        let balancer = balancer(BalancerKind::ConsistentHash, &[1; 100]);
        let mut slots: HashMap<usize, u32> = HashMap::new();
        for slot in 0..65_537 {
            *slots.entry(balancer.pick(Some(slot), |_| 0, |_| true).expect("a target")).or_default() += 1;
        }
        assert!(slots.len() == 100 && slots.values().all(|count| (650..=660).contains(count)), "{slots:?}");
    }
}

proptest! {
    #[test]
    fn picks_a_usable_target_whenever_there_is_one(
        targets in vec((0..4u32, any::<bool>(), 0..5u32), 0..12),
        keys in vec(proptest::option::of(any::<u64>()), 20),
    ) {
        let weights: Vec<_> = targets.iter().map(|(weight, ..)| *weight).collect();
        let there_is_one = targets.iter().any(|(weight, usable, _)| *weight > 0 && *usable);
        for kind in KINDS {
            let balancer = balancer(kind, &weights);
            for key in &keys {
                let pick = balancer.pick(*key, |at| targets[at].2, |at| targets[at].1);
                prop_assert_eq!(pick.is_some(), there_is_one, "{:?}", kind);
                prop_assert!(pick.is_none_or(|at| targets[at].0 > 0 && targets[at].1), "{kind:?}");
            }
        }
    }
}

#[test]
fn one_target_and_none() {
    for kind in KINDS {
        assert_eq!(picks(&balancer(kind, &[7]), 3), [0, 0, 0], "{kind:?}");
        for weights in [&[][..], &[0], &[0, 0]] {
            assert_eq!(balancer(kind, weights).pick(Some(1), |_| 0, |_| true), None, "{kind:?}");
        }
        assert_eq!(balancer(kind, &[1, 2]).pick(Some(1), |_| 0, |_| false), None, "{kind:?}");
        let extremes = balancer(kind, &[u32::MAX; 3]);
        assert!(picks(&extremes, 100).iter().all(|pick| *pick < 3), "{kind:?}");
    }
}
