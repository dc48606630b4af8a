//! Keys of buckets: 64 bits, hashed by a secret of the process, so that no client can choose to share a bucket.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;

/// SipHash: unlike faster hashes it keeps its seed even from those who see which keys collide.
static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The key of some bytes, never 0.
pub fn key_hash(bytes: &[u8]) -> u64 {
    SECRET.hash_one(bytes).max(1)
}

/// The key of a client: its IPv4 address, or the /64 of its IPv6 address, which is the least that one site has
/// (RFC 6177) and of which it can take any address it likes.
pub fn client_ip_hash(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => key_hash(&ip.octets()),
        IpAddr::V6(ip) => key_hash(&ip.octets()[..8]),
    }
}
