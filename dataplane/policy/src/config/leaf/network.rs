//! Blocks of addresses.

use super::fault::quoted;
use super::{Fault, text_leaf};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A CIDR block without host bits; a single address is a block of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub IpNet);

text_leaf!(Network, "an address block such as `10.0.0.0/8`", "An address or a CIDR block: `10.0.0.0/8`, `192.0.2.7`, `2001:db8::/32`.", "pattern": "^[0-9a-fA-F.:]+(/[0-9]+)?$");

impl Network {
    /// For fields that hold the blocks bare: each is read, and located, by itself.
    pub(crate) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
        Ok(Vec::<Network>::deserialize(deserializer)?.into_iter().map(|Network(block)| block).collect())
    }
}

impl FromStr for Network {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.into()));
        }
        let block: IpNet = text.parse().map_err(|_| {
            Fault::new(format!("{} is not an address block", quoted(text)))
                .help("write `10.0.0.0/8`, or a single address")
        })?;
        if block.trunc() != block {
            let fault = Fault::new(format!("{} has bits set behind its prefix", quoted(text)));
            return Err(fault.help(format!(
                "write `{}` for the block, or `{}` for the address",
                block.trunc(),
                block.addr()
            )));
        }
        Ok(Self(block))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
