//! `retry`: a failed attempt is made again, on another target where there is one.
//!
//! ```yaml
//! - retry:
//!     max_retries: 2
//!     retry_on: [502, 503, 504, connect_failure]
//! ```

use crate::config::leaf::{Fault, text_leaf};
use crate::config::wire::parse_all;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How often, and after what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryConfig {
    /// Attempts after the first, 1 to 10.
    #[schemars(range(min = 1, max = 10))]
    pub max_retries: u32,
    /// Default: 502, 503, 504 and `connect_failure`.
    #[serde(default = "default_retry_on")]
    pub retry_on: Vec<RetryOn>,
}

/// A failure that is worth another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryOn {
    /// A response of this status, by the target or by the gateway in its place.
    Status(u16),
    /// No connection to the target.
    ConnectFailure,
    /// The connection broke before a response.
    Reset,
    /// No response in time.
    Timeout,
    /// The target refused the stream before doing anything with it (HTTP/2).
    RefusedStream,
}

const NAMES: [(&str, RetryOn); 4] = [
    ("connect_failure", RetryOn::ConnectFailure),
    ("reset", RetryOn::Reset),
    ("timeout", RetryOn::Timeout),
    ("refused_stream", RetryOn::RefusedStream),
];

text_leaf!(
    RetryOn,
    "a status or a kind of failure",
    "A status from 400 to 599, or one of `connect_failure`, `reset`, `timeout` and `refused_stream`.",
    "type": ["string", "integer"],
    "pattern": "^([45][0-9][0-9]|connect_failure|reset|timeout|refused_stream)$",
    "minimum": 400,
    "maximum": 599
);

fn default_retry_on() -> Vec<RetryOn> {
    vec![RetryOn::Status(502), RetryOn::Status(503), RetryOn::Status(504), RetryOn::ConnectFailure]
}

impl RetryConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if !(1..=10).contains(&self.max_retries) {
            let fault = Fault::new(format!("`max_retries` is {}, outside of 1 to 10", self.max_retries));
            return Err(fault.at("max_retries").help("leave the filter out for no retries"));
        }
        if self.retry_on.is_empty() {
            let fault = Fault::new("`retry_on` is empty, so nothing would be retried");
            return Err(fault
                .at("retry_on")
                .help("leave the key out for its default, or the filter for no retries"));
        }
        Ok(())
    }
}

impl FromStr for RetryOn {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if let Some((_, found)) = NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*found);
        }
        match text.parse() {
            Ok(status @ 400..=599) if text.len() == 3 => Ok(Self::Status(status)),
            _ => Err(Fault::new(format!("`{text}` is nothing to retry on")).help(
                "write a status from 400 to 599, `connect_failure`, `reset`, `timeout` or `refused_stream`",
            )),
        }
    }
}

impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::ConnectFailure => f.write_str("connect_failure"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout => f.write_str("timeout"),
            Self::RefusedStream => f.write_str("refused_stream"),
        }
    }
}

impl From<&RetryConfig> for v1::Retry {
    fn from(RetryConfig { max_retries, retry_on }: &RetryConfig) -> Self {
        Self { max_retries: *max_retries, retry_on: retry_on.iter().map(RetryOn::to_string).collect() }
    }
}

impl TryFrom<v1::Retry> for RetryConfig {
    type Error = Fault;

    fn try_from(v1::Retry { max_retries, retry_on }: v1::Retry) -> Result<Self, Fault> {
        Ok(Self { max_retries, retry_on: parse_all("retry_on", &retry_on)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::test_support::{fault, filter, wire_round_trip};

    #[test]
    fn statuses_and_names_may_be_mixed() {
        let FilterConfig::Retry(config) = filter("retry: {max_retries: 2, retry_on: [502, reset]}") else {
            panic!("not a retry filter");
        };
        assert_eq!(config.retry_on, [RetryOn::Status(502), RetryOn::Reset]);
        wire_round_trip(
            "retry: {max_retries: 2, retry_on: [502, connect_failure, reset, timeout, refused_stream]}",
        );
    }

    #[test]
    fn a_retry_that_cannot_happen_or_never_ends_is_refused() {
        assert!(fault("retry: {max_retries: 0}").contains("outside of 1 to 10"));
        assert!(fault("retry: {max_retries: 11}").contains("outside of 1 to 10"));
        assert!(fault("retry: {max_retries: 1, retry_on: []}").contains("nothing would be retried"));
        assert_eq!(fault("retry: {max_retries: 1, retry_on: [200]}"), "`200` is nothing to retry on");
        assert_eq!(
            fault("retry: {max_retries: 1, retry_on: [sometimes]}"),
            "`sometimes` is nothing to retry on"
        );
    }

    use crate::filter::FilterConfig;
}
