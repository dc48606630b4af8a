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
        &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
    ] {
        assert_eq!(clean_response(&mut map(bad), false), Err(Rejection::InvalidResponse), "{bad:?}");
    }
    let mut headers = map(&[
        ("connection", "close, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "x"),
        ("proxy-connection", "close"),
        ("upgrade", "h2c"),
        ("te", "trailers"),
        ("content-length", "5"),
        ("trailer", "x-sum"),
    ]);
    clean_response(&mut headers, false).expect("accepted");
    let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["content-length", "trailer"]);
}

/// It was passed on where nothing else was to be dropped.
#[test]
fn proxy_authenticate_alone_goes_no_further() {
    for name in ["proxy-authenticate", "proxy-authorization", "http2-settings"] {
        let mut headers = map(&[(name, "x")]);
        clean_response(&mut headers, false).expect("accepted");
        assert!(headers.is_empty(), "{name}");
    }
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

/// Alone, without one of those that are usual, it was passed on.
#[test]
fn x_forwarded_client_cert_alone_is_the_clients_word() {
    for name in ["x-forwarded-client-cert", "x-forwarded-prefix", "x_forwarded_prefix"] {
        assert_eq!(names_after(&[(name, "6.6.6.6")], false), Vec::<String>::new(), "{name}");
    }
    assert_eq!(names_after(&[("x-forwarded-prefix", "/a")], true), ["x-forwarded-prefix"]);
}

#[test]
fn framing_with_an_underscore_is_refused() {
    for name in ["content_length", "transfer_encoding", "transfer-Encoding_", "content-length_"] {
        let expected = if name.ends_with('_') { Ok(()) } else { Err(Rejection::InvalidFraming) };
        assert_eq!(examine(&[(name, "5")]).map(drop), expected, "{name}");
    }
}

/// A target that switches protocols would have taken the chunks for the first frames.
#[test]
fn a_websocket_handshake_with_chunks_is_none() {
    let handshake = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
        ("transfer-encoding", "chunked"),
    ];
    assert!(!examine(&handshake).expect("a request like any other").websocket);
}

#[test]
fn a_websocket_key_is_base64_of_16_bytes() {
    for (key, good) in [
        ("dGhlIHNhbXBsZSBub25jZQ==", true),
        ("????????????????????????", false),
        ("dGhlIHNhbXBsZSBub25jZQ=a", false),
        ("dGhlIHNhbXBsZSBub25jZQ", false),
        ("", false),
    ] {
        let handshake = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", key),
            ("sec-websocket-version", "13"),
        ];
        let websocket = examine(&handshake).map(|inbound| inbound.websocket);
        assert_eq!(websocket, if good { Ok(true) } else { Err(Rejection::InvalidHeader) }, "{key}");
    }
}
