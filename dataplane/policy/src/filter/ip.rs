//! `ip`: which client addresses may use a route.
//!
//! ```yaml
//! - ip:
//!     allow: [10.0.0.0/8, "2001:db8::/32"] # none: every address
//!     deny: [10.6.6.6]
//! ```
//!
//! The client is whom `server.trusted_proxies` let it be known as. `deny` wins.

use crate::address_set::AddressSet;
use crate::config::leaf::{Fault, Network};
use crate::config::wire::{parse_all, texts};
use ipnet::IpNet;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Address blocks that are let in, and those that are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IpConfig {
    /// Only these are let in; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "Network::list")]
    #[schemars(with = "Vec<Network>")]
    pub allow: Vec<IpNet>,
    /// These are not let in, even if `allow` holds them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "Network::list")]
    #[schemars(with = "Vec<Network>")]
    pub deny: Vec<IpNet>,
}

impl IpConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.allow.is_empty() && self.deny.is_empty() {
            return Err(Fault::new("`ip` names no address in `allow` or `deny`, so every one is let in")
                .help("write `allow: [10.0.0.0/8]`, or remove the filter"));
        }
        let denied = AddressSet::new(&self.deny);
        if !self.allow.is_empty() && self.allow.iter().all(|block| denied.covers(*block)) {
            return Err(Fault::new("`deny` holds all that `allow` holds, so nobody would be let in")
                .at("deny")
                .help("`deny` wins over `allow`: take one of the blocks out"));
        }
        Ok(())
    }
}

/// An `ip` filter at run time.
#[derive(Debug)]
pub struct IpRules {
    /// None: every address.
    allow: Option<AddressSet>,
    deny: AddressSet,
}

impl IpRules {
    /// Sorts the blocks.
    pub fn new(IpConfig { allow, deny }: &IpConfig) -> Self {
        let allow = (!allow.is_empty()).then(|| AddressSet::new(allow));
        Self { allow, deny: AddressSet::new(deny) }
    }

    /// Whether a client of this address is let in.
    pub fn allows(&self, ip: IpAddr) -> bool {
        !self.deny.contains(ip) && self.allow.as_ref().is_none_or(|allow| allow.contains(ip))
    }
}

impl From<&IpConfig> for v1::IpRules {
    fn from(IpConfig { allow, deny }: &IpConfig) -> Self {
        Self { allow: texts(allow), deny: texts(deny) }
    }
}

impl TryFrom<v1::IpRules> for IpConfig {
    type Error = Fault;

    fn try_from(v1::IpRules { allow, deny }: v1::IpRules) -> Result<Self, Fault> {
        let blocks = |key, texts: &[String]| {
            let blocks = parse_all::<Network>(key, texts)?;
            Ok(blocks.into_iter().map(|Network(block)| block).collect())
        };
        Ok(Self { allow: blocks("allow", &allow)?, deny: blocks("deny", &deny)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::FilterConfig;
    use crate::filter::test_support::{fault, filter, wire_round_trip};

    fn allows(settings: &str, ip: &str) -> bool {
        let FilterConfig::Ip(config) = filter(&format!("ip: {{{settings}}}")) else { panic!("{settings}") };
        IpRules::new(&config).allows(ip.parse().expect("an address"))
    }

    #[test]
    fn every_setting_survives_the_wire() {
        wire_round_trip("ip: {allow: [10.0.0.0/8, '2001:db8::/32', 192.0.2.7], deny: [10.6.0.0/16]}");
        wire_round_trip("ip: {deny: [10.6.0.0/16]}");
    }

    #[test]
    fn deny_wins_and_no_allow_means_all() {
        let both = "allow: [10.0.0.0/8, '2001:db8::/32'], deny: [10.6.0.0/16]";
        for (ip, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.6.1.1", false),
            ("::ffff:10.6.1.1", false),
            ("192.0.2.7", false),
            ("2001:db8::7", true),
            ("2001:db9::7", false),
        ] {
            assert_eq!(allows(both, ip), expected, "{ip}");
        }
        assert!(allows("deny: [10.6.0.0/16]", "192.0.2.7") && !allows("deny: [10.6.0.0/16]", "10.6.6.6"));
    }

    #[test]
    fn rules_that_let_in_everybody_or_nobody_are_refused() {
        assert!(fault("ip: {}").contains("every one is let in"));
        assert!(fault("ip: {allow: [10.0.0.0/8], deny: [10.0.0.0/9, 10.128.0.0/9]}").contains("nobody"));
        assert!(fault("ip: {allow: [10.0.0.1/8]}").contains("bits set behind its prefix"));
    }
}
