//! The addresses of targets.

use super::fault::quoted;
use super::host::check_name;
use super::{Fault, text_leaf};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetAddr {
    /// Lower case; an IPv6 address without brackets.
    pub host: String,
    /// 80 when none is written.
    pub port: u16,
}

text_leaf!(
    TargetAddr,
    "an address such as `http://127.0.0.1:8081`",
    "Where to connect: `http://host:port`, without a path; port 80 may be left out.",
    "pattern": r"^http://[^/?#@]+$"
);

impl TargetAddr {
    /// The `Host` that names it: brackets around an IPv6 address, port 80 left out.
    pub fn authority(&self) -> String {
        match (self.host.contains(':'), self.port) {
            (false, 80) => self.host.clone(),
            (true, 80) => format!("[{}]", self.host),
            (false, port) => format!("{}:{port}", self.host),
            (true, port) => format!("[{}]:{port}", self.host),
        }
    }

    /// The address, where the host is one and not a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for TargetAddr {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let bad = |why: &str| Fault::new(format!("{} {why}", quoted(text)));
        let Some(authority) = text.strip_prefix("http://") else {
            return Err(wrong_scheme(text));
        };
        if let Some(end) = authority.find(['/', '?', '#']) {
            let help = format!("write `http://{}`; a route's `rewrite` changes the path", &authority[..end]);
            return Err(bad("has a path").help(help));
        }
        if authority.contains('@') {
            // not quoted, because errors are logged
            return Err(Fault::new("the address holds credentials").help("write `http://host:port`"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| {
            bad("is not an address").help("write `http://host:port`; an IPv6 address stands in brackets")
        })?;
        let port = match port {
            None => 80,
            Some(port) => match port.parse() {
                Ok(port @ 1..) if !port_has_sign(authority) => port,
                _ => return Err(bad("has no valid port").help("a port is a number from 1 to 65535")),
            },
        };
        let host = host.to_ascii_lowercase();
        if host.parse::<IpAddr>().is_err() {
            check_name(&host).map_err(|why| bad(&format!("has no valid host: {why}")))?;
        }
        Ok(Self { host, port })
    }
}

/// `u16` parses `+80`.
fn port_has_sign(authority: &str) -> bool {
    authority.contains(":+")
}

/// The host without brackets, in its canonical form if it is IPv6, and the port's text.
fn split_port(authority: &str) -> Option<(String, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        let host = host.parse::<Ipv6Addr>().ok()?.to_string();
        return match port {
            "" => Some((host, None)),
            port => Some((host, Some(port.strip_prefix(':')?))),
        };
    }
    match authority.split_once(':') {
        None => Some((authority.to_owned(), None)),
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host.to_owned(), Some(port))),
    }
}

fn wrong_scheme(text: &str) -> Fault {
    match text.split_once("://") {
        Some(("https", _)) => {
            Fault::new(format!("{} asks for TLS, which is not served to targets yet", quoted(text)))
                .help("use `http://`, or a local TLS proxy in front of the target")
        }
        Some((scheme, rest)) => {
            Fault::new(format!("{} has the unknown scheme {}", quoted(text), quoted(scheme)))
                .help(format!("write `http://{rest}`"))
        }
        None => Fault::new(format!("{} has no scheme", quoted(text))).help(format!("write `http://{text}`")),
    }
}

impl fmt::Display for TargetAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "http://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "http://{}:{}", self.host, self.port)
        }
    }
}
