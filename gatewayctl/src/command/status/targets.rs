//! Targets: the servers behind the gateway, with their traffic summed over the fleet or told by instance.

use super::State;
use crate::output::{Resource, Row};
use jiff::Timestamp;
use policy::config::{GatewayConfig, TargetConfig};
use proto::v1::{GetStatusResponse, Instance, InstanceState, TargetStatus};
use serde::Serialize;
use std::collections::HashMap;

/// One target of one upstream, over the whole fleet or as one instance sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    pub upstream: String,
    pub addr: String,
    pub weight: u32,
    pub state: State,
    pub reason: String,
    pub in_flight: u64,
    pub requests: u64,
    pub failures: u64,
    pub connections: u64,
    /// Whose numbers these are; absent when they are summed over all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}

/// Every target of the current config, in its order.
pub fn summed(status: &GetStatusResponse, config: &GatewayConfig) -> Vec<Target> {
    let reports = Reports::of(status);
    let named = config.upstreams.iter().map(|upstream| (&upstream.name, &upstream.targets));
    let inline = config.routes.iter().map(|route| (&route.name, &route.targets));
    named
        .chain(inline)
        .flat_map(|(name, targets)| targets.iter().map(|target| reports.sum(name, target)))
        .collect()
}

/// What every connected instance says, by upstream and address: fleets have tens of thousands of targets.
struct Reports<'a> {
    by_target: HashMap<(&'a str, &'a str), Vec<(&'a str, &'a TargetStatus)>>,
}

impl<'a> Reports<'a> {
    fn of(status: &'a GetStatusResponse) -> Self {
        let mut by_target: HashMap<_, Vec<_>> = HashMap::new();
        for (instance, targets) in connected(status) {
            for target in targets {
                let key = (target.upstream.as_str(), target.addr.as_str());
                by_target.entry(key).or_default().push((instance, target));
            }
        }
        Self { by_target }
    }

    fn sum(&self, upstream: &str, target: &TargetConfig) -> Target {
        let addr = target.addr.to_string();
        let seen = self.by_target.get(&(upstream, addr.as_str())).map_or(&[][..], Vec::as_slice);
        let (state, reason) = judge(seen, target.weight);
        let total = |number: fn(&TargetStatus) -> u64| seen.iter().map(|(_, seen)| number(seen)).sum();
        Target {
            upstream: upstream.to_owned(),
            weight: target.weight,
            state,
            reason,
            in_flight: total(|seen| seen.in_flight),
            requests: total(|seen| seen.requests_total),
            failures: total(|seen| seen.failures_total),
            connections: total(|seen| seen.connections),
            instance: None,
            addr,
        }
    }
}

/// What the instances together say of one target.
fn judge(seen: &[(&str, &TargetStatus)], weight: u32) -> (State, String) {
    let failing: Vec<&(&str, &TargetStatus)> =
        seen.iter().filter(|(_, seen)| !seen.last_error.is_empty()).collect();
    match (failing.first(), failing.len()) {
        _ if weight == 0 => (State::Drained, "weight 0".to_owned()),
        _ if seen.is_empty() => (State::Unknown, "no instance reports it".to_owned()),
        (None, _) => (State::Ok, String::new()),
        (Some((_, first)), failing) if failing == seen.len() => (State::Down, first.last_error.clone()),
        (Some((instance, first)), failing) => (
            State::Degraded,
            format!("{failing} of {} instances: {instance}: {}", seen.len(), first.last_error),
        ),
    }
}

/// As each connected instance reports them.
pub fn by_instance(status: &GetStatusResponse) -> Vec<Target> {
    connected(status)
        .flat_map(|(instance, targets)| {
            targets.iter().map(|target| seen_by(instance, target)).collect::<Vec<_>>()
        })
        .collect()
}

fn seen_by(instance: &str, target: &TargetStatus) -> Target {
    let (state, reason) = judge(&[(instance, target)], target.weight);
    let TargetStatus {
        upstream,
        addr,
        weight,
        in_flight,
        requests_total,
        failures_total,
        connections,
        last_error: _,
    } = target.clone();
    Target {
        upstream,
        addr,
        weight,
        state,
        reason,
        in_flight,
        requests: requests_total,
        failures: failures_total,
        connections,
        instance: Some(instance.to_owned()),
    }
}

/// The last report of a disconnected instance tells nothing about now.
fn connected(status: &GetStatusResponse) -> impl Iterator<Item = (&str, &[TargetStatus])> {
    let is_connected = |instance: &&Instance| instance.state() != InstanceState::Disconnected;
    status.instances.iter().filter(is_connected).filter_map(|instance| {
        Some((instance.hello.as_ref()?.instance.as_str(), instance.status.as_ref()?.targets.as_slice()))
    })
}

impl Resource for Target {
    const KIND: &'static str = "Target";

    fn name(&self) -> String {
        format!("target/{}/{}", self.upstream, self.addr)
    }

    fn row(&self, wide: bool, _now: Timestamp) -> Row {
        Row::default()
            .cell("UPSTREAM", &self.upstream)
            .cell("TARGET", &self.addr)
            .cell_if(wide, "INSTANCE", self.instance.as_deref().unwrap_or_default())
            .cell("WEIGHT", self.weight)
            .toned("STATE", self.state.word(), self.state.tone())
            .cell("REASON", &self.reason)
            .cell("IN-FLIGHT", self.in_flight)
            .cell("REQUESTS", self.requests)
            .cell("FAILURES", self.failures)
            .cell("CONNS", self.connections)
    }
}
