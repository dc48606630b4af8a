//! What a pick costs for each algorithm, with all targets usable and with half of them out; and what building costs.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policy::balance::{Balancer, hash_key};
use policy::config::BalancerKind;
use std::hint::black_box;

const KINDS: [(&str, BalancerKind); 5] = [
    ("round_robin", BalancerKind::RoundRobin),
    ("weighted_round_robin", BalancerKind::WeightedRoundRobin),
    ("random", BalancerKind::Random),
    ("least_request", BalancerKind::LeastRequest),
    ("consistent_hash", BalancerKind::ConsistentHash),
];

fn targets(count: u32) -> Vec<(String, u32)> {
    (0..count).map(|at| (format!("10.0.{}.{}:8080", at / 256, at % 256), at % 3 + 1)).collect()
}

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("balance/pick");
    for (name, kind) in KINDS {
        for count in [3, 100] {
            let balancer = Balancer::new(kind, None, &targets(count));
            let loads: Vec<u32> = (0..count).map(|at| at * 7 % 5).collect();
            let mut key = 0u64;
            let mut bench = |state: &str, usable: &dyn Fn(usize) -> bool| {
                group.bench_function(BenchmarkId::new(format!("{name}, {state}"), count), |bencher| {
                    bencher.iter(|| {
                        key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                        black_box(balancer.pick(Some(black_box(key)), |at| loads[at], usable))
                    });
                });
            };
            bench("all usable", &|_| true);
            bench("every other out", &|at| at % 2 == 0);
        }
    }
}

fn hash(criterion: &mut Criterion) {
    for key in ["10.1.2.3", "7f3d1c9e-52b4-4f0a-9a51-1f1e6c2b9d10"] {
        let id = format!("balance/hash_key/{} bytes", key.len());
        criterion.bench_function(&id, |bencher| bencher.iter(|| hash_key(black_box(key.as_bytes()))));
    }
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("balance/build");
    group.sample_size(20);
    for (name, kind) in [KINDS[1], KINDS[4]] {
        for count in [3, 100, 1000] {
            let targets = targets(count);
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| Balancer::new(kind, None, black_box(&targets)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, pick, hash, build);
criterion_main!(benches);
