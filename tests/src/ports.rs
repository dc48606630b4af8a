//! Ports that stay free until the process under test opens them.
//!
//! Data planes listen on one port at several loopback addresses, and a control plane that is killed must come back on
//! its port; so port 0 does not do. Ports come from below the kernel's ephemeral range, so no outgoing connection takes
//! one in between, and a lease holds the UDP port of the same number, which keeps other test processes away.

use socket2::{Domain, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// Lowest port given out.
const LOWEST: u16 = 10_000;

/// A TCP port nobody else takes while this lives.
#[derive(Debug)]
pub struct PortLease {
    /// The number.
    pub port: u16,
    _claim: UdpSocket,
}

/// Leases a port that is free at 127.0.0.1 … 127.0.0.`addresses`.
pub fn lease(addresses: u8) -> PortLease {
    let highest = first_ephemeral_port();
    for _ in 0..1000 {
        let port = fastrand::u16(LOWEST..highest);
        let Ok(claim) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) else { continue };
        if (1..=addresses.max(1)).all(|n| is_free(SocketAddr::new(loopback(n), port))) {
            return PortLease { port, _claim: claim };
        }
    }
    panic!("no free port between {LOWEST} and {highest}");
}

/// Without `SO_REUSEADDR`, so that not even a connection in TIME_WAIT is left of whoever had the port before.
fn is_free(address: SocketAddr) -> bool {
    Socket::new(Domain::IPV4, Type::STREAM, None).and_then(|socket| socket.bind(&address.into())).is_ok()
}

/// 127.0.0.`n`
pub fn loopback(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, n))
}

/// An address where nothing listens: connecting to it is refused.
pub fn refusing() -> (SocketAddr, PortLease) {
    let lease = lease(1);
    (SocketAddr::new(loopback(1), lease.port), lease)
}

fn first_ephemeral_port() -> u16 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|first| *first > LOWEST + 1000)
        .unwrap_or(32_768)
}
