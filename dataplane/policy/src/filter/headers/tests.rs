//! What is refused as a `headers` filter, and what rules make of headers.

use super::*;
use crate::filter::FilterConfig;
use crate::filter::test_support::{fault, filter, wire_round_trip};
use http::{HeaderMap, HeaderName as Name, HeaderValue};
use proptest::prelude::*;

const VARS: Vars<'_> = Vars {
    client_certificate: None,
    client_ip: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
    consumer: Some("alice"),
    host: "api.example.com",
    method: "GET",
    path: "/users/7",
    request_id: "0190a5d8",
    route: "users",
};

fn rules(settings: &str) -> HeaderRules {
    match filter(&format!("headers: {{{settings}}}")) {
        FilterConfig::Headers(config) => HeaderRules::new(&config),
        other => panic!("{other:?}"),
    }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (Name::from_static(name), value.parse().expect("a value"))).collect()
}

fn shown(headers: &HeaderMap) -> Vec<String> {
    let line = |(name, value): (&Name, &HeaderValue)| format!("{name}: {}", value.to_str().expect("text"));
    let mut lines: Vec<_> = headers.iter().map(line).collect();
    lines.sort();
    lines
}

/// What becomes of the headers of a request.
fn request(settings: &str, lines: &[(&'static str, &str)], vars: &Vars<'_>) -> Vec<String> {
    let mut headers = headers(lines);
    rules(settings).request(&mut headers, vars);
    shown(&headers)
}

#[test]
fn every_setting_survives_the_wire() {
    wire_round_trip(
        "headers: {request: {set: {X-B: 'a {client_ip} {{b}}', X-A: ''}, add: {X-C: '1'}, remove: [X-D]}, \
         response: {set: {X-E: '{consumer}{route}'}}}",
    );
}

#[test]
fn fields_are_removed_then_set_then_added() {
    let sent = [("x-a", "1"), ("x-a", "2"), ("x-b", "1"), ("x-c", "1"), ("x-d", "1")];
    let changed =
        request("request: {remove: [X-C], set: {X-A: new}, add: {X-B: '2', X-C: '2'}}", &sent, &VARS);
    assert_eq!(changed, ["x-a: new", "x-b: 1", "x-b: 2", "x-c: 2", "x-d: 1"]);
}

#[test]
fn requests_and_responses_have_rules_of_their_own() {
    let rules = rules("request: {set: {X-A: q}}, response: {set: {X-B: p}, remove: [Server]}");
    let mut there = HeaderMap::new();
    rules.request(&mut there, &VARS);
    assert_eq!(shown(&there), ["x-a: q"]);
    let mut back = headers(&[("server", "x/1.2")]);
    rules.response(&mut back, &VARS);
    assert_eq!(shown(&back), ["x-b: p"]);
}

#[test]
fn variables_stand_for_what_they_say() {
    let all = "{client_ip} {consumer} {host} {method} {path} {request_id} {route} {{x}}";
    let changed = request(&format!("request: {{set: {{X-A: '{all}'}}}}"), &[], &VARS);
    assert_eq!(changed, ["x-a: 192.0.2.7 alice api.example.com GET /users/7 0190a5d8 users {x}"]);
}

#[test]
fn without_a_caller_the_clients_word_does_not_stay() {
    let nobody = Vars { consumer: None, ..VARS };
    let sent = [("x-user", "admin"), ("x-groups", "a")];
    let changed =
        request("request: {set: {X-User: '{consumer}'}, add: {X-Groups: 'of {consumer}'}}", &sent, &nobody);
    assert_eq!(changed, ["x-groups: a"]);
}

#[test]
fn an_underscore_is_no_way_around_a_rule() {
    let sent = [("x_user_id", "admin"), ("x-user_id", "admin"), ("x_other", "1"), ("x_secret", "1")];
    let changed = request("request: {set: {X-User-ID: '{consumer}'}, remove: [X-Secret]}", &sent, &VARS);
    assert_eq!(changed, ["x-user-id: alice", "x_other: 1"]);
}

#[test]
fn no_two_callers_look_alike() {
    let named =
        |name| request("request: {set: {X-User: '{consumer}'}}", &[], &Vars { consumer: Some(name), ..VARS });
    assert_eq!(named("a\r\nX-Admin: 1"), ["x-user: a%0D%0AX-Admin:%201"]);
    assert_eq!(named("a%0D"), ["x-user: a%250D"]);
    assert_eq!(named(" ä\0"), ["x-user: %20%C3%A4%00"]);
}

#[test]
fn constant_values_cost_no_allocation() {
    let rules = rules("request: {set: {X-A: b}, remove: [X-C]}");
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert("x-c", HeaderValue::from_static("1"));
    // the first clone of a value makes it shared
    rules.request(&mut headers, &VARS);
    let info = allocation_counter::measure(|| rules.request(&mut headers, &VARS));
    assert_eq!(info.count_total, 0);
    assert_eq!(shown(&headers), ["x-a: b"]);
}

#[test]
fn what_is_not_a_configs_to_change_is_refused() {
    for (settings, part) in [
        ("request: {set: {Content-Length: '5'}}", "`content-length` says where a message ends"),
        ("request: {add: {Transfer-Encoding: chunked}}", "`transfer-encoding` says where a message ends"),
        ("response: {set: {Connection: close}}", "`connection` is for one connection"),
        ("response: {remove: [Upgrade]}", "`upgrade` is for one connection"),
        ("request: {set: {Host: a.example}}", "`host` is the target's address"),
        ("request: {remove: [X-Forwarded-For]}", "`x-forwarded-for` tells the target who asks"),
        ("request: {set: {X-Consumer-Name: a}}", "`x-consumer-name` tells the target who asks"),
        ("response: {remove: [X-Request-ID]}", "`x-request-id` tells the target who asks"),
        ("response: {set: {Access-Control-Allow-Origin: '*'}}", "is for the `cors` filter to say"),
        ("request: {set: {X-A: b}, remove: [x-a]}", "`x-a` is both set and removed"),
        ("request: {set: {X-A: b, x-a: c}}", "`x-a` stands twice"),
        ("request: {set: {'X A': b}}", "`X A` is not a header name"),
        ("", "`headers` changes nothing"),
        ("request: {}", "changes nothing"),
    ] {
        let found = fault(&format!("headers: {{{settings}}}"));
        assert!(found.contains(part), "{settings}: {found}");
    }
}

#[test]
fn a_value_that_is_none_is_refused() {
    for (value, part) in [
        ("'{client-ip}'", "`{client-ip}` is no variable"),
        ("'{nonsense}'", "`{nonsense}` is no variable"),
        ("'{'", "has a brace without its other half"),
        ("'a}b'", "has a brace without its other half"),
        ("'{client_ip'", "has a brace without its other half"),
        ("\"a\\r\\nb: c\"", "is no header value"),
        ("\"a\\0b\"", "is no header value"),
        ("' a'", "begins or ends with a space"),
    ] {
        let found = fault(&format!("headers: {{request: {{set: {{X-A: {value}}}}}}}"));
        assert!(found.contains(part), "{value}: {found}");
    }
}

proptest! {
    #[test]
    fn a_template_is_written_as_it_was_read(text in "([ -~]|\\{\\{|\\}\\}|\\{path\\}){0,20}") {
        if let Ok(template) = text.parse::<Template>() {
            prop_assert_eq!(template.to_string(), text);
        }
    }

    #[test]
    fn no_variable_can_end_the_header_it_stands_in(
        (consumer, path, id) in (any::<String>(), any::<String>(), any::<String>()),
        (host, method, route) in (any::<String>(), any::<String>(), any::<String>()),
    ) {
        let vars = Vars { client_certificate: None, client_ip: VARS.client_ip, consumer: Some(&consumer), host: &host, method: &method,
            path: &path, request_id: &id, route: &route };
        let mut headers = HeaderMap::new();
        rules("request: {set: {X-A: '{consumer}|{path}|{request_id}|{host}|{method}|{route}'}}")
            .request(&mut headers, &vars);
        let value = headers.get("x-a").expect("always a value");
        prop_assert!(value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')), "{:?}", value);
    }

    #[test]
    fn callers_with_different_names_have_different_values(one in "[ -~\\PC\r\n]{0,9}", other in "[ -~\\PC\r\n]{0,9}") {
        let value = |name: &str| {
            let template: Template = "{consumer}".parse().expect("a template");
            template.fill(&Vars { consumer: Some(name), ..VARS })
        };
        prop_assert_eq!(value(&one) == value(&other), one == other);
    }
}
