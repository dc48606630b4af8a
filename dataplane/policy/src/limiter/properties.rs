//! Limits beside models too simple to be wrong, over arrivals of every kind.

use super::{RateLimit, Verdict};
use crate::clock::Now;
use crate::config::leaf;
use crate::filter::rate_limit::{LimitAlgorithm, RateLimitConfig};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

const SECOND: f64 = 1e9;

fn config(algorithm: LimitAlgorithm, qps: u32, burst: Option<u32>) -> RateLimitConfig {
    let mut config: RateLimitConfig = serde_json::from_str(r#"{"qps": 1}"#).expect("a config");
    config.qps = qps.try_into().expect("a rate");
    config.burst = burst.and_then(NonZeroU32::new);
    config.algorithm = algorithm;
    config
}

/// Rates and bursts of every size, the small ones as often as the large.
fn size() -> impl Strategy<Value = u32> {
    (0u32..32, any::<u32>()).prop_map(|(bits, number)| (number >> bits).max(1))
}

/// Times of arrivals in the measure of a rate: in bursts, at the rate, now and then after a pause.
fn arrivals(qps: u32) -> impl Strategy<Value = Vec<Now>> {
    let one = SECOND / f64::from(qps);
    let gap = prop_oneof![
        Just(0.0),
        (0.0..1.0).prop_map(move |part| part * one),
        (0.0..3.0).prop_map(move |part| part * one),
        (0.0..100.0).prop_map(move |part| part * one),
        Just(one),
    ];
    (0u64..1 << 50, vec((gap, 1usize..20), 1..60)).prop_map(|(start, gaps)| {
        let mut now = start;
        let mut times = Vec::new();
        for (gap, count) in gaps {
            now += gap.ceil() as u64;
            times.extend(std::iter::repeat_n(Now::from_nanos(now), count));
        }
        times
    })
}

fn rate_and_arrivals() -> impl Strategy<Value = (u32, Vec<Now>)> {
    size().prop_flat_map(|qps| (Just(qps), arrivals(qps)))
}

/// The token bucket as it is usually written.
struct Tokens {
    rate: f64,
    burst: f64,
    tokens: f64,
    last: Now,
}

impl Tokens {
    fn refilled(&mut self, now: Now) -> f64 {
        self.tokens = (self.tokens + now.since(self.last).as_secs_f64() * self.rate).min(self.burst);
        self.last = now;
        self.tokens
    }
}

proptest! {
    /// Where the two differ, the model's tokens are 1 but for what a nanosecond and the 53 bits of a float are worth.
    #[test]
    fn a_token_bucket_decides_as_a_counter_of_tokens((qps, times) in rate_and_arrivals(), burst in size()) {
        let limit = RateLimit::new(&config(LimitAlgorithm::TokenBucket, qps, Some(burst)));
        let (rate, burst) = (f64::from(qps), f64::from(burst));
        let mut model = Tokens { rate, burst, tokens: burst, last: times[0] };
        let doubt = rate / SECOND + burst * 1e-12;
        for now in times {
            let tokens = model.refilled(now);
            let passed = limit.decide(0, now) == Verdict::Pass;
            prop_assert!(passed == (tokens >= 1.0) || (tokens - 1.0).abs() <= doubt, "{} tokens, {}", tokens, passed);
            model.tokens -= f64::from(u8::from(passed));
            let level = limit.view(now).level;
            prop_assert!((level - model.tokens).abs() <= doubt * 60.0, "{} and not {}", level, model.tokens);
        }
    }

    #[test]
    fn no_interval_sees_more_than_the_burst_and_the_rate((qps, times) in rate_and_arrivals(), burst in 1u32..50) {
        let limit = RateLimit::new(&config(LimitAlgorithm::TokenBucket, qps, Some(burst)));
        let passed: Vec<_> = times.into_iter().filter(|now| limit.decide(0, *now) == Verdict::Pass).collect();
        for (from, first) in passed.iter().enumerate() {
            for (to, last) in passed.iter().enumerate().skip(from) {
                let span = last.since(*first) + Duration::from_nanos(1);
                let allowed = f64::from(burst) + f64::from(qps) * span.as_secs_f64();
                prop_assert!((to - from + 1) as f64 <= allowed, "{} in {:?}", to - from + 1, span);
            }
        }
    }

    #[test]
    fn a_leaky_bucket_lets_out_at_the_rate_and_holds_a_bounded_queue(
        (qps, times) in rate_and_arrivals(),
        burst in 1u32..50,
        max_wait in 1u64..5000,
    ) {
        let mut config = config(LimitAlgorithm::LeakyBucket, qps, Some(burst));
        config.max_wait = Some(leaf::Duration::from_millis(max_wait).expect("a duration"));
        let limit = RateLimit::new(&config);
        let one = Duration::from_secs(1).div_f64(qps.into());
        let slack = Duration::from_nanos(2);
        let mut departures: Vec<Now> = Vec::new();
        for now in times {
            let waiting = departures.iter().filter(|departure| **departure > now).count();
            let free_at = departures.last().map_or(now, |last| last.after(one)).max(now);
            let wait = match limit.decide(0, now) {
                Verdict::Pass => Duration::ZERO,
                Verdict::Wait(wait) => wait,
                Verdict::WouldLimit => unreachable!("not in shadow mode"),
                Verdict::Limit(_) => {
                    let too_long = now.until(free_at) + slack > config.max_wait().get();
                    prop_assert!(waiting >= burst as usize || too_long, "{} wait, free at {:?}", waiting, free_at);
                    continue;
                }
            };
            prop_assert!(wait <= config.max_wait().get() + slack);
            prop_assert!(waiting <= burst as usize, "{} wait", waiting);
            let departure = now.after(wait);
            prop_assert!(departure.after(slack) >= free_at, "{:?} before {:?}", departure, free_at);
            prop_assert!(departure <= free_at.after(slack), "{:?} after {:?}", departure, free_at);
            departures.push(departure);
        }
    }
}

/// The times of the passes of the last window: what a sliding window is.
struct Log {
    window: Duration,
    passes: VecDeque<Now>,
}

impl Log {
    fn in_window(&mut self, now: Now) -> u64 {
        while self.passes.front().is_some_and(|pass| now.since(*pass) >= self.window) {
            self.passes.pop_front();
        }
        self.passes.len() as u64
    }
}

/// Floods, trickles and pauses, also such as end exactly with the window.
fn visits() -> impl Strategy<Value = (u32, Vec<u64>)> {
    let visit = (
        select(vec![0, 1, 7, 499, 500, 990, 999, 1000, 1001, 1500]),
        1u64..400,
        select(vec![0, 1, 3, 10, 40]),
    );
    (1u32..1000, vec(visit, 1..40)).prop_map(|(qps, visits)| {
        let mut now = 0;
        let mut times = Vec::new();
        for (pause, count, gap) in visits {
            now += pause;
            times.extend((0..count).map(|one| now + one * gap));
            now += (count - 1) * gap;
        }
        (qps, times)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Beside the log of its own passes: never one too many, and none refused before 99 % of the quota are used.
    #[test]
    fn a_sliding_window_never_exceeds_the_quota_and_gives_99_percent_of_it((qps, millis) in visits()) {
        let limit = RateLimit::new(&config(LimitAlgorithm::SlidingWindow, qps, None));
        let mut log = Log { window: Duration::from_secs(1), passes: VecDeque::new() };
        for millis in millis {
            let now = Now::from_nanos(millis * 1_000_000);
            let used = log.in_window(now);
            if limit.decide(0, now) == Verdict::Pass {
                prop_assert!(used < u64::from(qps), "{} of {} were used", used, qps);
                log.passes.push_back(now);
            } else {
                prop_assert!(used * 100 >= u64::from(qps) * 99, "only {} of {} were used", used, qps);
            }
            let (level, left) = (limit.view(now).level, u64::from(qps) - log.in_window(now));
            prop_assert!(level <= left as f64 && level + f64::from(qps) / 100.0 >= left as f64);
        }
    }

    /// Beside a log that decides for itself, over the whole run.
    #[test]
    fn a_sliding_window_passes_what_a_log_does_within_a_hundredth((qps, millis) in visits()) {
        let limit = RateLimit::new(&config(LimitAlgorithm::SlidingWindow, qps, None));
        let mut log = Log { window: Duration::from_secs(1), passes: VecDeque::new() };
        let (mut passed, mut expected) = (0u64, 0u64);
        for millis in millis {
            let now = Now::from_nanos(millis * 1_000_000);
            if log.in_window(now) < u64::from(qps) {
                log.passes.push_back(now);
                expected += 1;
            }
            passed += u64::from(limit.decide(0, now) == Verdict::Pass);
            let windows = millis / 1000 + 1;
            prop_assert!(passed <= expected, "{} and not {}", passed, expected);
            prop_assert!(passed + windows * u64::from(qps) / 100 >= expected, "{} and not {}", passed, expected);
        }
    }

    /// While nothing has to be forgotten, a table is as many limits as there are keys, however it grows.
    #[test]
    fn a_key_is_treated_as_if_it_had_a_limit_of_its_own(
        algorithm in select(vec![
            LimitAlgorithm::TokenBucket,
            LimitAlgorithm::SlidingWindow,
            LimitAlgorithm::LeakyBucket,
        ]),
        seed in any::<u64>(),
        visits in vec((0u64..400, 0u64..500_000), 1..2000),
    ) {
        let one = config(algorithm, 2, None);
        let keyed = RateLimitConfig { key: "client_ip".parse().ok(), ..one.clone() };
        let table = RateLimit::new(&keyed);
        let mut own: HashMap<u64, RateLimit> = HashMap::new();
        let mut now = 0;
        for (key, gap) in visits {
            now += gap;
            let now = Now::from_nanos(now);
            // spread as a hash is
            let hash = (seed ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let own = own.entry(key).or_insert_with(|| RateLimit::new(&one));
            prop_assert_eq!(table.decide(hash, now), own.decide(0, now));
        }
        prop_assert_eq!(table.view(Now::from_nanos(now)).evicted, 0);
    }
}
