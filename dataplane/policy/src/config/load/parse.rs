//! From YAML text to a tree, by the parser's events.

use super::tree::{Edge, Entry, Node, NodeId, Scalar, Tree, Value};
use crate::config::leaf::quoted;
use crate::diagnostic::{Code, ConfigPath, Diagnostic, Label, Segment, Span};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, StructureStyle, Tag};
use std::borrow::Cow;
use std::collections::HashMap;

/// The largest file that is read: ten times what ten thousand generous routes take.
const MAX_BYTES: usize = 32 << 20;
/// A config is eight levels deep.
const MAX_DEPTH: usize = 64;
/// How many nodes all aliases together may stand for ("billion laughs").
const MAX_ALIASED: u32 = 1_000_000;

/// A config's maps have two dozen; what has many more is none, and must not cost the square of their number.
const MAX_KEYS: usize = 256;

/// What a value takes in a file at least, on the average.
const BYTES_OF_NODE: usize = 8;
/// In nodes.
const MAX_ROOM: usize = 1_000_000;

/// A collection that is not yet complete.
struct Open<'s> {
    id: NodeId,
    /// In a map: a key whose value is still to come; none for a key that is to be dropped with its value.
    key: Option<Option<(Cow<'s, str>, Span)>>,
    merges: Vec<NodeId>,
    /// In brackets, which may have been left open.
    flow: bool,
}

struct Builder<'s> {
    tree: Tree<'s>,
    open: Vec<Open<'s>>,
    /// By the parser's number; 0 is no anchor.
    anchors: HashMap<usize, NodeId>,
    aliased: u32,
    documents: u32,
    diagnostics: Vec<Diagnostic>,
}

/// Nothing that follows could be understood.
struct Stop;

impl<'s> Tree<'s> {
    /// The tree of a source, without a root if it has none; and what is wrong with the YAML itself.
    pub(super) fn parse(source: &'s str) -> (Self, Vec<Diagnostic>) {
        if source.len() > MAX_BYTES {
            let message = format!("the file has {} bytes, more than {}", source.len(), MAX_BYTES);
            return (Self::default(), vec![Diagnostic::new(Code::TOO_LARGE, message)]);
        }
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        // room for all at once, of which nothing moves as it fills: memory that is not used is only promised
        let room = (source.len() / BYTES_OF_NODE).min(MAX_ROOM);
        let mut builder = Builder {
            tree: Tree { nodes: Vec::with_capacity(room), root: None },
            open: Vec::new(),
            anchors: HashMap::new(),
            aliased: 0,
            documents: 0,
            diagnostics: Vec::new(),
        };
        for event in Parser::new_from_str_with_options(source, options) {
            let result = match event {
                Ok((event, place)) => builder.event(event, &place),
                Err(error) => builder.syntax(source, &error),
            };
            if result.is_err() {
                builder.tree.root = None;
                return (builder.tree, builder.diagnostics);
            }
        }
        builder.finish()
    }
}

impl<'s> Builder<'s> {
    fn event(&mut self, event: Event<'s>, place: &granit_parser::Span) -> Result<(), Stop> {
        let span = span(place);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return self.stop(
                        span,
                        Code::UNSUPPORTED,
                        "the file holds several documents",
                        "keep what follows one `---`",
                    );
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !self.is_text(tag.as_deref(), place);
                self.add(Value::Scalar(Scalar { text, plain, written: None }), span, anchor)?;
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.is_text(tag.as_deref(), place);
                self.begin(Value::List(Vec::new()), span, anchor, style)?;
            }
            Event::MappingStart(style, anchor, tag) => {
                self.is_text(tag.as_deref(), place);
                self.begin(Value::Map(Vec::new()), span, anchor, style)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, span)?,
            _ => {}
        }
        Ok(())
    }

    /// Where the next value goes, as far as it is known.
    fn cursor(&self) -> ConfigPath {
        let segments =
            self.open.iter().filter_map(|open| match (&self.tree.node(open.id).value, &open.key) {
                (Value::Map(_), Some(Some((key, _)))) => Some(Segment::Key(key.to_string())),
                (Value::Map(_) | Value::Scalar(_), _) => None,
                (Value::List(items), _) => Some(Segment::Index(items.len())),
            });
        ConfigPath(segments.collect())
    }

    fn report(&mut self, span: Span, code: Code, message: impl Into<String>, help: &str) {
        let path = self.cursor().to_string();
        self.diagnostics.push(Diagnostic {
            path,
            span: Some(span),
            ..Diagnostic::new(code, message).help(help)
        });
    }

    fn stop(&mut self, span: Span, code: Code, message: impl Into<String>, help: &str) -> Result<(), Stop> {
        self.report(span, code, message, help);
        Err(Stop)
    }

    /// Whether a tag makes a plain scalar a text; other tags than those of JSON's types are reported.
    fn is_text(&mut self, tag: Option<&Tag>, place: &granit_parser::Span) -> bool {
        let Some(tag) = tag else { return false };
        match tag.core_suffix() {
            Some("str") => true,
            Some(_) => false,
            None if tag.original() == "!" => true,
            None => {
                let message = format!("the tag {} has no meaning in a config", quoted(&tag.original()));
                self.report(
                    span(&place.tag_span().unwrap_or(*place)),
                    Code::UNSUPPORTED,
                    message,
                    "remove it",
                );
                false
            }
        }
    }

    fn begin(
        &mut self,
        value: Value<'s>,
        span: Span,
        anchor: usize,
        style: StructureStyle,
    ) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            return self.stop(span, Code::TOO_LARGE, too_deep(), "a config has eight levels");
        }
        if self.open.last().is_some_and(|open| open.key.is_none() && self.is_map(open.id)) {
            return self.stop(
                span,
                Code::UNSUPPORTED,
                "a list or a map cannot be a key",
                "quote the key if it is a text",
            );
        }
        let id = self.push(value, span);
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        self.open.push(Open { id, key: None, merges: Vec::new(), flow: style == StructureStyle::Flow });
        Ok(())
    }

    fn is_map(&self, id: NodeId) -> bool {
        matches!(self.tree.node(id).value, Value::Map(_))
    }

    fn push(&mut self, value: Value<'s>, span: Span) -> NodeId {
        // 32 MiB hold fewer nodes than u32 counts
        let id = self.tree.nodes.len() as NodeId;
        let parent = self.open.last().map(|open| (open.id, self.length(open.id)));
        self.tree.nodes.push(Node { value, span, parent, weight: 1 });
        id
    }

    fn length(&self, id: NodeId) -> u32 {
        match &self.tree.node(id).value {
            Value::Scalar(_) => 0,
            Value::List(items) => items.len() as u32,
            Value::Map(entries) => entries.len() as u32,
        }
    }

    /// A scalar, as a key or as a value.
    fn add(&mut self, value: Value<'s>, span: Span, anchor: usize) -> Result<(), Stop> {
        if self.open.last().is_some_and(|open| open.key.is_none() && self.is_map(open.id)) {
            let Value::Scalar(Scalar { text, plain, .. }) = value else { return Ok(()) };
            if anchor != 0 {
                return self.stop(
                    span,
                    Code::UNSUPPORTED,
                    "a key cannot have an anchor",
                    "put the anchor before a value",
                );
            }
            return self.key(text, plain, span);
        }
        let id = self.push(value, span);
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        self.attach(id);
        Ok(())
    }

    fn key(&mut self, key: Cow<'s, str>, plain: bool, span: Span) -> Result<(), Stop> {
        let Some(open) = self.open.last() else { return Ok(()) };
        let Value::Map(entries) = &self.tree.node(open.id).value else { return Ok(()) };
        if entries.len() >= MAX_KEYS {
            let message = format!("more than {MAX_KEYS} keys in one map");
            return self.stop(span, Code::TOO_LARGE, message, "is this a config of the gateway?");
        }
        let merge = plain && key == "<<";
        let first =
            entries.iter().find(|entry| entry.key == key).filter(|_| !merge).map(|entry| entry.key_span);
        if let Some(first) = first {
            let path = self.cursor().key(key.as_ref()).to_string();
            self.diagnostics.push(Diagnostic {
                help: Some("remove one of them".into()),
                related: vec![Label {
                    message: "the first one".into(),
                    path: path.clone(),
                    span: Some(first),
                }],
                path,
                span: Some(span),
                ..Diagnostic::new(
                    Code::DUPLICATE_KEY,
                    format!("the key {} stands twice in one map", quoted(&key)),
                )
            });
        }
        if let Some(open) = self.open.last_mut() {
            open.key = Some(first.is_none().then_some((key, span)));
        }
        Ok(())
    }

    /// Puts a complete node where it is used.
    fn attach(&mut self, id: NodeId) {
        let (weight, end) = (self.tree.node(id).weight, self.tree.node(id).span.end);
        let Some(open) = self.open.last_mut() else {
            self.tree.root = Some(id);
            return;
        };
        let edge = Edge { node: id, pruned: false };
        let collection = &mut self.tree.nodes[open.id as usize];
        collection.weight = collection.weight.saturating_add(weight);
        match &mut collection.value {
            Value::Scalar(_) => return,
            Value::List(items) => items.push(edge),
            Value::Map(entries) => match open.key.take().flatten() {
                Some((key, _)) if key == "<<" => return open.merges.push(id),
                Some((key, key_span)) => entries.push(Entry { key, key_span, edge }),
                None => return,
            },
        }
        // an alias stands here, but its node may be written far away
        collection.span.end = collection.span.end.max(end);
    }

    fn end(&mut self) {
        let Some(Open { id, merges, .. }) = self.open.pop() else { return };
        for merged in merges {
            self.merge(id, merged);
        }
        self.attach(id);
    }

    /// `<<: *defaults`: the entries that the map does not have itself.
    fn merge(&mut self, map: NodeId, merged: NodeId) {
        let sources = match &self.tree.node(merged).value {
            Value::List(items) => items.iter().map(|edge| edge.node).collect(),
            Value::Map(_) | Value::Scalar(_) => vec![merged],
        };
        for source in sources {
            let Value::Map(entries) = &self.tree.node(source).value else {
                let span = self.tree.node(source).span;
                self.report(
                    span,
                    Code::UNSUPPORTED,
                    "`<<` merges maps, and this is none",
                    "write `<<: *name` with the anchor of a map",
                );
                continue;
            };
            let copies: Vec<_> = entries
                .iter()
                .map(|e| Entry { key: e.key.clone(), key_span: e.key_span, edge: e.edge })
                .collect();
            let Value::Map(own) = &mut self.tree.nodes[map as usize].value else { return };
            for entry in copies {
                if !own.iter().any(|other| other.key == entry.key) {
                    own.push(entry);
                }
            }
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Stop> {
        if self.open.last().is_some_and(|open| open.key.is_none() && self.is_map(open.id)) {
            return self.stop(span, Code::UNSUPPORTED, "an alias cannot be a key", "write the key out");
        }
        let Some(id) = self.anchors.get(&anchor).copied() else {
            return self.stop(
                span,
                Code::SYNTAX,
                "an alias without its anchor",
                "anchors stand before their aliases",
            );
        };
        if self.open.iter().any(|open| open.id == id) {
            return self.stop(span, Code::UNSUPPORTED, "a value cannot contain itself", "remove the alias");
        }
        self.aliased = self.aliased.saturating_add(self.tree.node(id).weight);
        if self.aliased > MAX_ALIASED {
            let message = format!("the aliases stand for more than {MAX_ALIASED} values");
            return self.stop(span, Code::TOO_LARGE, message, "write the values out, or generate the file");
        }
        self.attach(id);
        Ok(())
    }

    fn syntax(&mut self, source: &str, error: &ScanError) -> Result<(), Stop> {
        let marker = error.marker();
        let start = marker.byte_offset().unwrap_or(source.len()).min(source.len());
        let start = (0..=start).rev().find(|at| source.is_char_boundary(*at)).unwrap_or(0);
        let length = source[start..].chars().next().map_or(0, char::len_utf8);
        let place = Span {
            line: number(marker.line()),
            column: number(marker.col() + 1),
            start: number(start),
            end: number(start + length),
        };
        let tab = source[..start].ends_with('\t') || source[start..].starts_with('\t');
        let (code, message, help) = match error.kind() {
            ErrorKind::RecursionLimitExceeded => (Code::TOO_LARGE, too_deep(), "a config has eight levels"),
            ErrorKind::UnknownAnchor => (
                Code::SYNTAX,
                "an alias without its anchor".to_owned(),
                "an anchor, `&name`, stands before its aliases, `*name`; quote a text that begins with `*`",
            ),
            kind if source[..start].ends_with('$') => {
                (Code::SYNTAX, invalid(kind), "inside of `{…}` and `[…]`, quote what holds `${…}`")
            }
            kind if tab => (Code::SYNTAX, invalid(kind), "YAML is indented with spaces, not with tabs"),
            kind => (
                Code::SYNTAX,
                invalid(kind),
                "check the indentation, and quote texts that hold `: `, ` #`, or begin with one of `*&!|>%@{[`",
            ),
        };
        let bracketed = self.open.last().filter(|open| open.flow && message.starts_with(INVALID));
        let unclosed = bracketed.map(|open| Label {
            message: "inside the brackets that begin here".to_owned(),
            path: String::new(),
            span: Some(self.tree.node(open.id).span),
        });
        self.report(place, code, message, help);
        if let Some(diagnostic) = self.diagnostics.last_mut() {
            diagnostic.related.extend(unclosed);
        }
        Err(Stop)
    }

    fn finish(mut self) -> (Tree<'s>, Vec<Diagnostic>) {
        let empty = match self.tree.root.map(|root| &self.tree.node(root).value) {
            None => true,
            Some(Value::Scalar(scalar)) => scalar.plain && scalar.text.is_empty(),
            Some(Value::List(_) | Value::Map(_)) => false,
        };
        if empty {
            // a file that is being written is empty for a moment, so emptiness must be meant
            let diagnostic = Diagnostic::new(Code::SYNTAX, "the file holds no config");
            self.diagnostics.push(diagnostic.help("write `routes: []` for a gateway without routes"));
            self.tree.root = None;
        }
        (self.tree, self.diagnostics)
    }
}

fn span(place: &granit_parser::Span) -> Span {
    let start = place.start.byte_offset().unwrap_or(0);
    let end = place.end.byte_offset().unwrap_or(start).max(start);
    Span {
        line: number(place.start.line()),
        column: number(place.start.col() + 1),
        start: number(start),
        end: number(end),
    }
}

const INVALID: &str = "this is not valid YAML";

fn too_deep() -> String {
    format!("more than {MAX_DEPTH} levels deep")
}

fn invalid(kind: &ErrorKind) -> String {
    format!("{INVALID}: {kind}")
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
