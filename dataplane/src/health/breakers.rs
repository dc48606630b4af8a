//! What the log says about circuit breakers: every opening with its reason, every trial and every closing.

use policy::breaker::{BreakerView, State};
use policy::clock::Now;
use policy::table::{Route, RouteTable};
use policy::upstream::Target;
use std::collections::HashMap;
use std::sync::Arc;

/// What has been written already.
#[derive(Default)]
pub(super) struct BreakerJournal {
    /// By route, and by the id of the target that it covers, if it covers only one.
    states: HashMap<(Arc<str>, Option<u64>), State>,
}

/// Another state than last time.
#[derive(Debug, PartialEq)]
struct Change {
    route: Arc<str>,
    target: Option<String>,
    view: BreakerView,
}

impl BreakerJournal {
    /// Logs what is new.
    pub(super) fn write(&mut self, table: &RouteTable, now: Now) {
        for change in self.changes(table, now) {
            change.log();
        }
    }

    /// Routes that the table no longer has are forgotten; a breaker is new when it is closed.
    fn changes(&mut self, table: &RouteTable, now: Now) -> Vec<Change> {
        let before = std::mem::take(&mut self.states);
        let mut changes = Vec::new();
        for route in &table.routes {
            for (target, breaker) in route.breakers() {
                let id = target.map(|target| target.state.id);
                let (key, state) = ((Arc::clone(&route.name), id), breaker.state());
                if before.get(&key).copied().unwrap_or(State::Closed) != state {
                    changes.push(Change::new(route, target, breaker.view(now)));
                }
                self.states.insert(key, state);
            }
        }
        changes
    }
}

impl Change {
    fn new(route: &Route, target: Option<&Target>, view: BreakerView) -> Self {
        Self { route: Arc::clone(&route.name), target: target.map(|target| target.addr.to_string()), view }
    }

    fn log(&self) {
        let Self { route, target, view: BreakerView { state, reason, shadow, .. } } = self;
        match state {
            State::Open => {
                tracing::warn!(%route, target = target.as_deref(), reason, shadow, "circuit breaker is open")
            }
            State::HalfOpen => {
                tracing::info!(%route, target = target.as_deref(), reason, shadow, "circuit breaker is half-open")
            }
            State::Closed => {
                tracing::info!(%route, target = target.as_deref(), reason, shadow, "circuit breaker is closed")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::breaker::Breaker;
    use policy::config::GatewayConfig;
    use policy::outcome::Outcome;
    use serde_json::json;

    fn at(secs: u64) -> Now {
        Now::from_nanos(secs * 1_000_000_000)
    }

    fn table() -> RouteTable {
        let targets = json!([{"addr": "http://10.0.0.1:80"}, {"addr": "http://10.0.0.2:80"}]);
        let filters = json!([{"circuit_breaker": {"threshold": 1, "timeout": "10s", "scope": "target"}}]);
        let route = json!({"name": "r", "prefix": "/", "targets": targets, "filters": filters});
        let config: GatewayConfig = serde_json::from_value(json!({"routes": [route]})).unwrap();
        RouteTable::build(&config, None).unwrap()
    }

    fn second(table: &RouteTable) -> &Breaker {
        table.routes[0].backends[0].breaker.as_ref().unwrap().running.covering(1).unwrap()
    }

    /// The targets that changed, their new states, and why.
    fn told(journal: &mut BreakerJournal, table: &RouteTable, now: Now) -> Vec<(String, State, String)> {
        let changes = journal.changes(table, now).into_iter();
        changes.map(|one| (one.target.unwrap(), one.view.state, one.view.reason)).collect()
    }

    #[test]
    fn every_change_is_told_once_and_with_its_reason() {
        let (table, mut journal) = (table(), BreakerJournal::default());
        assert_eq!(told(&mut journal, &table, at(1)), [], "closed is nothing new");
        second(&table).acquire(at(1)).unwrap().failed(at(1), Outcome::Timeout);
        let target = "http://10.0.0.2:80".to_owned();
        let opened = (target.clone(), State::Open, "1 failure: no response in time".to_owned());
        assert_eq!(told(&mut journal, &table, at(2)), [opened]);
        assert_eq!(told(&mut journal, &table, at(3)), []);
        second(&table).acquire(at(13)).unwrap().succeeded(at(13));
        assert_eq!(told(&mut journal, &table, at(13)), [(target, State::Closed, String::new())]);
    }
}
