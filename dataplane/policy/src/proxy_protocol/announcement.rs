//! The PROXY protocol towards targets: who the client is, at the front of a connection.

use super::{LOCAL, PROXY, SIGNATURE_2, TCP_OVER_IPV4, TCP_OVER_IPV6, UNSPECIFIED};
use crate::config::transport::SendProxyProtocol;
use std::net::{IpAddr, SocketAddr};

/// For whom a connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBehalf {
    /// A client, and the address of ours that it has connected to.
    Client {
        /// Where it comes from.
        from: SocketAddr,
        /// Where it has arrived.
        to: SocketAddr,
    },
    /// The gateway itself, as for a health check.
    Gateway,
}

/// What a connection begins with; nothing when it is not to be announced.
pub fn announcement(send: SendProxyProtocol, on_behalf: OnBehalf) -> Vec<u8> {
    match send {
        SendProxyProtocol::Off => Vec::new(),
        SendProxyProtocol::V1 => line(on_behalf).into_bytes(),
        SendProxyProtocol::V2 => binary(on_behalf),
    }
}

fn line(on_behalf: OnBehalf) -> String {
    let OnBehalf::Client { from, to } = on_behalf else { return "PROXY UNKNOWN\r\n".to_owned() };
    let (source, destination) = of_one_family(from.ip(), to.ip());
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {source} {destination} {} {}\r\n", from.port(), to.port())
}

fn binary(on_behalf: OnBehalf) -> Vec<u8> {
    let (command, family, addresses) = match on_behalf {
        OnBehalf::Gateway => (LOCAL, UNSPECIFIED, Vec::new()),
        OnBehalf::Client { from, to } => {
            let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
            match of_one_family(from.ip(), to.ip()) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    let addresses = [source.octets(), destination.octets()].concat();
                    (PROXY, TCP_OVER_IPV4, [addresses, ports].concat())
                }
                (source, destination) => {
                    let addresses = [source, destination].map(octets).concat();
                    (PROXY, TCP_OVER_IPV6, [addresses, ports].concat())
                }
            }
        }
    };
    // 12 or 36
    let length = (addresses.len() as u16).to_be_bytes();
    [&SIGNATURE_2[..], &[command, family], &length, &addresses].concat()
}

/// Both as IPv4 where both are, otherwise both as IPv6.
fn of_one_family(source: IpAddr, destination: IpAddr) -> (IpAddr, IpAddr) {
    match (source.to_canonical(), destination.to_canonical()) {
        (IpAddr::V4(source), IpAddr::V6(destination)) => (source.to_ipv6_mapped().into(), destination.into()),
        (IpAddr::V6(source), IpAddr::V4(destination)) => (source.into(), destination.to_ipv6_mapped().into()),
        both => both,
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy_protocol::{Begin, parse};
    use proptest::prelude::*;
    use proptest::sample::select;

    fn client(from: &str, to: &str) -> OnBehalf {
        OnBehalf::Client { from: from.parse().expect("an address"), to: to.parse().expect("an address") }
    }

    #[test]
    fn version_1_is_a_line_of_text() {
        let text =
            |on_behalf| String::from_utf8(announcement(SendProxyProtocol::V1, on_behalf)).expect("text");
        assert_eq!(
            text(client("192.0.2.7:5123", "[::ffff:198.51.100.1]:443")),
            "PROXY TCP4 192.0.2.7 198.51.100.1 5123 443\r\n"
        );
        assert_eq!(
            text(client("[2001:db8::7]:1", "[2001:db8::1]:2")),
            "PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n"
        );
        assert_eq!(text(client("192.0.2.7:1", "[::1]:2")), "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n");
        assert_eq!(text(OnBehalf::Gateway), "PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_2_is_binary() {
        let bytes = |on_behalf| announcement(SendProxyProtocol::V2, on_behalf);
        let head = |rest: &[u8]| [&SIGNATURE_2[..], rest].concat();
        assert_eq!(
            bytes(client("192.0.2.7:258", "198.51.100.1:443")),
            head(&[0x21, 0x11, 0, 12, 192, 0, 2, 7, 198, 51, 100, 1, 1, 2, 1, 187])
        );
        let six = bytes(client("[2001:db8::7]:1", "192.0.2.1:2"));
        assert_eq!((six.len(), &six[12..16]), (16 + 36, &[0x21, 0x21, 0, 36][..]));
        assert_eq!(bytes(OnBehalf::Gateway), head(&[0x20, 0, 0, 0]));
    }

    #[test]
    fn nothing_is_announced_unasked() {
        assert!(announcement(SendProxyProtocol::Off, OnBehalf::Gateway).is_empty());
    }

    proptest! {
        #[test]
        fn what_is_announced_is_what_is_read(
            version in select(vec![SendProxyProtocol::V1, SendProxyProtocol::V2]),
            from in any::<SocketAddr>(),
            to in any::<SocketAddr>(),
            behind in any::<[u8; 3]>(),
        ) {
            let header = announcement(version, OnBehalf::Client { from, to });
            let Begin::Header { length, source: Some(source) } = parse(&[&header[..], &behind].concat())? else {
                return Err(TestCaseError::fail("no header with a source"));
            };
            prop_assert_eq!(length, header.len());
            prop_assert_eq!((source.ip().to_canonical(), source.port()), (from.ip().to_canonical(), from.port()));
        }
    }
}
