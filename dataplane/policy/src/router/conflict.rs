//! Routes of one host and path: the order in which they are asked, and those that order leaves nothing for.

use super::condition::{Candidate, Conditions, Fields};
use crate::config::leaf::HostPattern;
use foldhash::fast::RandomState;
use http::Method;
use std::cmp::Reverse;
use std::collections::HashMap;

/// A route that another one keeps from (some of) what it says it takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The position of the route that loses.
    pub route: usize,
    /// The position of the one before it.
    pub by: usize,
    /// In which way.
    pub kind: ConflictKind,
    /// On which host, as it is written; `None` for routes without a host.
    pub host: Option<String>,
    /// For requests of which listener; `None` for routes that are for every one.
    pub listener: Option<String>,
}

/// How two routes conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictKind {
    /// Same host, path (but for the names of parameters), conditions, and at least one method listed by both.
    Duplicate,
    /// Everything the route could take, an earlier one with the same host, path and conditions takes already.
    Unreachable,
}

/// Puts the routes of one path into the order in which they are asked, and notes their conflicts.
///
/// Only routes with equal conditions can conflict: one with fewer is asked later and then takes what the others left.
/// A method that a route lists must be able to reach it; a route for every method may well be what remains after
/// others have taken theirs.
pub(super) fn settle(
    same_path: &mut [Candidate],
    conditions: &[Conditions],
    host: Option<&HostPattern>,
    conflicts: &mut Vec<Conflict>,
) {
    same_path.sort_by_key(|one| (Reverse(conditions[one.route as usize].count()), one.route));
    if same_path.len() < 2 {
        return;
    }
    let mut taken: HashMap<(&Fields, Option<&str>), Taken<'_>, RandomState> = HashMap::default();
    for route in same_path.iter().map(|one| one.route as usize) {
        let these = &conditions[route];
        for listener in each_listener(these) {
            let taken = taken.entry((&these.fields, listener)).or_default();
            if let Some((by, kind)) = taken.conflict(these) {
                let (host, listener) = (host.map(ToString::to_string), listener.map(str::to_owned));
                conflicts.push(Conflict { route, by, kind, host, listener });
            }
            taken.add(route, these);
        }
    }
}

/// The listeners of a route; `None` stands for every listener.
fn each_listener(conditions: &Conditions) -> impl Iterator<Item = Option<&str>> {
    let listeners = conditions.listeners.iter().map(|name| Some(&**name));
    listeners.chain(conditions.listeners.is_empty().then_some(None))
}

/// Sorted by route, each pair once however many hosts and listeners they share.
pub(super) fn in_order(mut conflicts: Vec<Conflict>) -> Vec<Conflict> {
    conflicts.sort();
    conflicts.dedup_by_key(|conflict| (conflict.route, conflict.by));
    conflicts
}

/// Who takes which method, of the routes with the same host, path and conditions.
#[derive(Default)]
struct Taken<'a> {
    every: Option<usize>,
    by_method: HashMap<&'a Method, usize, RandomState>,
}

impl<'a> Taken<'a> {
    fn conflict(&self, next: &Conditions) -> Option<(usize, ConflictKind)> {
        let every_method = next.methods().is_empty();
        if let Some(by) = self.every {
            let kind = if every_method { ConflictKind::Duplicate } else { ConflictKind::Unreachable };
            return Some((by, kind));
        }
        let by = next.written_methods().find_map(|method| self.by_method.get(method))?;
        let all = next.written_methods().all(|method| self.by_method.contains_key(method));
        // the same list twice is a copy; a shorter one is buried
        let same = self.by_method.values().filter(|taker| *taker == by).count() == next.methods().len();
        let kind = if all && !same { ConflictKind::Unreachable } else { ConflictKind::Duplicate };
        Some((*by, kind))
    }

    fn add(&mut self, route: usize, conditions: &'a Conditions) {
        if conditions.methods().is_empty() {
            self.every.get_or_insert(route);
        }
        for method in conditions.methods() {
            self.by_method.entry(method).or_insert(route);
        }
    }
}
