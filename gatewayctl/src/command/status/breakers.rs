//! Circuit breakers: which one is open, why, on which instances, and when it is tried again.

use super::agreement::{Line, Reports, SeenBy, lines};
use crate::output::{Resource, Row, Tone, age, moment, rate};
use jiff::Timestamp;
use proto::v1::{BreakerState, BreakerStatus, Counter, GetStatusResponse, OrderedBy};
use serde::Serialize;
use std::collections::HashMap;

/// The breaker of a route or of one of its targets, as some or all instances see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Breaker {
    pub route: String,
    /// Absent: of the whole route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    pub state: State,
    pub reason: String,
    /// An operator holds it so.
    pub held: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordered: Option<Timestamp>,
    pub since: Option<Timestamp>,
    /// When an open one lets a request try.
    pub retry: Option<Timestamp>,
    /// In a row, where it is most.
    pub failures: u32,
    /// 0 to 1, where it is highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    pub opened: u64,
    pub refused_per_second: f64,
    pub refused: u64,
    /// It refuses nothing, and counts what it would refuse.
    pub shadow: bool,
    pub would_refuse_per_second: f64,
    pub would_refuse: u64,
    pub seen_by: SeenBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum State {
    Closed,
    Unknown,
    HalfOpen,
    Open,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Closed => "CLOSED",
            State::Unknown => "UNKNOWN",
            State::HalfOpen => "HALF-OPEN",
            State::Open => "OPEN",
        }
    }

    fn tone(self) -> Tone {
        match self {
            State::Closed => Tone::Good,
            State::Unknown | State::HalfOpen => Tone::Doubtful,
            State::Open => Tone::Bad,
        }
    }
}

/// Who ordered which breaker to be held open, or closed.
type Held<'a> = HashMap<(&'a str, bool), &'a OrderedBy>;

/// Every breaker that an instance reports; one item for each state that instances see it in.
pub fn breakers(status: &GetStatusResponse) -> Vec<Breaker> {
    let held: Held<'_> = status
        .orders
        .iter()
        .flat_map(|orders| &orders.held)
        .filter_map(|one| Some(((one.route.as_str(), one.open), one.by.as_ref()?)))
        .collect();
    let reports = Reports::of(status, |told| &told.breakers, |one| (&one.route, &one.target));
    reports.each().flat_map(|seen| lines(seen, judge)).map(|line| describe(&line, &held)).collect()
}

/// A held one is told apart from one that is in the same state by itself.
fn judge(breaker: &BreakerStatus) -> (State, bool) {
    let state = match breaker.state() {
        BreakerState::Unspecified => State::Unknown,
        BreakerState::Closed => State::Closed,
        BreakerState::Open => State::Open,
        BreakerState::HalfOpen => State::HalfOpen,
    };
    (state, breaker.held)
}

fn describe(line: &Line<'_, BreakerStatus, (State, bool)>, orders: &Held<'_>) -> Breaker {
    let first = line.seen.first().map(|(_, first)| (*first).clone()).unwrap_or_default();
    let (state, held) = line.state;
    let by = orders.get(&(first.route.as_str(), state == State::Open)).copied().filter(|_| held);
    let counter = |counter: fn(&BreakerStatus) -> Option<Counter>| {
        let total = line.sum(|seen| counter(seen).unwrap_or_default().total);
        (total, line.sum_rate(|seen| counter(seen).unwrap_or_default().per_second))
    };
    let (refused, refused_per_second) = counter(|seen| seen.refused);
    let (would_refuse, would_refuse_per_second) = counter(|seen| seen.would_refuse);
    let each = || line.seen.iter().map(|(_, seen)| *seen);
    Breaker {
        route: first.route,
        target: Some(first.target).filter(|target| !target.is_empty()),
        state,
        reason: match by {
            Some(by) => format!("held {}", super::author(by)),
            None => first.reason,
        },
        held,
        ordered: by.and_then(|by| moment(by.at_ms)),
        since: moment(line.latest(|seen| seen.since_ms)),
        retry: moment(each().map(|seen| seen.retry_ms).filter(|at| *at > 0).min().unwrap_or(0)),
        failures: each().map(|seen| seen.failures).max().unwrap_or(0),
        error_rate: each().filter_map(|seen| seen.error_rate).reduce(f64::max),
        opened: line.sum(|seen| seen.opened),
        refused_per_second,
        refused,
        shadow: first.shadow,
        would_refuse_per_second,
        would_refuse,
        seen_by: line.seen_by.clone(),
    }
}

impl Breaker {
    /// Why the fleet is not as it should be because of it: `the breaker of pay is open on 1/3 dp-2: …`.
    pub fn complaint(&self) -> Option<String> {
        if self.state != State::Open || self.shadow {
            return None;
        }
        let Self { route, target, reason, seen_by, .. } = self;
        let of = target.as_ref().map_or_else(|| route.clone(), |target| format!("{route} for {target}"));
        Some(format!("the breaker of {of} is open on {}: {reason}", seen_by.cell(false)))
    }

    fn reason_at(&self, now: Timestamp) -> String {
        let ordered = self.ordered.map(|at| format!(", {} ago", age(Some(at), now))).unwrap_or_default();
        let shadow =
            if self.shadow && self.state != State::Closed { " (shadow: refuses nothing)" } else { "" };
        format!("{}{ordered}{shadow}", self.reason)
    }
}

impl Breaker {
    /// When an open one lets a request try. One whose time is over waits for a request.
    fn retry_at(&self, now: Timestamp) -> String {
        match self.retry {
            None => String::new(),
            Some(at) if at <= now => "now".to_owned(),
            Some(at) => format!("in {}", age(Some(now), at)),
        }
    }
}

impl Resource for Breaker {
    const KIND: &'static str = "Breaker";

    fn name(&self) -> String {
        match &self.target {
            Some(target) => format!("breaker/{}/{target}", self.route),
            None => format!("breaker/{}", self.route),
        }
    }

    fn row(&self, wide: bool, now: Timestamp) -> Row {
        let percent = |rate: f64| format!("{:.0}%", rate * 100.0);
        Row::default()
            .cell("ROUTE", &self.route)
            .cell("TARGET", self.target.as_deref().unwrap_or("*"))
            .toned("STATE", self.state.word(), self.state.tone())
            .cell("REASON", self.reason_at(now))
            .cell("RETRY", self.retry_at(now))
            .cell("FAILURES", self.failures)
            .cell("ERRORS", self.error_rate.map_or_else(String::new, percent))
            .cell("OPENED", self.opened)
            .cell("REFUSED/S", rate(self.refused_per_second))
            .cell("REFUSED", self.refused)
            .cell_if(wide, "SHADOW/S", rate(self.would_refuse_per_second))
            .cell_if(wide, "SHADOW", self.would_refuse)
            .cell("INSTANCES", self.seen_by.cell(wide))
            .cell("AGE", age(self.since, now))
    }
}
