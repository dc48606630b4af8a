//! The scalar values of a config: each type parses its text and cannot hold a bad value.

mod address;
mod duration;
mod fault;
mod field;
mod file;
mod host;
mod name_server;
mod network;
mod path;
mod percent;
mod probe;
mod ratio;
mod secret;
mod size;
mod tls;
mod url;

pub use address::TargetAddr;
pub use duration::Duration;
pub use fault::Fault;
pub(crate) use fault::quoted;
pub use field::{HashOn, HeaderMatch, HeaderName, Method, QueryMatch};
pub use file::FilePath;
pub use host::HostPattern;
pub(crate) use host::check_name;
pub use name_server::NameServer;
pub use network::Network;
pub use path::{PathPrefix, PathTemplate};
pub use percent::Percent;
pub use probe::{Authority, RequestPath, StatusRange};
pub use ratio::{Percentage, Ratio};
pub use secret::{MASK, Secret};
pub use size::ByteSize;
pub use tls::{ServerName, SubjectAltName};
pub use url::ServiceUrl;

/// Serde and JSON Schema by way of `Display` and `FromStr`: in a config the type is a string.
///
/// Numbers and booleans are taken by their text, so that `30` is answered by the type's own error ("has no unit")
/// and not by serde's.
macro_rules! text_leaf {
    ($name:ident, $expected:literal, $description:literal $(, $key:literal: $value:expr)*) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::leaf::deserialize_text(deserializer, $expected)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $description,
                    $($key: $value,)*
                })
            }
        }
    };
}
pub(crate) use text_leaf;

/// What [`text_leaf`] deserializes with: the scalar's text, parsed.
pub(crate) fn deserialize_text<'de, D, T>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: std::str::FromStr<Err = Fault>,
{
    deserializer.deserialize_str(TextVisitor { expected, parsed: std::marker::PhantomData })
}

struct TextVisitor<T> {
    expected: &'static str,
    parsed: std::marker::PhantomData<T>,
}

impl<T: std::str::FromStr<Err = Fault>> serde::de::Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests;
