//! What the log says about the health of targets: every change, and when an upstream has nobody left.

use policy::clock::Now;
use policy::health::HealthState;
use policy::table::RouteTable;
use policy::upstream::Upstream;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What has been written already.
#[derive(Default)]
pub(super) struct Journal {
    states: HashMap<u64, HealthState>,
    /// Upstreams without a target that is well.
    lost: HashSet<Arc<str>>,
}

/// Another state than last time.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    upstream: Arc<str>,
    addr: String,
    from: HealthState,
    to: HealthState,
    reason: String,
}

/// Whether an upstream has a target that is well, when that is new.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Lost,
    Saved,
}

impl Journal {
    /// A new table: what it no longer has is forgotten, and what is new has its first state.
    pub(super) fn follow(&mut self, table: &RouteTable, now: Now) {
        let names: HashSet<&str> = table.upstreams.iter().map(|upstream| &*upstream.name).collect();
        self.lost.retain(|name| names.contains(&**name));
        let mut known = std::mem::take(&mut self.states);
        for target in table.upstreams.iter().flat_map(|upstream| &upstream.targets) {
            let state = known.remove(&target.state.id).unwrap_or_else(|| target.state.health_state(now));
            self.states.insert(target.state.id, state);
        }
    }

    /// Logs what is new.
    pub(super) fn write(&mut self, table: &RouteTable, now: Now) {
        for upstream in &table.upstreams {
            for change in self.changes(upstream, now) {
                change.log();
            }
            match self.fate(upstream) {
                Some(Fate::Lost) => tracing::error!(
                    upstream = %upstream.name,
                    on_all_unhealthy = upstream.config().on_all_unhealthy.name(),
                    "no target is healthy"
                ),
                Some(Fate::Saved) => tracing::info!(upstream = %upstream.name, "a target is healthy again"),
                None => {}
            }
        }
    }

    fn changes(&mut self, upstream: &Upstream, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        for target in &upstream.targets {
            let to = target.state.health_state(now);
            let from = self.states.insert(target.state.id, to).unwrap_or(to);
            if from != to {
                let reason = target.state.health_view(now).reason;
                changes.push(Change {
                    upstream: Arc::clone(&upstream.name),
                    addr: target.addr.to_string(),
                    from,
                    to,
                    reason,
                });
            }
        }
        changes
    }

    /// By the states just seen; those with weight 0 get no requests however well they are.
    fn fate(&mut self, upstream: &Upstream) -> Option<Fate> {
        let well =
            |id: &u64| matches!(self.states.get(id), Some(HealthState::Healthy | HealthState::Recovering));
        let mut targets = upstream.targets.iter().filter(|target| target.weight > 0);
        if targets.any(|target| well(&target.state.id)) {
            self.lost.remove(&upstream.name).then_some(Fate::Saved)
        } else {
            self.lost.insert(Arc::clone(&upstream.name)).then_some(Fate::Lost)
        }
    }
}

impl Change {
    fn log(&self) {
        let Self { upstream, addr, from, to, reason } = self;
        match to {
            HealthState::Unhealthy | HealthState::Ejected => {
                tracing::warn!(%upstream, target = addr, %from, %to, reason, "target is out");
            }
            HealthState::Drained => {
                tracing::info!(%upstream, target = addr, %from, %to, reason, "target is out");
            }
            HealthState::Healthy if *from == HealthState::Recovering => {
                tracing::info!(%upstream, target = addr, %from, %to, reason, "target has its full share");
            }
            HealthState::Healthy | HealthState::Recovering => {
                tracing::info!(%upstream, target = addr, %from, %to, reason, "target is back");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::config::GatewayConfig;
    use serde_json::json;
    use std::time::Duration;

    fn at(secs: u64) -> Now {
        Now::from_nanos(secs * 1_000_000_000)
    }

    fn table() -> RouteTable {
        let targets = json!([
            {"addr": "http://10.0.0.1:80"}, {"addr": "http://10.0.0.2:80"}, {"addr": "http://10.0.0.3:80", "weight": 0},
        ]);
        let upstream = json!({"name": "u", "targets": targets, "health_check": {"unhealthy_threshold": 1}});
        let config: GatewayConfig = serde_json::from_value(json!({"upstreams": [upstream]})).unwrap();
        let table = RouteTable::build(&config, None).unwrap();
        table.upstreams[0].activate(at(1));
        table
    }

    fn fail(upstream: &Upstream, target: usize, now: Now) {
        let thresholds = upstream.thresholds().unwrap();
        upstream.targets[target].state.probed(Err("connect: connection refused".into()), thresholds, now);
    }

    #[test]
    fn a_change_is_told_once_and_with_its_reason() {
        let (table, mut journal) = (table(), Journal::default());
        let upstream = &table.upstreams[0];
        journal.follow(&table, at(1));
        fail(upstream, 1, at(2));
        let change = Change {
            upstream: "u".into(),
            addr: "http://10.0.0.2:80".to_owned(),
            from: HealthState::Healthy,
            to: HealthState::Unhealthy,
            reason: "connect: connection refused".to_owned(),
        };
        assert_eq!(journal.changes(upstream, at(2)), [change]);
        fail(upstream, 1, at(3));
        assert_eq!(journal.changes(upstream, at(3)), []);
    }

    #[test]
    fn a_recovery_that_is_complete_is_told_though_nobody_asked() {
        let (table, mut journal) = (table(), Journal::default());
        let upstream = &table.upstreams[0];
        fail(upstream, 0, at(2));
        journal.changes(upstream, at(2));
        let thresholds = upstream.thresholds().unwrap();
        (0..2).for_each(|_| upstream.targets[0].state.probed(Ok(()), thresholds, at(3)));
        let states =
            |journal: &mut Journal, now| journal.changes(upstream, now).pop().map(|change| change.to);
        assert_eq!(states(&mut journal, at(3)), Some(HealthState::Recovering));
        assert_eq!(states(&mut journal, at(3).after(Duration::from_secs(11))), Some(HealthState::Healthy));
    }

    #[test]
    fn an_upstream_without_a_healthy_target_is_told_once_and_when_it_is_over() {
        let (table, mut journal) = (table(), Journal::default());
        let upstream = &table.upstreams[0];
        let fate = |journal: &mut Journal, now| {
            journal.changes(upstream, now);
            journal.fate(upstream)
        };
        assert_eq!(fate(&mut journal, at(1)), None);
        (0..2).for_each(|target| fail(upstream, target, at(2)));
        assert_eq!(fate(&mut journal, at(2)), Some(Fate::Lost), "a target with weight 0 does not count");
        assert_eq!(fate(&mut journal, at(3)), None);
        let thresholds = upstream.thresholds().unwrap();
        (0..2).for_each(|_| upstream.targets[0].state.probed(Ok(()), thresholds, at(4)));
        assert_eq!(fate(&mut journal, at(4)), Some(Fate::Saved));
        journal.follow(&table, at(5));
        assert_eq!(fate(&mut journal, at(5)), None);
    }
}
