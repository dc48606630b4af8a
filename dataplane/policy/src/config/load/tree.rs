//! A YAML document as a tree that remembers where everything stands.

use crate::config::leaf::quoted;
use crate::diagnostic::{Code, ConfigPath, Diagnostic, Label, Problem, Segment, Span};
use granit_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use std::borrow::Cow;
use std::collections::HashMap;

/// The largest file that is read: ten times what ten thousand generous routes take.
const MAX_BYTES: usize = 32 << 20;
/// A config is eight levels deep.
const MAX_DEPTH: usize = 64;
/// How many nodes all aliases together may stand for ("billion laughs").
const MAX_ALIASED: u64 = 1_000_000;

/// Position of a node in its tree.
pub(super) type NodeId = u32;

/// A document; aliases share the node they name.
#[derive(Debug, Default)]
pub(super) struct Tree<'s> {
    nodes: Vec<Node<'s>>,
    root: Option<NodeId>,
}

#[derive(Debug)]
pub(super) struct Node<'s> {
    pub(super) value: Value<'s>,
    pub(super) span: Span,
    /// Where it is written: the collection and the position in it.
    parent: Option<(NodeId, u32)>,
    /// Nodes in it, itself included, each as often as it is used.
    weight: u64,
}

#[derive(Debug)]
pub(super) enum Value<'s> {
    Scalar(Scalar<'s>),
    List(Vec<Edge>),
    Map(Vec<Entry<'s>>),
}

#[derive(Debug)]
pub(super) struct Scalar<'s> {
    pub(super) text: Cow<'s, str>,
    /// Neither quoted nor a block, so that it may be a number, a boolean or null.
    pub(super) plain: bool,
    /// What is written, where the text is what `${…}` stood for.
    pub(super) written: Option<Cow<'s, str>>,
}

/// One use of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) node: NodeId,
    /// It has been reported and is no longer there for readers.
    pub(super) pruned: bool,
}

#[derive(Debug)]
pub(super) struct Entry<'s> {
    pub(super) key: Cow<'s, str>,
    pub(super) key_span: Span,
    pub(super) edge: Edge,
}

/// A collection that is not yet complete.
struct Open<'s> {
    id: NodeId,
    /// In a map: a key whose value is still to come; none for a key that is to be dropped with its value.
    key: Option<Option<(Cow<'s, str>, Span)>>,
    merges: Vec<NodeId>,
}

struct Builder<'s> {
    tree: Tree<'s>,
    open: Vec<Open<'s>>,
    /// By the parser's number; 0 is no anchor.
    anchors: HashMap<usize, NodeId>,
    aliased: u64,
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
        let mut builder = Builder {
            tree: Tree::default(),
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

    pub(super) fn root(&self) -> Option<NodeId> {
        self.root
    }

    pub(super) fn node(&self, id: NodeId) -> &Node<'s> {
        &self.nodes[id as usize]
    }

    /// The value of a key that is there for readers.
    pub(super) fn entry(&self, map: NodeId, key: &str) -> Option<NodeId> {
        let Value::Map(entries) = &self.node(map).value else { return None };
        entries.iter().find(|entry| !entry.edge.pruned && entry.key == key).map(|entry| entry.edge.node)
    }

    /// The items of a list that are there for readers.
    pub(super) fn items(&self, list: NodeId) -> Vec<NodeId> {
        let Value::List(items) = &self.node(list).value else { return Vec::new() };
        items.iter().filter(|edge| !edge.pruned).map(|edge| edge.node).collect()
    }

    pub(super) fn edge_mut(&mut self, parent: NodeId, position: usize) -> Option<&mut Edge> {
        match &mut self.nodes[parent as usize].value {
            Value::Scalar(_) => None,
            Value::List(items) => items.get_mut(position),
            Value::Map(entries) => entries.get_mut(position).map(|entry| &mut entry.edge),
        }
    }

    /// Every scalar with its place.
    pub(super) fn scalars_mut(&mut self) -> impl Iterator<Item = (NodeId, Span, &mut Scalar<'s>)> {
        self.nodes.iter_mut().enumerate().filter_map(|(id, node)| match &mut node.value {
            Value::Scalar(scalar) => Some((id as NodeId, node.span, scalar)),
            Value::List(_) | Value::Map(_) => None,
        })
    }

    /// Where a node is written.
    pub(super) fn parent(&self, id: NodeId) -> Option<(NodeId, usize)> {
        self.node(id).parent.map(|(parent, position)| (parent, position as usize))
    }

    /// The keys that lead to where a node is written.
    pub(super) fn path(&self, mut id: NodeId) -> ConfigPath {
        let mut segments = Vec::new();
        while let Some((parent, position)) = self.parent(id) {
            segments.push(match &self.node(parent).value {
                Value::Map(entries) => Segment::Key(entries.get(position).map_or_else(String::new, |e| e.key.to_string())),
                Value::List(_) | Value::Scalar(_) => Segment::Index(position),
            });
            id = parent;
        }
        segments.reverse();
        ConfigPath(segments)
    }

    /// The place that a path into the config as it was read leads to, or as near as the file comes to it: a key's
    /// value if it stands on one line, else the key.
    pub(super) fn locate(&self, path: &ConfigPath) -> (String, Option<Span>) {
        let Some(mut id) = self.root else { return (path.to_string(), None) };
        let mut place = self.node(id).span;
        let mut written = Vec::new();
        for segment in &path.0 {
            let Some((next, position, span)) = self.step(id, segment) else { break };
            (id, place) = (next, span);
            written.push(match segment {
                Segment::Key(key) => Segment::Key(key.clone()),
                Segment::Index(_) => Segment::Index(position),
            });
        }
        written.extend(path.0.iter().skip(written.len()).cloned());
        (ConfigPath(written).to_string(), Some(place))
    }

    fn step(&self, id: NodeId, segment: &Segment) -> Option<(NodeId, usize, Span)> {
        match (&self.node(id).value, segment) {
            (Value::Map(entries), Segment::Key(key)) => {
                let live = |(_, entry): &(usize, &Entry<'_>)| !entry.edge.pruned && entry.key == key.as_str();
                let (position, entry) = entries.iter().enumerate().find(live)?;
                let value = self.node(entry.edge.node);
                let span = if matches!(value.value, Value::Scalar(_)) { value.span } else { entry.key_span };
                Some((entry.edge.node, position, span))
            }
            (Value::List(items), Segment::Index(index)) => {
                // the reader did not see the pruned ones, so they do not count
                let (position, edge) = items.iter().enumerate().filter(|(_, edge)| !edge.pruned).nth(*index)?;
                Some((edge.node, position, self.node(edge.node).span))
            }
            _ => None,
        }
    }

    /// Whether a problem may only be there because something was pruned.
    pub(super) fn explains(&self, problem: &Problem) -> bool {
        let Some(root) = self.root else { return true };
        match problem.code {
            Code::UNKNOWN_UPSTREAM if self.pruned_under_key(root, "upstreams") => true,
            Code::SELF_TARGET if self.pruned_under_key(root, "server") => true,
            // what two keys or two routes say together, a pruned third may have said otherwise
            Code::CONTRADICTION | Code::HASH_ON | Code::DUPLICATE_ROUTE | Code::UNREACHABLE_ROUTE => {
                let places = std::iter::once(&problem.path).chain(problem.related.iter().map(|(path, _)| path));
                places.into_iter().any(|path| self.pruned_below(self.nearest(path.0.iter().take(2))))
            }
            _ => self.pruned_below(self.nearest(problem.path.0.iter())),
        }
    }

    /// The node that a path leads to, or as near as the tree comes to it.
    fn nearest<'p>(&self, path: impl Iterator<Item = &'p Segment>) -> NodeId {
        let mut id = self.root.unwrap_or_default();
        for segment in path {
            match self.step(id, segment) {
                Some((next, _, _)) => id = next,
                None => break,
            }
        }
        id
    }

    fn pruned_under_key(&self, map: NodeId, key: &str) -> bool {
        let Value::Map(entries) = &self.node(map).value else { return false };
        let mut same = entries.iter().filter(|entry| entry.key == key);
        same.any(|entry| entry.edge.pruned || self.pruned_below(entry.edge.node))
    }

    fn pruned_below(&self, id: NodeId) -> bool {
        let below = |edge: &Edge| edge.pruned || self.pruned_below(edge.node);
        match &self.node(id).value {
            Value::Scalar(_) => false,
            Value::List(items) => items.iter().any(below),
            Value::Map(entries) => entries.iter().any(|entry| below(&entry.edge)),
        }
    }
}

impl<'s> Builder<'s> {
    fn event(&mut self, event: Event<'s>, place: &granit_parser::Span) -> Result<(), Stop> {
        let span = span(place);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return self.stop(span, Code::UNSUPPORTED, "the file holds several documents", "keep what follows one `---`");
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !self.is_text(tag.as_deref(), span);
                self.add(Value::Scalar(Scalar { text, plain, written: None }), span, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => self.begin(Value::List(Vec::new()), span, anchor, tag.as_deref())?,
            Event::MappingStart(_, anchor, tag) => self.begin(Value::Map(Vec::new()), span, anchor, tag.as_deref())?,
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, span)?,
            _ => {}
        }
        Ok(())
    }

    fn report(&mut self, span: Span, code: Code, message: impl Into<String>, help: &str) {
        let path = self.open.last().map_or_else(String::new, |open| self.tree.path(open.id).to_string());
        self.diagnostics.push(Diagnostic { path, span: Some(span), ..Diagnostic::new(code, message).help(help) });
    }

    fn stop(&mut self, span: Span, code: Code, message: impl Into<String>, help: &str) -> Result<(), Stop> {
        self.report(span, code, message, help);
        Err(Stop)
    }

    /// Whether a tag makes a plain scalar a text; other tags than those of JSON's types are reported.
    fn is_text(&mut self, tag: Option<&Tag>, span: Span) -> bool {
        let Some(tag) = tag else { return false };
        match tag.core_suffix() {
            Some("str") => true,
            Some(_) => false,
            None if tag.original() == "!" => true,
            None => {
                let message = format!("the tag {} has no meaning in a config", quoted(&tag.original()));
                self.report(span, Code::UNSUPPORTED, message, "remove it");
                false
            }
        }
    }

    fn begin(&mut self, value: Value<'s>, span: Span, anchor: usize, tag: Option<&Tag>) -> Result<(), Stop> {
        self.is_text(tag, span);
        if self.open.len() >= MAX_DEPTH {
            return self.stop(span, Code::TOO_LARGE, format!("more than {MAX_DEPTH} levels deep"), "a config has eight levels");
        }
        if self.open.last().is_some_and(|open| open.key.is_none() && self.is_map(open.id)) {
            return self.stop(span, Code::UNSUPPORTED, "a list or a map cannot be a key", "quote the key if it is a text");
        }
        let id = self.push(value, span);
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        self.open.push(Open { id, key: None, merges: Vec::new() });
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
                return self.stop(span, Code::UNSUPPORTED, "a key cannot have an anchor", "put the anchor before a value");
            }
            self.key(text, plain, span);
            return Ok(());
        }
        let id = self.push(value, span);
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        self.attach(id);
        Ok(())
    }

    fn key(&mut self, key: Cow<'s, str>, plain: bool, span: Span) {
        let Some(open) = self.open.last() else { return };
        let Value::Map(entries) = &self.tree.node(open.id).value else { return };
        let merge = plain && key == "<<";
        let first = entries.iter().find(|entry| entry.key == key).filter(|_| !merge).map(|entry| entry.key_span);
        if let Some(first) = first {
            let path = self.tree.path(open.id).key(key.as_ref()).to_string();
            self.diagnostics.push(Diagnostic {
                help: Some("remove one of them".into()),
                related: vec![Label { message: "the first one".into(), path: path.clone(), span: Some(first) }],
                path,
                span: Some(span),
                ..Diagnostic::new(Code::DUPLICATE_KEY, format!("the key {} stands twice in one map", quoted(&key)))
            });
        }
        if let Some(open) = self.open.last_mut() {
            open.key = Some(first.is_none().then_some((key, span)));
        }
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
                self.report(span, Code::UNSUPPORTED, "`<<` merges maps, and this is none", "write `<<: *name` with the anchor of a map");
                continue;
            };
            let copies: Vec<_> = entries.iter().map(|e| Entry { key: e.key.clone(), key_span: e.key_span, edge: e.edge }).collect();
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
            return self.stop(span, Code::SYNTAX, "an alias without its anchor", "anchors stand before their aliases");
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
        let message = error.kind().to_string();
        let help = if source[..start].ends_with('\t') || source[start..].starts_with('\t') {
            "YAML is indented with spaces, not with tabs"
        } else {
            "check the indentation, and quote texts that hold `: `, ` #`, or begin with one of `*&!|>%@{[`"
        };
        let code = if message.contains("recursion limit") { Code::TOO_LARGE } else { Code::SYNTAX };
        self.stop(place, code, format!("this is not valid YAML: {message}"), help)
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
    Span { line: number(place.start.line()), column: number(place.start.col() + 1), start: number(start), end: number(end) }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
