//! A serde deserializer over the tree, whose errors know the node.

use super::error::{Place, ReadError, in_words};
use super::scalar::{Meaning, meaning};
use super::tree::{Entry, NodeId, Scalar, Tree, Value};
use crate::config::leaf::quoted;
use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Visitor};

/// Reads one node.
#[derive(Clone, Copy)]
pub(super) struct Reader<'t, 's> {
    tree: &'t Tree<'s>,
    node: NodeId,
    /// The collection it is read from, and the position there; an alias is read from another one than it is written in.
    from: Option<(NodeId, usize)>,
}

impl<'t, 's> Reader<'t, 's> {
    pub(super) fn new(tree: &'t Tree<'s>, node: NodeId) -> Self {
        Self { tree, node, from: tree.parent(node) }
    }

    fn value(&self) -> &'t Value<'s> {
        &self.tree.node(self.node).value
    }

    fn place(&self) -> Place {
        Place { node: self.node, from: self.from, on_key: false }
    }

    fn placed<T>(&self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        result.map_err(|error| error.at(self.place()))
    }

    /// What a type makes of the node; what it finds wrong with the whole of it is placed here.
    fn read<T: DeserializeSeed<'t>>(self, seed: T) -> Result<T::Value, ReadError> {
        self.placed(seed.deserialize(self))
    }

    /// The scalar, and what it means when it is not quoted.
    fn scalar(&self) -> Option<(&'t Scalar<'s>, Meaning)> {
        let Value::Scalar(scalar) = self.value() else { return None };
        let meaning = match meaning(&scalar.text) {
            // what a variable stands for may be empty, but it is there
            Meaning::Null if scalar.written.is_some() => Meaning::Text,
            meaning if scalar.plain => meaning,
            _ => Meaning::Text,
        };
        Some((scalar, meaning))
    }

    fn mismatch(&self, expected: &dyn Expected) -> ReadError {
        let expected = in_words(&expected.to_string());
        let (found, help) = match self.value() {
            Value::List(_) if self.from.is_none() => (
                "a list".to_owned(),
                Some("a config begins with keys such as `server:` and `routes:`".to_owned()),
            ),
            Value::List(_) => ("a list".to_owned(), None),
            Value::Map(_) if expected == "a list" => {
                ("a map".to_owned(), Some("begin each entry of a list with `- `".to_owned()))
            }
            Value::Map(_) => ("a map".to_owned(), None),
            Value::Scalar(scalar) => match self.scalar() {
                Some((_, Meaning::Null)) => ("nothing".to_owned(), Some(nothing_help(&expected).to_owned())),
                _ if scalar.plain => (quoted(&scalar.text), scalar_help(&expected, &scalar.text)),
                _ => {
                    let quotes = expected.contains("number") || expected.contains("true");
                    let help = (quotes && meaning(&scalar.text) != Meaning::Text)
                        .then(|| "remove the quotes".to_owned());
                    (format!("the text {}", quoted(&scalar.text)), help)
                }
            },
        };
        ReadError::mismatch(format!("expected {expected}, found {found}"), help).at(self.place())
    }

    fn number<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.scalar() {
            Some((_, Meaning::Unsigned(number))) => self.placed(visitor.visit_u64(number)),
            Some((_, Meaning::Negative(number))) => self.placed(visitor.visit_i64(number)),
            Some((_, Meaning::Float(number))) => self.placed(visitor.visit_f64(number)),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn text<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.scalar() {
            Some((_, Meaning::Null)) | None => Err(self.mismatch(&visitor)),
            Some((scalar, _)) => self.placed(visitor.visit_str(&scalar.text)),
        }
    }

    /// `- rate_limit: {qps: 5}`: the one entry of the map.
    fn only_entry(&self, entries: &'t [Entry<'s>]) -> Result<usize, ReadError> {
        let mut live = entries.iter().enumerate().filter(|(_, entry)| !entry.edge.pruned);
        let (first, second) = (live.next(), live.next());
        let error = match (first, second) {
            (Some((position, _)), None) => return Ok(position),
            (None, _) if !entries.is_empty() => ReadError::explained(),
            (None, _) => ReadError::mismatch("expected a map with one key, found an empty one".into(), None),
            (Some((_, first)), Some((_, second))) => {
                let indented = matches!(&self.tree.node(first.edge.node).value,
                    Value::Scalar(scalar) if scalar.plain && meaning(&scalar.text) == Meaning::Null);
                let help = if indented {
                    format!("indent `{}` further, below `{}`", second.key, first.key)
                } else {
                    format!("begin a new list entry: `- {}:`", second.key)
                };
                let message =
                    format!("expected a map with one key, found `{}` and `{}`", first.key, second.key);
                ReadError::mismatch(message, Some(help))
            }
        };
        Err(error.at(self.place()))
    }
}

fn nothing_help(expected: &str) -> &'static str {
    match expected {
        "a map" => "write its settings below it, or `{}` for none",
        "a list" => "write its entries below it, or `[]` for none",
        _ => "write a value, or remove the key",
    }
}

fn scalar_help(expected: &str, text: &str) -> Option<String> {
    match (expected, text) {
        ("true or false", "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "1") => {
            Some("write `true`".into())
        }
        ("true or false", "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "0") => {
            Some("write `false`".into())
        }
        ("a list", _) => Some("a list is written `[a, b]`, or with `- ` before each entry".into()),
        _ => None,
    }
}

macro_rules! by {
    ($($method:ident => $reader:ident),* $(,)?) => {
        $(fn $method<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ReadError> {
            self.$reader(visitor)
        })*
    };
}

impl<'t> Deserializer<'t> for Reader<'t, '_> {
    type Error = ReadError;

    by! {
        deserialize_u8 => number, deserialize_u16 => number, deserialize_u32 => number, deserialize_u64 => number,
        deserialize_i8 => number, deserialize_i16 => number, deserialize_i32 => number, deserialize_i64 => number,
        deserialize_f32 => number, deserialize_f64 => number,
        deserialize_str => text, deserialize_string => text, deserialize_char => text, deserialize_identifier => text,
        deserialize_bytes => text, deserialize_byte_buf => text,
    }

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match (self.value(), self.scalar()) {
            (Value::List(_), _) => self.deserialize_seq(visitor),
            (Value::Map(_), _) => self.deserialize_map(visitor),
            (Value::Scalar(_), Some((_, Meaning::Null))) => self.deserialize_unit(visitor),
            (Value::Scalar(_), Some((_, Meaning::Bool(_)))) => self.deserialize_bool(visitor),
            (Value::Scalar(_), Some((_, Meaning::Text)) | None) => self.text(visitor),
            (Value::Scalar(_), Some(_)) => self.number(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.scalar() {
            Some((_, Meaning::Bool(value))) => self.placed(visitor.visit_bool(value)),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_unit<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.scalar() {
            Some((_, Meaning::Null)) => self.placed(visitor.visit_unit()),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    /// A key without a value is a slip, not a way to leave it out.
    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.placed(visitor.visit_some(self))
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.placed(visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value() {
            Value::List(_) => self.placed(visitor.visit_seq(Items { list: self, next: 0 })),
            Value::Map(_) | Value::Scalar(_) => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_map<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.value() {
            Value::Map(entries) => self.placed(visitor.visit_map(Entries { map: self, entries, next: 0 })),
            Value::List(_) | Value::Scalar(_) => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'t>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.value() {
            Value::Map(entries) => {
                let position = self.only_entry(entries)?;
                self.placed(
                    visitor.visit_enum(Variant { reader: self, entry: Some((position, &entries[position])) }),
                )
            }
            Value::Scalar(_) if !matches!(self.scalar(), Some((_, Meaning::Null))) => {
                self.placed(visitor.visit_enum(Variant { reader: self, entry: None }))
            }
            Value::List(_) | Value::Scalar(_) => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_tuple<V: Visitor<'t>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'t>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }
}

struct Items<'t, 's> {
    list: Reader<'t, 's>,
    next: usize,
}

impl<'t> de::SeqAccess<'t> for Items<'t, '_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Value::List(items) = self.list.value() else { return Ok(None) };
        while let Some(edge) = items.get(self.next) {
            let position = self.next;
            self.next += 1;
            if !edge.pruned {
                let from = Some((self.list.node, position));
                return Reader { tree: self.list.tree, node: edge.node, from }.read(seed).map(Some);
            }
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        let Value::List(items) = self.list.value() else { return None };
        Some(items.len() - self.next)
    }
}

struct Entries<'t, 's> {
    map: Reader<'t, 's>,
    entries: &'t [Entry<'s>],
    next: usize,
}

impl<'t> de::MapAccess<'t> for Entries<'t, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        while self.entries.get(self.next).is_some_and(|entry| entry.edge.pruned) {
            self.next += 1;
        }
        let Some(entry) = self.entries.get(self.next) else { return Ok(None) };
        let key: de::value::StrDeserializer<'_, ReadError> = (&*entry.key).into_deserializer();
        let place = Place { node: entry.edge.node, from: Some((self.map.node, self.next)), on_key: true };
        seed.deserialize(key).map(Some).map_err(|error| error.at(place))
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let position = self.next;
        self.next += 1;
        let node = self.entries[position].edge.node;
        Reader { tree: self.map.tree, node, from: Some((self.map.node, position)) }.read(seed)
    }
}

/// A value out of a few: a scalar, or a map whose only key it is.
struct Variant<'t, 's> {
    reader: Reader<'t, 's>,
    entry: Option<(usize, &'t Entry<'s>)>,
}

impl<'t, 's> de::EnumAccess<'t> for Variant<'t, 's> {
    type Error = ReadError;
    type Variant = Content<'t, 's>;

    fn variant_seed<V: DeserializeSeed<'t>>(self, seed: V) -> Result<(V::Value, Content<'t, 's>), ReadError> {
        let Some((position, entry)) = self.entry else {
            return Ok((seed.deserialize(self.reader)?, Content { reader: self.reader, named: false }));
        };
        let from = Some((self.reader.node, position));
        let key: de::value::StrDeserializer<'_, ReadError> = (&*entry.key).into_deserializer();
        let place = Place { node: entry.edge.node, from, on_key: true };
        let variant = seed.deserialize(key).map_err(|error| error.at(place))?;
        let reader = Reader { tree: self.reader.tree, node: entry.edge.node, from };
        Ok((variant, Content { reader, named: true }))
    }
}

/// What belongs to a variant: nothing, or the value of the map's key.
struct Content<'t, 's> {
    reader: Reader<'t, 's>,
    named: bool,
}

impl<'t> de::VariantAccess<'t> for Content<'t, '_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        match self.named {
            false => Ok(()),
            true => Err(self.reader.mismatch(&"a single word")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'t>>(self, seed: T) -> Result<T::Value, ReadError> {
        match (self.named, self.reader.value()) {
            (false, Value::Scalar(scalar)) => {
                let help = format!("write `{0}: {{…}}`, or `{0}: {{}}` if it needs no settings", scalar.text);
                let message = format!("{} stands without its settings", quoted(&scalar.text));
                Err(ReadError::mismatch(message, Some(help)).at(self.reader.place()))
            }
            _ => self.reader.read(seed),
        }
    }

    fn tuple_variant<V: Visitor<'t>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.reader.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'t>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.reader.deserialize_map(visitor)
    }
}
