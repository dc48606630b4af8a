//! What a client is told of the time to wait: `Retry-After` and the quota it has used up.

use http::header::{self, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `Retry-After` counts whole seconds (RFC 9110 §10.2.3): at least one, for nobody should come back at once.
pub(super) fn retry_header(after: Duration) -> (HeaderName, HeaderValue) {
    (header::RETRY_AFTER, HeaderValue::from(whole_seconds(after)))
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs_f64().ceil().max(1.0) as u64
}

/// The quota that a refused request ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// When a request would pass again.
    pub retry_after: Duration,
    /// Requests that the quota allows in its window.
    pub quota: u32,
    /// Over how long the quota is counted.
    pub window: Duration,
    /// How the quota is told.
    pub style: QuotaHeaders,
}

/// Which header fields tell a client of its quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaHeaders {
    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    #[default]
    Ietf,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`, as GitHub and others send them.
    Legacy,
    /// None; `Retry-After` is sent all the same.
    Off,
}

impl Limited {
    pub(super) const EXAMPLE: Self = Self {
        retry_after: Duration::from_secs(1),
        quota: 1,
        window: Duration::from_secs(1),
        style: QuotaHeaders::Ietf,
    };

    pub(super) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
        const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
        const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
        const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
        const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

        let (reset, window) = (whole_seconds(self.retry_after), whole_seconds(self.window));
        let mut headers = vec![retry_header(self.retry_after)];
        let mut item =
            |name, text: String| headers.extend(HeaderValue::try_from(text).map(|value| (name, value)));
        match self.style {
            QuotaHeaders::Ietf => {
                item(RATE_LIMIT, format!("\"default\";r=0;t={reset}"));
                item(POLICY, format!("\"default\";q={};w={window}", self.quota));
            }
            QuotaHeaders::Legacy => {
                item(LIMIT, self.quota.to_string());
                item(REMAINING, "0".to_owned());
                item(RESET, reset.to_string());
            }
            QuotaHeaders::Off => {}
        }
        headers
    }
}
