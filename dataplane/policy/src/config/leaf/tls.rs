//! The names of servers, as TLS knows them.

use super::fault::quoted;
use super::host::check_name;
use super::{Fault, text_leaf};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Who a server is asked to be: a DNS name in lower case, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerName(String);

/// A name that a certificate must have among its alternative names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SubjectAltName {
    /// A DNS name, or an address.
    Host(ServerName),
    /// A URI, letter by letter: `spiffe://example.org/users`.
    Uri(String),
}

text_leaf!(
    ServerName,
    "a name such as `users.internal`",
    "A DNS name, or an address.",
    "pattern": r"^[^*/@\s]+$"
);
text_leaf!(
    SubjectAltName,
    "a name such as `users.internal`, or a URI",
    "A DNS name, an address, or a URI such as `spiffe://example.org/users`.",
    "pattern": r"^[^*\s]+$"
);

impl ServerName {
    /// As TLS says it; an IPv6 address without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let name = text.to_ascii_lowercase();
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        match check_name(&name) {
            Ok(()) => Ok(Self(name)),
            Err(why) => Err(Fault::new(format!("{} is not the name of a server: {why}", quoted(text)))
                .help("write a DNS name or an address, without scheme, port and path")),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SubjectAltName {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if text.contains("://") {
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
            return match plain {
                true => Ok(Self::Uri(text.to_owned())),
                false => Err(Fault::new(format!("{} is not a URI", quoted(text)))),
            };
        }
        text.parse().map(Self::Host)
    }
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => name.fmt(f),
            Self::Uri(uri) => f.write_str(uri),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_pinned_by_name_address_or_uri() {
        for (text, kept) in [
            ("Users.Internal", "users.internal"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("spiffe://example.org/Users", "spiffe://example.org/Users"),
        ] {
            assert_eq!(text.parse::<SubjectAltName>().expect(text).to_string(), kept);
        }
        for bad in ["", "*.example.org", "a:443", "a/b", "spiffe://a b", "[::1]"] {
            assert!(bad.parse::<SubjectAltName>().is_err(), "{bad}");
        }
    }
}
