//! The filter on the wire.

use super::{LogFormat, LogOnly, LogOutput, LogSchema, LoggingConfig, WhenFull};
use crate::config::leaf::{Duration, Fault, Ratio};
use crate::config::wire::{millis, parse_all, texts};
use proto::v1;

impl From<&LoggingConfig> for v1::Logging {
    fn from(config: &LoggingConfig) -> Self {
        let LoggingConfig { format, schema, output, sample, only, query, when_full } = config;
        Self {
            format: v1::LogFormat::from(*format).into(),
            schema: v1::LogSchema::from(*schema).into(),
            outputs: texts(output.as_slice()),
            sample_millionths: sample.millionths(),
            only: only.as_ref().map(v1::LogOnly::from),
            query: *query,
            when_full: v1::WhenFull::from(*when_full).into(),
        }
    }
}

impl TryFrom<v1::Logging> for LoggingConfig {
    type Error = Fault;

    fn try_from(wire: v1::Logging) -> Result<Self, Fault> {
        let v1::Logging {
            format: wire_format,
            schema: wire_schema,
            outputs,
            sample_millionths,
            only,
            query,
            when_full: wire_when_full,
        } = wire;
        Ok(Self {
            format: format(wire_format)?,
            schema: schema(wire_schema)?,
            output: parse_all::<LogOutput>("output", &outputs)?.into(),
            sample: Ratio::from_millionths(sample_millionths).map_err(|fault| fault.at("sample"))?,
            only: only.map(LogOnly::try_from).transpose()?,
            query,
            when_full: when_full(wire_when_full)?,
        })
    }
}

impl From<LogFormat> for v1::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Text => Self::Text,
        }
    }
}

fn unknown(key: &str) -> Fault {
    Fault::new("is not one this version knows").at(key)
}

fn format(wire: i32) -> Result<LogFormat, Fault> {
    match v1::LogFormat::try_from(wire) {
        Ok(v1::LogFormat::Json) => Ok(LogFormat::Json),
        Ok(v1::LogFormat::Text) => Ok(LogFormat::Text),
        Ok(v1::LogFormat::Unspecified) | Err(_) => Err(unknown("format")),
    }
}

impl From<LogSchema> for v1::LogSchema {
    fn from(schema: LogSchema) -> Self {
        match schema {
            LogSchema::Default => Self::Default,
            LogSchema::Otel => Self::Otel,
        }
    }
}

fn schema(wire: i32) -> Result<LogSchema, Fault> {
    match v1::LogSchema::try_from(wire) {
        Ok(v1::LogSchema::Default) => Ok(LogSchema::Default),
        Ok(v1::LogSchema::Otel) => Ok(LogSchema::Otel),
        Ok(v1::LogSchema::Unspecified) | Err(_) => Err(unknown("schema")),
    }
}

impl From<WhenFull> for v1::WhenFull {
    fn from(when_full: WhenFull) -> Self {
        match when_full {
            WhenFull::Drop => Self::Drop,
            WhenFull::Block => Self::Block,
        }
    }
}

fn when_full(wire: i32) -> Result<WhenFull, Fault> {
    match v1::WhenFull::try_from(wire) {
        Ok(v1::WhenFull::Drop) => Ok(WhenFull::Drop),
        Ok(v1::WhenFull::Block) => Ok(WhenFull::Block),
        Ok(v1::WhenFull::Unspecified) | Err(_) => Err(unknown("when_full")),
    }
}

impl From<&LogOnly> for v1::LogOnly {
    fn from(LogOnly { min_status, slower_than }: &LogOnly) -> Self {
        Self { min_status: min_status.map(u32::from), slower_than_ms: slower_than.map(Duration::as_millis) }
    }
}

impl TryFrom<v1::LogOnly> for LogOnly {
    type Error = Fault;

    fn try_from(v1::LogOnly { min_status, slower_than_ms }: v1::LogOnly) -> Result<Self, Fault> {
        let status =
            |wire| u16::try_from(wire).map_err(|_| Fault::new("is not a status").at("only.min_status"));
        Ok(Self {
            min_status: min_status.map(status).transpose()?,
            slower_than: slower_than_ms.map(|time| millis("only.slower_than", time)).transpose()?,
        })
    }
}
