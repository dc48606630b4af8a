//! Who is asked for the addresses of names.

use super::fault::quoted;
use super::{Fault, text_leaf};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The address of a DNS server; port 53 where none is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NameServer(pub SocketAddr);

text_leaf!(
    NameServer,
    "an address such as `10.0.0.2`, or `10.0.0.2:5353`",
    "The address of a DNS server, with or without a port: `10.0.0.2`, `[2001:db8::2]:5353`.",
    "pattern": r"^[0-9a-fA-F:.\[\]]+$"
);

const PORT: u16 = 53;

impl FromStr for NameServer {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let bare = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
        let address = bare.ok().or_else(|| text.parse().ok());
        address.filter(|address| address.port() > 0).map(Self).ok_or_else(|| {
            Fault::new(format!("{} is not the address of a DNS server", quoted(text)))
                .help("write an address and not a name, with or without a port: `10.0.0.2:5353`")
        })
    }
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
