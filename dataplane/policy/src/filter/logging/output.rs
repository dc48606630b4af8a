//! Where the lines go.

use crate::config::leaf::{Fault, quoted, text_leaf};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// One place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogOutput {
    /// Standard output of the data plane.
    Stdout,
    /// Standard error of the data plane, where its own log goes too.
    Stderr,
    /// A file by its absolute path; lines are appended.
    File(PathBuf),
}

/// One place or several; each gets every line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOutputs(Vec<LogOutput>);

text_leaf!(
    LogOutput,
    "`stdout`, `stderr` or an absolute path",
    "`stdout`, `stderr` or the absolute path of a file.",
    "pattern": "^(stdout|stderr|/.*[^/])$"
);

/// More than anybody reads; each is a thread that writes.
const MOST: usize = 8;
/// PATH_MAX of Linux.
const LONGEST_PATH: usize = 4096;

impl FromStr for LogOutput {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let not_one = |what: &str, help: &str| Err(Fault::new(format!("{} {what}", quoted(text))).help(help));
        let path = "write `stdout`, `stderr` or an absolute path such as `/var/log/mini-gateway/access.log`";
        match text {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => {
                not_one("is standard output", "write `stdout`")
            }
            "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => not_one("is standard error", "write `stderr`"),
            _ if !text.starts_with('/') => not_one("is not an output", path),
            _ if text.ends_with('/') => not_one("is a directory", "write the path of a file"),
            _ if text.len() > LONGEST_PATH => not_one("is longer than a path can be", path),
            _ if text.contains(char::is_control) => not_one("holds a control character", path),
            _ => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for LogOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl LogOutputs {
    /// In the order of the config; `LogOutputs::check` sees to it that there is one, and none twice.
    pub fn as_slice(&self) -> &[LogOutput] {
        &self.0
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        let Self(all) = self;
        if all.is_empty() {
            return Err(Fault::new("`output` is an empty list").help("write `stdout` or the path of a file"));
        }
        if all.len() > MOST {
            return Err(Fault::new(format!("`output` names {} places, more than {MOST}", all.len())));
        }
        match all.iter().enumerate().find(|(at, output)| all[..*at].contains(output)) {
            Some((_, twice)) => {
                let fault = Fault::new(format!("{} stands twice in `output`", quoted(&twice.to_string())));
                Err(fault.help("every line would be there twice"))
            }
            None => Ok(()),
        }
    }
}

impl Default for LogOutputs {
    fn default() -> Self {
        Self(vec![LogOutput::Stdout])
    }
}

impl From<Vec<LogOutput>> for LogOutputs {
    fn from(outputs: Vec<LogOutput>) -> Self {
        Self(outputs)
    }
}

impl Serialize for LogOutputs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.0 {
            [only] => only.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for LogOutputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrSeveral)
    }
}

struct OneOrSeveral;

impl<'de> Visitor<'de> for OneOrSeveral {
    type Value = LogOutputs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`stdout`, `stderr`, an absolute path, or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<LogOutputs, E> {
        text.parse().map(|one| LogOutputs(vec![one])).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<LogOutputs, A::Error> {
        let mut outputs = Vec::new();
        while let Some(output) = list.next_element()? {
            outputs.push(output);
        }
        Ok(LogOutputs(outputs))
    }
}

impl JsonSchema for LogOutputs {
    fn schema_name() -> Cow<'static, str> {
        "LogOutputs".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<LogOutput>();
        json_schema!({
            "description": "One output, or a list of them.",
            "anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": MOST, "uniqueItems": true}]
        })
    }
}
