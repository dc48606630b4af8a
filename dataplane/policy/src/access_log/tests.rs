//! What a line says, and that nothing a client sends can make it say anything else.

use super::*;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value};

const REQUEST_ID: &str = "01a20aed-eacd-76f2-9a38-473b56cbc556";

/// 2026-11-23T10:00:00.123456789Z
const MOMENT: u64 = 1_795_428_000_123_456_789;

fn target() -> TargetAddr {
    TargetAddr { tls: false, host: "10.0.0.7".to_owned(), port: 8080 }
}

/// A request that went well.
fn usual(target: &TargetAddr) -> Record<'_> {
    Record {
        unix_nanos: MOMENT,
        duration: Duration::from_nanos(1_234_567),
        method: "GET",
        path: "/users/7",
        query: None,
        host: Some(b"api.example.com"),
        user_agent: Some(b"curl/8.5.0"),
        version: Version::HTTP_11,
        client_ip: IpAddr::from([10, 0, 0, 9]),
        request_id: REQUEST_ID,
        consumer: None,
        client_certificate: None,
        config_version: 12,
        route: Some("users"),
        upstream: None,
        target: Some(target),
        upstream_time: Some(Duration::from_micros(1100)),
        attempts: 1,
        status: 200,
        reason: None,
        grpc_status: None,
        error: None,
        bytes_in: 0,
        bytes_out: 348,
        trace_id: None,
    }
}

/// What could not be read, or was refused before a target was tried.
fn bare() -> Record<'static> {
    Record {
        unix_nanos: MOMENT,
        duration: Duration::ZERO,
        method: "",
        path: "",
        query: None,
        host: None,
        user_agent: None,
        version: Version::HTTP_11,
        client_ip: "2001:db8::1".parse().expect("an address"),
        request_id: REQUEST_ID,
        consumer: None,
        client_certificate: None,
        config_version: 0,
        route: None,
        upstream: None,
        target: None,
        upstream_time: None,
        attempts: 0,
        status: 400,
        reason: Some("malformed_request"),
        grpc_status: None,
        error: Some("the request is not HTTP"),
        bytes_in: 0,
        bytes_out: 120,
        trace_id: None,
    }
}

static BATCH: ClientCertificate =
    ClientCertificate { subject: String::new(), names: String::new(), fingerprint: String::new() };

/// With everything that a line can have.
fn full(target: &TargetAddr) -> Record<'_> {
    Record {
        query: Some("a=1&token=***"),
        consumer: Some("batch"),
        client_certificate: Some(&BATCH),
        upstream: Some("canary"),
        reason: Some("connect_failed"),
        grpc_status: Some(GrpcStatus::Unavailable),
        error: Some("Connection refused (os error 111)"),
        status: 502,
        trace_id: Some(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes()),
        ..usual(target)
    }
}

fn line(format: LogFormat, schema: LogSchema, of: &Record<'_>) -> String {
    let mut bytes = b"before".to_vec();
    Lines::default().write(&mut bytes, format, schema, of);
    let line = String::from_utf8(bytes.split_off(6)).expect("UTF-8");
    assert_eq!(bytes, b"before");
    line
}

fn object(schema: LogSchema, of: &Record<'_>) -> Map<String, Value> {
    let line = line(LogFormat::Json, schema, of);
    match serde_json::from_str(&line) {
        Ok(Value::Object(object)) => object,
        other => panic!("{other:?}: {line}"),
    }
}

#[test]
fn a_line_of_json() {
    assert_eq!(
        line(LogFormat::Json, LogSchema::Default, &usual(&target())),
        concat!(
            r#"{"timestamp":"2026-11-23T10:00:00.123456Z","method":"GET","path":"/users/7","status_code":200,"#,
            r#""duration_ms":1.234,"client_ip":"10.0.0.9","target":"10.0.0.7:8080","#,
            r#""request_id":"01a20aed-eacd-76f2-9a38-473b56cbc556","user_agent":"curl/8.5.0","route":"users","#,
            r#""config_version":12,"attempts":1,"bytes_in":0,"bytes_out":348,"upstream_ms":1.100,"#,
            r#""protocol":"HTTP/1.1","host":"api.example.com"}"#,
            "\n"
        )
    );
}

#[test]
fn the_keys_of_a_failure_that_came_to_nothing_are_there_all_the_same() {
    let object = object(LogSchema::Default, &bare());
    for (key, value) in [("method", ""), ("path", ""), ("target", ""), ("user_agent", "")] {
        assert_eq!(object[key], value, "{key}");
    }
    assert_eq!(object["error"], "the request is not HTTP");
    assert_eq!(object["client_ip"], "2001:db8::1");
    assert_eq!(object["duration_ms"].as_f64(), Some(0.0));
    for absent in ["route", "upstream", "upstream_ms", "host", "query", "trace_id", "consumer"] {
        assert!(!object.contains_key(absent), "{absent}");
    }
}

#[test]
fn opentelemetry_has_names_and_units_of_its_own() {
    let target = target();
    let (default, otel) =
        (object(LogSchema::Default, &full(&target)), object(LogSchema::Otel, &full(&target)));
    assert_eq!(default.len(), otel.len());
    for (key, expected) in [
        ("http.request.method", "GET"),
        ("url.path", "/users/7"),
        ("url.query", "a=1&token=***"),
        ("client.address", "10.0.0.9"),
        ("server.address", "api.example.com"),
        ("network.protocol.version", "1.1"),
        ("error.type", "connect_failed"),
        ("error.message", "Connection refused (os error 111)"),
        ("user_agent.original", "curl/8.5.0"),
        ("enduser.id", "batch"),
        ("gateway.route", "users"),
        ("gateway.target", "10.0.0.7:8080"),
        ("gateway.request_id", REQUEST_ID),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
    ] {
        assert_eq!(otel[key], expected, "{key}");
    }
    assert_eq!(otel["http.server.request.duration"].as_f64(), Some(0.001234));
    assert_eq!(otel["gateway.upstream.duration"].as_f64(), Some(0.0011));
    assert_eq!(otel["http.response.status_code"], 502);
}

/// Every name of a field stands in the table of the documentation, and nothing else does.
#[test]
fn the_fields_are_those_of_the_documentation() {
    let page = include_str!("../../../../docs/config.md");
    let (_, section) = page.split_once("### Access log").expect("a section");
    let (_, table) = section.split_once("| field | `otel` |").expect("a table");
    let mut documented: [Vec<&str>; 2] = Default::default();
    for row in table.lines().skip(2).map_while(|row| row.strip_prefix("| `")) {
        let mut names = row.split('`');
        documented[0].push(names.next().expect("a field"));
        documented[1].push(names.nth(1).expect("its name in the other schema"));
    }
    let target = target();
    for (schema, documented) in [LogSchema::Default, LogSchema::Otel].into_iter().zip(&mut documented) {
        let object = object(schema, &full(&target));
        let mut written: Vec<_> = object.keys().map(String::as_str).collect();
        written.sort_unstable();
        documented.sort_unstable();
        assert_eq!(written, *documented);
    }
}

#[test]
fn a_line_of_text() {
    let target = target();
    let text = |of: &Record<'_>| line(LogFormat::Text, LogSchema::Default, of);
    assert_eq!(
        text(&Record { user_agent: Some(b"Mozilla/5.0 (X11)"), ..usual(&target) }),
        "2026-11-23T10:00:00.123456Z GET /users/7 200 1.234 client_ip=10.0.0.9 target=10.0.0.7:8080 \
         request_id=01a20aed-eacd-76f2-9a38-473b56cbc556 user_agent=\"Mozilla/5.0 (X11)\" route=users \
         config_version=12 attempts=1 bytes_in=0 bytes_out=348 upstream_ms=1.100 protocol=HTTP/1.1 \
         host=api.example.com\n"
    );
    let failed = text(&bare());
    assert!(
        failed.starts_with("2026-11-23T10:00:00.123456Z - - 400 0.000 client_ip=2001:db8::1 request_id=")
    );
    assert!(failed.contains(" error=\"the request is not HTTP\" reason=malformed_request "), "{failed}");
    let forged = text(&Record { path: "/a\" status=200", ..usual(&target) });
    assert!(forged.contains(r#" GET "/a\" status=200" 200 "#), "{forged}");
    assert!(text(&Record { method: "-", ..usual(&target) }).contains(r#" "-" /users/7 "#));
}

#[test]
fn what_is_not_visible_is_escaped_in_both_formats() {
    let target = target();
    for (agent, shown) in [
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\u{1b}[2J\u{7}\u{7f}\0", r"\u001b[2J\u0007\u007f\u0000"),
        // CSI as one character, an end of line of its own, the direction of writing, no width, a private use
        ("\u{9b}2J \u{2028}\u{2029} \u{202e} \u{200b}", r"\u009b2J \u2028\u2029 \u202e \u200b"),
        ("\u{f0000}", r"\udb80\udc00"),
        (r#""quoted" \back"#, r#"\"quoted\" \\back"#),
        ("it's läuft 日本 🦀", "it's läuft 日本 🦀"),
    ] {
        for (format, begin) in [(LogFormat::Json, "\"user_agent\":\""), (LogFormat::Text, " user_agent=\"")] {
            let of = Record { user_agent: Some(agent.as_bytes()), ..usual(&target) };
            let line = line(format, LogSchema::Default, &of);
            assert!(line.contains(&format!("{begin}{shown}\"")), "{line}");
        }
        let of = Record { user_agent: Some(agent.as_bytes()), ..usual(&target) };
        assert_eq!(object(LogSchema::Default, &of)["user_agent"], agent);
    }
    let of = Record { user_agent: Some(b"\xc3\x28 \xff"), ..usual(&target) };
    assert_eq!(object(LogSchema::Default, &of)["user_agent"], "\u{fffd}( \u{fffd}");
}

#[test]
fn a_long_text_is_cut_between_two_characters() {
    let target = target();
    let shown = |agent: &str| {
        let of = Record { user_agent: Some(agent.as_bytes()), ..usual(&target) };
        object(LogSchema::Default, &of)["user_agent"].as_str().expect("a text").to_owned()
    };
    let whole = "x".repeat(LONGEST_TEXT);
    assert_eq!(shown(&whole), whole);
    assert_eq!(shown(&format!("{whole}y")), format!("{whole}…"));
    let wide = "🦀".repeat(LONGEST_TEXT / 4);
    assert_eq!(shown(&format!("x{wide}")), format!("x{}…", &wide[4..]));
    let path = format!("/{}", "y".repeat(LONGEST_TARGET));
    let of = Record { path: &path, ..usual(&target) };
    assert_eq!(object(LogSchema::Default, &of)["path"], format!("{}…", &path[..LONGEST_TARGET]));
}

#[test]
fn time_goes_on_within_a_second_and_over_it_and_back() {
    let mut lines = Lines::default();
    let mut shown = |unix_nanos| {
        let mut bytes = Vec::new();
        lines.write(&mut bytes, LogFormat::Text, LogSchema::Default, &Record { unix_nanos, ..bare() });
        String::from_utf8(bytes).expect("UTF-8").split(' ').next().expect("a time").to_owned()
    };
    for (nanos, expected) in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (MOMENT, "2026-11-23T10:00:00.123456Z"),
        (MOMENT + 1000, "2026-11-23T10:00:00.123457Z"),
        (MOMENT + 876_543_211, "2026-11-23T10:00:01.000000Z"),
        (MOMENT, "2026-11-23T10:00:00.123456Z"),
        (1_709_164_800_000_000_000, "2024-02-29T00:00:00.000000Z"),
        (u64::MAX, "2554-07-21T23:34:33.709551Z"),
    ] {
        assert_eq!(shown(nanos), expected);
    }
}

#[test]
fn times_are_exact_to_the_microsecond() {
    for (nanos, millis, seconds) in [
        (0, "0.000", "0.000000"),
        (999, "0.000", "0.000000"),
        (1_000, "0.001", "0.000001"),
        (12_345_678, "12.345", "0.012345"),
        (61_000_000_000, "61000.000", "61.000000"),
    ] {
        let of = Record { duration: Duration::from_nanos(nanos), ..bare() };
        for (schema, expected) in [(LogSchema::Default, millis), (LogSchema::Otel, seconds)] {
            let line = line(LogFormat::Text, schema, &of);
            assert!(line.contains(&format!(" - 400 {expected} ")), "{line}");
        }
    }
}

#[test]
fn a_line_allocates_nothing_once_there_is_room() {
    let target = target();
    let odd = Record { user_agent: Some(b"\x1b[2J \xff \"x\""), ..full(&target) };
    let of_a_client_by_ipv6 = Record { client_ip: bare().client_ip, ..usual(&target) };
    let (mut lines, mut buffer) = (Lines::default(), Vec::with_capacity(64 * 1024));
    lines.write(&mut buffer, LogFormat::Json, LogSchema::Default, &usual(&target));
    let measured = allocation_counter::measure(|| {
        for of in [&usual(&target), &odd, &of_a_client_by_ipv6, &bare()] {
            for format in [LogFormat::Json, LogFormat::Text] {
                lines.write(&mut buffer, format, LogSchema::Otel, of);
            }
        }
    });
    assert_eq!(measured.count_total, 0);
}

/// Bytes of every kind: any, and those that others have trouble with.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let odd = select(vec![
        "\"",
        "\\",
        "\n",
        "\r",
        "\0",
        "\u{1b}[31m",
        "\u{9b}",
        "\u{2028}",
        "\u{202e}",
        "é",
        "🦀",
        "\u{feff}",
        "=",
        " ",
        "-",
    ]);
    let odd = proptest::collection::vec(odd, 0..20).prop_map(|parts| parts.concat().into_bytes());
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..2000), odd, Just(Vec::new())]
}

fn any_text() -> impl Strategy<Value = String> {
    any_bytes().prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// What a line shows of them.
fn expected(bytes: &[u8], longest: usize) -> String {
    if bytes.len() <= longest {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let end = (longest - 3..=longest).rev().find(|at| bytes[*at] & 0xc0 != 0x80).unwrap_or(longest);
    format!("{}…", String::from_utf8_lossy(&bytes[..end]))
}

/// The words of a line of text: at spaces that are not within quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for character in line.chars() {
        match character {
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().expect("a word").push(character),
        }
        quoted ^= character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
    }
    assert!(!quoted, "{line}");
    words
}

fn unquoted(value: &str) -> String {
    if value.starts_with('"') { serde_json::from_str(value).expect("as in JSON") } else { value.to_owned() }
}

proptest! {
    #[test]
    fn every_line_is_one_object_that_says_what_went_in(
        (method, path, error) in (any_text(), any_text(), any_text()),
        (query, request_id, consumer) in (proptest::option::of(any_text()), any_text(), any_text()),
        subject in any_text(),
        (host, agent) in (proptest::option::of(any_bytes()), proptest::option::of(any_bytes())),
        (nanos, status, bytes_out) in (any::<u64>(), 100u16..600, any::<u64>()),
        schema in select(vec![LogSchema::Default, LogSchema::Otel]),
    ) {
        let target = target();
        let certificate = ClientCertificate { subject: subject.clone(), ..BATCH.clone() };
        let of = Record {
            unix_nanos: nanos,
            method: &method,
            path: &path,
            query: query.as_deref(),
            host: host.as_deref(),
            user_agent: agent.as_deref(),
            request_id: &request_id,
            consumer: Some(&consumer),
            client_certificate: Some(&certificate),
            error: Some(&error),
            status,
            bytes_out,
            duration: Duration::from_nanos(nanos),
            ..usual(&target)
        };
        let line = line(LogFormat::Json, schema, &of);
        prop_assert!(line.ends_with("}\n") && !line[..line.len() - 1].contains(char::is_control), "{line:?}");
        let object = object(schema, &of);
        let key = |default: &'static str, otel: &'static str| {
            if schema == LogSchema::Default { default } else { otel }
        };
        let texts = [
            (key("method", "http.request.method"), method.as_bytes(), LONGEST_TEXT),
            (key("path", "url.path"), path.as_bytes(), LONGEST_TARGET),
            (key("error", "error.message"), error.as_bytes(), LONGEST_TEXT),
            (key("request_id", "gateway.request_id"), request_id.as_bytes(), LONGEST_TEXT),
            (key("consumer", "enduser.id"), consumer.as_bytes(), LONGEST_TEXT),
            (key("client_cert_subject", "tls.client.subject"), subject.as_bytes(), LONGEST_TEXT),
            (key("user_agent", "user_agent.original"), agent.as_deref().unwrap_or_default(), LONGEST_TEXT),
        ];
        for (key, bytes, longest) in texts {
            prop_assert_eq!(object[key].as_str(), Some(&*expected(bytes, longest)), "{}", key);
        }
        let shown = |bytes: Option<&[u8]>, longest| bytes.map(|bytes| expected(bytes, longest));
        let value = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        prop_assert_eq!(value(key("host", "server.address")), shown(host.as_deref(), LONGEST_TEXT));
        let query = query.as_deref().map(str::as_bytes);
        prop_assert_eq!(value(key("query", "url.query")), shown(query, LONGEST_TARGET));
        prop_assert_eq!(object[key("status_code", "http.response.status_code")].as_u64(), Some(u64::from(status)));
        prop_assert_eq!(object[key("bytes_out", "http.response.body.size")].as_u64(), Some(bytes_out));
    }

    #[test]
    fn every_line_of_text_has_its_values_where_they_belong(
        (method, path, error) in (any_text(), any_text(), any_text()),
        agent in any_bytes(),
    ) {
        let target = target();
        let of = Record {
            method: &method,
            path: &path,
            error: Some(&error),
            user_agent: Some(&agent),
            ..usual(&target)
        };
        let line = line(LogFormat::Text, LogSchema::Default, &of);
        prop_assert!(line.ends_with('\n') && !line[..line.len() - 1].contains(char::is_control), "{line:?}");
        let words = words(line.trim_end_matches('\n'));
        let first = |value: &str, longest| match value {
            "" => "-".to_owned(),
            value => expected(value.as_bytes(), longest),
        };
        prop_assert_eq!(unquoted(&words[1]), first(&method, LONGEST_TEXT));
        prop_assert_eq!(unquoted(&words[2]), first(&path, LONGEST_TARGET));
        prop_assert_eq!(&*words[3], "200");
        let named = |name: &str| {
            words[5..].iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(unquoted)
        };
        let there = |bytes: &[u8]| (!bytes.is_empty()).then(|| expected(bytes, LONGEST_TEXT));
        prop_assert_eq!(named("user_agent"), there(&agent));
        prop_assert_eq!(named("error"), there(error.as_bytes()));
        prop_assert_eq!(named("route"), Some("users".to_owned()));
        prop_assert_eq!(named("host"), Some("api.example.com".to_owned()));
    }
}
