//! `logging`: one line for each request, when it is over.
//!
//! ```yaml
//! - logging:
//!     format: json # or text
//!     schema: default # or otel
//!     output: stdout # stderr, an absolute path, or a list of them
//!     sample: 0.1 # of the lines; those with a status of 500 or more are all kept
//!     only: {min_status: 400, slower_than: 1s} # one of the two is enough
//!     query: false
//!     when_full: drop # or block
//! ```
//!
//! [`Logging`] decides which requests get a line; [`Lines`](crate::access_log::Lines) makes it.

mod output;
mod runtime;
mod wire;

use crate::config::leaf::{Duration, Fault, Ratio};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use output::{LogOutput, LogOutputs};
pub use runtime::Logging;

/// What the access log looks like, where it goes, and which requests it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoggingConfig {
    /// Default: `json`.
    #[serde(default)]
    pub format: LogFormat,
    /// How the fields are called. Default: `default`.
    #[serde(default)]
    pub schema: LogSchema,
    /// `stdout`, `stderr`, the absolute path of a file, or a list of them. Default: `stdout`.
    #[serde(default)]
    pub output: LogOutputs,
    /// The share of the lines that is written; those with a status of 500 or more are all written. Default: 1.
    #[serde(default = "all")]
    pub sample: Ratio,
    /// Only requests that meet one of these conditions. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<LogOnly>,
    /// The query string, with what the gateway takes for credentials masked. Default: false.
    #[serde(default)]
    pub query: bool,
    /// What becomes of lines that an output does not take in time. Default: `drop`.
    #[serde(default)]
    pub when_full: WhenFull,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// For people: the most important first, then `key=value`.
    Text,
}

/// The names of a line's fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogSchema {
    /// `method`, `path`, `status_code` and so on.
    #[default]
    Default,
    /// The attribute names of OpenTelemetry: `http.request.method`, `url.path`.
    Otel,
}

/// Conditions, of which one is enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogOnly {
    /// The status is this one or higher; 100 to 599.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 599))]
    pub min_status: Option<u16>,
    /// The whole exchange took longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slower_than: Option<Duration>,
}

/// What becomes of lines that an output does not take in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// They are dropped and counted; requests go on.
    #[default]
    Drop,
    /// Requests wait until there is room again: no line is lost, and a log that stands still stops the traffic.
    Block,
}

fn all() -> Ratio {
    Ratio::ONE
}

impl LoggingConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        self.output.check().map_err(|fault| fault.at("output"))?;
        self.only.as_ref().map_or(Ok(()), LogOnly::check).map_err(|fault| fault.at("only"))
    }
}

impl LogOnly {
    fn check(&self) -> Result<(), Fault> {
        let help = "write `{min_status: 400}`, `{slower_than: 1s}` or both; one of them is enough for a line";
        match self {
            Self { min_status: None, slower_than: None } => {
                Err(Fault::new("`only` names no condition").help(help))
            }
            Self { min_status: Some(status), .. } if !(100..=599).contains(status) => {
                Err(Fault::new(format!("`min_status` is {status}, outside of 100 to 599")).help(help))
            }
            Self { slower_than: Some(time), .. } if time.is_zero() => {
                Err(Fault::new("`slower_than` is 0, so every request is slower").help(help))
            }
            Self { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
