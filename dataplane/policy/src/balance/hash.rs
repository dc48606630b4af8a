//! A hash that is the same in every process and every version: it decides which target a key belongs to.

/// FNV-1a with 64 bits, its bits then mixed by MurmurHash3's finaliser.
///
/// FNV-1a alone leaves the high bits of short, similar keys nearly alike. An unkeyed hash lets a client choose its
/// target; with a key that instances must agree on and that comes from the client, it could do so anyway.
pub fn hash_key(key: &[u8]) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    mix(key.iter().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME)))
}

/// MurmurHash3's 64-bit finaliser: a bijection in which every input bit moves half of the output bits.
pub(super) fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changing one of these moves every key of every fleet to another target.
    #[test]
    fn is_the_same_for_ever() {
        assert_eq!(hash_key(b""), mix(0xcbf2_9ce4_8422_2325));
        // the published vectors of FNV-1a 64
        assert_eq!(hash_key(b"a"), mix(0xaf63_dc4c_8601_ec8c));
        assert_eq!(hash_key(b"foobar"), mix(0x8594_4171_f739_67e8));
        // SMHasher's reference of fmix64
        assert_eq!(mix(0), 0);
        assert_eq!(mix(1), 0xb456_bcfc_34c2_cb2c);
    }

    #[test]
    fn similar_keys_spread() {
        let mut buckets = [0u32; 64];
        for user in 0..64_000 {
            buckets[(hash_key(format!("user-{user}").as_bytes()) >> 58) as usize] += 1;
        }
        // 1000 each, and five standard deviations of a binomial
        assert!(buckets.iter().all(|count| (840..1160).contains(count)), "{buckets:?}");
    }
}
