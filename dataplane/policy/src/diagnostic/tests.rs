//! Diagnostics: on the wire, in a log line and on a terminal.

use super::*;

fn sample() -> Diagnostic {
    Diagnostic {
        code: Code::UNKNOWN_UPSTREAM,
        message: "no upstream is named `user`".into(),
        help: Some("did you mean `users`?".into()),
        path: "routes[0].upstream".into(),
        span: Some(Span { line: 2, column: 13, start: 22, end: 26 }),
        related: vec![Label { message: "the upstream".into(), path: "upstreams[0]".into(), span: None }],
    }
}

#[test]
fn the_wire_keeps_everything() {
    let there = v1::Diagnostic::from(sample());
    assert_eq!(Diagnostic::from(there), sample());
    let bare = Diagnostic::new(Code::LISTEN, "port 80 is taken");
    assert_eq!(Diagnostic::from(v1::Diagnostic::from(bare.clone())), bare);
}

#[test]
fn a_code_of_a_newer_program_keeps_its_number() {
    let wire = v1::Diagnostic { code: "GW7777".into(), ..Default::default() };
    assert_eq!(Diagnostic::from(wire).code, Code(7777));
    let garbage = v1::Diagnostic { code: "?".into(), ..Default::default() };
    assert_eq!(Diagnostic::from(garbage).code, Code::UNKNOWN);
}

#[test]
fn codes_are_unique_and_ascending() {
    assert!(Code::ALL.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(Code::UNKNOWN_UPSTREAM.title(), "a route refers to an upstream that does not exist");
}

#[test]
fn a_log_line_names_code_and_place() {
    assert_eq!(sample().to_string(), "GW1203: no upstream is named `user` (routes[0].upstream, line 2)");
}

#[test]
fn a_source_that_has_changed_since_does_not_break_rendering() {
    let mut far = sample();
    far.span = Some(Span { line: 900, column: 1, start: 90_000, end: 90_001 });
    let text = render("a.yaml", "short", &[far], false);
    assert!(text.contains("error[GW1203]: no upstream is named `user`"), "{text}");
    let mut split = sample();
    split.span = Some(Span { line: 1, column: 1, start: 1, end: 2 });
    assert!(render("a.yaml", "ä", &[split], false).contains("GW1203"));
}

#[test]
fn a_path_reads_as_it_is_written() {
    let path = ConfigPath::root().key("routes").index(3).key("targets").index(0).key("addr");
    assert_eq!(path.to_string(), "routes[3].targets[0].addr");
}
