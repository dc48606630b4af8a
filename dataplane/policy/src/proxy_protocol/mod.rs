//! The PROXY protocol, versions 1 and 2: what a load balancer says of the connection that it passes on, and what a target
//! is told.
//!
//! After Willy Tarreau's specification (doc/proxy-protocol.txt of HAProxy). Of a header only the source is of interest:
//! what else it may carry is skipped. By hand, since a reader must be told early that a connection begins otherwise, and
//! exactly where a header ends.

mod announcement;

pub use announcement::{OnBehalf, announcement};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Otherwise, whatever comes next.
    Otherwise,
    /// Perhaps with a header, of which more has to come.
    Undecided,
    /// With a header.
    Header {
        /// How many bytes belong to it.
        length: usize,
        /// From where the client has come; none where the load balancer speaks for itself or does not know.
        source: Option<SocketAddr>,
    },
}

/// A header that breaks the specification: the connection is not to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Version 1.
    #[error("the PROXY line is malformed")]
    Line,
    /// Version 2: the version or the command.
    #[error("the PROXY header is of another version or command")]
    Command,
    /// Version 2: the family or the transport.
    #[error("the PROXY header is of an unknown family")]
    Family,
    /// Version 2: less than its addresses need.
    #[error("the PROXY header is shorter than its addresses")]
    Short,
    /// Version 2: more than [`LONGEST`].
    #[error("the PROXY header is longer than {LONGEST} bytes")]
    Long,
}

/// The longest header that is accepted, in bytes. Addresses need 52 at most, the extensions in use some hundred.
pub const LONGEST: usize = 4096;

const SIGNATURE_1: &[u8] = b"PROXY ";
/// With the line break.
const LONGEST_LINE: usize = 107;

const SIGNATURE_2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 and command: the load balancer speaks for itself, or for a client.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// Family and transport.
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const UDP_OVER_IPV4: u8 = 0x12;
const TCP_OVER_IPV6: u8 = 0x21;
const UDP_OVER_IPV6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;
/// Signature, command, family, length.
const FIXED: usize = 16;

/// What the first bytes of a connection say. More bytes may be given than belong to the header.
///
/// # Errors
/// They begin as a header does and do not go on as one.
pub fn parse(bytes: &[u8]) -> Result<Begin, Malformed> {
    if bytes.starts_with(SIGNATURE_1) {
        line(bytes)
    } else if bytes.starts_with(SIGNATURE_2) {
        binary(bytes)
    } else if SIGNATURE_1.starts_with(bytes) || SIGNATURE_2.starts_with(bytes) {
        Ok(Begin::Undecided)
    } else {
        Ok(Begin::Otherwise)
    }
}

/// Version 1 (§2.1): `PROXY TCP4 192.0.2.7 198.51.100.1 56324 443` and a line break.
fn line(bytes: &[u8]) -> Result<Begin, Malformed> {
    let within = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if within.len() < LONGEST_LINE { Ok(Begin::Undecided) } else { Err(Malformed::Line) };
    };
    let text = within[SIGNATURE_1.len()..end].strip_suffix(b"\r").ok_or(Malformed::Line)?;
    let source = client_of(text).ok_or(Malformed::Line)?;
    Ok(Begin::Header { length: end + 1, source })
}

/// What stands behind `PROXY `.
fn client_of(text: &[u8]) -> Option<Option<SocketAddr>> {
    // whatever follows is to be ignored, also where it is no text
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        return Some(None);
    }
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let parse = match words.next()? {
        "TCP4" => |word| Ipv4Addr::from_str(word).ok().map(IpAddr::V4),
        "TCP6" => |word| Ipv6Addr::from_str(word).ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, _destination) = (parse(words.next()?)?, parse(words.next()?)?);
    let (source_port, _destination_port) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then(|| Some(SocketAddr::new(source, source_port)))
}

/// Decimal, without a sign and without zeros before it.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain)
}

/// Version 2 (§2.2).
fn binary(bytes: &[u8]) -> Result<Begin, Malformed> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Ok(Begin::Undecided) };
    let [command, family, high, low] = [fixed[12], fixed[13], fixed[14], fixed[15]];
    let is_local = match command {
        LOCAL => true,
        PROXY => false,
        _ => return Err(Malformed::Command),
    };
    let more = usize::from(u16::from_be_bytes([high, low]));
    let length = FIXED + more;
    if length > LONGEST {
        return Err(Malformed::Long);
    }
    // a client comes by a stream; datagrams and sockets of Unix have no address that means anything here
    let needed = match family {
        _ if is_local => 0,
        UNSPECIFIED => 0,
        TCP_OVER_IPV4 | UDP_OVER_IPV4 => 2 * (4 + 2),
        TCP_OVER_IPV6 | UDP_OVER_IPV6 => 2 * (16 + 2),
        UNIX_STREAM | UNIX_DATAGRAM => 2 * 108,
        _ => return Err(Malformed::Family),
    };
    if more < needed {
        return Err(Malformed::Short);
    }
    let Some(addresses) = rest.get(..more) else { return Ok(Begin::Undecided) };
    let source = match family {
        _ if is_local => None,
        TCP_OVER_IPV4 => endpoint::<4>(addresses).map(|(ip, port)| SocketAddr::from((ip, port))),
        TCP_OVER_IPV6 => endpoint::<16>(addresses).map(|(ip, port)| SocketAddr::from((ip, port))),
        _ => None,
    };
    Ok(Begin::Header { length, source })
}

/// The source: both addresses come first, then both ports.
fn endpoint<const N: usize>(addresses: &[u8]) -> Option<([u8; N], u16)> {
    let ip = *addresses.first_chunk::<N>()?;
    let port = *addresses.get(2 * N..)?.first_chunk::<2>()?;
    Some((ip, u16::from_be_bytes(port)))
}

#[cfg(test)]
mod tests;
