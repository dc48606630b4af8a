//! Limits as a whole: what passes when, what a refusal says, what the operator sees.

use super::*;
use crate::rejection::QuotaHeaders;
use std::sync::Arc;

fn limit(yaml: &str) -> RateLimit {
    RateLimit::new(&serde_json::from_str(yaml).expect("a config"))
}

fn at(millis: u64) -> Now {
    Now::from_nanos(millis * 1_000_000)
}

/// P: passes; W: passes in shadow mode alone; L: is refused; a number: waits so many milliseconds.
fn told(limit: &RateLimit, key: u64, times: &[u64]) -> String {
    let told = times.iter().map(|millis| match limit.decide(key, at(*millis)) {
        Verdict::Pass => "P".to_owned(),
        Verdict::WouldLimit => "W".to_owned(),
        Verdict::Wait(wait) => wait.as_millis().to_string(),
        Verdict::Limit(_) => "L".to_owned(),
    });
    told.collect::<Vec<_>>().join(" ")
}

fn retry_after(limit: &RateLimit, millis: u64) -> Duration {
    match limit.decide(0, at(millis)) {
        Verdict::Limit(limited) => limited.retry_after,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_bucket_starts_full_and_refills_by_the_rate() {
    let limit = limit(r#"{"qps": 10, "burst": 3}"#);
    assert_eq!(told(&limit, 0, &[0, 0, 0, 0, 99, 100, 100, 199, 200]), "P P P L L P L L P");
    assert_eq!(told(&limit, 0, &[10_000, 10_000, 10_000, 10_000]), "P P P L", "never more than the burst");
}

#[test]
fn a_sliding_window_gives_back_what_has_left_it() {
    let limit = limit(r#"{"qps": 3, "algorithm": "sliding_window"}"#);
    assert_eq!(told(&limit, 0, &[0, 400, 900, 950]), "P P P L");
    assert_eq!(told(&limit, 0, &[999, 1000, 1000, 1399, 1400, 1899, 1900]), "L P L L P L P");
}

#[test]
fn a_leaky_bucket_gives_places_at_a_distance_until_its_queue_is_full() {
    let limit = limit(r#"{"qps": 10, "burst": 3, "algorithm": "leaky_bucket"}"#);
    assert_eq!(told(&limit, 0, &[0, 0, 0, 0, 0]), "P 100 200 300 L");
    // one has left the queue
    assert_eq!(told(&limit, 0, &[150, 150, 1000]), "250 L P");
}

#[test]
fn nobody_waits_longer_than_max_wait() {
    let limit = limit(r#"{"qps": 10, "burst": 100, "algorithm": "leaky_bucket", "max_wait": "200ms"}"#);
    assert_eq!(told(&limit, 0, &[0, 0, 0, 0]), "P 100 200 L");
    assert_eq!(retry_after(&limit, 0), Duration::from_millis(100));
}

#[test]
fn a_refusal_says_when_to_come_back_and_that_is_true() {
    for config in [
        r#"{"qps": 3, "burst": 2}"#,
        r#"{"qps": 3, "algorithm": "sliding_window"}"#,
        r#"{"qps": 3, "burst": 2, "algorithm": "leaky_bucket"}"#,
    ] {
        let limit = limit(config);
        while !matches!(limit.decide(0, at(5)), Verdict::Limit(_)) {}
        let back = at(5).after(retry_after(&limit, 5));
        let early = Now::from_nanos(back.as_nanos() - 1);
        assert!(matches!(limit.decide(0, early), Verdict::Limit(_)), "{config}");
        assert!(!matches!(limit.decide(0, back), Verdict::Limit(_)), "{config}");
    }
}

#[test]
fn a_refusal_tells_the_quota_in_whole_seconds() {
    let told = |config: &str| {
        let limit = limit(config);
        loop {
            if let Verdict::Limit(limited) = limit.decide(0, at(0)) {
                return (limited.quota, limited.window.as_millis(), limited.style);
            }
        }
    };
    assert_eq!(told(r#"{"qps": 5, "burst": 9}"#), (5, 1000, QuotaHeaders::Ietf));
    let minute = r#"{"qps": 1, "algorithm": "sliding_window", "window": "1m", "headers": "legacy"}"#;
    assert_eq!(told(minute), (60, 60_000, QuotaHeaders::Legacy));
    let short = r#"{"qps": 50, "algorithm": "sliding_window", "window": "100ms"}"#;
    assert_eq!(told(short), (50, 1000, QuotaHeaders::Ietf), "not 5 in what would be rounded to a second");
}

#[test]
fn shadow_mode_refuses_nothing_and_says_and_counts_what_it_would_have_done() {
    let limit = limit(r#"{"qps": 10, "burst": 1, "algorithm": "leaky_bucket", "shadow": true}"#);
    assert_eq!(told(&limit, 0, &[0, 0, 0, 0]), "P P W W");
    let view = limit.view(at(0));
    assert!(view.shadow && limit.shadow());
    assert_eq!((view.passed, view.delayed, view.limited, view.would_limit), (1, 1, 0, 2));
}

#[test]
fn the_view_counts_every_verdict_and_says_what_is_left() {
    let one = limit(r#"{"qps": 10, "burst": 4}"#);
    assert_eq!(told(&one, 0, &[0, 0, 0]), "P P P");
    let view = one.view(at(50));
    assert_eq!((view.algorithm, &*view.key, view.qps, view.burst), ("token_bucket", "route", 10, 4));
    assert!((view.level - 1.5).abs() < 1e-6, "{view:?}");
    assert_eq!((view.keys, view.evicted, view.passed, view.limited), (1, 0, 3, 0));

    let many = limit(r#"{"qps": 10, "algorithm": "sliding_window", "key": "client_ip"}"#);
    assert_eq!(many.view(at(0)).level, 10.0);
    for key in 1..=7 {
        assert_eq!(told(&many, key_hash(&[key]), &vec![0; key.into()]), ["P"; 7][..key.into()].join(" "));
    }
    let view = many.view(at(0));
    assert_eq!((&*view.key, view.level, view.keys, view.passed), ("client_ip", 3.0, 7, 28));
}

#[test]
fn each_key_has_a_bucket_of_its_own() {
    for algorithm in ["token_bucket", "leaky_bucket", "sliding_window"] {
        let burst = if algorithm == "sliding_window" { "" } else { r#""burst": 1,"# };
        let limit =
            limit(&format!(r#"{{"qps": 1, {burst} "algorithm": "{algorithm}", "key": "header:x-tenant"}}"#));
        let (a, b) = (key_hash(b"a"), key_hash(b"b"));
        assert_eq!(told(&limit, a, &[0]), "P", "{algorithm}");
        assert_eq!(told(&limit, b, &[0]), "P", "{algorithm}");
        assert_ne!(told(&limit, a, &[0, 0]).split_once(' ').expect("two").1, "P", "{algorithm}");
        assert_eq!(told(&limit, a, &[9000]), "P", "{algorithm}");
    }
}

#[test]
fn the_default_key_depends_on_where_the_limit_stands() {
    let config = serde_json::from_str(r#"{"qps": 1}"#).expect("a config");
    assert_eq!(RateLimit::new(&config).key(), &LimitKey::Route);
    assert_eq!(RateLimit::global(&config).key(), &LimitKey::Global);
    assert_eq!(RateLimit::global(&config).config(), &config);
}

#[test]
fn a_client_is_an_address_or_a_network_of_64_bits() {
    let hash = |ip: &str| client_ip_hash(ip.parse().expect("an address"));
    assert_eq!(hash("192.0.2.1"), hash("::ffff:192.0.2.1"));
    assert_ne!(hash("192.0.2.1"), hash("192.0.2.2"));
    assert_eq!(hash("2001:db8:1:2::1"), hash("2001:db8:1:2:ffff::9"));
    assert_ne!(hash("2001:db8:1:2::1"), hash("2001:db8:1:3::1"));
}

#[test]
fn workers_that_share_a_bucket_pass_exactly_its_size() {
    for (config, requests, expected) in [
        (r#"{"qps": 1, "burst": 20000}"#, 8_000, 20_000),
        (r#"{"qps": 20000, "algorithm": "sliding_window"}"#, 8_000, 20_000),
        (r#"{"qps": 1, "burst": 20000, "key": "client_ip"}"#, 8_000, 20_000),
        (r#"{"qps": 1, "burst": 20000}"#, 2_500, 10_000),
    ] {
        let limit = Arc::new(limit(config));
        let worker = |_| {
            let limit = Arc::clone(&limit);
            std::thread::spawn(move || {
                (0..requests).filter(|_| limit.decide(7, at(0)) == Verdict::Pass).count() as u64
            })
        };
        let workers: Vec<_> = (0..4).map(worker).collect();
        let passed: u64 = workers.into_iter().map(|worker| worker.join().expect("a worker")).sum();
        assert_eq!(passed, expected, "{config}");
        let view = limit.view(at(0));
        assert_eq!((view.passed, view.limited), (expected, 4 * requests - expected), "{config}");
    }
}

/// Keys as spread as hashes are.
fn flood(from: u64, count: u64) -> impl Iterator<Item = u64> {
    (from..from + count).map(|key| {
        key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    })
}

#[test]
fn a_million_keys_leave_memory_bounded() {
    for (config, key_bytes, max_keys, keys) in [
        (r#"{"qps": 1, "key": "client_ip"}"#, 16, 100_000, 1_000_000),
        (
            r#"{"qps": 1, "algorithm": "leaky_bucket", "key": "client_ip", "max_keys": 1000}"#,
            16,
            1000,
            10_000,
        ),
        (
            r#"{"qps": 5000, "algorithm": "sliding_window", "key": "client_ip", "max_keys": 3000}"#,
            824,
            3000,
            30_000,
        ),
    ] {
        let limit = limit(config);
        let decide_all = |from, keys| {
            flood(from, keys).for_each(|key| {
                limit.decide(key, at(0));
            });
        };
        let allocated = allocation_counter::measure(|| decide_all(1, keys));
        // while a shard, one of 16 or more, doubles, it is there one and a half times
        let bound = max_keys * key_bytes * 11 / 10;
        assert!(allocated.bytes_max <= bound, "{config}: {} of {bound} bytes", allocated.bytes_max);
        let view = limit.view(at(0));
        assert!(view.keys <= max_keys && view.keys >= max_keys * 3 / 4, "{config}: {} keys", view.keys);
        assert_eq!(view.evicted, keys - view.keys, "{config}");
        let again = allocation_counter::measure(|| decide_all(1, 10_000));
        assert_eq!(again.count_total, 0, "a table of full size allocates nothing");
    }
}

#[test]
fn a_flood_of_new_keys_does_not_free_the_one_that_is_at_its_limit() {
    for algorithm in
        [r#""burst": 50"#, r#""algorithm": "sliding_window""#, r#""burst": 50, "algorithm": "leaky_bucket""#]
    {
        let limit = limit(&format!(r#"{{"qps": 50, {algorithm}, "key": "client_ip", "max_keys": 1000}}"#));
        let greedy = 0x1234_5678_9abc_def0;
        while !matches!(limit.decide(greedy, at(0)), Verdict::Limit(_)) {}
        flood(1, 100_000).for_each(|key| {
            limit.decide(key, at(1));
        });
        assert!(matches!(limit.decide(greedy, at(2)), Verdict::Limit(_)), "{algorithm}");
    }
}

#[test]
fn a_key_whose_bucket_is_full_again_makes_room_before_any_other_and_before_more_memory() {
    for algorithm in ["token_bucket", "sliding_window", "leaky_bucket"] {
        let limit = limit(&format!(
            r#"{{"qps": 5, "algorithm": "{algorithm}", "key": "client_ip", "max_keys": 1000}}"#
        ));
        for round in 0..20 {
            flood(round * 200, 200).for_each(|key| {
                limit.decide(key, at(round * 2000));
            });
        }
        let view = limit.view(at(38_000));
        assert_eq!(view.evicted, 0, "{algorithm}: nothing that was in use");
        assert!(view.keys < 1000, "{algorithm}: {} keys", view.keys);
        assert_eq!(limit.view(at(60_000)).level, f64::from(view.burst), "{algorithm}");
    }
}

#[test]
fn workers_that_share_growing_tables_pass_exactly_the_burst_of_each_key() {
    let limit = Arc::new(limit(r#"{"qps": 1, "burst": 3, "key": "client_ip"}"#));
    let worker = |worker: u64| {
        let limit = Arc::clone(&limit);
        std::thread::spawn(move || {
            let keys: Vec<_> = flood(1, 5000).collect();
            let turns = (0..4)
                .flat_map(|_| (0..keys.len()).map(|at| keys[(at + worker as usize * 1250) % keys.len()]));
            turns.filter(|key| limit.decide(*key, at(0)) == Verdict::Pass).count()
        })
    };
    let workers: Vec<_> = (0..4).map(worker).collect();
    let passed: usize = workers.into_iter().map(|worker| worker.join().expect("a worker")).sum();
    assert_eq!((passed, limit.view(at(0)).evicted), (3 * 5000, 0));
}

#[test]
fn no_rate_and_no_time_overflows() {
    for qps in [1, 3, u32::MAX - 1, u32::MAX] {
        for rest in [
            r#""burst": 4294967295"#,
            r#""burst": 4294967295, "algorithm": "leaky_bucket", "max_wait": "24h""#,
            r#""algorithm": "sliding_window""#,
        ] {
            let limit = limit(&format!(r#"{{"qps": {qps}, {rest}}}"#));
            for now in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX, 5] {
                limit.decide(0, Now::from_nanos(now));
                let view = limit.view(Now::from_nanos(now));
                assert!((0.0..=f64::from(view.burst)).contains(&view.level), "{view:?} at {now}");
            }
        }
    }
}
