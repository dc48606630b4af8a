//! `logging`: one line for each request.
//!
//! ```yaml
//! - logging:
//!     format: json # or text
//! ```

use crate::config::leaf::Fault;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the access log looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoggingConfig {
    /// Default: `json`.
    #[serde(default)]
    pub format: LogFormat,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// Words for people.
    Text,
}

impl From<&LoggingConfig> for v1::Logging {
    fn from(LoggingConfig { format }: &LoggingConfig) -> Self {
        let format = match format {
            LogFormat::Json => v1::LogFormat::Json,
            LogFormat::Text => v1::LogFormat::Text,
        };
        Self { format: format.into() }
    }
}

impl TryFrom<v1::Logging> for LoggingConfig {
    type Error = Fault;

    fn try_from(v1::Logging { format }: v1::Logging) -> Result<Self, Fault> {
        let format = match v1::LogFormat::try_from(format) {
            Ok(v1::LogFormat::Json) => LogFormat::Json,
            Ok(v1::LogFormat::Text) => LogFormat::Text,
            Ok(v1::LogFormat::Unspecified) | Err(_) => {
                return Err(Fault::new("unknown log format").at("format"));
            }
        };
        Ok(Self { format })
    }
}

#[cfg(test)]
mod tests {
    use crate::filter::test_support::{fault, filter, wire_round_trip};

    #[test]
    fn json_is_the_default_and_other_formats_are_refused() {
        assert_eq!(filter("logging: {}"), filter("logging: {format: json}"));
        wire_round_trip("logging: {format: text}");
        assert_eq!(fault("logging: {format: yaml}"), "unknown value `yaml`");
    }
}
