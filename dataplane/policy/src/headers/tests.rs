//! Tables of headers: what is refused, what is dropped, what stays.

use super::*;

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(n, v)| (HeaderName::try_from(*n).unwrap(), HeaderValue::from_str(v).unwrap()))
        .collect()
}

fn examine(pairs: &[(&str, &str)]) -> Result<Inbound, Rejection> {
    Inbound::examine(&map(pairs), &Method::GET, Version::HTTP_11)
}

fn names_after(pairs: &[(&str, &str)], trusted: bool) -> Vec<String> {
    let mut headers = map(pairs);
    let inbound = Inbound::examine(&headers, &Method::GET, Version::HTTP_11).expect("accepted");
    inbound.strip(&mut headers, trusted);
    let mut names: Vec<_> = headers.keys().map(|name| name.to_string()).collect();
    names.sort();
    names
}

#[test]
fn ambiguous_or_forged_headers_are_refused() {
    let cases: &[(&[(&str, &str)], Rejection)] = &[
        (&[("content-length", "5"), ("content-length", "5")], Rejection::InvalidFraming),
        (&[("content-length", "+5")], Rejection::InvalidFraming),
        (&[("content-length", "0x5")], Rejection::InvalidFraming),
        (&[("content-length", "5,5")], Rejection::InvalidFraming),
        (&[("content-length", "")], Rejection::InvalidFraming),
        (&[("content-length", "5"), ("transfer-encoding", "chunked")], Rejection::InvalidFraming),
        (&[("transfer-encoding", "gzip, chunked")], Rejection::UnsupportedTransferEncoding),
        (&[("transfer-encoding", "xchunked")], Rejection::UnsupportedTransferEncoding),
        (
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            Rejection::UnsupportedTransferEncoding,
        ),
        (&[("host", "a"), ("host", "a")], Rejection::InvalidHost),
        (&[("connection", "close, Content-Length")], Rejection::InvalidHeader),
        (&[("connection", "X-Forwarded-For")], Rejection::InvalidHeader),
        (&[("connection", "authorization")], Rejection::InvalidHeader),
        (&[("connection", "Host")], Rejection::InvalidHeader),
        (&[("connection", "x-request-id")], Rejection::InvalidHeader),
        (&[("expect", "a-pony")], Rejection::ExpectationFailed),
        (&[("connection", "upgrade"), ("upgrade", "websocket")], Rejection::InvalidHeader),
        (
            &[
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("sec-websocket-version", "12"),
            ],
            Rejection::InvalidHeader,
        ),
    ];
    for (headers, expected) in cases {
        assert_eq!(examine(headers).as_ref(), Err(expected), "{headers:?}");
    }
}

#[test]
fn hop_by_hop_and_named_fields_go_no_further() {
    let left = names_after(
        &[
            ("host", "a"),
            ("connection", "keep-alive, X-Secret-Hop"),
            ("keep-alive", "timeout=5"),
            ("x-secret-hop", "1"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("proxy", "http://evil"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("expect", "100-continue"),
            ("x-mine", "stays"),
        ],
        false,
    );
    assert_eq!(left, ["host", "x-mine"]);
}

#[test]
fn te_trailers_stays_because_it_is_how_trailers_are_asked_for() {
    assert_eq!(names_after(&[("te", "trailers"), ("connection", "te")], false), ["te"]);
}

#[test]
fn only_a_trusted_proxy_may_say_who_the_client_is() {
    let headers = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x_forwarded_for", "2.2.2.2"),
        ("x-real-ip", "3.3.3.3"),
        ("forwarded", "for=x"),
    ];
    assert_eq!(names_after(&headers, false), Vec::<String>::new());
    assert_eq!(names_after(&headers, true), ["forwarded", "x-forwarded-for", "x-real-ip"]);
}

#[test]
fn a_websocket_handshake_is_known_and_other_upgrades_are_dropped() {
    let handshake = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];
    assert!(examine(&handshake).expect("accepted").websocket);
    let old = Inbound::examine(&map(&handshake), &Method::GET, Version::HTTP_10).expect("ignored");
    assert!(!old.websocket);
    assert!(!examine(&[("connection", "upgrade"), ("upgrade", "h2c")]).expect("ignored").websocket);
}

#[test]
fn responses_with_two_framings_are_refused() {
    for bad in [
        &[("content-length", "5"), ("transfer-encoding", "chunked")][..],
        &[("content-length", "5"), ("content-length", "6")],
        &[("content-length", "-1")],
        &[("transfer-encoding", "gzip")],
    ] {
        assert_eq!(clean_response(&mut map(bad), false), Err(Rejection::InvalidResponse), "{bad:?}");
    }
    let mut headers = map(&[
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "x"),
        ("content-length", "5"),
        ("trailer", "x-sum"),
    ]);
    clean_response(&mut headers, false).expect("accepted");
    let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["content-length", "trailer"]);
}

#[test]
fn hosts() {
    for (text, name, port) in [
        ("example.com", "example.com", None),
        ("Example.COM:8080", "example.com", Some(8080)),
        ("example.com.", "example.com", None),
        ("[::1]:80", "[::1]", Some(80)),
        ("[2001:DB8::1]", "[2001:db8::1]", None),
        ("127.0.0.1", "127.0.0.1", None),
        ("a_b.local", "a_b.local", None),
    ] {
        let host = parse_host(text.as_bytes()).expect(text);
        assert_eq!((host.name.as_ref(), host.port), (name, port), "{text}");
    }
    for bad in [
        "", "a b", "a/b", "user@a", "a,b", "a:b", "a:", "a:1:2", "a:99999", "[::1", "[::1]x", "[zz]", ".a",
        "a..b", "a\u{e9}", "a?b", "a#b", "*",
    ] {
        assert_eq!(parse_host(bad.as_bytes()), Err(Rejection::InvalidHost), "{bad:?}");
    }
}

#[test]
fn a_length_is_found_in_the_head_and_nowhere_else() {
    for (raw, expected) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", true),
        ("\r\nPOST / HTTP/1.1\r\ncontent-LENGTH : 5\r\n\r\n", true),
        ("POST / HTTP/1.1\nContent-Length:5\n\n", true),
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n5\r\n\ncontent-length: 5", false),
        ("POST /?content-length: HTTP/1.1\r\nX-Content-Length: 5\r\n\r\n", false),
    ] {
        assert_eq!(names_length(raw.as_bytes()), expected, "{raw:?}");
    }
}
