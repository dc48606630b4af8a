//! What a `logging` filter may say, and which requests get a line.

use super::*;
use crate::filter::FilterConfig;
use crate::filter::test_support::{fault, filter, wire_round_trip};
use proptest::prelude::*;
use proptest::sample::select;
use proto::v1;
use std::time;

/// Any settings that the wire can carry.
pub(crate) fn any_logging() -> impl Strategy<Value = LoggingConfig> {
    let outputs = proptest::sample::subsequence(vec!["stdout", "stderr", "/var/log/a b.log"], 1..=3);
    let outputs = outputs.prop_map(|all| {
        all.iter().map(|text| text.parse().expect("an output")).collect::<Vec<LogOutput>>().into()
    });
    let only = (any::<Option<u16>>(), proptest::option::of(0u64..100_000)).prop_map(|(min_status, time)| {
        let slower_than = time.map(|millis| Duration::from_millis(millis).expect("a time"));
        LogOnly { min_status, slower_than }
    });
    let sample = (0u32..=1_000_000).prop_map(|share| Ratio::from_millionths(share).expect("a ratio"));
    let format = select(vec![LogFormat::Json, LogFormat::Text]);
    let schema = select(vec![LogSchema::Default, LogSchema::Otel]);
    let when_full = select(vec![WhenFull::Drop, WhenFull::Block]);
    (format, schema, outputs, sample, proptest::option::of(only), any::<bool>(), when_full).prop_map(
        |(format, schema, output, sample, only, query, when_full)| LoggingConfig {
            format,
            schema,
            output,
            sample,
            only,
            query,
            when_full,
        },
    )
}

fn logging(settings: &str) -> LoggingConfig {
    match filter(&format!("logging: {{{settings}}}")) {
        FilterConfig::Logging(config) => config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_setting_survives_the_wire() {
    for settings in [
        "format: json",
        "format: text",
        "schema: otel",
        "output: stderr",
        "output: /var/log/gw/access.log",
        "output: [stdout, /var/log/a b.log]",
        "sample: 0.000001",
        "sample: 0",
        "only: {min_status: 400}",
        "only: {slower_than: 1s500ms}",
        "only: {min_status: 599, slower_than: 1ms}",
        "query: true",
        "when_full: block",
    ] {
        wire_round_trip(&format!("logging: {{{settings}}}"));
    }
}

#[test]
fn the_defaults_are_all_requests_as_json_on_stdout_and_nothing_waits_for_them() {
    let all_written =
        "format: json, schema: default, output: [stdout], sample: 1.0, query: false, when_full: drop";
    assert_eq!(logging(""), logging(all_written));
    assert_eq!(logging("").only, None);
}

#[test]
fn a_config_is_written_as_it_is_read() {
    for (settings, output) in [("", "stdout"), ("output: [/a, stderr]", "")] {
        let config = logging(settings);
        let value = serde_json::to_value(&config).expect("a value");
        assert_eq!(filter(&format!("logging: {value}")), FilterConfig::Logging(config));
        assert!(output.is_empty() || value["output"] == output, "{value}");
    }
}

#[test]
fn what_is_not_an_output_is_refused() {
    for (output, message) in [
        ("access.log", "`access.log` is not an output"),
        ("''", "`` is not an output"),
        ("Stdout", "`Stdout` is not an output"),
        ("/var/log/", "`/var/log/` is a directory"),
        ("/dev/stdout", "`/dev/stdout` is standard output"),
        ("'[stdout, stderr'", "`[stdout, stderr` is not an output"),
        ("\"/a\\nb\"", "`/a\\nb` holds a control character"),
        ("[]", "`output` is an empty list"),
        ("[/a, stdout, /a]", "`/a` stands twice in `output`"),
        ("[stdout, ./b]", "`./b` is not an output"),
        ("7", "expected `stdout`, `stderr`, an absolute path, or a list of them, found `7`"),
    ] {
        assert_eq!(fault(&format!("logging: {{output: {output}}}")), message);
    }
    let nine: Vec<_> = (0..9).map(|n| format!("/{n}")).collect();
    assert!(fault(&format!("logging: {{output: [{}]}}", nine.join(", "))).contains("more than 8"));
}

#[test]
fn conditions_that_say_nothing_are_refused() {
    for (only, message) in [
        ("{}", "`only` names no condition"),
        ("{min_status: 99}", "`min_status` is 99, outside of 100 to 599"),
        ("{min_status: 600}", "`min_status` is 600, outside of 100 to 599"),
        ("{slower_than: 0s}", "`slower_than` is 0, so every request is slower"),
        ("{min_status: 400, slower_than: 0s}", "`slower_than` is 0, so every request is slower"),
    ] {
        assert_eq!(fault(&format!("logging: {{only: {only}}}")), message);
    }
    assert_eq!(fault("logging: {format: yaml}"), "unknown value `yaml`");
    assert_eq!(fault("logging: {sample: 2}"), "`2` is more than 1");
    assert_eq!(fault("logging: {sample: 10%}"), "`10%` is not a ratio");
}

#[test]
fn settings_of_a_later_version_are_refused() {
    let sent = || v1::Logging::from(&logging("only: {min_status: 400}"));
    let refused = |wire: v1::Logging| LoggingConfig::try_from(wire).expect_err("unknown").at;
    assert_eq!(refused(v1::Logging { format: 9, ..sent() }).as_deref(), Some("format"));
    assert_eq!(refused(v1::Logging { schema: 9, ..sent() }).as_deref(), Some("schema"));
    assert_eq!(refused(v1::Logging { when_full: 9, ..sent() }).as_deref(), Some("when_full"));
    assert_eq!(refused(v1::Logging { sample_millionths: 1_000_001, ..sent() }).as_deref(), Some("sample"));
    let only = Some(v1::LogOnly { min_status: Some(70_000), slower_than_ms: None });
    assert_eq!(refused(v1::Logging { only, ..sent() }).as_deref(), Some("only.min_status"));
    assert_eq!(refused(v1::Logging { outputs: vec!["x".into()], ..sent() }).as_deref(), Some("output[0]"));
}

fn wanted(settings: &str, status: u16, millis: u64) -> bool {
    let logging = Logging { config: logging(settings), outputs: Box::default() };
    logging.wants(status, time::Duration::from_millis(millis))
}

#[test]
fn one_of_the_conditions_is_enough() {
    let both = "only: {min_status: 400, slower_than: 1s}";
    for (status, millis, expected) in
        [(200, 10, false), (399, 1000, false), (400, 10, true), (200, 1001, true), (503, 2000, true)]
    {
        assert_eq!(wanted(both, status, millis), expected, "{status} {millis}");
    }
    assert!(!wanted("only: {slower_than: 1s}", 503, 10), "nobody asked for it");
    assert!(!wanted("only: {min_status: 400}", 200, 5000));
}

#[test]
fn a_sample_keeps_every_failure_of_ours() {
    for status in [200, 404, 429, 499] {
        assert!(!wanted("sample: 0", status, 10), "{status}");
    }
    for status in [500, 502, 503, 504, 599] {
        assert!(wanted("sample: 0", status, 10), "{status}");
    }
    fastrand::seed(7);
    let lines = (0..10_000).filter(|_| wanted("sample: 0.1", 200, 10)).count();
    assert!((900..1100).contains(&lines), "{lines}");
}
