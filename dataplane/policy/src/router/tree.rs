//! The paths of each host: compressed radix trees, all of them in the same few flat arrays.
//!
//! Exact paths, templates and prefixes share the tree. A parameter is a byte that no path can hold; as it sorts first,
//! it is the first child of its node. Children of a node are neighbours in memory.

use super::PathMatch;
use super::condition::Candidate;
use std::collections::VecDeque;
use std::ops::{ControlFlow, Range};

/// Stands for `{param}`: a normalised path holds no NUL.
const PARAM: u8 = 0;

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

/// The trees of all hosts.
#[derive(Debug, Default)]
pub(super) struct Forest {
    nodes: Vec<Node>,
    /// By node, so that the search for a child stays within a cache line or two.
    first_bytes: Vec<u8>,
    labels: Vec<u8>,
    /// Those of one path side by side, in the order in which they are asked.
    candidates: Vec<Candidate>,
}

/// Fits a cache line.
#[derive(Debug, Default)]
struct Node {
    label: Span,
    children: Span,
    /// The first child is a parameter.
    has_param: bool,
    /// The routes whose exact path or template ends here.
    whole: Span,
    /// The routes whose prefix ends here.
    prefix: Span,
    /// The node of the next shorter prefix that takes the same paths as this one.
    shorter: Option<u32>,
}

/// A tree of a [`Forest`], by its first node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root(u32);

#[derive(Debug, Default, Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn is_empty(self) -> bool {
        self.len == 0
    }

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

impl Forest {
    /// Offers the routes of each path that `path` fits, the most specific path first, until `ask` has an answer.
    pub(super) fn visit<B>(
        &self,
        root: Root,
        path: &str,
        ask: &mut impl FnMut(&[Candidate]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut longest = None;
        self.descend(root.0, path.as_bytes(), &mut longest, ask)?;
        while let Some(node) = longest {
            let node = &self.nodes[node as usize];
            ask(node.prefix.of(&self.candidates))?;
            longest = node.shorter;
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
        ask: &mut impl FnMut(&[Candidate]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        loop {
            let this = &self.nodes[node as usize];
            let Some(after) = rest.strip_prefix(this.label.of(&self.labels)) else {
                return ControlFlow::Continue(());
            };
            rest = after;
            if !this.prefix.is_empty() && matches!(rest.first(), None | Some(b'/')) {
                *longest = Some(node);
            }
            let Some(&first) = rest.first() else {
                return ask(this.whole.of(&self.candidates));
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
pub(super) struct Paths(Vec<(Key, Candidate)>);

impl Paths {
    /// Routes come in the order of the config; the same one twice (a host written twice) counts once.
    pub(super) fn add(&mut self, key: Key, candidate: Candidate) {
        if self.0.last().is_none_or(|(_, last)| last.route != candidate.route) {
            self.0.push((key, candidate));
        }
    }
}

/// A node that has its place and not yet its content.
struct Pending {
    node: usize,
    /// The keys below it.
    keys: Range<usize>,
    /// Where in these keys its label begins.
    depth: usize,
    /// The node of the longest prefix that takes everything below this one.
    above: Option<u32>,
}

/// Where paths of the config end.
struct Spot {
    bytes: Vec<u8>,
    whole: Span,
    prefix: Span,
}

impl Forest {
    /// Sorts once, then lays out the nodes breadth first; `settle` sees and orders the routes of each path.
    pub(super) fn plant(&mut self, paths: Paths, settle: &mut impl FnMut(&mut [Candidate])) -> Root {
        let spots = self.spots(paths, settle);
        let root = self.add_node(0);
        let mut queue = VecDeque::from([Pending { node: root, keys: 0..spots.len(), depth: 0, above: None }]);
        while let Some(pending) = queue.pop_front() {
            self.fill(pending, &spots, &mut queue);
        }
        Root(index(root))
    }

    fn add_node(&mut self, first_byte: u8) -> usize {
        self.nodes.push(Node::default());
        self.first_bytes.push(first_byte);
        self.nodes.len() - 1
    }

    fn spots(&mut self, Paths(mut entries): Paths, settle: &mut impl FnMut(&mut [Candidate])) -> Vec<Spot> {
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut spots: Vec<Spot> = Vec::with_capacity(entries.len());
        for same_path in entries.chunk_by_mut(|(a, _), (b, _)| a == b) {
            let start = self.candidates.len();
            self.candidates.extend(same_path.iter().map(|(_, candidate)| *candidate));
            settle(&mut self.candidates[start..]);
            let candidates = Span::new(start..self.candidates.len());
            let Key { bytes, kind } = &mut same_path[0].0;
            if spots.last().is_none_or(|last| last.bytes != *bytes) {
                spots.push(Spot {
                    bytes: std::mem::take(bytes),
                    whole: Span::default(),
                    prefix: Span::default(),
                });
            }
            let Some(spot) = spots.last_mut() else { continue };
            match kind {
                Kind::Whole => spot.whole = candidates,
                Kind::Prefix => spot.prefix = candidates,
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
        let here = if this.prefix.is_empty() {
            above
        } else {
            this.shorter = above;
            Some(index(node))
        };
        let first_child = self.nodes.len();
        for group in below.chunk_by(|a, b| a.bytes[end] == b.bytes[end]) {
            let first = group[0].bytes[end];
            this.has_param |= first == PARAM;
            queue.push_back(Pending {
                node: self.add_node(first),
                keys: at..at + group.len(),
                depth: if first == PARAM { end + 1 } else { end },
                // `/ap` takes nothing below `/apple`
                above: if first == b'/' { here } else { above },
            });
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
