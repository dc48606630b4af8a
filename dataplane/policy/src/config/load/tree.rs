//! A YAML document as a tree that remembers where everything stands.

use crate::diagnostic::{Code, ConfigPath, Problem, Segment, Span};
use std::borrow::Cow;

/// Position of a node in its tree.
pub(super) type NodeId = u32;

/// A document; aliases share the node they name.
#[derive(Debug, Default)]
pub(super) struct Tree<'s> {
    pub(super) nodes: Vec<Node<'s>>,
    pub(super) root: Option<NodeId>,
}

#[derive(Debug)]
pub(super) struct Node<'s> {
    pub(super) value: Value<'s>,
    pub(super) span: Span,
    /// Where it is written: the collection and the position in it.
    pub(super) parent: Option<(NodeId, u32)>,
    /// Nodes in it, itself included, each as often as it is used.
    pub(super) weight: u32,
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
    pub(super) written: Option<Box<str>>,
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

impl<'s> Tree<'s> {
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
                Value::Map(entries) => {
                    Segment::Key(entries.get(position).map_or_else(String::new, |e| e.key.to_string()))
                }
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
                let (position, edge) =
                    items.iter().enumerate().filter(|(_, edge)| !edge.pruned).nth(*index)?;
                Some((edge.node, position, self.node(edge.node).span))
            }
            _ => None,
        }
    }

    /// Whether a problem may only be there because something was pruned.
    pub(super) fn explains(&self, problem: &Problem) -> bool {
        let Some(root) = self.root else { return true };
        match problem.code {
            Code::UNKNOWN_UPSTREAM if self.lacks_items(root, "upstreams") => true,
            Code::UNKNOWN_LISTENER if self.lacks_items(root, "listeners") => true,
            Code::SELF_TARGET if self.lacks_items(root, "server") => true,
            // what two keys or two routes say together, a pruned third may have said otherwise
            Code::CONTRADICTION | Code::HASH_ON | Code::DUPLICATE_ROUTE | Code::UNREACHABLE_ROUTE => {
                let places =
                    std::iter::once(&problem.path).chain(problem.related.iter().map(|(path, _)| path));
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

    /// Whether the value of a key, or something directly in it, was pruned.
    fn lacks_items(&self, map: NodeId, key: &str) -> bool {
        let Value::Map(entries) = &self.node(map).value else { return false };
        let mut same = entries.iter().filter(|entry| entry.key == key);
        same.any(|entry| match &self.node(entry.edge.node).value {
            _ if entry.edge.pruned => true,
            Value::Scalar(_) => false,
            Value::List(items) => items.iter().any(|edge| edge.pruned),
            Value::Map(entries) => entries.iter().any(|entry| entry.edge.pruned && entry.key == "port"),
        })
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
