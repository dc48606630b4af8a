//! What a decision costs: for each algorithm, for a refusal, by key, in a flood of new keys, and when two workers want
//! the same bucket.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policy::clock::Now;
use policy::filter::rate_limit::RateLimitConfig;
use policy::limiter::{RateLimit, client_ip_hash, key_hash};
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const ALGORITHMS: [&str; 3] = ["token_bucket", "sliding_window", "leaky_bucket"];
/// Time between two requests: what one of 100 000 a second sees.
const STEP: u64 = 10_000;

fn limit(algorithm: &str, qps: u32, rest: &str) -> RateLimit {
    let json = format!(r#"{{"algorithm": "{algorithm}", "qps": {qps}{rest}}}"#);
    let config: RateLimitConfig = serde_json::from_str(&json).expect("a config");
    RateLimit::new(&config)
}

/// A rate and the time between two requests: at which all pass, and at which hardly any does.
const RATES: [(&str, u32, u64); 2] = [("passes", 1_000_000, STEP), ("is refused", 1, 1)];

fn one_bucket(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limiter/one bucket");
    for algorithm in ALGORITHMS {
        for (verdict, qps, step) in RATES {
            let limit = limit(algorithm, qps, "");
            let mut now = 0;
            group.bench_function(BenchmarkId::new(algorithm, verdict), |bencher| {
                bencher.iter(|| {
                    now += step;
                    limit.decide(black_box(0), Now::from_nanos(black_box(now)))
                });
            });
        }
    }
}

/// Keys as a hash gives them.
fn keys(count: u64) -> Vec<u64> {
    (0..count).map(|key| key_hash(&key.to_le_bytes())).collect()
}

fn by_key(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limiter/by key");
    for algorithm in ALGORITHMS {
        for count in [1, 1_000_000] {
            // few requests a key, so that states are small and each of them is in use
            let limit = limit(algorithm, 10, r#", "key": "client_ip", "max_keys": 4000000"#);
            let keys = keys(count);
            let (mut now, mut at) = (0, 0);
            for key in &keys {
                limit.decide(*key, Now::from_nanos(0));
            }
            group.bench_function(BenchmarkId::new(algorithm, count), |bencher| {
                bencher.iter(|| {
                    now += STEP;
                    at = (at + 1) % keys.len();
                    limit.decide(keys[at], Now::from_nanos(black_box(now)))
                });
            });
        }
    }
    let limit = limit("token_bucket", 1, r#", "key": "client_ip""#);
    let (mut now, mut key) = (0, 0u64);
    group.bench_function("token_bucket, every key is new, the table full", |bencher| {
        bencher.iter(|| {
            now += 1;
            key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
            limit.decide(key, Now::from_nanos(black_box(now)))
        });
    });
}

/// Wall time of so many decisions by each of two threads.
fn by_two(limit: &RateLimit, each: u64, key: impl Fn(u64) -> u64 + Sync, step: u64) -> Duration {
    let barrier = Barrier::new(3);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let (barrier, key) = (&barrier, &key);
                scope.spawn(move || {
                    barrier.wait();
                    for turn in 0..each {
                        black_box(limit.decide(key(worker), Now::from_nanos(black_box(turn * step))));
                    }
                })
            })
            .collect();
        barrier.wait();
        let started = Instant::now();
        for worker in workers {
            worker.join().expect("a worker");
        }
        started.elapsed()
    })
}

fn two_workers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limiter/two workers");
    let keyed = r#", "key": "client_ip""#;
    for algorithm in ALGORITHMS {
        for (verdict, qps, step) in RATES {
            for (buckets, rest) in [("one bucket", ""), ("one key", keyed)] {
                let id = format!("{algorithm}, {buckets}, {verdict}");
                group.bench_function(id, |bencher| {
                    bencher.iter_custom(|each| {
                        let limit = limit(algorithm, qps, rest);
                        by_two(&limit, each, |_| 1 << 40, step)
                    });
                });
            }
        }
    }
    group.bench_function("token_bucket, a key each, passes", |bencher| {
        bencher.iter_custom(|each| {
            let limit = limit("token_bucket", 1_000_000, keyed);
            by_two(&limit, each, |worker| (worker + 1) << 62, STEP)
        });
    });
}

fn hash(criterion: &mut Criterion) {
    let v4: IpAddr = "192.0.2.7".parse().expect("an address");
    let v6: IpAddr = "2001:db8::7".parse().expect("an address");
    criterion.bench_function("limiter/key of IPv4", |bencher| bencher.iter(|| client_ip_hash(black_box(v4))));
    criterion.bench_function("limiter/key of IPv6", |bencher| bencher.iter(|| client_ip_hash(black_box(v6))));
    let text = b"7f3d1c9e-52b4-4f0a-9a51-1f1e6c2b9d10";
    criterion.bench_function("limiter/key of 36 bytes", |bencher| bencher.iter(|| key_hash(black_box(text))));
}

criterion_group!(benches, one_bucket, by_key, two_workers, hash);
criterion_main!(benches);
