//! Who gets which coding, what is left alone, and what the head says.

use super::*;
use crate::filter::FilterConfig;
use crate::filter::test_support::{fault, filter, wire_round_trip};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
    }
    headers
}

fn compression(settings: &str) -> Compression {
    match filter(&format!("compression: {{{settings}}}")) {
        FilterConfig::Compression(config) => Compression::new(&config),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_left_out_is_explicit_on_the_wire() {
    wire_round_trip("compression: {}");
    wire_round_trip("compression: {types: [Text/*, application/vnd.api+json], min_bytes: 0}");
    let v1::Filter { kind: Some(v1::filter::Kind::Compression(wire)) } = (&filter("compression: {}")).into()
    else {
        panic!("another filter")
    };
    assert_eq!((wire.types[0].as_str(), wire.min_bytes), ("text/*", 1024));
}

#[test]
fn what_could_not_work_is_refused() {
    assert!(fault("compression: {types: []}").contains("nothing would be compressed"));
    assert!(fault("compression: {types: [text/event-stream]}").contains("is never compressed"));
    for bad in ["json", "a/b/c", "text/", "*/*", "text/html; charset=utf-8"] {
        assert!(fault(&format!("compression: {{types: ['{bad}']}}")).contains("is not a type"), "{bad}");
    }
}

#[test]
fn a_client_gets_what_it_likes_best_and_never_what_it_refuses() {
    use Coding::{Brotli, Gzip, Zstd};
    for (accepted, expected) in [
        ("", None),
        ("gzip", Some(Gzip)),
        ("x-gzip", Some(Gzip)),
        ("GZIP;Q=0.5", Some(Gzip)),
        ("gzip, deflate, br, zstd", Some(Zstd)),
        ("gzip, deflate, br", Some(Brotli)),
        ("gzip;q=1.0, br;q=0.8, zstd;q=0.1", Some(Gzip)),
        ("gzip;q=0", None),
        ("gzip;q=0.000", None),
        ("*", Some(Zstd)),
        ("*;q=0.5, zstd;q=0", Some(Brotli)),
        ("identity, *;q=0", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=1", Some(Gzip)),
        ("identity;q=0, gzip;q=0.1", Some(Gzip)),
        ("deflate, compress", None),
        ("gzip;q=2", None),
        ("gzip;q=NaN", None),
        ("gzip;q=x, br", Some(Brotli)),
        ("gzip;level=9;q=0.2", Some(Gzip)),
        (",, gzip ,", Some(Gzip)),
        ("gzipped", None),
    ] {
        let asked = headers(&[("accept-encoding", accepted)]);
        assert_eq!(Compression::negotiate(&asked), expected, "{accepted}");
    }
    assert_eq!(Compression::negotiate(&HeaderMap::new()), None);
    let two = headers(&[("accept-encoding", "br;q=0"), ("accept-encoding", "gzip")]);
    assert_eq!(Compression::negotiate(&two), Some(Gzip));
    let as_it_is = headers(&[("accept-encoding", "gzip"), ("cache-control", "max-age=0, No-Transform")]);
    assert_eq!(Compression::negotiate(&as_it_is), None);
}

#[test]
fn the_head_says_what_became_of_the_body() {
    let compression = compression("types: [application/json]");
    let mut head = headers(&[
        ("content-type", "Application/JSON; charset=utf-8"),
        ("content-length", "5000"),
        ("etag", "\"v1\""),
        ("accept-ranges", "bytes"),
        ("vary", "Origin"),
    ]);
    let before = head.clone();
    let ok = StatusCode::OK;
    assert_eq!(compression.prepare(Some(Coding::Brotli), ok, &mut head), Some(Coding::Brotli));
    let expected = headers(&[
        ("content-type", "Application/JSON; charset=utf-8"),
        ("etag", "W/\"v1\""),
        ("vary", "Origin"),
        ("vary", "Accept-Encoding"),
        ("content-encoding", "br"),
    ]);
    assert_eq!(head, expected);
    // a cache must know of it also where this client gets the body as it is
    let mut head = before.clone();
    assert_eq!(compression.prepare(None, ok, &mut head), None);
    assert!(head.get_all("vary").iter().any(|value| value == "Accept-Encoding"));
    head.remove("vary");
    let mut rest = before;
    rest.remove("vary");
    assert_eq!(head, rest);
}

#[test]
fn what_is_said_already_is_not_said_again() {
    let compression = compression("");
    for said in ["*", "accept-encoding", "Origin, Accept-Encoding"] {
        let mut head = headers(&[("content-type", "text/html"), ("vary", said), ("etag", "W/\"a\"")]);
        compression.prepare(Some(Coding::Gzip), StatusCode::OK, &mut head);
        assert_eq!(head.get_all("vary").iter().count(), 1, "{said}");
        assert_eq!(head["etag"], "W/\"a\"");
    }
}

#[test]
fn what_must_not_be_changed_stays_as_it_is() {
    let compression = compression("min_bytes: 100");
    let html = ("content-type", "text/html");
    let cases: [(StatusCode, Vec<(&'static str, &str)>); 14] = [
        (StatusCode::NO_CONTENT, vec![html]),
        (StatusCode::NOT_MODIFIED, vec![html]),
        (StatusCode::SWITCHING_PROTOCOLS, vec![html]),
        (StatusCode::PARTIAL_CONTENT, vec![html, ("content-range", "bytes 0-1/9")]),
        (StatusCode::OK, vec![html, ("content-range", "bytes 0-1/9")]),
        (StatusCode::OK, vec![html, ("content-encoding", "gzip")]),
        (StatusCode::OK, vec![html, ("cache-control", "public, no-transform")]),
        (StatusCode::OK, vec![html, ("content-length", "99")]),
        (StatusCode::OK, vec![html, ("content-digest", "sha-256=:x:")]),
        (StatusCode::OK, vec![("content-type", "text/event-stream; charset=utf-8")]),
        (StatusCode::OK, vec![("content-type", "image/png")]),
        (StatusCode::OK, vec![("content-type", "application/json-seq")]),
        (StatusCode::OK, vec![html, html]),
        (StatusCode::OK, vec![]),
    ];
    for (status, fields) in cases {
        let mut head = headers(&fields);
        let before = head.clone();
        let made = compression.prepare(Some(Coding::Gzip), status, &mut head);
        assert_eq!((made, &head), (None, &before), "{status} {fields:?}");
    }
    for (status, length) in [(StatusCode::OK, "100"), (StatusCode::NOT_FOUND, "101")] {
        let mut head = headers(&[html, ("content-length", length)]);
        assert!(compression.prepare(Some(Coding::Gzip), status, &mut head).is_some(), "{status}");
    }
}
