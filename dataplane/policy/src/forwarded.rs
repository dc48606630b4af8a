//! Who the client is: the peer, or the right-most hop of `X-Forwarded-For` that no trusted proxy vouches for.

use crate::address_set::unmapped;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address; an IPv4 address mapped into IPv6 is given as IPv4.
    pub ip: IpAddr,
    /// Whether the peer's `X-Forwarded-*` headers are to be believed.
    pub peer_is_trusted: bool,
}

/// Walks from the peer to the left through all `X-Forwarded-For` lines, for as long as the hops are trusted.
///
/// Each proxy appends the address that it was called from, so an entry is worth as much as the hop to its right. An
/// entry that is no address ends the walk at that hop: what stands further left was written by nobody we know.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Client {
    let mut ip = peer.to_canonical();
    let peer_is_trusted = is_trusted(ip, trusted);
    if peer_is_trusted {
        for hop in hops(headers) {
            let Some(hop) = parse(hop) else { break };
            ip = hop;
            if !is_trusted(ip, trusted) {
                break;
            }
        }
    }
    Client { ip, peer_is_trusted }
}

/// The entries from the right; empty ones do not count (RFC 9110, 5.6.1).
fn hops(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    lines
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|hop| !hop.is_empty())
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn parse(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?;
    let ip = if let Some(bracketed) = hop.strip_prefix('[') {
        let (ip, port) = bracketed.split_once(']')?;
        if !port.is_empty() {
            check_port(port.strip_prefix(':')?)?;
        }
        IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?)
    } else if let Ok(ip) = hop.parse() {
        ip
    } else {
        let (ip, port) = hop.split_once(':')?;
        check_port(port)?;
        IpAddr::V4(ip.parse::<Ipv4Addr>().ok()?)
    };
    Some(ip.to_canonical())
}

fn check_port(port: &str) -> Option<()> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    (digits && port.parse::<u16>().is_ok()).then_some(())
}

fn is_trusted(ip: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|block| unmapped(*block).contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client as seen from `peer` with these `X-Forwarded-For` lines, `10/8` and `fd00::/8` being trusted.
    fn client(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, line.parse().expect("a header value"));
        }
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network"));
        client_address(peer.parse().expect("an address"), &headers, &trusted).ip.to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        assert_eq!(client("192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("192.0.2.1", &["10.0.0.1"]), "192.0.2.1");
        let spoof = client_address("192.0.2.1".parse().expect("ip"), &HeaderMap::new(), &[]);
        assert!(!spoof.peer_is_trusted);
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["203.0.113.9, 198.51.100.7,10.0.0.2"]), "198.51.100.7");
    }

    #[test]
    fn several_lines_are_one_list() {
        assert_eq!(
            client("10.0.0.1", &["203.0.113.9", "198.51.100.7", "10.0.0.2, 10.0.0.3"]),
            "198.51.100.7"
        );
    }

    #[test]
    fn when_every_hop_is_trusted_the_first_is_the_client() {
        assert_eq!(client("10.0.0.1", &["10.0.0.9, 10.0.0.2"]), "10.0.0.9");
    }

    #[test]
    fn ports_brackets_and_empty_entries() {
        assert_eq!(client("10.0.0.1", &["198.51.100.7:4711"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["2001:db8::1, [fd00::2]:1"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["198.51.100.7, , ,\t10.0.0.2 ,", ""]), "198.51.100.7");
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        for garbage in [
            "unknown",
            "_hidden",
            "198.51.100.7:",
            "198.51.100.7:99999",
            "198.51.100.7:+1",
            "[::1",
            "[::1]x",
            "[::1]:",
            "[192.0.2.1]",
            "fe80::1%eth0",
            "192.0.2",
            "192.0.2.1 192.0.2.2",
            "\"192.0.2.1\"",
            "for=192.0.2.1",
        ] {
            assert_eq!(
                client("10.0.0.1", &[&format!("203.0.113.9, {garbage}, 10.0.0.2")]),
                "10.0.0.2",
                "{garbage}"
            );
            assert_eq!(client("10.0.0.1", &["203.0.113.9", garbage]), "10.0.0.1", "{garbage}");
        }
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, http::HeaderValue::from_bytes(b"\xff").expect("obs-text"));
        let trusted = ["10.0.0.0/8".parse().expect("a network")];
        let peer = "10.0.0.1".parse().expect("an address");
        assert_eq!(client_address(peer, &headers, &trusted).ip, peer);
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        assert_eq!(client("::ffff:10.0.0.1", &["::ffff:198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("::ffff:192.0.2.1", &["198.51.100.7"]), "192.0.2.1");
        let peer = "10.0.0.1".parse().expect("an address");
        for (net, believed) in [("::ffff:10.0.0.0/104", true), ("::ffff:0:0/96", true), ("::/0", false)] {
            let trusted = [net.parse().expect("a network")];
            assert_eq!(client_address(peer, &HeaderMap::new(), &trusted).peer_is_trusted, believed, "{net}");
        }
    }
}
