//! What serde finds wrong with a node, in the words of a config's author.

use super::tree::{NodeId, Tree, Value};
use crate::config::leaf::{Fault, quoted};
use crate::diagnostic::nearest;
use crate::diagnostic::{Code, Diagnostic};
use serde::de::{self, Expected, Unexpected};
use std::fmt;

/// An error and where it arose; boxed, because results of every value pass it on.
#[derive(Debug)]
pub(super) struct ReadError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    what: What,
    place: Option<Place>,
}

#[derive(Debug)]
enum What {
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    UnknownValue {
        value: String,
        known: &'static [&'static str],
    },
    MissingKey(&'static str),
    Mismatch {
        message: String,
        help: Option<String>,
    },
    BadValue(Fault),
    /// It follows from what has been reported.
    Explained,
}

/// A node as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) node: NodeId,
    /// The collection it was read from, and the position there; none for the whole document.
    pub(super) from: Option<(NodeId, usize)>,
    /// The key is meant, not the value.
    pub(super) on_key: bool,
}

/// What an error leads to.
pub(super) struct Fix {
    /// None where an earlier report explains it.
    pub(super) diagnostic: Option<Diagnostic>,
    /// The entry to read without from now on; none when nothing would be left.
    pub(super) prune: Option<(NodeId, usize)>,
}

impl ReadError {
    fn new(what: What) -> Self {
        Self(Box::new(Inner { what, place: None }))
    }

    pub(super) fn mismatch(message: String, help: Option<String>) -> Self {
        Self::new(What::Mismatch { message, help })
    }

    pub(super) fn explained() -> Self {
        Self::new(What::Explained)
    }

    /// The same at a place, unless it is already known more exactly.
    pub(super) fn at(mut self, place: Place) -> Self {
        self.0.place.get_or_insert(place);
        self
    }

    pub(super) fn fix(self, tree: &Tree<'_>, root: NodeId) -> Fix {
        let Inner { what, place } = *self.0;
        let place = place.unwrap_or(Place { node: root, from: tree.parent(root), on_key: false });
        let explained = match &what {
            What::Explained => true,
            What::MissingKey(key) => was_pruned(tree, place.node, |pruned| pruned == *key),
            // what a map says as a whole, it may have said otherwise with what is no longer in it
            What::BadValue(_) => was_pruned(tree, place.node, |_| true),
            What::UnknownKey { .. } | What::UnknownValue { .. } | What::Mismatch { .. } => false,
        };
        Fix { diagnostic: (!explained).then(|| diagnostic(what, place, tree)), prune: place.from }
    }
}

fn was_pruned(tree: &Tree<'_>, map: NodeId, key: impl Fn(&str) -> bool) -> bool {
    let Value::Map(entries) = &tree.node(map).value else { return false };
    entries.iter().any(|entry| entry.edge.pruned && key(&entry.key))
}

fn diagnostic(what: What, place: Place, tree: &Tree<'_>) -> Diagnostic {
    let mut at = None;
    let (code, message, help) = match what {
        What::UnknownKey { key, known } => (
            Code::UNKNOWN_KEY,
            format!("unknown key {}", quoted(&key)),
            Some(known_words(&key, "keys", known)),
        ),
        What::UnknownValue { value, known } if place.on_key => (
            Code::UNKNOWN_KEY,
            format!("unknown filter {}", quoted(&value)),
            Some(known_words(&value, "filters", known)),
        ),
        What::UnknownValue { value, known } => (
            Code::UNKNOWN_VALUE,
            format!("unknown value {}", quoted(&value)),
            Some(known_words(&value, "values", known)),
        ),
        What::MissingKey(key) => {
            (Code::MISSING_KEY, format!("`{key}` is missing"), Some(format!("add `{key}: …`")))
        }
        What::Mismatch { message, help } => (Code::WRONG_TYPE, message, help),
        What::BadValue(fault) => {
            at = fault.at;
            (Code::BAD_VALUE, fault.message, fault.help)
        }
        What::Explained => (Code::UNKNOWN, String::new(), None),
    };
    let (path, span) = locate(tree, place, at);
    let (message, help) = as_written(tree, place, message, help);
    Diagnostic { help, path, span: Some(span), ..Diagnostic::new(code, message) }
}

/// The path and the span of a place, or of a key in the map there.
fn locate(tree: &Tree<'_>, place: Place, below: Option<String>) -> (String, crate::diagnostic::Span) {
    let parent = place.from.map(|(parent, position)| (parent, position, &tree.node(parent).value));
    let mut path = match parent {
        Some((parent, position, Value::Map(entries))) => {
            tree.path(parent).key(entries[position].key.as_ref())
        }
        Some((parent, position, _)) => tree.path(parent).index(position),
        None => tree.path(place.node),
    };
    let span = match parent {
        Some((_, position, Value::Map(entries))) if place.on_key => entries[position].key_span,
        // a value that is not there is where its key is
        Some((_, position, Value::Map(entries)))
            if tree.node(place.node).span.start == tree.node(place.node).span.end =>
        {
            entries[position].key_span
        }
        _ => tree.node(place.node).span,
    };
    if let (Some(key), Value::Map(entries)) = (below, &tree.node(place.node).value)
        && let Some(entry) = entries.iter().find(|entry| entry.key == key.as_str())
    {
        path = path.key(key);
        return (path.to_string(), entry.key_span);
    }
    (path.to_string(), span)
}

/// What a variable stands for may be a secret, so messages show what is written in its place.
fn as_written(
    tree: &Tree<'_>,
    place: Place,
    message: String,
    help: Option<String>,
) -> (String, Option<String>) {
    let Value::Scalar(scalar) = &tree.node(place.node).value else { return (message, help) };
    let Some(written) = scalar.written.as_deref().filter(|_| !scalar.text.is_empty() && !place.on_key) else {
        return (message, help);
    };
    let mut message = message.replace(&quoted(&scalar.text), &quoted(written));
    if scalar.text.len() > 3 {
        message = message.replace(&*scalar.text, written);
    }
    (message, help.filter(|help| !help.contains(&*scalar.text)))
}

fn known_words(word: &str, what: &str, known: &[&str]) -> String {
    let list = wrapped(&format!("known {what}:"), known);
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?\n{list}"),
        None => list,
    }
}

/// A list in lines that fit a terminal.
fn wrapped(title: &str, words: &[&str]) -> String {
    const WIDTH: usize = 90;
    let mut lines = vec![title.to_owned()];
    for (at, word) in words.iter().enumerate() {
        let word = if at + 1 < words.len() { format!(" {word},") } else { format!(" {word}") };
        match lines.last_mut() {
            Some(line) if line.len() + word.len() <= WIDTH => line.push_str(&word),
            _ => lines.push(format!(" {word}")),
        }
    }
    lines.join("\n")
}

/// serde's names of what it expects, as one would say them.
pub(super) fn in_words(expected: &str) -> String {
    let words = match expected {
        "u16" => "a number from 0 to 65535",
        "u32" => "a number from 0 to 4294967295",
        "u64" => "a whole number",
        "a nonzero u16" => "a number from 1 to 65535",
        "a nonzero u32" => "a number from 1 to 4294967295",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a string" => "a text",
        _ if expected.starts_with("struct ") => "a map",
        _ if expected.starts_with("enum FilterConfig") => "a map with one key, the filter",
        _ if expected.starts_with("enum ") => "a single word",
        _ => return lower_first(expected.trim_end_matches('.')),
    };
    words.to_owned()
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

fn found(unexpected: Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => quoted(&value.to_string()),
        Unexpected::Unsigned(number) => quoted(&number.to_string()),
        Unexpected::Signed(number) => quoted(&number.to_string()),
        Unexpected::Float(number) => quoted(&number.to_string()),
        Unexpected::Str(text) => quoted(text),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::BadValue(Fault::parse(&message.to_string())))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let message = format!("expected {}, found {}", in_words(&expected.to_string()), found(unexpected));
        Self::mismatch(message, None)
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let message =
            format!("invalid value {}: expected {}", found(unexpected), in_words(&expected.to_string()));
        Self::new(What::BadValue(Fault::new(message)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(What::UnknownValue { value: variant.to_owned(), known: expected })
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(What::UnknownKey { key: field.to_owned(), known: expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(What::MissingKey(field))
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.what {
            What::UnknownKey { key, .. } => write!(f, "unknown key {}", quoted(key)),
            What::UnknownValue { value, .. } => write!(f, "unknown value {}", quoted(value)),
            What::MissingKey(key) => write!(f, "`{key}` is missing"),
            What::Mismatch { message, .. } => f.write_str(message),
            What::BadValue(fault) => fault.fmt(f),
            What::Explained => f.write_str("explained before"),
        }
    }
}

impl std::error::Error for ReadError {}
