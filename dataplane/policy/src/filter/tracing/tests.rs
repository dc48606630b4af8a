//! What `tracing` may say, and what a route's says beside the global one.

use super::*;
use crate::filter::FilterConfig;
use crate::filter::test_support::{fault, filter, wire_round_trip};
use crate::trace::TRACEPARENT;
use http::HeaderValue;

fn config(settings: &str) -> TracingConfig {
    match filter(&format!("tracing: {{{settings}}}")) {
        FilterConfig::Tracing(config) => config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_setting_survives_the_wire_and_so_does_silence() {
    wire_round_trip("tracing: {}");
    assert_eq!(config(""), TracingConfig::default());
    for (protocol, port) in [("grpc", 4317), ("http", 4318)] {
        for parent in ["ignore", "continue", "trusted", "always"] {
            wire_round_trip(&format!(
                "tracing: {{endpoint: 'https://otel.example:{port}', protocol: {protocol}, sample: 0.000001, \
                 parent: {parent}, errors: false, service_name: edge, headers: {{x-key: s3cret, X-Team: '7'}}}}"
            ));
        }
    }
    wire_round_trip("tracing: {endpoint: 'http://[::1]:4318/otlp/v1/traces', protocol: http}");
    wire_round_trip("tracing: {endpoint: 'https://otel.example'}");
}

#[test]
fn what_could_not_work_is_refused() {
    for (settings, part) in [
        ("endpoint: 'collector:4317'", "begins neither"),
        ("endpoint: 'grpc://collector:4317'", "begins neither"),
        ("endpoint: 'http://collector'", "has no port"),
        ("endpoint: 'http://collector:0'", "has no port"),
        ("endpoint: 'https://collector:0'", "has no port"),
        ("endpoint: 'http://collector:4317/?a=b'", "has a query"),
        ("endpoint: 'http://user:pass@collector:4317'", "the address holds credentials"),
        ("endpoint: 'http://collector:4318'", "port 4318 is where collectors speak OTLP over HTTP"),
        ("endpoint: 'http://collector:4317/v1/traces'", "has a path"),
        ("protocol: udp", "unknown value `udp`"),
        ("sample: 1.5", "`1.5` is more than 1"),
        ("sample: 5%", "`5%` is not a ratio"),
        ("parent: never", "unknown value `never`"),
        ("service_name: ''", "`service_name` is empty"),
        ("headers: {'x y': a}", "`x y` is not a header name"),
        ("headers: {Host: a}", "`host` is the exporter's to say"),
        ("headers: {content-type: a}", "`content-type` is the exporter's to say"),
        ("headers: {x-key: \"a\\nb\"}", "no header can have the value of `x-key`"),
        ("headers: {x-key: '***'}", "what outputs show in place of a secret"),
    ] {
        let message = fault(&format!("tracing: {{{settings}}}"));
        assert!(message.contains(part), "{settings}: {message}");
        assert!(!message.contains("pass"), "{message}");
    }
}

fn begin(own: Option<&str>, global: &str, defaults: &SamplingDefaults) -> SpanContext {
    let own = own.map(config);
    let sampled = HeaderValue::from_static("00-0123456789abcdef0123456789abcdef-1234567890abcdef-01");
    let headers = HeaderMap::from_iter([(TRACEPARENT, sampled)]);
    Tracing::new(own.as_ref(), &config(global)).begin(&headers, true, defaults)
}

#[test]
fn a_route_says_what_is_different_and_the_environment_what_is_left() {
    let silent = SamplingDefaults::default();
    let ignoring = SamplingDefaults { sample: Some(Ratio::ONE), parent: Some(ParentRule::Ignore) };
    assert!(begin(None, "", &silent).is_sampled(), "a trusted peer decides");
    assert!(!begin(None, "parent: continue, sample: 0", &silent).is_sampled());
    assert!(begin(Some("sample: 1"), "parent: continue, sample: 0", &silent).is_sampled());
    assert!(!begin(Some("parent: continue"), "sample: 0", &silent).is_sampled());
    assert_eq!(begin(None, "", &ignoring).parent_id, 0);
    assert!(begin(None, "", &ignoring).is_sampled());
    assert!(!begin(None, "sample: 0", &ignoring).is_sampled());
    assert_ne!(begin(None, "parent: trusted", &ignoring).parent_id, 0);
    let errors = |own: Option<&str>, global| Tracing::new(own.map(config).as_ref(), &config(global)).errors;
    assert!(errors(None, "") && !errors(None, "errors: false"));
    assert!(errors(Some("errors: true"), "errors: false") && !errors(Some("sample: 1"), "errors: false"));
}
