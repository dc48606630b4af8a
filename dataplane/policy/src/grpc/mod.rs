//! gRPC as a proxy sees it: which requests are calls, how one ends, and by when (the gRPC protocol over HTTP/2, and
//! gRPC-Web).

mod message;
mod status;
mod timeout;
pub mod web;

pub use status::GrpcStatus;
pub use timeout::Timeout;

use http::Method;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

/// How a call ended; in the trailers, or in the head of a response without a body.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// Why, in words.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// How long the client waits.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What speaks to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `application/grpc`, which has its status in trailers.
    Grpc,
    /// `application/grpc-web`, which has them at the end of the body.
    Web,
    /// `application/grpc-web-text`: the same in base64.
    WebText,
}

impl Call {
    /// The kind of call that a request is, if it is one.
    pub fn of(parts: &Parts) -> Option<Self> {
        if parts.method != Method::POST {
            return None;
        }
        Self::of_type(parts.headers.get(header::CONTENT_TYPE)?.as_bytes())
    }

    fn of_type(content_type: &[u8]) -> Option<Self> {
        const GRPC: &[u8] = b"application/grpc";
        let (start, rest) = content_type.split_at_checked(GRPC.len())?;
        if !start.eq_ignore_ascii_case(GRPC) {
            return None;
        }
        let end = rest.iter().position(|byte| matches!(byte, b'+' | b';' | b' ')).unwrap_or(rest.len());
        match &rest[..end] {
            b"" => Some(Self::Grpc),
            web if web.eq_ignore_ascii_case(b"-web") => Some(Self::Web),
            text if text.eq_ignore_ascii_case(b"-web-text") => Some(Self::WebText),
            _ => None,
        }
    }

    /// What an answer of the gateway's own says that it is.
    pub const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text+proto",
        })
    }
}

/// What says how a call ended: its trailers, or a part of the head where there is no body ("Trailers-Only").
pub fn end(status: GrpcStatus, message: &str) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(2);
    fields.insert(GRPC_STATUS, status.header_value());
    if let Ok(message) = HeaderValue::try_from(message::encode(message)) {
        fields.insert(GRPC_MESSAGE, message);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_by_its_content_type_alone() {
        for (content_type, call) in [
            ("application/grpc", Some(Call::Grpc)),
            ("application/grpc+proto", Some(Call::Grpc)),
            ("application/grpc; charset=utf-8", Some(Call::Grpc)),
            ("Application/GRPC+json", Some(Call::Grpc)),
            ("application/grpc-web", Some(Call::Web)),
            ("application/grpc-web+proto", Some(Call::Web)),
            ("application/grpc-web-text", Some(Call::WebText)),
            ("application/grpc-web-text+proto", Some(Call::WebText)),
            ("application/grpc-webx", None),
            ("application/grpcx", None),
            ("application/json", None),
            ("text/application/grpc", None),
        ] {
            assert_eq!(Call::of_type(content_type.as_bytes()), call, "{content_type}");
            let request = |method: &str| {
                let request = http::Request::builder().method(method).header("content-type", content_type);
                request.body(()).unwrap().into_parts().0
            };
            assert_eq!(Call::of(&request("POST")), call);
            assert_eq!(Call::of(&request("GET")), None);
        }
    }

    #[test]
    fn the_end_of_a_call_is_two_fields() {
        let end = end(GrpcStatus::Unavailable, "caf\u{e9}");
        let fields: Vec<_> =
            end.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(fields, [("grpc-status", "14"), ("grpc-message", "caf%C3%A9")]);
    }
}
