//! The fleet in one line: does every instance run the current version, does every target answer, is
//! no breaker open, are the keys of tokens there, do certificates hold?

use super::State;
use super::breakers::{Breaker, breakers};
use super::instances::{Instance, instances};
use super::issuers::{Issuer, issuers};
use super::listeners::{Listener, listeners};
use super::targets::verdicts;
use crate::output::{Resource, Row};
use jiff::Timestamp;
use policy::config::GatewayConfig;
use proto::v1::GetStatusResponse;
use serde::Serialize;

/// Everything at once.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    pub cluster: String,
    pub version: u64,
    pub sha256: String,
    pub config_file: String,
    pub instances_current: usize,
    pub instances: usize,
    pub routes: usize,
    pub targets_ready: usize,
    pub targets: usize,
    pub state: State,
    /// Everything that is not as it should be.
    pub problems: Vec<String>,
}

pub fn fleet(status: &GetStatusResponse, config: &GatewayConfig) -> Fleet {
    let instances = instances(status);
    let targets = verdicts(status, config);
    let failing = targets.iter().filter(|target| target.state.is_bad());
    let mut problems: Vec<String> = instances.iter().filter_map(Instance::complaint).collect();
    problems.extend(failing.map(|target| format!("{} {}: {}", target.upstream, target.addr, target.reason)));
    problems.extend(breakers(status).iter().filter_map(Breaker::complaint));
    problems.extend(issuers(status).iter().filter_map(Issuer::complaint));
    problems.extend(listeners(status).iter().filter_map(Listener::complaint));
    if !status.config_problem.is_empty() {
        problems.push(status.config_problem.clone());
    }
    if status.current_version == 0 {
        problems.push("no config has been applied".to_owned());
    }
    let current = instances.iter().filter(|instance| instance.is_current).count();
    if instances.is_empty() {
        problems.push("no instance has joined".to_owned());
    }
    Fleet {
        cluster: status.cluster_id.clone(),
        version: status.current_version,
        sha256: status.current_sha256.clone(),
        config_file: status.config_file.clone(),
        instances_current: current,
        instances: instances.len(),
        routes: config.routes.len(),
        targets_ready: targets
            .iter()
            .filter(|target| matches!(target.state, State::Ok | State::Recovering | State::Degraded))
            .count(),
        targets: targets.iter().filter(|target| target.state != State::Drained).count(),
        state: state(current, &problems),
        problems,
    }
}

fn state(current: usize, problems: &[String]) -> State {
    match (problems.is_empty(), current) {
        (true, _) => State::Ok,
        (false, 0) => State::Down,
        (false, _) => State::Degraded,
    }
}

impl Resource for Fleet {
    const KIND: &'static str = "Fleet";

    fn name(&self) -> String {
        format!("fleet/{}", self.cluster)
    }

    fn row(&self, wide: bool, _now: Timestamp) -> Row {
        let short = |id: &str| id.get(..8).unwrap_or(id).to_owned();
        Row::default()
            .cell("FLEET", if wide { self.cluster.clone() } else { short(&self.cluster) })
            .toned("STATE", self.state.word(), self.state.tone())
            .cell("REASON", self.reason(wide))
            .cell("VERSION", format!("v{}", self.version))
            .cell("INSTANCES", format!("{}/{}", self.instances_current, self.instances))
            .cell("ROUTES", self.routes)
            .cell("TARGETS", format!("{}/{}", self.targets_ready, self.targets))
            .cell_if(wide, "FILE", &self.config_file)
    }
}

impl Fleet {
    fn reason(&self, wide: bool) -> String {
        match self.problems.as_slice() {
            [first, _, ..] if !wide => format!("{first} (+{} more, see -o wide)", self.problems.len() - 1),
            problems => problems.join("; "),
        }
    }
}
