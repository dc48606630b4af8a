//! Targets: the servers behind the gateway, with their state and traffic over the fleet.

use super::State;
use super::agreement::{Line, Report, Reports, SeenBy, lines};
use super::latency::{latency, quantile};
use crate::output::{Resource, Row, age, moment, rate};
use jiff::Timestamp;
use policy::config::{GatewayConfig, TargetConfig};
use proto::v1::{GetStatusResponse, HealthState, OrderedBy, TargetHealth, TargetStatus};
use serde::Serialize;
use std::collections::HashMap;

/// One target of one upstream, as some or all instances see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    pub upstream: String,
    pub addr: String,
    pub weight: u32,
    pub state: State,
    pub reason: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When an ejection or a slow start ends.
    pub until: Option<Timestamp>,
    /// What it gets of its full share while it recovers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start_share: Option<f64>,
    /// When an operator drained it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordered: Option<Timestamp>,
    pub in_flight: u64,
    pub requests_per_second: f64,
    pub requests: u64,
    /// How long heads of responses took lately; none where there were none, or above every bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_seconds: Option<f64>,
    /// Whether any response was timed.
    #[serde(skip)]
    pub measured: bool,
    pub failures_per_second: f64,
    pub failures: u64,
    pub connections: u64,
    pub probes: u64,
    pub probe_failures: u64,
    pub ejections: u64,
    /// What its name stands for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Why the name was not resolved when it was last tried.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dns_error: String,
    /// Nobody verifies its certificate.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unverified: bool,
    pub seen_by: SeenBy,
}

/// Every target of the current config, in its order; one item for each state that instances see it in.
pub fn targets(status: &GetStatusResponse, config: &GatewayConfig) -> Vec<Target> {
    let known = Known::of(status);
    configured(config)
        .flat_map(|(upstream, targets)| targets.iter().map(move |target| (upstream, target)))
        .flat_map(|(upstream, target)| known.targets(upstream, target))
        .collect()
}

/// A target in one word for the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub upstream: String,
    pub addr: String,
    pub state: State,
    pub reason: String,
}

/// Every target of the current config, in its order.
pub fn verdicts(status: &GetStatusResponse, config: &GatewayConfig) -> Vec<Verdict> {
    let known = Known::of(status);
    configured(config)
        .flat_map(|(upstream, targets)| targets.iter().map(move |target| (upstream, target)))
        .map(|(upstream, target)| known.verdict(upstream, target))
        .collect()
}

fn configured(config: &GatewayConfig) -> impl Iterator<Item = (&str, &[TargetConfig])> {
    let named = config.upstreams.iter().map(|upstream| (upstream.name.as_str(), &*upstream.targets));
    let inline = config.routes.iter().map(|route| (route.name.as_str(), &*route.targets));
    named.chain(inline)
}

/// What the instances say, and who ordered what.
struct Known<'a> {
    /// Upper ends of the buckets of latencies, in seconds.
    bounds: &'a [f64],
    reports: Reports<'a, TargetStatus, (&'a str, &'a str)>,
    drained: HashMap<(&'a str, &'a str), &'a OrderedBy>,
}

impl<'a> Known<'a> {
    fn of(status: &'a GetStatusResponse) -> Self {
        let drained = status.orders.iter().flat_map(|orders| &orders.drained);
        let traffic = status.instances.iter().filter_map(|one| one.status.as_ref()?.traffic.as_ref());
        let mut bounds = traffic.map(|traffic| &*traffic.bounds);
        Self {
            bounds: bounds.find(|bounds| !bounds.is_empty()).unwrap_or_default(),
            reports: Reports::of(status, |told| &told.targets, |target| (&target.upstream, &target.addr)),
            drained: drained
                .filter_map(|one| Some(((one.upstream.as_str(), one.addr.as_str()), one.by.as_ref()?)))
                .collect(),
        }
    }

    fn targets(&self, upstream: &str, target: &TargetConfig) -> Vec<Target> {
        let addr = target.addr.to_string();
        let seen = self.reports.get(&(upstream, &addr));
        if seen.is_empty() {
            return vec![unreported(upstream, addr, target.weight)];
        }
        let by = self.drained.get(&(upstream, addr.as_str())).copied();
        let lines = lines(seen, |seen| judge(seen, by).0);
        lines.iter().map(|line| describe(line, target.weight, by, self.bounds)).collect()
    }

    fn verdict(&self, upstream: &str, target: &TargetConfig) -> Verdict {
        let addr = target.addr.to_string();
        let by = self.drained.get(&(upstream, addr.as_str())).copied();
        let (state, reason) = judge_all(self.reports.get(&(upstream, &addr)), target.weight, by);
        Verdict { upstream: upstream.to_owned(), addr, state, reason }
    }
}

/// What one instance says of a target.
fn judge(seen: &TargetStatus, by: Option<&OrderedBy>) -> (State, String) {
    if seen.weight == 0 {
        return (State::Drained, WEIGHT_0.to_owned());
    }
    let health = seen.health.clone().unwrap_or_default();
    match health.state() {
        HealthState::Drained => (State::Drained, by.map_or(health.reason, super::author)),
        HealthState::Unhealthy => (State::Unhealthy, health.reason),
        HealthState::Ejected => (State::Ejected, health.reason),
        _ if !seen.last_error.is_empty() => (State::Down, seen.last_error.clone()),
        HealthState::Recovering => (State::Recovering, health.reason),
        HealthState::Healthy | HealthState::Unspecified => (State::Ok, remark(seen)),
    }
}

/// What an operator should know of a target that is well.
fn remark(seen: &TargetStatus) -> String {
    match (seen.dns_error.as_str(), seen.unverified) {
        ("", false) => String::new(),
        ("", true) => "its certificate is not verified".to_owned(),
        (error, _) => format!("its name is not resolved any more: {error}"),
    }
}

const WEIGHT_0: &str = "weight 0";
const UNREPORTED: &str = "no instance reports it";

/// What the instances together say of a target.
fn judge_all(seen: &[Report<'_, TargetStatus>], weight: u32, by: Option<&OrderedBy>) -> (State, String) {
    if weight == 0 {
        return (State::Drained, WEIGHT_0.to_owned());
    }
    let lines = lines(seen, |seen| judge(seen, by).0);
    let Some(worst) = lines.first() else { return (State::Unknown, UNREPORTED.to_owned()) };
    let Some((instance, first)) = worst.seen.first() else { return (State::Unknown, UNREPORTED.to_owned()) };
    let (state, reason) = judge(first, by);
    if lines.len() == 1 {
        return (state, reason);
    }
    let reason = format!("{} of {} instances: {instance}: {reason}", worst.seen.len(), seen.len());
    // some take it out and some send it requests
    (if state == State::Recovering { state } else { State::Degraded }, reason)
}

fn describe(
    line: &Line<'_, TargetStatus, State>,
    weight: u32,
    by: Option<&OrderedBy>,
    bounds: &[f64],
) -> Target {
    let first = line.seen.first().map(|(_, first)| (*first).clone()).unwrap_or_default();
    let (state, reason) = judge(&first, by);
    let health =
        |number: fn(&TargetHealth) -> u64| line.sum(|target| target.health.as_ref().map_or(0, number));
    let health_moment =
        |at: fn(&TargetHealth) -> i64| moment(line.latest(|seen| seen.health.as_ref().map_or(0, at)));
    let bucket = |at: usize| line.sum(|seen| seen.latencies.get(at).copied().unwrap_or_default());
    let latencies: Vec<u64> = (0..=bounds.len()).map(bucket).collect();
    let ordered = by.filter(|_| state == State::Drained && weight > 0);
    Target {
        upstream: first.upstream,
        addr: first.addr,
        weight,
        state,
        reason,
        since: health_moment(|health| health.since_ms),
        until: health_moment(|health| health.until_ms),
        slow_start_share: first.health.and_then(|health| health.slow_start_share),
        ordered: ordered.and_then(|by| moment(by.at_ms)),
        in_flight: line.sum(|seen| seen.in_flight),
        requests_per_second: line.sum_rate(|seen| seen.requests_per_second),
        requests: line.sum(|seen| seen.requests_total),
        p50_seconds: quantile(bounds, &latencies, 0.5),
        p99_seconds: quantile(bounds, &latencies, 0.99),
        measured: latencies.iter().any(|count| *count > 0),
        failures_per_second: line.sum_rate(|seen| seen.failures_per_second),
        failures: line.sum(|seen| seen.failures_total),
        connections: line.sum(|seen| seen.connections),
        probes: health(|health| health.probes),
        probe_failures: health(|health| health.probe_failures),
        ejections: health(|health| health.ejections),
        addresses: first.addresses,
        dns_error: first.dns_error,
        unverified: first.unverified,
        seen_by: line.seen_by.clone(),
    }
}

fn unreported(upstream: &str, addr: String, weight: u32) -> Target {
    let (state, reason) = judge_all(&[], weight, None);
    Target {
        upstream: upstream.to_owned(),
        addr,
        weight,
        state,
        reason,
        since: None,
        until: None,
        slow_start_share: None,
        ordered: None,
        in_flight: 0,
        requests_per_second: 0.0,
        requests: 0,
        p50_seconds: None,
        p99_seconds: None,
        measured: false,
        failures_per_second: 0.0,
        failures: 0,
        connections: 0,
        probes: 0,
        probe_failures: 0,
        ejections: 0,
        addresses: Vec::new(),
        dns_error: String::new(),
        unverified: false,
        seen_by: SeenBy::default(),
    }
}

impl Target {
    /// Nothing where nothing was measured.
    fn latency(&self, seconds: Option<f64>) -> String {
        if self.measured { latency(seconds) } else { String::new() }
    }

    /// The reason with what time adds to it.
    pub fn reason_at(&self, now: Timestamp) -> String {
        match self.ordered {
            Some(ordered) => format!("{}, {} ago", self.reason, age(Some(ordered), now)),
            None => self.reason.clone(),
        }
    }
}

impl Resource for Target {
    const KIND: &'static str = "Target";

    fn name(&self) -> String {
        format!("target/{}/{}", self.upstream, self.addr)
    }

    fn row(&self, wide: bool, now: Timestamp) -> Row {
        Row::default()
            .cell("UPSTREAM", &self.upstream)
            .cell("TARGET", &self.addr)
            .toned("STATE", self.state.word(), self.state.tone())
            .cell("REASON", self.reason_at(now))
            .cell("WEIGHT", self.weight)
            .cell("IN-FLIGHT", self.in_flight)
            .cell("REQ/S", rate(self.requests_per_second))
            .cell("P50", self.latency(self.p50_seconds))
            .cell("P99", self.latency(self.p99_seconds))
            .cell("REQUESTS", self.requests)
            .cell_if(wide, "FAIL/S", rate(self.failures_per_second))
            .cell("FAILURES", self.failures)
            .cell("CONNS", self.connections)
            .cell_if(wide, "ADDRESSES", self.addresses.join(","))
            .cell("INSTANCES", self.seen_by.cell(wide))
            .cell("AGE", age(self.since, now))
    }
}
