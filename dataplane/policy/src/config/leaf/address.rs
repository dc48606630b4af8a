//! The addresses of targets.

use super::fault::quoted;
use super::host::check_name;
use super::{Fault, text_leaf};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// `http://host:port` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetAddr {
    /// `https`.
    pub tls: bool,
    /// Lower case; an IPv6 address without brackets.
    pub host: String,
    /// 80 when none is written, with TLS 443.
    pub port: u16,
}

text_leaf!(
    TargetAddr,
    "an address such as `http://127.0.0.1:8081`",
    "Where to connect: `http://host:port` or `https://host:port`, without a path; the ports 80 and 443 may be left out.",
    "pattern": r"^https?://[^/?#@]+$"
);

impl TargetAddr {
    /// The scheme's word.
    pub const fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// The `Host` that names it: brackets around an IPv6 address, the scheme's own port left out.
    pub fn authority(&self) -> String {
        let own_port = default_port(self.tls);
        match (self.host.contains(':'), self.port) {
            (false, port) if port == own_port => self.host.clone(),
            (true, port) if port == own_port => format!("[{}]", self.host),
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
        let (tls, authority) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(authority), _) => (false, authority),
            (None, Some(authority)) => (true, authority),
            (None, None) => return Err(wrong_scheme(text)),
        };
        let scheme = if tls { "https" } else { "http" };
        if let Some(end) = authority.find(['/', '?', '#']) {
            let help =
                format!("write `{scheme}://{}`; a route's `rewrite` changes the path", &authority[..end]);
            return Err(bad("has a path").help(help));
        }
        if authority.contains('@') {
            // not quoted, because errors are logged
            let help = format!("write `{scheme}://host:port`");
            return Err(Fault::new("the address holds credentials").help(help));
        }
        let (host, port) = split_port(authority).ok_or_else(|| {
            bad("is not an address")
                .help(format!("write `{scheme}://host:port`; an IPv6 address stands in brackets"))
        })?;
        let port = match port {
            None => default_port(tls),
            Some(port) => match port.parse() {
                Ok(port @ 1..) if !port_has_sign(authority) => port,
                _ => return Err(bad("has no valid port").help("a port is a number from 1 to 65535")),
            },
        };
        let host = host.to_ascii_lowercase();
        if host.parse::<IpAddr>().is_err() {
            check_name(&host).map_err(|why| bad(&format!("has no valid host: {why}")))?;
        }
        Ok(Self { tls, host, port })
    }
}

const fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
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
        Some((scheme, rest)) => {
            Fault::new(format!("{} has the unknown scheme {}", quoted(text), quoted(scheme)))
                .help(format!("write `http://{rest}`, or `https://{rest}`"))
        }
        None => Fault::new(format!("{} has no scheme", quoted(text)))
            .help(format!("write `http://{text}`, or `https://{text}`")),
    }
}

impl fmt::Display for TargetAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls: _, host, port } = self;
        let scheme = self.scheme();
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}
