//! Routes: which requests go where, and whether every instance and target does its part.

use super::State;
use super::breakers::{Breaker, breakers};
use super::instances::{Instance, instances};
use super::targets::{Verdict, verdicts};
use crate::output::{Resource, Row};
use jiff::Timestamp;
use policy::config::health::OnAllUnhealthy;
use policy::config::{GatewayConfig, RouteConfig};
use proto::v1::GetStatusResponse;
use serde::Serialize;
use std::collections::HashMap;

/// One route of the current version.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    pub name: String,
    pub hosts: Vec<String>,
    /// Exactly one of `prefix` and `path` is there, as in the config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub methods: Vec<String>,
    /// Header and query conditions: `header X-Version=2`.
    pub conditions: Vec<String>,
    /// Where it goes; empty where the gateway answers, and where a split says it.
    pub upstream: String,
    /// Between which upstreams it is split.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<Share>,
    /// What the gateway answers without any target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Targets that take requests, of all that should.
    pub targets_ready: usize,
    pub targets: usize,
    pub state: State,
    pub reason: String,
}

/// The share of an upstream.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    pub upstream: String,
    pub weight: u32,
}

/// In the order of the config.
pub fn routes(status: &GetStatusResponse, config: &GatewayConfig) -> Vec<Route> {
    let targets = verdicts(status, config);
    let mut wanted: HashMap<&str, Vec<&Verdict>> = HashMap::new();
    for target in targets.iter().filter(|target| target.state != State::Drained) {
        wanted.entry(&target.upstream).or_default().push(target);
    }
    let fleet = judge_fleet(&instances(status));
    let mut open: HashMap<String, Vec<Breaker>> = HashMap::new();
    for breaker in breakers(status).into_iter().filter(|breaker| breaker.complaint().is_some()) {
        open.entry(breaker.route.clone()).or_default().push(breaker);
    }
    let fails_open: HashMap<&str, bool> = config
        .upstreams
        .iter()
        .map(|upstream| (upstream.name.as_str(), upstream.on_all_unhealthy == OnAllUnhealthy::FailOpen))
        .collect();
    let describe = |route: &RouteConfig| {
        let breakers = open.get(&route.name).map_or(&[][..], Vec::as_slice);
        describe(route, &groups(route, &wanted, &fails_open), breakers, &fleet)
    };
    config.routes.iter().map(describe).collect()
}

/// The targets of one upstream of a route, as far as they should take requests.
struct Group<'a> {
    upstream: &'a str,
    targets: &'a [&'a Verdict],
    fails_open: bool,
    /// Its share has no weight.
    idle: bool,
}

fn groups<'a>(
    route: &'a RouteConfig,
    targets: &'a HashMap<&str, Vec<&Verdict>>,
    fails_open: &HashMap<&str, bool>,
) -> Vec<Group<'a>> {
    let weight =
        |name: &str| route.split.iter().find(|share| share.upstream == name).map(|share| share.weight);
    let group = |upstream: &'a str| Group {
        upstream,
        targets: targets.get(upstream).map_or(&[][..], Vec::as_slice),
        fails_open: fails_open
            .get(upstream)
            .copied()
            .unwrap_or_else(|| route.inline_upstream().on_all_unhealthy == OnAllUnhealthy::FailOpen),
        idle: weight(upstream) == Some(0),
    };
    route.upstream_names().map(group).collect()
}

fn describe(route: &RouteConfig, groups: &[Group<'_>], open: &[Breaker], fleet: &(State, String)) -> Route {
    let wanted = || groups.iter().flat_map(|group| group.targets);
    let (targets, ready) = (wanted().count(), wanted().filter(|target| !target.state.is_out()).count());
    let (state, reason) = worst([fleet.clone(), judge_groups(groups), judge_breakers(open, targets)]);
    let answer = answer(route);
    let (state, reason) = if answer.is_some() { fleet.clone() } else { (state, reason) };
    Route {
        name: route.name.clone(),
        hosts: route.hosts.iter().map(ToString::to_string).collect(),
        prefix: route.prefix.as_ref().map(ToString::to_string),
        path: route.path.as_ref().map(ToString::to_string),
        methods: route.methods.iter().map(|method| method.0.to_string()).collect(),
        conditions: conditions(route),
        upstream: match groups {
            [one] => one.upstream.to_owned(),
            _ => String::new(),
        },
        split: route
            .split
            .iter()
            .map(|share| Share { upstream: share.upstream.clone(), weight: share.weight })
            .collect(),
        answer,
        targets_ready: ready,
        targets,
        state,
        reason,
    }
}

fn answer(route: &RouteConfig) -> Option<String> {
    let redirect =
        route.redirect.as_ref().map(|redirect| format!("redirect {} {}", redirect.status, redirect.to));
    redirect.or_else(|| route.respond.as_ref().map(|respond| format!("respond {}", respond.status)))
}

fn conditions(route: &RouteConfig) -> Vec<String> {
    let headers = route.headers.iter().map(|header| format!("header {}={}", header.name.0, header.value));
    let query = route.query.iter().map(|query| format!("query {}={}", query.name, query.value));
    let listeners =
        (!route.listeners.is_empty()).then(|| format!("listener {}", route.listeners.join(" or ")));
    listeners.into_iter().chain(headers).chain(query).collect()
}

/// What the fleet does to every route.
fn judge_fleet(instances: &[Instance]) -> (State, String) {
    if !instances.iter().any(|instance| instance.is_connected) {
        return (State::Down, "no instance is connected".to_owned());
    }
    let complaints: Vec<String> = instances.iter().filter_map(Instance::complaint).collect();
    if complaints.is_empty() { (State::Ok, String::new()) } else { (State::Degraded, complaints.join("; ")) }
}

/// What the upstreams of a split do to it; a route without one has a single group.
fn judge_groups(groups: &[Group<'_>]) -> (State, String) {
    let judgements = groups.iter().map(|group| judge_targets(group.targets, group.fails_open));
    let judged: Vec<_> =
        groups.iter().zip(judgements).map(|(group, (state, reason))| (group, state, reason)).collect();
    if let [(_, state, reason)] = &judged[..] {
        return (*state, reason.clone());
    }
    let in_use = || judged.iter().filter(|(group, ..)| !group.idle);
    let reasons = judged.iter().filter(|(_, _, reason)| !reason.is_empty());
    let reasons: Vec<_> = reasons.map(|(group, _, reason)| format!("{}: {reason}", group.upstream)).collect();
    let state = match () {
        () if reasons.is_empty() => State::Ok,
        () if in_use().all(|(_, state, _)| *state == State::Down) => State::Down,
        () => State::Degraded,
    };
    (state, reasons.join("; "))
}

/// What its targets do to a route.
fn judge_targets(targets: &[&Verdict], fails_open: bool) -> (State, String) {
    let failing: Vec<&&Verdict> = targets.iter().filter(|target| target.state.is_bad()).collect();
    let Some(first) = failing.first() else {
        return if targets.is_empty() {
            (State::Down, "every target is drained".to_owned())
        } else {
            (State::Ok, String::new())
        };
    };
    let mut reason =
        format!("{} of {} targets: {}: {}", failing.len(), targets.len(), first.addr, first.reason);
    let all_out = failing.len() == targets.len() && failing.iter().all(|target| target.state.is_out());
    let reachable = failing.iter().any(|target| target.state != State::Down);
    if all_out && fails_open && reachable {
        reason.push_str("; requests are sent to them all the same (on_all_unhealthy: fail_open)");
        return (State::Degraded, reason);
    }
    (if all_out { State::Down } else { State::Degraded }, reason)
}

/// What its open breakers do to a route with so many targets.
fn judge_breakers(open: &[Breaker], targets: usize) -> (State, String) {
    let reasons: Vec<String> = open.iter().filter_map(Breaker::complaint).collect();
    let everywhere = open.iter().filter(|breaker| breaker.seen_by.is_unanimous());
    let (of_targets, of_route): (Vec<_>, Vec<_>) = everywhere.partition(|breaker| breaker.target.is_some());
    let state = match () {
        () if reasons.is_empty() => State::Ok,
        () if !of_route.is_empty() || of_targets.len() >= targets.max(1) => State::Down,
        () => State::Degraded,
    };
    (state, reasons.join("; "))
}

/// The worst state, with every reason.
fn worst(judgements: [(State, String); 3]) -> (State, String) {
    let state = judgements.iter().map(|(state, _)| *state).max().unwrap_or(State::Ok);
    let reasons: Vec<String> =
        judgements.into_iter().map(|(_, reason)| reason).filter(|reason| !reason.is_empty()).collect();
    (state, reasons.join("; "))
}

impl Resource for Route {
    const KIND: &'static str = "Route";

    fn name(&self) -> String {
        format!("route/{}", self.name)
    }

    fn row(&self, wide: bool, _now: Timestamp) -> Row {
        Row::default()
            .cell("ROUTE", &self.name)
            .cell("HOSTS", any(&self.hosts))
            .cell("PATH", self.pattern())
            .cell("METHODS", any(&self.methods))
            .cell_if(wide, "CONDITIONS", self.conditions.join(", "))
            .cell("UPSTREAM", self.destination())
            .cell("TARGETS", self.ready())
            .toned("STATE", self.state.word(), self.state.tone())
            .cell("REASON", &self.reason)
    }
}

impl Route {
    fn destination(&self) -> String {
        let shares = self.split.iter().map(|share| format!("{}:{}", share.upstream, share.weight));
        match &self.answer {
            Some(answer) => answer.clone(),
            None if self.split.is_empty() => self.upstream.clone(),
            None => shares.collect::<Vec<_>>().join(","),
        }
    }

    fn ready(&self) -> String {
        match self.answer {
            Some(_) => "-".to_owned(),
            None => format!("{}/{}", self.targets_ready, self.targets),
        }
    }

    /// A prefix is told from an exact path by its `/*`.
    fn pattern(&self) -> String {
        match (&self.prefix, &self.path) {
            (Some(prefix), _) => format!("{}/*", prefix.trim_end_matches('/')),
            (None, path) => path.clone().unwrap_or_default(),
        }
    }
}

fn any(list: &[String]) -> String {
    if list.is_empty() { "*".to_owned() } else { list.join(",") }
}
