//! A map of header names to values, in the order in which it is written.

use super::Template;
use crate::config::leaf::{Fault, HeaderName};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Each name stands once; case does not matter.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Fields(Vec<(HeaderName, Template)>);

impl Fields {
    /// No name twice.
    pub fn new(fields: Vec<(HeaderName, Template)>) -> Result<Self, Fault> {
        let mut unique = Self::default();
        fields.into_iter().try_for_each(|(name, value)| unique.push(name, value))?;
        Ok(unique)
    }

    fn push(&mut self, name: HeaderName, value: Template) -> Result<(), Fault> {
        if self.names().any(|known| *known == name) {
            return Err(Fault::new(format!("`{name}` stands twice: case does not matter in a header name"))
                .help("remove one of them"));
        }
        self.0.push((name, value));
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the config.
    pub fn iter(&self) -> impl Iterator<Item = &(HeaderName, Template)> {
        self.0.iter()
    }

    /// In the order of the config.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(name, _)| name)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of header names to values")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
        let mut fields = Fields::default();
        while let Some((name, value)) = map.next_entry()? {
            fields.push(name, value).map_err(M::Error::custom)?;
        }
        Ok(fields)
    }
}

impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "Fields".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<Template>();
        schemars::json_schema!({
            "type": "object",
            "description": "Header names and their values.",
            "additionalProperties": value,
        })
    }
}
