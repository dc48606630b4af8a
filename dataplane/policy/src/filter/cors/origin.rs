//! Origins as browsers write them (RFC 6454 §6.2, HTML's serialisation of an origin), and patterns of them.

use crate::config::leaf::{Fault, check_name, quoted, text_leaf};
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// `*`, `null`, `scheme://host[:port]` or `scheme://*.host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Every origin.
    Any,
    /// Sandboxed frames and local files.
    Null,
    /// This one, in lower case, as browsers write it.
    One(String),
    /// Every name below one.
    Below(Wildcard),
}

/// `https://*.example.com:8443`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wildcard {
    /// `https://`
    before: String,
    /// `.example.com:8443`
    after: String,
}

text_leaf!(
    Origin,
    "an origin such as `https://app.example.com`",
    "An origin: `https://app.example.com`, with its port unless it is the scheme's own; `https://*.example.com` for every name below example.com; `*` for all; `null`.",
    "pattern": r"^(\*|null|[a-zA-Z][a-zA-Z0-9+.-]*://(\*\.)?[^/?#@*]+)$"
);

impl Wildcard {
    /// Whether an origin is this one with one or more names in the place of `*`.
    pub fn matches(&self, origin: &[u8]) -> bool {
        let inner = origin
            .strip_prefix(self.before.as_bytes())
            .and_then(|rest| rest.strip_suffix(self.after.as_bytes()));
        // what stands for `*` may hold nothing that ends a host for some reader: `https://evil.test/.example.com`
        let plain = |label: &[u8]| !label.is_empty() && label.iter().all(|byte| is_name_byte(*byte));
        inner.is_some_and(|names| names.split(|byte| *byte == b'.').all(plain))
    }
}

const fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')
}

impl FromStr for Origin {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        let bad = |why: &str| Fault::new(format!("{} {why}", quoted(text)));
        let Some((scheme, authority)) = text.split_once("://") else {
            return Err(bad("is not an origin").help(format!("write `https://{text}`")));
        };
        if let Some(end) = authority.find(['/', '?', '#']) {
            return Err(bad("has a path, which an origin has not")
                .help(format!("write `{scheme}://{}`", &authority[..end])));
        }
        let scheme = scheme.to_ascii_lowercase();
        if !is_scheme(&scheme) {
            return Err(bad("is not an origin: its scheme is none").help("write `https://host`"));
        }
        let authority = authority.to_ascii_lowercase();
        let (host, port) = split_port(&authority);
        check_port(&scheme, port)
            .map_err(|why| bad(why).help(format!("write `{scheme}://{host}`, or a port from 1 to 65535")))?;
        let (below, name) = host.strip_prefix("*.").map_or((false, host), |name| (true, name));
        check_host(name, below).map_err(|why| {
            bad(&format!("is not an origin: {why}"))
                .help("write `https://host`, `https://host:port`, or `https://*.host` for every name below")
        })?;
        if below {
            let after = &authority[1..];
            return Ok(Self::Below(Wildcard { before: format!("{scheme}://"), after: after.to_owned() }));
        }
        Ok(Self::One(format!("{scheme}://{authority}")))
    }
}

/// RFC 3986 §3.1, in lower case.
fn is_scheme(scheme: &str) -> bool {
    let mut bytes = scheme.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'))
}

/// The host, an IPv6 address in its brackets, and what stands behind a colon.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[end..].find(':') {
        Some(colon) => (&authority[..end + colon], Some(&authority[end + colon + 1..])),
        None => (authority, None),
    }
}

/// Browsers leave out the scheme's own port, and write others without zeros in front.
fn check_port(scheme: &str, port: Option<&str>) -> Result<(), &'static str> {
    let Some(port) = port else { return Ok(()) };
    match (scheme, port) {
        ("https", "443") | ("http", "80") => Err("has the scheme's own port, which browsers leave out"),
        _ if port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port) => Ok(()),
        _ => Err("has no valid port"),
    }
}

fn check_host(host: &str, below: bool) -> Result<(), &'static str> {
    if host.contains('*') {
        return Err("`*` stands only for whole names at the front");
    }
    let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        check_name(host)?;
        let is_address = host.parse::<std::net::Ipv4Addr>().is_ok();
        return if below && is_address { Err("an address has no names below it") } else { Ok(()) };
    };
    match address.parse::<Ipv6Addr>() {
        Ok(_) if below => Err("an address has no names below it"),
        Ok(parsed) if parsed.to_string() == address => Ok(()),
        Ok(_) => Err("browsers write this IPv6 address in its short form"),
        Err(_) => Err("it holds no IPv6 address between its brackets"),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Null => f.write_str("null"),
            Self::One(origin) => f.write_str(origin),
            Self::Below(Wildcard { before, after }) => write!(f, "{before}*{after}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_that_no_browser_sends_is_refused() {
        for text in [
            "app.example.com",
            "https://a.example/",
            "https://a.example?x",
            "https://a.example:443",
            "http://a.example:80",
            "https://a.example:",
            "https://a.example:0443",
            "https://a.example:+8443",
            "https://a.example:99999",
            "https://",
            "://a.example",
            "1https://a.example",
            "https://user@a.example",
            "https://a..example",
            "https://ä.example",
            "https://[::1",
            "https://[0:0:0:0:0:0:0:1]",
            "https://*",
            "https://*.",
            "https://*a.example",
            "https://a.*.example",
            "https://*.*.example",
            "https://*.192.0.2.7",
            "https://*.[::1]",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_browsers_send_is_kept_in_their_spelling() {
        for (text, kept) in [
            ("HTTPS://A.example:8443", "https://a.example:8443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            (
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            ),
            ("https://*.Example.com", "https://*.example.com"),
            ("http://*.localhost:3000", "http://*.localhost:3000"),
            ("null", "null"),
            ("*", "*"),
        ] {
            assert_eq!(text.parse::<Origin>().expect(text).to_string(), kept);
        }
    }

    #[test]
    fn a_wildcard_stands_for_whole_names_of_the_same_scheme_and_port() {
        let Ok(Origin::Below(wildcard)) = "https://*.example.com:8443".parse() else {
            panic!("a wildcard");
        };
        for origin in ["https://a.example.com:8443", "https://a-1.b_2.example.com:8443"] {
            assert!(wildcard.matches(origin.as_bytes()), "{origin}");
        }
        for origin in [
            "https://example.com:8443",
            "https://.example.com:8443",
            "https://a..example.com:8443",
            "https://a.example.com",
            "http://a.example.com:8443",
            "https://aexample.com:8443",
            "https://A.example.com:8443",
            "https://evil.test/.example.com:8443",
            "https://evil.test#.example.com:8443",
            "https://evil.test:1.example.com:8443",
            "https://user@a.example.com:8443",
            "https://a.example.com:8443.evil.test",
            "https://",
            "",
        ] {
            assert!(!wildcard.matches(origin.as_bytes()), "{origin}");
        }
    }
}
