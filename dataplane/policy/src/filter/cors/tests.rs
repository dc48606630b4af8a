//! What is refused as a `cors` filter, and what a browser is told by one.

use super::*;
use crate::filter::FilterConfig;
use crate::filter::test_support::{fault, filter, wire_round_trip};
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request};
use proptest::prelude::*;
use std::sync::Arc;

fn cors(settings: &str) -> Arc<Cors> {
    match filter(&format!("cors: {{{settings}}}")) {
        FilterConfig::Cors(config) => Cors::new(&config),
        other => panic!("{other:?}"),
    }
}

fn request(method: Method, headers: &[(&'static str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

/// What a preflight from `origin` is answered with.
fn preflight(cors: &Cors, origin: &str) -> Vec<String> {
    let headers = [("origin", origin), ("access-control-request-method", "PUT")];
    shown(&cors.preflight(&request(Method::OPTIONS, &headers)).expect("a preflight"))
}

/// The headers of a response to `origin` that had `headers` of its own.
fn decorated(cors: &Cors, origin: Option<&str>, headers: &[(&'static str, &str)]) -> Vec<String> {
    let origin = origin.map(|origin| HeaderValue::from_str(origin).expect("a value"));
    let mut response = HeaderMap::new();
    for (name, value) in headers {
        response.append(*name, value.parse().expect("a value"));
    }
    cors.decorate(origin.as_ref(), &mut response);
    shown(&response)
}

fn shown(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
    lines.sort();
    lines
}

const VARY: &str = "vary: origin, access-control-request-method, access-control-request-headers";

#[test]
fn every_setting_survives_the_wire() {
    wire_round_trip(
        "cors: {allow_origins: ['https://a.example', 'https://*.b.example:8443'], allow_methods: [GET, PUT], \
         allow_headers: [X-A], expose_headers: [ETag], allow_credentials: true, max_age: 10m}",
    );
    wire_round_trip("cors: {allow_origins: ['*', 'null'], allow_headers: ['*'], expose_headers: ['*']}");
}

#[test]
fn credentials_for_everyone_are_refused() {
    for origin in ["*", "null"] {
        let text = format!("cors: {{allow_origins: ['{origin}'], allow_credentials: true}}");
        assert!(fault(&text).contains("act as its visitor"), "{origin}");
    }
    for key in ["allow_headers", "expose_headers"] {
        let origins = "allow_origins: ['https://a.example'], allow_credentials: true";
        assert!(fault(&format!("cors: {{{origins}, {key}: ['*']}}")).contains("name of a header"), "{key}");
    }
    assert!(fault("cors: {allow_origins: []}").contains("no origin would be allowed"));
    assert!(fault("cors: {allow_origins: ['*'], max_age: 1500ms}").contains("whole number of seconds"));
}

#[test]
fn a_preflight_is_answered_with_all_that_is_allowed() {
    let cors = cors(
        "allow_origins: ['https://a.example'], allow_methods: [GET, PUT], allow_headers: [X-A, X-B], \
         expose_headers: [ETag], allow_credentials: true, max_age: 10m",
    );
    assert_eq!(
        preflight(&cors, "https://a.example"),
        [
            "access-control-allow-credentials: true",
            "access-control-allow-headers: x-a, x-b",
            "access-control-allow-methods: GET, PUT",
            "access-control-allow-origin: https://a.example",
            "access-control-max-age: 600",
            VARY,
        ]
    );
}

#[test]
fn a_preflight_of_another_origin_is_answered_without_permission() {
    let cors = cors("allow_origins: ['https://a.example'], max_age: 10m");
    for origin in ["https://b.example", "https://A.example", "https://a.example:8443", "null", "*", ""] {
        assert_eq!(preflight(&cors, origin), [VARY], "{origin}");
    }
}

#[test]
fn with_the_wildcard_a_preflight_names_no_origin() {
    let any = cors("allow_origins: ['*']");
    let expected = ["access-control-allow-methods: GET, HEAD, POST", "access-control-allow-origin: *", VARY];
    assert_eq!(preflight(&any, "https://a.example"), expected);
    let and_more = cors("allow_origins: ['https://a.example', '*']");
    assert_eq!(preflight(&and_more, "https://a.example"), expected);
}

#[test]
fn what_is_no_preflight_goes_on_to_the_target() {
    let cors = cors("allow_origins: ['*']");
    let (origin, method) = (("origin", "https://a.example"), ("access-control-request-method", "PUT"));
    for parts in [
        request(Method::OPTIONS, &[]),
        request(Method::OPTIONS, &[origin]),
        request(Method::OPTIONS, &[method]),
        request(Method::OPTIONS, &[origin, ("access-control-request-method", "P UT")]),
        request(Method::GET, &[origin, method]),
        request(Method::POST, &[origin, method]),
    ] {
        assert_eq!(cors.preflight(&parts), None, "{parts:?}");
        assert_eq!(Cors::asked_method(&parts), None, "{parts:?}");
    }
    assert_eq!(Cors::asked_method(&request(Method::OPTIONS, &[origin, method])), Some(Method::PUT));
}

#[test]
fn a_request_with_several_origins_has_none() {
    let cors = cors("allow_origins: ['https://a.example']");
    let twice = [
        ("origin", "https://a.example"),
        ("origin", "https://b.example"),
        ("access-control-request-method", "PUT"),
    ];
    let parts = request(Method::OPTIONS, &twice);
    assert_eq!(Cors::origin(&parts.headers), None);
    assert_eq!(shown(&cors.preflight(&parts).expect("a preflight")), [VARY]);
}

#[test]
fn a_response_says_who_may_read_it_and_what() {
    let any = cors("allow_origins: ['*'], expose_headers: [ETag, X-Total]");
    let expected = ["access-control-allow-origin: *", "access-control-expose-headers: etag, x-total"];
    assert_eq!(decorated(&any, Some("https://a.example"), &[]), expected);
    assert_eq!(decorated(&any, None, &[]), expected, "a cache may keep it for a page of any origin");

    let one = cors("allow_origins: ['https://a.example'], expose_headers: [ETag], allow_credentials: true");
    assert_eq!(
        decorated(&one, Some("https://a.example"), &[]),
        [
            "access-control-allow-credentials: true",
            "access-control-allow-origin: https://a.example",
            "access-control-expose-headers: etag",
            "vary: origin",
        ]
    );
    assert_eq!(decorated(&one, Some("https://b.example"), &[]), ["vary: origin"]);
    assert_eq!(decorated(&one, None, &[]), ["vary: origin"]);
}

#[test]
fn null_is_allowed_only_if_listed() {
    let listed = cors("allow_origins: ['null']");
    let allowed = ["access-control-allow-origin: null", "vary: origin"];
    assert_eq!(decorated(&listed, Some("null"), &[]), allowed);
    assert_eq!(decorated(&cors("allow_origins: ['https://a.example']"), Some("null"), &[]), ["vary: origin"]);
}

#[test]
fn the_answer_of_the_target_is_replaced() {
    let theirs = [
        ("access-control-allow-origin", "https://evil.test"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-private-network", "true"),
        ("access-control-expose-headers", "set-cookie"),
        ("etag", "x"),
    ];
    let any = cors("allow_origins: ['*']");
    assert_eq!(
        decorated(&any, Some("https://evil.test"), &theirs),
        ["access-control-allow-origin: *", "etag: x"]
    );
    let one = cors("allow_origins: ['https://a.example']");
    assert_eq!(decorated(&one, Some("https://evil.test"), &theirs), ["etag: x", "vary: origin"]);
}

#[test]
fn vary_is_completed_and_not_repeated() {
    let one = cors("allow_origins: ['https://a.example']");
    assert_eq!(decorated(&one, None, &[("vary", "accept, ORIGIN")]), ["vary: accept, ORIGIN"]);
    assert_eq!(decorated(&one, None, &[("vary", "*")]), ["vary: *"]);
    assert_eq!(decorated(&one, None, &[("vary", "accept")]), ["vary: accept", "vary: origin"]);
}

#[test]
fn a_response_for_everyone_costs_no_allocation() {
    let cors = cors("allow_origins: ['*'], expose_headers: [ETag]");
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    // the first clone of a value makes it shared
    cors.decorate(None, &mut headers);
    headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    headers.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
    let info = allocation_counter::measure(|| cors.decorate(None, &mut headers));
    assert_eq!(info.count_total, 0);
    assert_eq!(headers.len(), 3);
}

/// The standard's word on origins, as plainly as it can be said: equal to one that is listed, or below a listed name.
fn may_read(listed: &[&str], origin: &str) -> bool {
    listed.iter().any(|pattern| match pattern.split_once("*.") {
        None => *pattern == origin,
        Some((scheme, name)) => (1..=3).any(|labels| {
            let host = origin.strip_prefix(scheme).unwrap_or("");
            let parts: Vec<_> = host.splitn(labels + 1, '.').collect();
            let named = |part: &&str| {
                !part.is_empty() && part.chars().all(|c| "abcdefghijklmnopqrstuvwxyz0123456789-_".contains(c))
            };
            parts.len() == labels + 1 && parts[..labels].iter().all(named) && parts[labels] == name
        }),
    })
}

proptest! {
    #[test]
    fn no_origin_is_allowed_that_the_standard_refuses(
        scheme in prop::sample::select(vec!["https://", "http://", "HTTPS://", ""]),
        names in proptest::collection::vec(
            prop::sample::select(vec!["a", "evil", "", "B", "x/y", "u@v", "a:1", "a#", "a?", "%2e"]), 0..3),
        host in prop::sample::select(vec!["a.example", "example.com", "example.com:8443", "xexample.com", "null"]),
        tail in prop::sample::select(vec!["", ".", "/", ":443", ".evil.test", " "]),
    ) {
        let listed = ["https://a.example", "https://*.example.com", "http://*.example.com:8443"];
        let names: String = names.iter().map(|name| format!("{name}.")).collect();
        let origin = format!("{scheme}{names}{host}{tail}");
        let cors = cors("allow_origins: ['https://a.example', 'https://*.example.com', 'http://*.example.com:8443']");
        let allowed = decorated(&cors, Some(&origin), &[]);
        let expected = may_read(&listed, &origin);
        prop_assert_eq!(allowed.contains(&format!("access-control-allow-origin: {origin}")), expected, "{}", origin);
        prop_assert_eq!(allowed.len(), if expected { 2 } else { 1 });
        prop_assert_eq!(preflight(&cors, &origin).len() > 1, expected);
    }

    #[test]
    fn whatever_is_sent_as_an_origin_gets_an_answer(origin in "[ -~\\x80-\\xff]{0,60}") {
        let cors = cors("allow_origins: ['https://a.example', 'https://*.example.com']");
        if let Ok(value) = HeaderValue::from_bytes(origin.as_bytes()) {
            let mut headers = HeaderMap::new();
            cors.decorate(Some(&value), &mut headers);
            prop_assert_eq!(headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN),
                may_read(&["https://a.example", "https://*.example.com"], &origin));
        }
    }
}
