//! Limits: which rate limit, concurrency limit or retry budget holds requests back, how full it is, and how much it
//! refuses.

use super::agreement::{Line, Reports, SeenBy, lines};
use crate::output::{Resource, Row, Tone, rate};
use jiff::Timestamp;
use proto::v1::{ConcurrencyStatus, Counter, GetStatusResponse, LimiterStatus, RetryStatus};
use serde::Serialize;

/// One limit, as some or all instances see it. Every instance has its own share of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// `*`: of all routes.
    pub route: String,
    pub state: State,
    pub reason: String,
    pub passed_per_second: f64,
    pub passed: u64,
    pub refused_per_second: f64,
    pub refused: u64,
    #[serde(flatten)]
    pub kind: Kind,
    pub seen_by: SeenBy,
}

/// What is limited, and the numbers of that kind alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Kind {
    RateLimit {
        algorithm: String,
        key: String,
        /// It stands in `global_filters`.
        global: bool,
        /// Of each instance.
        qps: u32,
        burst: u32,
        /// What is left of the burst, where it is least.
        level: f64,
        keys: u64,
        evicted: u64,
        delayed_per_second: f64,
        delayed: u64,
        shadow: bool,
        would_limit_per_second: f64,
        would_limit: u64,
    },
    Concurrency {
        /// Absent: of the whole route.
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        /// Of all instances together, as is what is in flight.
        limit: u64,
        max: u64,
        in_flight: u64,
        queued: u64,
        /// Requests that may wait.
        queue: u64,
        waited_per_second: f64,
        waited: u64,
        adaptive: bool,
        /// The latency without load that an adaptive limit goes by, where it is highest.
        #[serde(skip_serializing_if = "Option::is_none")]
        baseline_ms: Option<f64>,
    },
    Retry {
        /// Retries that the budgets allow now.
        budget_left: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    Ok,
    /// It would refuse if it were not in shadow mode.
    Shadow,
    /// Requests wait.
    Delaying,
    /// Nothing is left, and nobody was refused lately.
    Full,
    /// It refuses.
    Limiting,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "OK",
            State::Shadow => "SHADOW",
            State::Delaying => "DELAYING",
            State::Full => "FULL",
            State::Limiting => "LIMITING",
        }
    }

    fn tone(self) -> Tone {
        match self {
            State::Ok => Tone::Good,
            State::Shadow => Tone::Plain,
            State::Delaying | State::Full => Tone::Doubtful,
            State::Limiting => Tone::Bad,
        }
    }
}

/// Every limit that an instance reports: rate limits, then concurrency limits, then retry budgets.
pub fn limits(status: &GetStatusResponse) -> Vec<Limit> {
    let limiters = Reports::of(status, |told| &told.limiters, |one| (&one.route, one.global));
    let concurrency = Reports::of(status, |told| &told.concurrency, |one| (&one.route, &one.target));
    let retries = Reports::of(status, |told| &told.retries, |one| &one.route);
    let limiters = limiters.each().flat_map(|seen| lines(seen, judge_limiter));
    let concurrency = concurrency.each().flat_map(|seen| lines(seen, judge_concurrency));
    let retries = retries.each().flat_map(|seen| lines(seen, judge_retry));
    limiters
        .map(|line| limiter(&line))
        .chain(concurrency.map(|line| concurrency_limit(&line)))
        .chain(retries.map(|line| retry_budget(&line)))
        .collect()
}

fn per_second(counter: Option<Counter>) -> f64 {
    counter.unwrap_or_default().per_second
}

/// Of all who see it so: total and per second.
fn count<T, S>(line: &Line<'_, T, S>, counter: fn(&T) -> Option<Counter>) -> (u64, f64) {
    let total = line.sum(|seen| counter(seen).unwrap_or_default().total);
    (total, line.sum_rate(|seen| per_second(counter(seen))))
}

fn judge_limiter(limiter: &LimiterStatus) -> State {
    if per_second(limiter.limited) > 0.0 {
        State::Limiting
    } else if per_second(limiter.delayed) > 0.0 {
        State::Delaying
    } else if per_second(limiter.would_limit) > 0.0 {
        State::Shadow
    } else {
        State::Ok
    }
}

fn limiter(line: &Line<'_, LimiterStatus, State>) -> Limit {
    let first = line.seen.first().map(|(_, first)| (*first).clone()).unwrap_or_default();
    let (passed, passed_per_second) = count(line, |seen| seen.passed);
    let (refused, refused_per_second) = count(line, |seen| seen.limited);
    let (delayed, delayed_per_second) = count(line, |seen| seen.delayed);
    let (would_limit, would_limit_per_second) = count(line, |seen| seen.would_limit);
    let reason = match line.state {
        State::Limiting => format!("{}/s answered with 429", rate(refused_per_second)),
        State::Delaying => format!("{}/s have to wait", rate(delayed_per_second)),
        State::Shadow => format!("{}/s would be answered with 429", rate(would_limit_per_second)),
        State::Full | State::Ok => String::new(),
    };
    Limit {
        route: first.route,
        state: line.state,
        reason,
        passed_per_second,
        passed,
        refused_per_second,
        refused,
        kind: Kind::RateLimit {
            algorithm: first.algorithm,
            key: first.key,
            global: first.global,
            qps: first.qps,
            burst: first.burst,
            level: line.seen.iter().map(|(_, seen)| seen.level).fold(f64::INFINITY, f64::min),
            keys: line.sum(|seen| seen.keys),
            evicted: line.sum(|seen| seen.evicted),
            delayed_per_second,
            delayed,
            shadow: first.shadow,
            would_limit_per_second,
            would_limit,
        },
        seen_by: line.seen_by.clone(),
    }
}

fn judge_concurrency(limit: &ConcurrencyStatus) -> State {
    if per_second(limit.refused) > 0.0 {
        State::Limiting
    } else if limit.queued > 0 {
        State::Delaying
    } else if limit.in_flight >= limit.limit {
        State::Full
    } else {
        State::Ok
    }
}

fn concurrency_limit(line: &Line<'_, ConcurrencyStatus, State>) -> Limit {
    let first = line.seen.first().map(|(_, first)| (*first).clone()).unwrap_or_default();
    let (refused, refused_per_second) = count(line, |seen| seen.refused);
    let (waited, waited_per_second) = count(line, |seen| seen.waited);
    let queued = line.sum(|seen| seen.queued.into());
    let reason = match line.state {
        State::Limiting => format!("{}/s answered with 503", rate(refused_per_second)),
        State::Delaying => format!("{queued} wait for a place"),
        State::Full => "every place is taken".to_owned(),
        State::Shadow | State::Ok => String::new(),
    };
    Limit {
        route: first.route,
        state: line.state,
        reason,
        // what passes is not counted on the way in; it is what is in flight
        passed_per_second: 0.0,
        passed: 0,
        refused_per_second,
        refused,
        kind: Kind::Concurrency {
            target: Some(first.target).filter(|target| !target.is_empty()),
            limit: line.sum(|seen| seen.limit.into()),
            max: line.sum(|seen| seen.max.into()),
            in_flight: line.sum(|seen| seen.in_flight.into()),
            queued,
            queue: line.sum(|seen| seen.queue.into()),
            waited_per_second,
            waited,
            adaptive: first.adaptive,
            baseline_ms: line.seen.iter().filter_map(|(_, seen)| seen.baseline_ms).reduce(f64::max),
        },
        seen_by: line.seen_by.clone(),
    }
}

fn judge_retry(retry: &RetryStatus) -> State {
    if per_second(retry.denied) > 0.0 { State::Limiting } else { State::Ok }
}

fn retry_budget(line: &Line<'_, RetryStatus, State>) -> Limit {
    let route = line.seen.first().map(|(_, first)| first.route.clone()).unwrap_or_default();
    let (passed, passed_per_second) = count(line, |seen| seen.retries);
    let (refused, refused_per_second) = count(line, |seen| seen.denied);
    let reason = match line.state {
        State::Limiting => {
            format!("{}/s failures not tried again: the budget is used up", rate(refused_per_second))
        }
        _ => String::new(),
    };
    Limit {
        route,
        state: line.state,
        reason,
        passed_per_second,
        passed,
        refused_per_second,
        refused,
        kind: Kind::Retry { budget_left: line.sum(|seen| seen.budget_left) },
        seen_by: line.seen_by.clone(),
    }
}

impl Kind {
    fn word(&self) -> &'static str {
        match self {
            Kind::RateLimit { .. } => "rate_limit",
            Kind::Concurrency { .. } => "concurrency",
            Kind::Retry { .. } => "retry",
        }
    }

    /// What it limits by; a limit of all routes may stand beside the route's own.
    fn key(&self) -> String {
        match self {
            Kind::RateLimit { key, global: true, .. } => format!("global/{key}"),
            Kind::RateLimit { key, global: false, .. } => key.clone(),
            Kind::Concurrency { target, .. } => target.clone().unwrap_or_else(|| "route".to_owned()),
            Kind::Retry { .. } => "route".to_owned(),
        }
    }

    /// How much is left, or taken, of how much.
    fn level(&self) -> String {
        match self {
            Kind::RateLimit { level, burst, .. } => format!("{level:.0}/{burst} left"),
            Kind::Concurrency { in_flight, limit, queued: 0, .. } => format!("{in_flight}/{limit} taken"),
            Kind::Concurrency { in_flight, limit, queued, .. } => {
                format!("{in_flight}/{limit} taken, {queued} wait")
            }
            Kind::Retry { budget_left } => format!("{budget_left} left"),
        }
    }

    /// The settings, as the config has them, and what else is to be told.
    fn settings(&self) -> String {
        match self {
            Kind::RateLimit { algorithm, qps, burst, shadow, delayed, would_limit, evicted, .. } => {
                let shadow =
                    if *shadow { format!(" shadow, {would_limit} would be refused") } else { String::new() };
                format!("{algorithm} qps={qps} burst={burst} delayed={delayed} evicted={evicted}{shadow}")
            }
            Kind::Concurrency { max, queue, waited, adaptive, baseline_ms, .. } => {
                let adaptive = if *adaptive { "adaptive " } else { "" };
                let baseline = baseline_ms.map(|ms| format!(" baseline={ms:.1}ms")).unwrap_or_default();
                format!("{adaptive}max={max} queue={queue} waited={waited}{baseline}")
            }
            Kind::Retry { .. } => String::new(),
        }
    }

    fn keys(&self) -> String {
        match self {
            Kind::RateLimit { keys, .. } => keys.to_string(),
            Kind::Concurrency { .. } | Kind::Retry { .. } => String::new(),
        }
    }
}

impl Resource for Limit {
    const KIND: &'static str = "Limit";

    fn name(&self) -> String {
        format!("limit/{}/{}/{}", self.route, self.kind.word(), self.kind.key())
    }

    fn row(&self, wide: bool, _now: Timestamp) -> Row {
        let counted = !matches!(self.kind, Kind::Concurrency { .. });
        let passed = |text: String| if counted { text } else { String::new() };
        Row::default()
            .cell("ROUTE", &self.route)
            .cell("LIMIT", self.kind.word())
            .cell("BY", self.kind.key())
            .toned("STATE", self.state.word(), self.state.tone())
            .cell("REASON", &self.reason)
            .cell("LEVEL", self.kind.level())
            .cell("PASSED/S", passed(rate(self.passed_per_second)))
            .cell("REFUSED/S", rate(self.refused_per_second))
            .cell_if(wide, "PASSED", passed(self.passed.to_string()))
            .cell("REFUSED", self.refused)
            .cell("KEYS", self.kind.keys())
            .cell_if(wide, "SETTINGS", self.kind.settings())
            .cell("INSTANCES", self.seen_by.cell(wide))
    }
}
