//! What a request costs a breaker, a limit of concurrency and retries, by one thread and by two on the same one.

use criterion::{Criterion, criterion_group, criterion_main};
use http::{Method, StatusCode};
use policy::breaker::{Breaker, Hold};
use policy::clock::Now;
use policy::concurrency::Concurrency;
use policy::filter::circuit_breaker::CircuitBreakerConfig;
use policy::filter::concurrency::ConcurrencyConfig;
use policy::filter::retry::RetryConfig;
use policy::outcome::Outcome;
use policy::retry::RetryPolicy;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const OK: Option<Outcome> = Some(Outcome::Response(StatusCode::OK));

fn breaker(settings: &str) -> Arc<Breaker> {
    let config: CircuitBreakerConfig = serde_json::from_str(settings).expect("settings of a breaker");
    Breaker::new(&config)
}

fn concurrency(settings: &str) -> Arc<Concurrency> {
    let config: ConcurrencyConfig = serde_json::from_str(settings).expect("settings of a limit");
    Concurrency::new(&config)
}

fn retry(settings: &str) -> Arc<RetryPolicy> {
    let config: RetryConfig = serde_json::from_str(settings).expect("settings of retries");
    RetryPolicy::new(&config)
}

/// By this thread alone, and while another one does the same all the time.
fn alone_and_contended(criterion: &mut Criterion, name: &str, once: impl Fn(Now) + Sync) {
    let start = Instant::now();
    let now = || Now::from_nanos(start.elapsed().as_nanos() as u64);
    criterion.bench_function(name, |bencher| {
        let now = now();
        bencher.iter(|| once(black_box(now)));
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let now = now();
                (0..1000).for_each(|_| once(black_box(now)));
            }
        });
        criterion.bench_function(&format!("{name}, two threads"), |bencher| {
            let now = now();
            bencher.iter(|| once(black_box(now)));
        });
        stop.store(true, Ordering::Relaxed);
    });
}

fn breakers(criterion: &mut Criterion) {
    let closed = breaker(r#"{"threshold": 5}"#);
    alone_and_contended(criterion, "breaker/closed, a success", |now| {
        if let Ok(permit) = closed.acquire(now) {
            permit.succeeded(now);
        }
    });
    let with_rate = breaker(r#"{"threshold": 5, "error_rate": "50%"}"#);
    alone_and_contended(criterion, "breaker/closed with error_rate, a success", |now| {
        if let Ok(permit) = with_rate.acquire(now) {
            permit.succeeded(now);
        }
    });
    let never_opens = breaker(r#"{"threshold": 4294967295, "error_rate": "100%", "window": "1h"}"#);
    alone_and_contended(criterion, "breaker/closed with error_rate, a success and a failure", |now| {
        if let (Ok(good), Ok(bad)) = (never_opens.acquire(now), never_opens.acquire(now)) {
            good.succeeded(now);
            bad.failed(now, Outcome::Reset);
        }
    });
    let open = breaker(r#"{"threshold": 5}"#);
    open.hold(Some(Hold::Open), Now::default());
    alone_and_contended(criterion, "breaker/open, a refusal", |now| {
        let _ = black_box(open.acquire(now).is_err());
    });
    alone_and_contended(criterion, "breaker/admits", |now| {
        let _ = black_box(closed.admits(now));
    });
}

fn limits(criterion: &mut Criterion) {
    for (name, settings) in [
        ("concurrency/a slot", r#"{"max": 1000, "queue": 10}"#),
        ("concurrency/a slot, adaptive", r#"{"max": 1000, "queue": 10, "adaptive": true}"#),
    ] {
        let limit = concurrency(settings);
        alone_and_contended(criterion, name, |now| {
            if let Some(slot) = limit.try_acquire() {
                slot.finished(Duration::from_millis(5), now, OK);
            }
        });
    }
    let full = concurrency(r#"{"max": 1}"#);
    let _slot = full.try_acquire();
    alone_and_contended(criterion, "concurrency/full", |_| {
        let _ = black_box(full.try_acquire().is_none());
    });
}

fn retries(criterion: &mut Criterion) {
    let usual = retry(r#"{"max_retries": 2}"#);
    let ok = Outcome::Response(StatusCode::OK);
    alone_and_contended(criterion, "retry/a request that succeeds", |now| {
        usual.begin(now);
        let _ = black_box(usual.next(1, ok, &Method::GET, false, now));
    });
    // a request pays for a whole retry, so that there is always one
    let paid = retry(r#"{"max_retries": 2, "budget": "100%"}"#);
    alone_and_contended(criterion, "retry/a request that is retried", |now| {
        paid.begin(now);
        let _ = black_box(paid.next(1, Outcome::Reset, &Method::GET, false, now));
    });
    let spent = retry(r#"{"max_retries": 2, "budget": "0"}"#);
    alone_and_contended(criterion, "retry/one that the budget denies", |now| {
        let _ = black_box(spent.next(1, Outcome::Reset, &Method::GET, false, now));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = breakers, limits, retries
}
criterion_main!(benches);
