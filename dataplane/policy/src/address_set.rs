//! Sets of address blocks, asked whether an address is in one of them.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;

/// Blocks that do not overlap, in order: asking takes as many steps as their number has binary digits.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AddressSet {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl AddressSet {
    /// The union of the blocks.
    pub fn new(blocks: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for block in blocks {
            match unmapped(*block) {
                IpNet::V4(block) => v4.push(block),
                IpNet::V6(block) => v6.push(block),
            }
        }
        Self { v4: Ipv4Net::aggregate(&v4), v6: Ipv6Net::aggregate(&v6) }
    }

    /// Whether a block holds the address; an IPv4 address mapped into IPv6 is the IPv4 address.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.covers(IpNet::from(ip.to_canonical()))
    }

    /// Whether every address of a block is in the set.
    pub fn covers(&self, block: IpNet) -> bool {
        // blocks that touch are one, so the only one that can hold it is the last that begins at or before it
        match unmapped(block) {
            IpNet::V4(block) => {
                let after = self.v4.partition_point(|known| known.network() <= block.network());
                self.v4[..after].last().is_some_and(|known| known.contains(&block))
            }
            IpNet::V6(block) => {
                let after = self.v6.partition_point(|known| known.network() <= block.network());
                self.v6[..after].last().is_some_and(|known| known.contains(&block))
            }
        }
    }
}

/// `::ffff:10.0.0.0/104` is a way to write `10.0.0.0/8`; `::/0` does not mean every IPv4 address.
pub(crate) fn unmapped(block: IpNet) -> IpNet {
    let IpNet::V6(v6) = block else { return block };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    match v4.map(|(address, prefix_len)| Ipv4Net::new(address, prefix_len)) {
        Some(Ok(v4)) => IpNet::V4(v4),
        _ => block,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn set(blocks: &[&str]) -> AddressSet {
        AddressSet::new(&blocks.iter().map(|block| block.parse().expect("a block")).collect::<Vec<_>>())
    }

    fn holds(blocks: &[&str], ip: &str) -> bool {
        set(blocks).contains(ip.parse().expect("an address"))
    }

    #[test]
    fn an_ipv4_address_is_the_same_in_both_spellings() {
        for (block, ip, expected) in [
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:11.0.0.1", false),
            ("::ffff:0:0/96", "192.0.2.7", true),
            ("::/0", "192.0.2.7", false),
            ("::/0", "2001:db8::1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("0.0.0.0/0", "::ffff:192.0.2.7", true),
        ] {
            assert_eq!(holds(&[block], ip), expected, "{ip} in {block}");
        }
    }

    #[test]
    fn blocks_that_overlap_or_touch_are_one() {
        let blocks = ["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "192.0.2.7/32"];
        assert_eq!(set(&blocks), set(&["192.0.2.7/32", "10.0.0.0/8"]));
        assert!(
            holds(&blocks, "10.255.255.255")
                && !holds(&blocks, "11.0.0.0")
                && !holds(&blocks, "9.255.255.255")
        );
        assert!(!holds(&[], "0.0.0.0"));
        let covers = |block: &str| set(&blocks).covers(block.parse().expect("a block"));
        assert!(covers("10.0.0.0/8") && !covers("10.0.0.0/7") && !covers("::/0"));
    }

    proptest! {
        #[test]
        fn the_set_holds_what_one_of_its_blocks_holds(
            v4 in proptest::collection::vec((0u32..1 << 12, 20u8..=32), 0..8),
            v6 in proptest::collection::vec((0u128..1 << 12, 116u8..=128), 0..8),
            asked in 0u32..1 << 12,
        ) {
            let v4 = v4.iter().map(|(bits, len)| IpNet::new_assert(Ipv4Addr::from(*bits).into(), *len).trunc());
            let v6 = v6.iter().map(|(bits, len)| IpNet::new_assert(Ipv6Addr::from(*bits).into(), *len).trunc());
            let blocks: Vec<_> = v4.chain(v6).collect();
            for ip in [IpAddr::from(Ipv4Addr::from(asked)), Ipv6Addr::from(u128::from(asked)).into()] {
                let naive = blocks.iter().any(|block| block.contains(&ip));
                prop_assert_eq!(AddressSet::new(&blocks).contains(ip), naive);
            }
        }
    }
}
