//! Headers as load balancers send them, as they must not be, and cut anywhere.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn header(length: usize, source: &str) -> Result<Begin, Malformed> {
    let source = (!source.is_empty()).then(|| source.parse().expect("an address"));
    Ok(Begin::Header { length, source })
}

/// A header of version 2 with its length.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [SIGNATURE_2, &[command, family][..], &length, rest].concat()
}

#[test]
fn lines_of_version_1() {
    for (line, source) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", "192.0.2.7:56324"),
        ("PROXY TCP6 2001:db8::7 ::1 0 65535\r\n", "[2001:db8::7]:0"),
        ("PROXY UNKNOWN\r\n", ""),
        ("PROXY UNKNOWN ffff:f...f:ffff and so on\r\n", ""),
    ] {
        assert_eq!(parse(line.as_bytes()), header(line.len(), source), "{line}");
    }
    // the longest that the specification knows
    let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!((longest.len(), parse(longest.as_bytes())), (LONGEST_LINE, header(LONGEST_LINE, "")));
}

#[test]
fn lines_that_are_none() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 \r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +5632 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 05632 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 65536\r\n",
        "PROXY TCP4 192.0.2.007 198.51.100.1 56324 443\r\n",
        "PROXY TCP4 2001:db8::7 ::1 56324 443\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 56324 443\r\n",
        "PROXY / HTTP/1.1\r\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(Malformed::Line), "{line}");
    }
    assert_eq!(parse(format!("PROXY UNKNOWN {}", "x".repeat(93)).as_bytes()), Err(Malformed::Line));
    assert_eq!(parse(b"PROXY TCP4 \xff 198.51.100.1 1 2\r\n"), Err(Malformed::Line));
}

#[test]
fn headers_of_version_2() {
    let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];
    let v6 = [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[7], &[0; 16], &[0, 80, 1, 187]].concat();
    let with = |addresses: &[u8], more: &[u8]| [addresses, more].concat();
    for (bytes, source) in [
        (v2(0x21, 0x11, &v4), "192.0.2.7:56324"),
        (v2(0x21, 0x11, &with(&v4, &[4, 0, 1, 0])), "192.0.2.7:56324"),
        (v2(0x21, 0x21, &v6), "[2001:db8::7]:80"),
        (v2(0x20, 0x00, &[]), ""),
        // health checks: whatever else is there does not count
        (v2(0x20, 0x11, &v4), ""),
        (v2(0x20, 0xff, &[1, 2, 3]), ""),
        (v2(0x21, 0x00, &[]), ""),
        (v2(0x21, 0x12, &v4), ""),
        (v2(0x21, 0x31, &[0; 216]), ""),
    ] {
        assert_eq!(parse(&bytes), header(bytes.len(), source), "{bytes:?}");
        assert_eq!(parse(&[&bytes[..], b"GET / HTTP/1.1"].concat()), header(bytes.len(), source));
    }
    for (bytes, why) in [
        (v2(0x11, 0x11, &v4), Malformed::Command),
        (v2(0x22, 0x11, &v4), Malformed::Command),
        (v2(0x21, 0x13, &v4), Malformed::Family),
        (v2(0x21, 0x41, &v4), Malformed::Family),
        (v2(0x21, 0x11, &v4[..11]), Malformed::Short),
        (v2(0x21, 0x21, &v4), Malformed::Short),
        (v2(0x21, 0x11, &[0; LONGEST - FIXED + 1]), Malformed::Long),
    ] {
        assert_eq!(parse(&bytes), Err(why), "{bytes:?}");
    }
    assert_eq!(parse(&v2(0x21, 0x00, &[0; LONGEST - FIXED])), header(LONGEST, ""));
}

#[test]
fn what_begins_otherwise_is_told_at_the_first_byte_that_differs() {
    for bytes in ["G", "POST / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "PROXX", "\x16\x03\x01", "\r\n\r\n\r\n"] {
        assert_eq!(parse(bytes.as_bytes()), Ok(Begin::Otherwise), "{bytes:?}");
    }
    for bytes in ["", "P", "PROXY", "\r\n\r\n\0"] {
        assert_eq!(parse(bytes.as_bytes()), Ok(Begin::Undecided), "{bytes:?}");
    }
}

proptest! {
    /// A reader gets the bytes in whatever pieces: each piece of a header is undecided, and what follows changes nothing.
    #[test]
    fn a_header_is_known_when_it_is_whole_and_not_before(
        source in any::<std::net::SocketAddr>(),
        more in vec(any::<u8>(), 0..64),
        behind in vec(any::<u8>(), 0..64),
    ) {
        let destination = match source {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let source = SocketAddr::new(source.ip(), source.port());
        let (family, ips) = match (source.ip(), destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => (4, [from.octets(), to.octets()].concat()),
            (IpAddr::V6(from), IpAddr::V6(to)) => (6, [from.octets(), to.octets()].concat()),
            _ => unreachable!("of one family"),
        };
        let line = format!("PROXY TCP{family} {} {destination} {} 443\r\n", source.ip(), source.port());
        let ports = [source.port().to_be_bytes(), [1, 187]].concat();
        let binary = v2(0x21, if family == 4 { 0x11 } else { 0x21 }, &[ips, ports, more].concat());
        for bytes in [line.into_bytes(), binary] {
            for cut in 0..bytes.len() {
                prop_assert_eq!(parse(&bytes[..cut]), Ok(Begin::Undecided));
            }
            let whole = Ok(Begin::Header { length: bytes.len(), source: Some(source) });
            prop_assert_eq!(parse(&bytes), whole);
            prop_assert_eq!(parse(&[&bytes[..], &behind].concat()), whole);
        }
    }
}
