//! What a `rate_limit` may say, what it may not, and that the wire keeps it.

use super::*;
use crate::filter::FilterConfig;
use crate::filter::test_support::{fault, filter, wire_round_trip};

fn wire(yaml: &str) -> v1::RateLimit {
    match v1::Filter::from(&filter(yaml)).kind {
        Some(v1::filter::Kind::RateLimit(wire)) => wire,
        other => panic!("not a rate limit: {other:?}"),
    }
}

#[test]
fn the_wire_carries_the_defaults_that_have_a_meaning_and_no_others() {
    let bucket = wire("rate_limit: {qps: 500}");
    assert_eq!(bucket.burst, Some(500));
    assert_eq!(
        (bucket.window_ms, bucket.max_wait_ms, bucket.max_keys, &bucket.key),
        (None, None, None, &None)
    );
    let window = wire("rate_limit: {qps: 500, algorithm: sliding_window, key: client_ip}");
    assert_eq!((window.burst, window.window_ms, window.max_keys), (None, Some(1000), Some(100_000)));
    let queue = wire("rate_limit: {qps: 500, algorithm: leaky_bucket}");
    assert_eq!((queue.burst, queue.max_wait_ms), (Some(500), Some(1000)));
}

#[test]
fn everything_survives_the_wire() {
    wire_round_trip("rate_limit: {qps: 1000, burst: 2000}");
    wire_round_trip("rate_limit: {qps: 10, algorithm: sliding_window, window: 1m, key: route, shadow: true}");
    for key in ["client_ip", "'header:X-Tenant'"] {
        wire_round_trip(&format!(
            "rate_limit: {{qps: 10, burst: 5, algorithm: leaky_bucket, max_wait: 250ms, key: {key}, max_keys: 5000, headers: legacy}}"
        ));
    }
}

#[test]
fn what_a_later_version_sends_is_refused_by_its_key() {
    let sent = |change: fn(&mut v1::RateLimit)| {
        let mut wire = wire("rate_limit: {qps: 5}");
        change(&mut wire);
        RateLimitConfig::try_from(wire).expect_err("unknown").at
    };
    assert_eq!(sent(|wire| wire.algorithm = 99), Some("algorithm".into()));
    assert_eq!(sent(|wire| wire.headers = 99), Some("headers".into()));
    assert_eq!(sent(|wire| wire.key = Some("moon_phase".into())), Some("key".into()));
    assert_eq!(sent(|wire| wire.burst = Some(0)), Some("burst".into()));
}

#[test]
fn a_limit_of_nothing_is_refused() {
    let not_a_number = "expected a number from 1 to 4294967295";
    assert_eq!(fault("rate_limit: {qps: 0}"), format!("invalid value `0`: {not_a_number}"));
    assert_eq!(fault("rate_limit: {qps: 5, burst: -1}"), format!("invalid value `-1`: {not_a_number}"));
    assert_eq!(fault("rate_limit: {qps: 5, algorithm: sliding_window, window: 0s}"), "`window` is 0");
    assert_eq!(fault("rate_limit: {qps: 5, algorithm: leaky_bucket, max_wait: 0s}"), "`max_wait` is 0");
}

#[test]
fn a_window_holds_a_whole_number_of_requests() {
    let quota = |qps, window| {
        let FilterConfig::RateLimit(config) =
            filter(&format!("rate_limit: {{qps: {qps}, algorithm: sliding_window, window: {window}}}"))
        else {
            panic!("not a rate limit");
        };
        config.window_quota().map(NonZeroU32::get)
    };
    assert_eq!(quota(5, "200ms"), Some(1));
    assert_eq!(quota(3, "1m"), Some(180));
    for limit in ["qps: 5, window: 100ms", "qps: 333, window: 10ms", "qps: 4294967295, window: 2s"] {
        let fault = fault(&format!("rate_limit: {{algorithm: sliding_window, {limit}}}"));
        assert!(fault.contains("not a whole number of requests"), "{fault}");
    }
}

#[test]
fn a_key_that_would_do_nothing_is_refused() {
    let no_meaning =
        |key: &str, algorithm: &str| format!("`{key}` has no meaning for `algorithm: {algorithm}`");
    for (limit, expected) in [
        ("burst: 5, algorithm: sliding_window", no_meaning("burst", "sliding_window")),
        ("window: 5s", no_meaning("window", "token_bucket")),
        ("window: 5s, algorithm: leaky_bucket", no_meaning("window", "leaky_bucket")),
        ("max_wait: 5s", no_meaning("max_wait", "token_bucket")),
        ("max_wait: 5s, algorithm: sliding_window", no_meaning("max_wait", "sliding_window")),
        ("max_keys: 5000", "`max_keys` has no meaning here: this limit has one bucket".to_owned()),
        ("max_keys: 999, key: client_ip", "`max_keys` is 999, outside of 1000 to 10000000".to_owned()),
    ] {
        assert_eq!(fault(&format!("rate_limit: {{qps: 5, {limit}}}")), expected);
    }
}

#[test]
fn a_key_is_one_of_six() {
    let fault = |key: &str| key.parse::<LimitKey>().expect_err("no key").message;
    assert_eq!(fault("cookie:sid"), "`cookie:sid` is nothing to limit by");
    assert_eq!(fault("claim:"), "`claim:` is nothing to limit by");
    assert_eq!(fault("header:a b"), "`a b` is not a header name");
    for key in ["route", "global", "client_ip", "consumer", "header:x-tenant", "claim:sub"] {
        assert_eq!(key.parse::<LimitKey>().expect("a key").to_string(), key);
    }
}

#[test]
fn requests_without_the_header_share_one_bucket() {
    let key: LimitKey = "header:X-Tenant".parse().expect("a key");
    let client = "192.0.2.1".parse().expect("an address");
    let bucket = |tenant: Option<&'static str>| {
        let headers = tenant
            .map(|tenant| (http::HeaderName::from_static("x-tenant"), tenant.parse().expect("a value")));
        key.bucket(&headers.into_iter().collect(), client, None)
    };
    assert_eq!(bucket(None), bucket(None));
    assert_eq!(bucket(Some("a")), bucket(Some("a")));
    assert_ne!(bucket(Some("a")), bucket(Some("b")));
    assert_ne!(bucket(Some("a")), bucket(None));
}
