//! From a file's text to a config: every error at once, each with its place.
//!
//! text → `parse` → `tree` (YAML with spans) → `expand` (`${…}`) → `de` (serde over the tree) → config. Where a value does
//! not fit, its entry is reported and pruned from the tree, and the rest is read again without it: so the second error
//! is found too, and what follows from the first is not reported.

mod de;
mod error;
mod expand;
mod mask;
mod parse;
mod prune;
mod scalar;
mod tree;

pub use mask::masked;

use crate::config::listener::ListenerConfig;
use crate::config::{GatewayConfig, RouteConfig, ServerConfig, UpstreamConfig};
use crate::diagnostic::{Code, Diagnostic, Label, Problem};
use crate::filter::FilterConfig;
use crate::table::{RouteTable, warnings};
use prune::Settling;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use tree::Tree;

/// What a config may refer to; the caller brings it, so that this crate does no I/O.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The value of an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The content of a file.
    pub read_file: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// A config and where in its source everything stands.
#[derive(Debug)]
pub struct Loaded<'s> {
    /// Each value by itself is valid; whether the whole makes sense, [`RouteTable::build`] decides.
    pub config: GatewayConfig,
    tree: Tree<'s>,
}

/// A config that can be run, or could be by a version with all its filters.
#[derive(Debug)]
pub struct Checked {
    /// What was read.
    pub config: GatewayConfig,
    /// What was built from it.
    pub table: RouteTable,
    /// What is allowed, but hardly meant.
    pub warnings: Vec<Diagnostic>,
}

/// More than anybody reads at once; further errors show when these are mended.
const MAX_DIAGNOSTICS: usize = 100;

/// Reads a config.
pub fn load<'s>(source: &'s str, surroundings: &Surroundings<'_>) -> Result<Loaded<'s>, Vec<Diagnostic>> {
    let read = Read::new(source, surroundings);
    match read.config {
        Some(config) if read.diagnostics.is_empty() => Ok(Loaded { config, tree: read.tree }),
        _ => Err(presented(read.diagnostics)),
    }
}

/// Reads a config and builds its table: whatever is wrong with it in one go.
pub fn check(source: &str, surroundings: &Surroundings<'_>) -> Result<Checked, Vec<Diagnostic>> {
    let Read { config, tree, mut diagnostics } = Read::new(source, surroundings);
    let Some(config) = config else { return Err(presented(diagnostics)) };
    match RouteTable::build(&config, None) {
        Ok(table) if diagnostics.is_empty() => {
            let warnings = warnings(&config).iter().map(|problem| located(&tree, problem)).collect();
            return Ok(Checked { config, table, warnings });
        }
        Ok(_) => {}
        Err(problems) => {
            let independent = problems.iter().filter(|problem| !tree.explains(problem));
            diagnostics.extend(independent.take(MAX_DIAGNOSTICS).map(|problem| located(&tree, problem)));
        }
    }
    Err(presented(diagnostics))
}

impl Loaded<'_> {
    /// Problems with their places in the source.
    pub fn locate(&self, problems: &[Problem]) -> Vec<Diagnostic> {
        problems.iter().map(|problem| located(&self.tree, problem)).collect()
    }
}

/// All that could be made of a source.
struct Read<'s> {
    /// Without what was pruned; none if nothing was left.
    config: Option<GatewayConfig>,
    tree: Tree<'s>,
    diagnostics: Vec<Diagnostic>,
}

impl<'s> Read<'s> {
    fn new(source: &'s str, surroundings: &Surroundings<'_>) -> Self {
        let (mut tree, mut diagnostics) = Tree::parse(source);
        if tree.root.is_none() {
            return Self { config: None, tree, diagnostics };
        }
        diagnostics.extend(expand::expand(&mut tree, surroundings));
        let mut settling = Settling { tree, diagnostics };
        let config = settling.config();
        let Settling { tree, diagnostics } = settling;
        Self { config, tree, diagnostics }
    }
}

impl Settling<'_> {
    /// The config, read as often as there are errors; each part by itself first, so that an error in one of ten
    /// thousand routes does not make the others be read again.
    fn config(&mut self) -> Option<GatewayConfig> {
        if let Some(config) = self.attempt::<GatewayConfig>(self.tree.root?) {
            return Some(config);
        }
        let root = self.tree.root?;
        if let Some(server) = self.tree.entry(root, "server") {
            self.settle::<ServerConfig>(server);
        }
        self.settle_items::<ListenerConfig>("listeners");
        self.settle_items::<UpstreamConfig>("upstreams");
        self.settle_items::<RouteConfig>("routes");
        self.settle_items::<FilterConfig>("global_filters");
        self.settle::<GatewayConfig>(root)
    }

    fn settle_items<T: serde::de::DeserializeOwned>(&mut self, key: &str) {
        let Some(list) = self.tree.root.and_then(|root| self.tree.entry(root, key)) else { return };
        for item in self.tree.items(list) {
            self.settle::<T>(item);
        }
    }
}

fn located(tree: &Tree<'_>, problem: &Problem) -> Diagnostic {
    let Problem { code, path, message, help, related } = problem;
    let label = |(path, remark): &(_, String)| {
        let (path, span) = tree.locate(path);
        Label { message: remark.clone(), path, span }
    };
    let (path, span) = tree.locate(path);
    Diagnostic {
        code: *code,
        message: message.clone(),
        help: help.clone(),
        path,
        span,
        related: related.iter().map(label).collect(),
    }
}

/// In the order of the file, each once, not too many.
fn presented(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.map_or(0, |span| span.start));
    // an alias is read wherever it is used, but is wrong only where it is written
    let mut seen = HashSet::new();
    diagnostics.retain(|one| seen.insert((one.code, one.span, one.message.clone())));
    if diagnostics.len() > MAX_DIAGNOSTICS {
        let more = diagnostics.len() - MAX_DIAGNOSTICS;
        diagnostics.truncate(MAX_DIAGNOSTICS);
        diagnostics.push(Diagnostic::new(Code::TOO_MANY, format!("and at least {more} more")));
    }
    diagnostics
}

#[cfg(test)]
mod tests;
