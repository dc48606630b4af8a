//! Loading: what the tables of valid and invalid files do not show.

use super::*;
use crate::diagnostic::{ConfigPath, render};
use proptest::prelude::*;
use std::collections::HashMap;
use std::fmt::Write as _;

fn with_env<T>(pairs: &[(&str, &str)], run: impl FnOnce(&Surroundings<'_>) -> T) -> T {
    let variables: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let env = move |name: &str| variables.get(name).cloned();
    let read_file = |path: &Path| match path.to_str() {
        Some("/secret") => Ok("line one\nline two\r\n".to_owned()),
        Some("/large") => Ok("x".repeat(2 << 20)),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    };
    run(&Surroundings { env: &env, read_file: &read_file })
}

fn bare<T>(run: impl FnOnce(&Surroundings<'_>) -> T) -> T {
    with_env(&[], run)
}

fn messages(source: &str) -> Vec<String> {
    let diagnostics = bare(|surroundings| check(source, surroundings)).expect_err("an invalid config");
    diagnostics.into_iter().map(|one| one.message).collect()
}

fn expand_text(text: &str) -> Result<String, expand::Failure> {
    with_env(&[("SET", "value"), ("EMPTY", "")], |surroundings| expand::expanded(text, surroundings))
}

#[test]
fn expansions_follow_the_shell() {
    for (text, expected) in [
        ("${SET}", "value"),
        ("a${SET}b${SET}c", "avaluebvaluec"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${UNSET:-}", ""),
        ("${UNSET:-a:-b}", "a:-b"),
        ("${SET:-default}", "value"),
        ("${SET:?never}", "value"),
        ("$$", "$"),
        ("$${SET}", "${SET}"),
        ("${file:/secret}", "line one\nline two"),
    ] {
        assert_eq!(expand_text(text).as_deref(), Ok(expected), "{text}");
    }
    for text in [
        "${UNSET}",
        "${EMPTY:?why}",
        "${UNSET:?why}",
        "$SET",
        "$",
        "${",
        "${}",
        "${1A}",
        "${A-b}",
        "${file:/large}",
    ] {
        assert!(expand_text(text).is_err(), "{text}");
    }
}

#[test]
fn a_plain_value_from_a_variable_has_its_type_and_a_quoted_one_is_text() {
    let port = |source: &str| {
        with_env(&[("PORT", "9000")], |surroundings| load(source, surroundings).map(|l| l.config.server.port))
    };
    assert_eq!(port("routes: []\nserver:\n  port: ${PORT}\n").expect("a number"), 9000);
    let quoted = port("routes: []\nserver:\n  port: \"${PORT}\"\n").expect_err("a text");
    assert!(quoted[0].message.contains("expected a number"), "{quoted:?}");
}

#[test]
fn a_value_cannot_change_the_structure_of_the_file() {
    let source = "routes: []\nglobal_filters:\n  - auth:\n      type: jwt\n      secret: ${SECRET}\n";
    let secret = "x}\n  - metrics: {}\nserver: {port: 1}";
    let loaded = with_env(&[("SECRET", secret)], |surroundings| load(source, surroundings).map(|l| l.config));
    let config = loaded.expect("one filter with an odd secret");
    assert_eq!(config.global_filters.len(), 1);
    assert_eq!(config.server.port, 8080);
}

#[test]
fn no_message_shows_what_a_variable_stands_for() {
    let source = "server: {port: \"${S}\", read_timeout: \"${S}\", max_body_bytes: \"${S}\", trusted_proxies: [\"${S}\"]}\n\
                  routes: [{name: a, prefix: \"${S}\", hosts: [\"${S}\"], methods: [\"${S}\"], targets: [{addr: \"${S}\"}]}]\n\
                  global_filters: [{logging: {format: \"${S}\"}}, {retry: {max_retries: 1, retry_on: [\"${S}\"]}}]\n";
    let result = with_env(&[("S", "hunter2 hunter2")], |surroundings| check(source, surroundings));
    let text = render("a.yaml", source, &result.expect_err("nonsense"), false);
    assert!(text.matches("error").count() >= 9, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn what_follows_from_an_error_is_not_reported() {
    let only = |source: &str, expected: &str| {
        let messages = messages(source);
        assert_eq!(messages.len(), 1, "{source}\n{messages:#?}");
        assert!(messages[0].contains(expected), "{messages:?}");
    };
    // no "neither targets nor upstream", no "there are no targets"
    only("routes: [{name: a, prefix: /, targets: [{addr: nonsense}]}]", "has no scheme");
    // no "neither prefix nor path"
    only("routes: [{name: a, prefx: /, targets: [{addr: \"http://127.0.0.1:1\"}]}]", "unknown key");
    // no "no upstream is named"
    only("upstreams: [{name: u}]\nroutes: [{name: a, prefix: /, upstream: u}]", "`targets` is missing");
    // no conflict with the route that lost its host
    only(
        "routes:\n- {name: a, prefix: /, hosts: [\"-\"], targets: [{addr: \"http://127.0.0.1:1\"}]}\n\
         - {name: b, prefix: /, targets: [{addr: \"http://127.0.0.1:1\"}]}",
        "is not a host",
    );
    // no "`type: jwt` needs a `secret`"
    only("routes: []\nglobal_filters: [{auth: {type: jwt, secret: \"\"}}]", "the secret is empty");
    // no "`path` needs …" and no "missing", at any depth
    only("routes: []\nglobal_filters: [{rate_limit: {qps: many}}]", "expected a number");
}

#[test]
fn independent_errors_are_reported_together_in_the_order_of_the_file() {
    let messages = messages(
        "server: {port: x}\nroutes:\n- {name: a, prefix: /a, upstream: u}\n- {name: a b, prefix: /b, upstream: v}\n\
         - {name: c, nonsense: 1}\n",
    );
    let expected = ["expected a number", "no upstream is named `u`", "the name holds", "`v`", "unknown key"];
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.contains(expected), "{messages:#?}");
    }
}

#[test]
fn a_pruned_entry_does_not_shift_the_places_of_the_others() {
    let source = "routes:\n- {nonsense: 1}\n- {name: b, prefix: /b, upstream: u}\n";
    let diagnostics = bare(|surroundings| check(source, surroundings)).expect_err("invalid");
    let unknown =
        diagnostics.iter().find(|one| one.code == Code::UNKNOWN_UPSTREAM).expect("the second error");
    assert_eq!(unknown.path, "routes[1].upstream");
    assert_eq!(unknown.span.map(|span| (span.line, span.column)), Some((3, 35)));
}

#[test]
fn columns_count_characters_and_offsets_count_bytes() {
    let source = "routes:\n- {name: a, prefix: /, hosts: [größe.example, \"*\"], targets: []}\n";
    let diagnostics = bare(|surroundings| check(source, surroundings)).expect_err("invalid");
    let star = diagnostics
        .iter()
        .find(|one| one.message.starts_with("`*`"))
        .and_then(|one| one.span)
        .expect("a span");
    assert_eq!(&source[star.start as usize..star.end as usize], "\"*\"");
    assert_eq!(star.column as usize, 1 + "- {name: a, prefix: /, hosts: [größe.example, ".chars().count());
}

#[test]
fn problems_of_others_are_located_too() {
    let source = "server:\n  port: 8080\nroutes: []\n";
    bare(|surroundings| {
        let loaded = load(source, surroundings).expect("valid");
        let problem =
            Problem::new(Code::LISTEN, ConfigPath::root().key("server").key("port"), "the port is taken");
        let far = Problem::new(Code::LISTEN, ConfigPath::root().key("routes").index(7), "nothing is there");
        let located = loaded.locate(&[problem, far]);
        assert_eq!(located[0].span.map(|span| (span.line, span.column)), Some((2, 9)));
        assert_eq!(located[1].span.map(|span| span.line), Some(3), "as near as the file comes to it");
    });
}

#[test]
fn too_many_errors_are_cut_off_and_counted() {
    let mut source = "routes:\n".to_owned();
    for n in 0..500 {
        writeln!(source, "- {{name: r{n}, prefix: r{n}, upstream: none}}").expect("a string");
    }
    let messages = messages(&source);
    assert_eq!(messages.len(), MAX_DIAGNOSTICS + 1);
    assert!(messages[MAX_DIAGNOSTICS].starts_with("and at least "), "{}", messages[MAX_DIAGNOSTICS]);
}

#[test]
fn a_file_beyond_the_limit_is_not_parsed() {
    let source = " ".repeat((32 << 20) + 1);
    assert!(messages(&source)[0].contains("33554433 bytes"));
}

#[test]
fn a_map_of_a_million_keys_costs_nothing() {
    let source: String = (0..200_000).map(|n| format!("k{n}: 1\n")).collect();
    assert_eq!(messages(&source), ["more than 256 keys in one map"]);
}

#[test]
fn an_error_in_an_alias_is_reported_once() {
    let source = "routes:\n- {name: a, prefix: /a, targets: &t [{addr: nonsense}]}\n- {name: b, prefix: /b, targets: *t}\n";
    assert_eq!(messages(source), ["`nonsense` has no scheme"]);
}

#[test]
fn merged_keys_give_way_to_those_of_the_map() {
    let source = "routes:\n- &base {name: a, prefix: /a, timeout: 3s, targets: [{addr: \"http://127.0.0.1:1\"}]}\n\
                  - {<<: *base, name: b, prefix: /b}\n";
    let config = bare(|surroundings| load(source, surroundings).map(|loaded| loaded.config)).expect("valid");
    assert_eq!(config.routes[1].name, "b");
    assert_eq!(config.routes[1].timeout, config.routes[0].timeout);
}

#[test]
fn what_is_hardly_meant_is_a_warning_with_its_place() {
    let source = "upstreams:\n- {name: spare, targets: [{addr: \"http://10.0.0.1\"}]}\n\
                  routes:\n- {name: a, prefix: /, methods: [GTE, PURGE], targets: [{addr: \"http://10.0.0.2\"}]}\n";
    let checked = bare(|surroundings| check(source, surroundings)).expect("a valid config");
    let text = render("a.yaml", source, &checked.warnings, false);
    assert_eq!(checked.warnings.len(), 2, "{text}");
    assert!(text.contains("warning[GW1901]: no route uses the upstream `spare`"), "{text}");
    assert!(text.contains("warning[GW1902]: `GTE` is an unusual method"), "{text}");
    assert!(text.contains("help: did you mean `GET`?"), "{text}");
}

#[test]
fn keys_that_could_be_guessed_or_swapped_are_a_warning() {
    let warned = |auth: &str| {
        let source = format!("routes: []\nglobal_filters:\n- auth: {{type: jwt, {auth}}}\n");
        let checked = bare(|surroundings| check(&source, surroundings)).expect("a valid config");
        let codes: Vec<_> = checked.warnings.iter().map(|one| (one.code, one.path.clone())).collect();
        codes
    };
    let secret = |length: usize| format!("secret: {}", "s".repeat(length));
    let place = |key: &str| format!("global_filters[0].auth.{key}");
    assert_eq!(warned(&secret(31)), [(Code::SHORT_SECRET, place("secret"))]);
    assert_eq!(warned(&secret(32)), []);
    assert_eq!(
        warned(&format!("{}, algorithms: [HS256, HS512]", secret(63))),
        [(Code::SHORT_SECRET, place("secret"))]
    );
    assert_eq!(warned(&format!("{}, algorithms: [HS384]", secret(48))), []);
    for plain in ["http://issuer.example/keys", "http://10.0.0.7/keys"] {
        assert_eq!(
            warned(&format!("jwks_url: '{plain}'")),
            [(Code::PLAIN_ISSUER, place("jwks_url"))],
            "{plain}"
        );
    }
    for fine in [
        "https://issuer.example/keys",
        "http://127.0.0.1:9/keys",
        "http://[::1]:9/keys",
        "http://localhost/keys",
    ] {
        assert_eq!(warned(&format!("jwks_url: '{fine}'")), [], "{fine}");
    }
}

fn survives(source: &str) {
    let surroundings = Surroundings { env: &|_| Some("x".into()), read_file: &|_| Ok("y".into()) };
    if let Err(diagnostics) = check(source, &surroundings) {
        assert!(!diagnostics.is_empty());
        assert!(render("a.yaml", source, &diagnostics, true).contains("GW"));
    }
}

/// Something like a config, so that the generator gets past the parser.
fn yamlish() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("name".to_owned()),
        Just("prefix".to_owned()),
        Just("targets".to_owned()),
        Just("addr".to_owned()),
        Just("filters".to_owned()),
        Just("auth".to_owned()),
        Just("type".to_owned()),
        Just("jwt".to_owned()),
        Just("rate_limit".to_owned()),
        Just("upstream".to_owned()),
        Just("<<".to_owned()),
        Just("*a".to_owned()),
        Just("&a x".to_owned()),
        Just("!!str 1".to_owned()),
        Just("${X}".to_owned()),
        Just("~".to_owned()),
        Just("/ü".to_owned()),
        Just("http://a:1".to_owned()),
        Just("30s".to_owned()),
        "[a-z0-9$/{}*]{0,6}",
    ];
    let value = word.clone().prop_recursive(5, 60, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((word.clone(), inner), 0..5).prop_map(|entries| {
                let entries: Vec<_> =
                    entries.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    });
    let key = prop::sample::select(vec!["server", "routes", "upstreams", "global_filters", "nonsense"]);
    prop::collection::vec((key, value), 0..5)
        .prop_map(|entries| entries.into_iter().map(|(key, value)| format!("{key}: {value}\n")).collect())
}

proptest! {
    #[test]
    fn no_text_panics_the_loader(source in "\\PC{0,200}") {
        survives(&source);
    }

    #[test]
    fn no_bytes_that_look_like_yaml_panic_the_loader(source in "[\\[\\]{}:,&*!|>'\"%@`#\\- \\n\\t\r\u{feff}\u{0}ä$a<~1.]{0,120}") {
        survives(&source);
    }

    #[test]
    fn no_yaml_panics_the_loader(source in yamlish()) {
        survives(&source);
    }
}
