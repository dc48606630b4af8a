//! Health: what probes and requests have found out about each target, and what became of it.

use super::State;
use super::targets::Target;
use crate::output::{Resource, Row, age};
use jiff::Timestamp;
use serde::Serialize;

/// A target seen by its health: the same facts in other columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Health(pub Target);

impl Resource for Health {
    const KIND: &'static str = "Health";

    fn name(&self) -> String {
        format!("health/{}/{}", self.0.upstream, self.0.addr)
    }

    fn row(&self, wide: bool, now: Timestamp) -> Row {
        let Self(target) = self;
        Row::default()
            .cell("UPSTREAM", &target.upstream)
            .cell("TARGET", &target.addr)
            .toned("STATE", target.state.word(), target.state.tone())
            .cell("REASON", target.reason_at(now))
            .cell("SHARE", share(target))
            .cell("PROBES", target.probes)
            .cell("FAILED", target.probe_failures)
            .cell("EJECTIONS", target.ejections)
            .cell("UNTIL", target.until.map_or_else(String::new, |until| age(Some(now), until)))
            .cell("INSTANCES", target.seen_by.cell(wide))
            .cell("AGE", age(target.since, now))
    }
}

/// What it gets of the requests that its weight entitles it to. One that is unhealthy or ejected gets none, unless all
/// are and the upstream fails open.
fn share(target: &Target) -> String {
    match (target.state, target.slow_start_share) {
        (_, Some(share)) => format!("{:.0}%", share * 100.0),
        (State::Drained, None) => "0%".to_owned(),
        (State::Ok | State::Down, None) => "100%".to_owned(),
        (State::Recovering | State::Unknown | State::Degraded | State::Ejected | State::Unhealthy, None) => {
            String::new()
        }
    }
}
