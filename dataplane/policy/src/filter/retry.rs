//! `retry`: a failed attempt is made again, on another target where there is one.
//!
//! ```yaml
//! - retry:
//!     max_retries: 2
//!     retry_on: [502, 503, 504, connect_failure]
//!     per_try_timeout: 2s
//!     backoff: {base: 25ms, max: 250ms}
//!     budget: 20%
//!     methods: [GET, HEAD, PUT, DELETE, OPTIONS]
//!     max_body: 64KiB
//! ```

use crate::config::leaf::{ByteSize, Duration, Fault, Method, Percent, text_leaf};
use crate::config::wire::{millis, parse_all, texts};
use crate::grpc::GrpcStatus;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How often, after what, and at whose cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryConfig {
    /// Attempts after the first, 1 to 10.
    #[schemars(range(min = 1, max = 10))]
    pub max_retries: u32,
    /// Default: 502, 503, 504 and `connect_failure`. A status of gRPC is meant for calls, whatever `methods` says.
    #[serde(default = "default_retry_on")]
    pub retry_on: Vec<RetryOn>,
    /// How long one attempt may take until the head of its response, the connecting included: 504. Default: as long as
    /// the other timeouts allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<Duration>,
    /// The pause before each retry.
    #[serde(default)]
    pub backoff: BackoffConfig,
    /// Retries may be at most so many percent of the requests of the last 10 seconds, and 3 a second besides; counted
    /// for each route by each data plane.
    #[serde(default = "default_budget")]
    pub budget: Percent,
    /// Methods that may reach a target twice. A request of which nothing was sent is retried whatever its method.
    #[serde(default = "default_methods")]
    pub methods: Vec<Method>,
    /// How much of a request body is kept to be sent again, at most 16MiB; a request of which more has gone out is not
    /// retried.
    #[serde(default = "default_max_body")]
    pub max_body: ByteSize,
}

/// A pause drawn at random from 0 to `base`, doubled for every retry before, but never more than `max`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackoffConfig {
    /// The longest pause before the first retry; 0s for none.
    #[serde(default = "default_base")]
    pub base: Duration,
    /// The longest pause before any retry.
    #[serde(default = "default_max")]
    pub max: Duration,
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
    /// A gRPC call that ends so, before anything else of its response has come.
    Call(GrpcStatus),
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
    "A status from 400 to 599, one of `connect_failure`, `reset`, `timeout` and `refused_stream`, or a status of gRPC such as `unavailable`.",
    "type": ["string", "integer"],
    "pattern": "^([45][0-9][0-9]|[a-z_]+)$",
    "minimum": 400,
    "maximum": 599
);

fn default_retry_on() -> Vec<RetryOn> {
    vec![RetryOn::Status(502), RetryOn::Status(503), RetryOn::Status(504), RetryOn::ConnectFailure]
}

/// What RFC 9110, section 9.2.2, calls idempotent, as far as it is served: a second time changes nothing more.
fn default_methods() -> Vec<Method> {
    use http::Method as Http;
    [Http::GET, Http::HEAD, Http::PUT, Http::DELETE, Http::OPTIONS].map(Method).into()
}

fn default_budget() -> Percent {
    Percent::saturating(20)
}

fn default_max_body() -> ByteSize {
    ByteSize(64 << 10)
}

fn default_base() -> Duration {
    Duration::short(25)
}

fn default_max() -> Duration {
    Duration::short(250)
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { base: default_base(), max: default_max() }
    }
}

/// What one request may hold in memory for the chance of a retry.
const MAX_BODY: ByteSize = ByteSize(16 << 20);

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
        if self.methods.is_empty() {
            let fault = Fault::new("`methods` is empty, so nothing that reached a target would be retried");
            return Err(fault.at("methods").help("leave the key out for its default"));
        }
        if self.per_try_timeout.is_some_and(Duration::is_zero) {
            let fault = Fault::new("`per_try_timeout` is 0, so no attempt could ever be in time");
            return Err(fault.at("per_try_timeout").help("write a time such as `2s`, or leave it out"));
        }
        let BackoffConfig { base, max } = self.backoff;
        if base > max {
            let fault = Fault::new(format!("`base` is {base}, more than the {max} of `max`"));
            return Err(fault.at("backoff").help("lower the one or raise the other"));
        }
        if self.max_body > MAX_BODY {
            let fault = Fault::new(format!("`max_body` is {}, more than {MAX_BODY}", self.max_body));
            return Err(fault
                .at("max_body")
                .help("every request that waits for its answer holds so much: the default is 64KiB"));
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
        if let Some(status) = GrpcStatus::from_word(text).filter(|status| *status != GrpcStatus::Ok) {
            return Ok(Self::Call(status));
        }
        match text.parse() {
            Ok(status @ 400..=599) if text.len() == 3 => Ok(Self::Status(status)),
            _ => Err(Fault::new(format!("`{text}` is nothing to retry on")).help(
                "write a status from 400 to 599, `connect_failure`, `reset`, `timeout`, `refused_stream`, or a status of gRPC such as `unavailable`",
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
            Self::Call(status) => f.write_str(status.word()),
        }
    }
}

impl From<&RetryConfig> for v1::Retry {
    fn from(config: &RetryConfig) -> Self {
        let RetryConfig { max_retries, retry_on, per_try_timeout, backoff, budget, methods, max_body } =
            config;
        let BackoffConfig { base, max } = backoff;
        Self {
            max_retries: *max_retries,
            retry_on: texts(retry_on),
            per_try_timeout_ms: per_try_timeout.map(Duration::as_millis),
            backoff_base_ms: base.as_millis(),
            backoff_max_ms: max.as_millis(),
            budget_percent: budget.get().into(),
            methods: texts(methods),
            max_body_bytes: max_body.0,
        }
    }
}

impl TryFrom<v1::Retry> for RetryConfig {
    type Error = Fault;

    fn try_from(wire: v1::Retry) -> Result<Self, Fault> {
        let v1::Retry {
            max_retries,
            retry_on,
            per_try_timeout_ms,
            backoff_base_ms,
            backoff_max_ms,
            budget_percent,
            methods,
            max_body_bytes,
        } = wire;
        Ok(Self {
            max_retries,
            retry_on: parse_all("retry_on", &retry_on)?,
            per_try_timeout: per_try_timeout_ms.map(|ms| millis("per_try_timeout", ms)).transpose()?,
            backoff: BackoffConfig {
                base: millis("backoff.base", backoff_base_ms)?,
                max: millis("backoff.max", backoff_max_ms)?,
            },
            budget: Percent::new(budget_percent).map_err(|fault| fault.at("budget"))?,
            methods: parse_all("methods", &methods)?,
            max_body: ByteSize(max_body_bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::FilterConfig;
    use crate::filter::test_support::{fault, filter, wire_round_trip};

    fn retry(yaml: &str) -> RetryConfig {
        match filter(yaml) {
            FilterConfig::Retry(config) => config,
            other => panic!("not a retry filter: {other:?}"),
        }
    }

    #[test]
    fn what_is_left_out_is_what_a_careful_operator_would_choose() {
        let wire = v1::Retry::from(&retry("retry: {max_retries: 2}"));
        let expected = v1::Retry {
            max_retries: 2,
            retry_on: ["502", "503", "504", "connect_failure"].map(String::from).into(),
            per_try_timeout_ms: None,
            backoff_base_ms: 25,
            backoff_max_ms: 250,
            budget_percent: 20,
            methods: ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"].map(String::from).into(),
            max_body_bytes: 65_536,
        };
        assert_eq!(wire, expected);
        assert_eq!(retry("retry: {max_retries: 1, backoff: {max: 1s}}").backoff.base, Duration::short(25));
    }

    #[test]
    fn everything_written_survives_the_wire() {
        wire_round_trip(
            "retry: {max_retries: 10, retry_on: [502, connect_failure, reset, timeout, refused_stream], \
             per_try_timeout: 2s, backoff: {base: 0s, max: 1s}, budget: 0, methods: [GET, POST, PURGE], \
             max_body: 1MiB}",
        );
        let config = retry("retry: {max_retries: 2, retry_on: [502, reset], budget: 100%, max_body: 0}");
        assert_eq!(config.retry_on, [RetryOn::Status(502), RetryOn::Reset]);
        assert_eq!((config.budget.get(), config.max_body), (100, ByteSize(0)));
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
        assert!(fault("retry: {max_retries: 1, methods: []}").contains("`methods` is empty"));
        assert!(fault("retry: {max_retries: 1, per_try_timeout: 0s}").contains("in time"));
    }

    #[test]
    fn pauses_budgets_and_buffers_have_their_limits() {
        assert_eq!(
            fault("retry: {max_retries: 1, backoff: {base: 1s}}"),
            "`base` is 1s, more than the 250ms of `max`"
        );
        assert_eq!(fault("retry: {max_retries: 1, budget: 20}"), "`20` has no unit");
        assert_eq!(fault("retry: {max_retries: 1, budget: 101%}"), "`101%` is more than 100%");
        assert_eq!(fault("retry: {max_retries: 1, budget: 0.2}"), "`0.2` is not a share");
        assert_eq!(fault("retry: {max_retries: 1, max_body: 17MiB}"), "`max_body` is 17MiB, more than 16MiB");
    }

    #[test]
    fn a_budget_that_does_not_exist_is_not_taken_from_the_wire() {
        let wire = v1::Retry { budget_percent: 300, ..v1::Retry::from(&retry("retry: {max_retries: 2}")) };
        let refused = RetryConfig::try_from(wire).expect_err("300%");
        assert_eq!((refused.at.as_deref(), &*refused.message), (Some("budget"), "is more than 100%"));
    }
}
