//! What the instances report of the same thing: one line where they agree, one for each state where they do not.

use proto::v1::{GetStatusResponse, Instance, InstanceState, InstanceStatus};
use serde::Serialize;
use std::collections::HashMap;
use std::hash::Hash;

/// One instance's word on one thing.
pub type Report<'a, T> = (&'a str, &'a T);

/// What every connected instance says, by thing: fleets have tens of thousands of targets.
pub struct Reports<'a, T, K> {
    /// In the order of the first instance that has them, which is that of the config.
    things: Vec<Vec<Report<'a, T>>>,
    positions: HashMap<K, usize>,
}

impl<'a, T, K: Eq + Hash> Reports<'a, T, K> {
    /// `key` is what tells one thing from another: upstream and address, route and target.
    pub fn of(
        status: &'a GetStatusResponse,
        things: fn(&'a InstanceStatus) -> &'a [T],
        key: fn(&'a T) -> K,
    ) -> Self {
        let mut reports = Self { things: Vec::new(), positions: HashMap::new() };
        for (instance, told) in connected(status) {
            for thing in things(told) {
                let position = *reports.positions.entry(key(thing)).or_insert(reports.things.len());
                if position == reports.things.len() {
                    reports.things.push(Vec::new());
                }
                reports.things[position].push((instance, thing));
            }
        }
        reports
    }

    /// What is said of one thing.
    pub fn get(&self, key: &K) -> &[Report<'a, T>] {
        self.positions.get(key).map_or(&[], |position| &self.things[*position])
    }

    /// What is said of each thing.
    pub fn each(&self) -> impl Iterator<Item = &[Report<'a, T>]> {
        self.things.iter().map(Vec::as_slice)
    }
}

/// Those who see a thing in the same state.
pub struct Line<'a, T, S> {
    pub state: S,
    pub seen: Vec<Report<'a, T>>,
    pub seen_by: SeenBy,
}

impl<T, S> Line<'_, T, S> {
    /// A number summed over those who see it so.
    pub fn sum(&self, number: impl Fn(&T) -> u64) -> u64 {
        self.seen.iter().map(|(_, thing)| number(thing)).sum()
    }

    /// The same for rates, to three decimals: beyond them is only what floats leave behind.
    pub fn sum_rate(&self, rate: impl Fn(&T) -> f64) -> f64 {
        let sum: f64 = self.seen.iter().map(|(_, thing)| rate(thing)).sum();
        (sum * 1e3).round() / 1e3
    }

    /// Since when the last of them sees it so, as the control plane tells moments.
    pub fn latest(&self, moment: impl Fn(&T) -> i64) -> i64 {
        self.seen.iter().map(|(_, thing)| moment(thing)).max().unwrap_or(0)
    }
}

/// What is said of one thing in lines, the worst state first.
pub fn lines<'a, T, S: Ord + Copy>(seen: &[Report<'a, T>], state: impl Fn(&T) -> S) -> Vec<Line<'a, T, S>> {
    let mut states: Vec<S> = seen.iter().map(|(_, thing)| state(thing)).collect();
    states.sort_by(|a, b| b.cmp(a));
    states.dedup();
    let line = |wanted: S| {
        let seen_so: Vec<Report<'a, T>> =
            seen.iter().filter(|(_, thing)| state(thing) == wanted).copied().collect();
        let instances = seen_so.iter().map(|(instance, _)| (*instance).to_owned()).collect();
        Line { state: wanted, seen: seen_so, seen_by: SeenBy { instances, of: seen.len() } }
    };
    states.into_iter().map(line).collect()
}

/// Which instances see a thing so, of how many that report it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SeenBy {
    pub instances: Vec<String>,
    pub of: usize,
}

impl SeenBy {
    pub fn is_unanimous(&self) -> bool {
        self.instances.len() == self.of
    }

    /// `3/3`, or who it is where not all agree: `1/3 dp-2`.
    pub fn cell(&self, wide: bool) -> String {
        let share = format!("{}/{}", self.instances.len(), self.of);
        if self.of == 0 {
            return "0".to_owned();
        }
        if wide || !self.is_unanimous() {
            return format!("{share} {}", self.instances.join(","));
        }
        share
    }
}

/// The last report of a disconnected instance tells nothing about now. In the order of their names.
fn connected(status: &GetStatusResponse) -> impl Iterator<Item = (&str, &InstanceStatus)> {
    let is_connected = |instance: &&Instance| instance.state() != InstanceState::Disconnected;
    let mut connected: Vec<(&str, &InstanceStatus)> = status
        .instances
        .iter()
        .filter(is_connected)
        .filter_map(|one| Some((one.hello.as_ref()?.instance.as_str(), one.status.as_ref()?)))
        .collect();
    connected.sort_by_key(|(name, _)| *name);
    connected.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_one_line_and_each_state_else_its_own() {
        let seen = [("a", &1), ("b", &1), ("c", &2)];
        let told: Vec<(i32, String)> =
            lines(&seen, |state| *state).iter().map(|line| (line.state, line.seen_by.cell(false))).collect();
        assert_eq!(told, [(2, "1/3 c".to_owned()), (1, "2/3 a,b".to_owned())]);
        let agreed = lines(&seen[..2], |state| *state);
        assert_eq!((agreed.len(), agreed[0].seen_by.cell(false)), (1, "2/2".to_owned()));
        assert_eq!(agreed[0].seen_by.cell(true), "2/2 a,b");
    }
}
