//! `forward_auth`: a service of the operator's own is asked about every request.
//!
//! ```yaml
//! - forward_auth:
//!     url: http://127.0.0.1:9000/check
//!     timeout: 500ms
//!     request_headers: [Authorization, Cookie]
//!     response_headers: [X-User, X-Groups]
//!     consumer_header: X-User
//!     exclude_paths: [/orders/health]
//! ```
//!
//! It fails closed, always: without an answer nobody is let in.

use crate::config::leaf::{Duration, Fault, HeaderName, PathPrefix, ServiceUrl};
use crate::config::wire::{millis, parse, parse_all, texts};
use crate::headers::Reserved;
use http::header;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whom to ask, and what passes between it and the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardAuthConfig {
    /// Where it is asked.
    pub url: ServiceUrl,
    /// The whole exchange with it, 1ms to 60s. Default: `500ms`.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// Headers of the request that it gets to see. Default: `Authorization` and `Cookie`.
    #[serde(default = "default_request_headers")]
    pub request_headers: Vec<HeaderName>,
    /// Headers of its answer that the target gets, in the place of whatever the client sent under these names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<HeaderName>,
    /// The header of its answer that says who the caller is: for limits, logs and `X-Consumer-Name`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_header: Option<HeaderName>,
    /// Paths, and all below them by whole segments, about which it is not asked. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_paths: Vec<PathPrefix>,
}

const MAX_TIMEOUT_MS: u64 = 60_000;

fn default_timeout() -> Duration {
    Duration::short(500)
}

fn default_request_headers() -> Vec<HeaderName> {
    vec![HeaderName(header::AUTHORIZATION), HeaderName(header::COOKIE)]
}

impl ForwardAuthConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if !(1..=MAX_TIMEOUT_MS).contains(&self.timeout.as_millis()) {
            let fault = Fault::new(format!("`timeout` is {}, outside of 1ms to 60s", self.timeout));
            return Err(fault.at("timeout").help("every request waits for it: write `500ms`"));
        }
        for (key, names) in
            [("request_headers", &self.request_headers), ("response_headers", &self.response_headers)]
        {
            let reserved = names.iter().find_map(|name| Some((name, Reserved::of(&name.0)?)));
            if let Some((name, reserved)) = reserved {
                let fault = Fault::new(format!("`{name}` {}", reserved.reason())).at(key);
                return Err(fault.help("leave it out: the service is told who asks, and for what"));
            }
        }
        let consumer = self.consumer_header.iter().find_map(|name| Some((name, Reserved::of(&name.0)?)));
        match consumer {
            Some((name, reserved @ (Reserved::Framing | Reserved::HopByHop))) => {
                let fault = Fault::new(format!("`{name}` {}", reserved.reason())).at("consumer_header");
                Err(fault.help("name the header by which the service says who the caller is: `X-User`"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl From<&ForwardAuthConfig> for v1::ForwardAuth {
    fn from(config: &ForwardAuthConfig) -> Self {
        let ForwardAuthConfig {
            url,
            timeout,
            request_headers,
            response_headers,
            consumer_header,
            exclude_paths,
        } = config;
        Self {
            url: url.to_string(),
            timeout_ms: timeout.as_millis(),
            request_headers: texts(request_headers),
            response_headers: texts(response_headers),
            consumer_header: consumer_header.as_ref().map(ToString::to_string),
            exclude_paths: texts(exclude_paths),
        }
    }
}

impl TryFrom<v1::ForwardAuth> for ForwardAuthConfig {
    type Error = Fault;

    fn try_from(wire: v1::ForwardAuth) -> Result<Self, Fault> {
        let v1::ForwardAuth {
            url,
            timeout_ms,
            request_headers,
            response_headers,
            consumer_header,
            exclude_paths,
        } = wire;
        let consumer_header = consumer_header.map(|name| parse("consumer_header", &name)).transpose()?;
        Ok(Self {
            url: parse("url", &url)?,
            timeout: millis("timeout", timeout_ms)?,
            request_headers: parse_all("request_headers", &request_headers)?,
            response_headers: parse_all("response_headers", &response_headers)?,
            consumer_header,
            exclude_paths: parse_all("exclude_paths", &exclude_paths)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::test_support::{fault, filter, wire_round_trip};

    #[test]
    fn what_is_left_out_is_explicit_on_the_wire() {
        let wire = v1::Filter::from(&filter("forward_auth: {url: 'http://127.0.0.1:9000/check'}"));
        let expected = v1::ForwardAuth {
            url: "http://127.0.0.1:9000/check".to_owned(),
            timeout_ms: 500,
            request_headers: vec!["authorization".to_owned(), "cookie".to_owned()],
            response_headers: Vec::new(),
            consumer_header: None,
            exclude_paths: Vec::new(),
        };
        assert_eq!(wire.kind, Some(v1::filter::Kind::ForwardAuth(expected)));
        wire_round_trip(
            "forward_auth: {url: 'http://auth:9000', timeout: 1s, request_headers: [], response_headers: [X-User], \
             consumer_header: X-User, exclude_paths: [/open]}",
        );
    }

    #[test]
    fn what_could_not_work_is_refused() {
        for (settings, part) in [
            ("timeout: 0s", "outside of 1ms to 60s"),
            ("timeout: 2m", "outside of 1ms to 60s"),
            ("request_headers: [Host]", "`host` is the target's address"),
            ("response_headers: [Content-Length]", "`content-length` says where a message ends"),
            ("response_headers: [X-Forwarded-For]", "`x-forwarded-for` tells the target who asks"),
            ("consumer_header: Connection", "`connection` is for one connection"),
        ] {
            let text = format!("forward_auth: {{url: 'http://a:1/', {settings}}}");
            assert!(fault(&text).contains(part), "{settings}: {}", fault(&text));
        }
        assert_eq!(fault("forward_auth: {timeout: 1s}"), "`url` is missing");
    }
}
