//! Header fields that a config must not touch, because the gateway itself sets, drops or reads them.

use http::HeaderName;

/// Why a field is not a config's to set or remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserved {
    /// It says where a message ends.
    Framing,
    /// It is for one connection only (RFC 9110 §7.6.1).
    HopByHop,
    /// `Host`.
    Host,
    /// By it the target is told who asks, by which way, under which id.
    Identity,
    /// It answers a browser that asks for another origin's page.
    Cors,
}

impl Reserved {
    /// Why the field is reserved, if it is.
    pub fn of(name: &HeaderName) -> Option<Self> {
        match name.as_str() {
            "content-length" | "transfer-encoding" | "trailer" => Some(Self::Framing),
            "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "upgrade"
            | "expect"
            | "http2-settings" => Some(Self::HopByHop),
            "host" => Some(Self::Host),
            "via" | "x-request-id" | "x-real-ip" | "forwarded" => Some(Self::Identity),
            name if name.starts_with("x-forwarded-") || name.starts_with("x-consumer-") => {
                Some(Self::Identity)
            }
            "access-control-expose-headers" | "access-control-max-age" => Some(Self::Cors),
            name if name.starts_with("access-control-allow-") => Some(Self::Cors),
            _ => None,
        }
    }

    /// What is wrong with using it: goes on after the name of the field.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Framing => "says where a message ends, which the gateway decides for each side",
            Self::HopByHop => "is for one connection, and never passed on",
            Self::Host => "is the target's address",
            Self::Identity => "tells the target who asks, which is the gateway's to say",
            Self::Cors => "is for the `cors` filter to say",
        }
    }

    /// What to do in its stead.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Framing | Self::HopByHop => "leave it out",
            Self::Host => "the route's `preserve_host: true` sends the client's",
            Self::Cors => "write a `cors` filter",
            Self::Identity => "leave it out, or choose another name",
        }
    }
}
