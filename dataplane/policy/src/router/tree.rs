//! The paths of one host: a compressed radix tree in three flat arrays.
//!
//! Exact paths, templates and prefixes share the tree. A parameter is a byte that no path can hold; as it sorts first,
//! it is the first child of its node. Children of a node are neighbours in memory.

use super::PathMatch;
use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};

/// Stands for `{param}`: a normalised path holds no NUL.
const PARAM: u8 = 0;
const ROOT: u32 = 0;

/// A path of the config, so that equal keys are asked for equal paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    bytes: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Whole,
    Prefix,
}

impl Key {
    pub(super) fn of(path: &PathMatch) -> Self {
        match path {
            // the prefix `/` becomes the empty one, which ends at a segment boundary like any other
            PathMatch::Prefix(prefix) => {
                Self { bytes: prefix.0.trim_end_matches('/').into(), kind: Kind::Prefix }
            }
            PathMatch::Template(template) => {
                Self { bytes: literals_and_params(&template.0), kind: Kind::Whole }
            }
        }
    }
}

fn literals_and_params(template: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(template.len());
    for (at, segment) in template.split('/').enumerate() {
        if at > 0 {
            bytes.push(b'/');
        }
        if segment.starts_with('{') && segment.ends_with('}') {
            bytes.push(PARAM);
        } else {
            bytes.extend_from_slice(segment.as_bytes());
        }
    }
    bytes
}

/// The tree of one host.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// By node, so that the search for a child stays within a cache line or two.
    first_bytes: Vec<u8>,
    labels: Vec<u8>,
    endpoints: Vec<Endpoint>,
    /// The routes of every endpoint, in the order in which they are asked.
    routes: Vec<u32>,
}

#[derive(Debug, Default)]
struct Node {
    label: Span,
    children: Span,
    /// The first child is a parameter.
    has_param: bool,
    whole: Option<u32>,
    prefix: Option<u32>,
}

/// Where at least one path of the config ends.
#[derive(Debug)]
struct Endpoint {
    routes: Span,
    /// Of a prefix: the next shorter one that takes the same paths.
    shorter: Option<u32>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn new(range: Range<usize>) -> Self {
        Self { start: index(range.start), len: index(range.len()) }
    }

    fn of<T>(self, all: &[T]) -> &[T] {
        let start = self.start as usize;
        &all[start..start + self.len as usize]
    }
}

fn index(position: usize) -> u32 {
    u32::try_from(position).expect("a config is smaller than 4 GiB")
}

impl Tree {
    /// Offers the routes of each path that `path` fits, the most specific path first, until `ask` has an answer.
    pub(super) fn visit<B>(
        &self,
        path: &str,
        ask: &mut impl FnMut(&[u32]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if self.nodes.is_empty() {
            return ControlFlow::Continue(());
        }
        let mut longest = None;
        self.descend(ROOT, path.as_bytes(), &mut longest, ask)?;
        while let Some(prefix) = longest {
            let endpoint = &self.endpoints[prefix as usize];
            ask(endpoint.routes.of(&self.routes))?;
            longest = endpoint.shorter;
        }
        ControlFlow::Continue(())
    }

    /// Offers exact paths and templates below `node`, and notes the longest prefix on the way.
    ///
    /// Taking the literal child before the parameter is the whole order of precedence: an exact path is the template
    /// that is literal everywhere. Each node is entered at most once, so backtracking is bounded by the tree.
    fn descend<B>(
        &self,
        mut node: u32,
        mut rest: &[u8],
        longest: &mut Option<u32>,
        ask: &mut impl FnMut(&[u32]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        loop {
            let this = &self.nodes[node as usize];
            let Some(after) = rest.strip_prefix(this.label.of(&self.labels)) else {
                return ControlFlow::Continue(());
            };
            rest = after;
            if this.prefix.is_some() && matches!(rest.first(), None | Some(b'/')) {
                *longest = this.prefix;
            }
            let Some(&first) = rest.first() else {
                return this.whole.map_or(ControlFlow::Continue(()), |endpoint| {
                    ask(self.endpoints[endpoint as usize].routes.of(&self.routes))
                });
            };
            let literal = self.literal_child(this, first);
            if !this.has_param {
                let Some(child) = literal else { return ControlFlow::Continue(()) };
                node = child;
                continue;
            }
            if let Some(child) = literal {
                self.descend(child, rest, longest, ask)?;
            }
            let segment = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
            if segment == 0 {
                return ControlFlow::Continue(());
            }
            node = this.children.start;
            rest = &rest[segment..];
        }
    }

    fn literal_child(&self, node: &Node, first: u8) -> Option<u32> {
        let params = u32::from(node.has_param);
        let literals = Span { start: node.children.start + params, len: node.children.len - params };
        let position = literals.of(&self.first_bytes).iter().position(|byte| *byte == first)?;
        Some(literals.start + position as u32)
    }
}

/// Collects the paths of one host.
#[derive(Debug, Default)]
pub(super) struct TreeBuilder {
    entries: Vec<(Key, u32)>,
}

/// A node that has its place and not yet its content.
struct Pending {
    node: usize,
    /// The keys below it.
    keys: Range<usize>,
    /// Where in these keys its label begins.
    depth: usize,
    /// The longest prefix above that takes what this node takes.
    above: Option<u32>,
}

/// The endpoints of one path.
struct Spot {
    bytes: Vec<u8>,
    whole: Option<u32>,
    prefix: Option<u32>,
}

impl TreeBuilder {
    /// Routes come in the order of the config; the same one twice (a host written twice) counts once.
    pub(super) fn add(&mut self, key: Key, route: usize) {
        let route = index(route);
        if self.entries.last().is_none_or(|(_, last)| *last != route) {
            self.entries.push((key, route));
        }
    }

    /// Sorts once, then lays out the nodes breadth first; `settle` sees and orders the routes of each path.
    pub(super) fn build(self, settle: &mut impl FnMut(&mut [u32])) -> Tree {
        let mut tree = Tree::default();
        let spots = tree.endpoints_of(self.entries, settle);
        tree.nodes.push(Node::default());
        tree.first_bytes.push(0);
        let mut queue = VecDeque::from([Pending { node: 0, keys: 0..spots.len(), depth: 0, above: None }]);
        while let Some(pending) = queue.pop_front() {
            tree.fill(pending, &spots, &mut queue);
        }
        tree
    }
}

impl Tree {
    fn endpoints_of(
        &mut self,
        mut entries: Vec<(Key, u32)>,
        settle: &mut impl FnMut(&mut [u32]),
    ) -> Vec<Spot> {
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut spots: Vec<Spot> = Vec::with_capacity(entries.len());
        for same_path in entries.chunk_by_mut(|(a, _), (b, _)| a == b) {
            let start = self.routes.len();
            self.routes.extend(same_path.iter().map(|(_, route)| *route));
            settle(&mut self.routes[start..]);
            let endpoint = Some(index(self.endpoints.len()));
            self.endpoints.push(Endpoint { routes: Span::new(start..self.routes.len()), shorter: None });
            let Key { bytes, kind } = &mut same_path[0].0;
            if spots.last().is_none_or(|last| last.bytes != *bytes) {
                spots.push(Spot { bytes: std::mem::take(bytes), whole: None, prefix: None });
            }
            let Some(spot) = spots.last_mut() else { continue };
            match kind {
                Kind::Whole => spot.whole = endpoint,
                Kind::Prefix => spot.prefix = endpoint,
            }
        }
        spots
    }

    fn fill(&mut self, pending: Pending, spots: &[Spot], queue: &mut VecDeque<Pending>) {
        let Pending { node, keys, depth, above } = pending;
        let mut below = &spots[keys.clone()];
        let label = common(below, depth);
        let end = depth + label.len();
        let mut this = Node { label: self.add_label(label), ..Node::default() };
        let mut at = keys.start;
        if let Some(spot) = below.first().filter(|spot| spot.bytes.len() == end) {
            (this.whole, this.prefix) = (spot.whole, spot.prefix);
            below = &below[1..];
            at += 1;
        }
        if let Some(prefix) = this.prefix {
            self.endpoints[prefix as usize].shorter = above;
        }
        let first_child = self.nodes.len();
        for group in below.chunk_by(|a, b| a.bytes[end] == b.bytes[end]) {
            let first = group[0].bytes[end];
            this.has_param |= first == PARAM;
            queue.push_back(Pending {
                node: self.nodes.len(),
                keys: at..at + group.len(),
                depth: if first == PARAM { end + 1 } else { end },
                // `/ap` takes nothing below `/apple`
                above: if first == b'/' { this.prefix.or(above) } else { above },
            });
            self.nodes.push(Node::default());
            self.first_bytes.push(first);
            at += group.len();
        }
        this.children = Span::new(first_child..self.nodes.len());
        self.nodes[node] = this;
    }

    fn add_label(&mut self, label: &[u8]) -> Span {
        let start = self.labels.len();
        self.labels.extend_from_slice(label);
        Span::new(start..self.labels.len())
    }
}

/// What all of these sorted keys have in common from `depth` on, up to the next parameter.
fn common(sorted: &[Spot], depth: usize) -> &[u8] {
    let [first, .., last] = sorted else {
        return sorted.first().map_or(&[], |only| until_param(&only.bytes[depth..]));
    };
    let (first, last) = (&first.bytes[depth..], &last.bytes[depth..]);
    let len = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    until_param(&first[..len])
}

fn until_param(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == PARAM).next().unwrap_or_default()
}
