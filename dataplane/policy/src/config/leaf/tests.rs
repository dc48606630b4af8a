//! The scalar values: what each takes, refuses and prints.

use super::*;
use proptest::prelude::*;
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// Each text is taken and printed as the other.
fn taken<T: FromStr<Err = Fault> + Display + PartialEq + Debug>(pairs: &[(&str, &str)]) {
    for (text, canonical) in pairs {
        let value: T = text.parse().unwrap_or_else(|fault| panic!("{text}: {fault}"));
        assert_eq!(value.to_string(), *canonical, "{text}");
        assert_eq!(canonical.parse::<T>(), Ok(value), "what is printed can be read again: {text}");
    }
}

fn refused<T: FromStr<Err = Fault> + Debug>(texts: &[&str]) {
    for text in texts {
        let fault = text.parse::<T>().expect_err(text);
        assert!(!fault.message.contains('\n') && !fault.message.ends_with('.'), "{text}: {}", fault.message);
    }
}

#[test]
fn shares() {
    taken::<Percent>(&[("20%", "20%"), ("0%", "0%"), ("0", "0%"), ("100%", "100%"), ("007%", "7%")]);
    refused::<Percent>(&["", "%", "20", "101%", "-1%", "0.2", "2.5%", "20 %", "+5%", "99999999999999%"]);
}

#[test]
fn durations() {
    taken::<Duration>(&[
        ("0s", "0s"),
        ("500ms", "500ms"),
        ("1000ms", "1s"),
        ("75s", "75s"),
        ("1m30s", "90s"),
        ("1h2m3s4ms", "3723004ms"),
        ("24h", "24h"),
    ]);
    refused::<Duration>(&[
        "",
        "s",
        "30",
        "30 s",
        "-1s",
        "+1s",
        "1.5s",
        "1s1s",
        "1s1m",
        "25h",
        "99999999999999999999h",
        "٣s",
    ]);
    assert_eq!(
        "30".parse::<Duration>().map_err(|fault| fault.help),
        Err(Some("write `30s` or `30ms`".into()))
    );
}

#[test]
fn sizes() {
    taken::<ByteSize>(&[
        ("0", "0"),
        ("1024", "1KiB"),
        ("64KiB", "64KiB"),
        ("10MiB", "10MiB"),
        ("1500B", "1500"),
    ]);
    refused::<ByteSize>(&["", "KiB", "64k", "64 KiB", "1.5MiB", "-1", "10MB", "99999999999TiB"]);
}

#[test]
fn target_addresses() {
    taken::<TargetAddr>(&[
        ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("http://Users.Internal", "http://users.internal:80"),
        ("http://my_service:9000", "http://my_service:9000"),
        ("http://[2001:DB8:0::1]:80", "http://[2001:db8::1]:80"),
        ("https://a", "https://a:443"),
    ]);
    refused::<TargetAddr>(&[
        "",
        "127.0.0.1:80",
        "ftp://a",
        "https://",
        "http://",
        "http://:80",
        "http://a:0",
        "http://a:",
        "http://a:+80",
        "http://a:65536",
        "http://a/",
        "http://a?x",
        "http://u@a",
        "http://a b",
        "http://[::1",
        "http://[::1]80",
        "http://[127.0.0.1]",
        "http://a..b",
        "http://1.2.3",
        "http://a\r\nHost: b",
    ]);
    let authority = |text: &str| text.parse::<TargetAddr>().expect(text).authority();
    assert_eq!(authority("http://a:80"), "a");
    assert_eq!(authority("http://a:81"), "a:81");
    assert_eq!(authority("http://a:443"), "a:443");
    assert_eq!(authority("https://a:443"), "a");
    assert_eq!(authority("https://a:80"), "a:80");
    assert_eq!(authority("http://[::1]"), "[::1]");
    assert_eq!(authority("http://[::1]:81"), "[::1]:81");
}

#[test]
fn hosts() {
    taken::<HostPattern>(&[
        ("API.example.com", "api.example.com"),
        ("*.Example.com", "*.example.com"),
        ("10.0.0.1", "10.0.0.1"),
        ("[::0:1]", "[::1]"),
    ]);
    refused::<HostPattern>(&[
        "",
        "*",
        "*.",
        "a.*",
        "*a.b",
        "a:80",
        "http://a",
        "a/b",
        "a b",
        ".a",
        "a.",
        "-a",
        "[::1",
        "::1",
        "*.10.0.0.1",
        "ä.example",
    ]);
    refused::<HostPattern>(&[&"a".repeat(64), &["a"; 128].join(".")]);
}

#[test]
fn paths() {
    taken::<PathPrefix>(&[("/", "/"), ("/api", "/api"), ("/api/", "/api"), ("/a%20b", "/a%20b")]);
    refused::<PathPrefix>(&[
        "", "api", "//", "/a//", "/a//b", "/a/../b", "/a/.", "/a b", "/{id}", "/a*", "/a?b", "/a%2Fb",
        "/%61", "/ä",
    ]);
    taken::<PathTemplate>(&[
        ("/", "/"),
        ("/a/", "/a/"),
        ("/users/{id}", "/users/{id}"),
        ("/{a}/{b_2}/", "/{a}/{b_2}/"),
    ]);
    refused::<PathTemplate>(&[
        "", "a", "/{}", "/{a", "/a}", "/{a}b", "/{a}/{a}", "/{1}", "/{a-b}", "/a//{b}", "/*", "/../{a}",
    ]);
}

#[test]
fn fields() {
    taken::<Method>(&[("GET", "GET"), ("PURGE", "PURGE")]);
    refused::<Method>(&["", "get", "G ET", "CONNECT", "TRACE", "*", "GÉT"]);
    taken::<HeaderName>(&[("X-Version", "x-version")]);
    refused::<HeaderName>(&["", "a b", "a:", "ä"]);
    taken::<HashOn>(&[
        ("client_ip", "client_ip"),
        ("path", "path"),
        ("header:X-User", "header:x-user"),
        ("cookie:SessionId", "cookie:SessionId"),
    ]);
    refused::<HashOn>(&["", "ip", "header:", "header:a b", "cookie:", "cookie:a=b", "path:x", "client_ip:"]);
}

#[test]
fn networks() {
    taken::<Network>(&[("10.0.0.0/8", "10.0.0.0/8"), ("10.0.0.1", "10.0.0.1/32"), ("FD00::/8", "fd00::/8")]);
    refused::<Network>(&["", "10.0.0.1/8", "10.0.0.0/33", "localhost", "10/8"]);
}

#[test]
fn name_servers() {
    taken::<NameServer>(&[
        ("10.0.0.2", "10.0.0.2:53"),
        ("10.0.0.2:5353", "10.0.0.2:5353"),
        ("2001:DB8::2", "[2001:db8::2]:53"),
        ("[2001:db8::2]:5353", "[2001:db8::2]:5353"),
    ]);
    refused::<NameServer>(&["", "ns.example", "10.0.0.2:0", "10.0.0.2:", "10.0.0.2:65536", "tcp://10.0.0.2"]);
}

#[test]
fn a_secret_is_never_printed() {
    let secret: Secret = "hunter2".parse().expect("a secret");
    assert_eq!(format!("{secret} {secret:?} {}", serde_json::json!(secret)), "*** *** \"***\"");
    assert_eq!(secret.expose(), "hunter2");
    assert!("".parse::<Secret>().is_err());
}

#[test]
fn a_fault_survives_as_text() {
    let plain = Fault::new("is odd");
    let full = Fault::new("is odd").at("port").help("make it even");
    assert_eq!(Fault::parse(&plain.to_string()), plain);
    assert_eq!(Fault::parse(&full.to_string()), full);
}

proptest! {
    #[test]
    fn every_duration_is_printed_as_it_is_read(millis in 0u64..=86_400_000) {
        let duration = Duration::from_millis(millis).expect("at most 24 h");
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
    }

    #[test]
    fn every_size_is_printed_as_it_is_read(bytes in any::<u64>()) {
        prop_assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = text.parse::<Duration>();
        let _ = text.parse::<ByteSize>();
        let _ = text.parse::<TargetAddr>();
        let _ = format!("http://{text}").parse::<TargetAddr>();
        let _ = text.parse::<HostPattern>();
        let _ = format!("/{text}").parse::<PathTemplate>();
        let _ = text.parse::<Network>();
    }
}
