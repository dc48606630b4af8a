//! Where a service of the operator's own is asked.

use super::fault::quoted;
use super::{Fault, RequestPath, TargetAddr, text_leaf};
use std::fmt;
use std::str::FromStr;

/// `http://host:port/path`, or the same with `https`, with or without a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    /// Where to connect.
    pub addr: TargetAddr,
    /// What to ask for; `/` when none is written.
    pub path: RequestPath,
}

text_leaf!(
    ServiceUrl,
    "a URL such as `http://127.0.0.1:9000/check`",
    "Where a service is asked: `http://host:port/path`, or `https`; the ports 80 and 443 and the path may be left out.",
    "pattern": r"^https?://[^#@\s]+$"
);

impl FromStr for ServiceUrl {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let authority = text.find("://").map_or(0, |at| at + 3);
        let path = text[authority..].find(['/', '?', '#']).map(|at| authority + at);
        let (addr, path) = text.split_at(path.unwrap_or(text.len()));
        let addr = addr.parse()?;
        let path = if path.is_empty() { "/" } else { path };
        let path = path.parse().map_err(|fault: Fault| Fault {
            message: format!("{} has no valid path", quoted(text)),
            ..fault
        })?;
        Ok(Self { addr, path })
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.addr, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::ServiceUrl;

    #[test]
    fn a_url_has_an_address_and_perhaps_a_path() {
        for (text, kept) in [
            ("http://127.0.0.1:9000/check?full=1", "http://127.0.0.1:9000/check?full=1"),
            ("http://auth.internal", "http://auth.internal:80/"),
            ("http://[::1]:9000/", "http://[::1]:9000/"),
            ("https://auth.internal/check", "https://auth.internal:443/check"),
        ] {
            assert_eq!(text.parse::<ServiceUrl>().expect(text).to_string(), kept);
        }
        for text in [
            "auth.internal/check",
            "ftp://auth.internal/check",
            "http:///check",
            "http://user:pass@auth.internal/check",
            "http://auth.internal/che ck",
            "http://auth.internal/check#top",
            "http://auth.internal?check",
            "",
        ] {
            let fault = text.parse::<ServiceUrl>().expect_err(text);
            assert!(!fault.message.contains("pass"), "{fault:?}");
        }
    }
}
