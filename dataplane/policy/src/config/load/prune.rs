//! Reading until it succeeds: what does not fit is reported once and pruned.

use super::MAX_DIAGNOSTICS;
use super::de::Reader;
use super::error::Fix;
use super::tree::{NodeId, Tree};
use crate::diagnostic::Diagnostic;
use serde::de::DeserializeOwned;

/// A tree on its way to a config.
pub(super) struct Settling<'s> {
    pub(super) tree: Tree<'s>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Settling<'_> {
    /// What the node holds, if nothing is wrong with it; nothing is reported.
    pub(super) fn attempt<T: DeserializeOwned>(&self, node: NodeId) -> Option<T> {
        T::deserialize(Reader::new(&self.tree, node)).ok()
    }

    /// What the node holds without what is wrong in it; none if the node itself is, or there were too many errors.
    pub(super) fn settle<T: DeserializeOwned>(&mut self, node: NodeId) -> Option<T> {
        while self.diagnostics.len() <= MAX_DIAGNOSTICS {
            let error = match T::deserialize(Reader::new(&self.tree, node)) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let Fix { diagnostic, prune } = error.fix(&self.tree, node);
            self.diagnostics.extend(diagnostic);
            let edge = prune.and_then(|(parent, position)| self.tree.edge_mut(parent, position))?;
            if edge.pruned {
                // each step must take something away, or there would be no end
                return None;
            }
            edge.pruned = true;
            if prune == self.tree.parent(node) {
                return None;
            }
        }
        None
    }
}
