//! Where a collector listens.

use super::Fault;
use crate::config::leaf::{quoted, text_leaf};
use http::Uri;
use std::fmt;
use std::str::FromStr;

/// `http://host:port` or `https://host:port`, for OTLP/HTTP perhaps with a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpEndpoint(Uri);

text_leaf!(
    OtlpEndpoint,
    "a URL such as `http://127.0.0.1:4317`",
    "Where a collector listens: `http://host:port` or `https://host:port`; with `protocol: http` a path may follow, `/v1/traces` when none does.",
    "pattern": r"^https?://[^?#@\s]+$"
);

const HELP: &str = "write `http://host:4317` for gRPC, or `http://host:4318` with `protocol: http`";
const OTLP_HTTP_PORT: u16 = 4318;

impl OtlpEndpoint {
    /// The URL as it was written.
    pub fn uri(&self) -> &Uri {
        &self.0
    }

    /// TLS is spoken.
    pub fn is_https(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// gRPC has a path of its own, and a port that is usually not the one of OTLP/HTTP.
    pub(super) fn check_grpc(&self) -> Result<(), Fault> {
        let help = "write `protocol: http` for OTLP over HTTP";
        if self.0.path() != "/" {
            return Err(Fault::new("`endpoint` has a path, and gRPC none").at("endpoint").help(help));
        }
        if self.0.port_u16() == Some(OTLP_HTTP_PORT) {
            let fault = Fault::new("port 4318 is where collectors speak OTLP over HTTP, not gRPC");
            return Err(fault.at("endpoint").help(help));
        }
        Ok(())
    }
}

impl FromStr for OtlpEndpoint {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let bad = |why: &str| Fault::new(format!("{} {why}", quoted(text))).help(HELP);
        if text.contains('@') {
            // not quoted, because errors are logged
            return Err(Fault::new("the address holds credentials").help("a key goes into `headers`"));
        }
        let uri: Uri = text.parse().map_err(|_| bad("is not a URL"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad("begins neither with `http://` nor with `https://`")),
        };
        let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
            return Err(bad("names no host"));
        };
        // 443 is what everybody means by `https`, but neither of OTLP's ports by `http`
        if authority.port_u16().map_or(!secure, |port| port == 0) {
            return Err(bad("has no port"));
        }
        if uri.query().is_some() {
            return Err(bad("has a query"));
        }
        Ok(Self(uri))
    }
}

impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
