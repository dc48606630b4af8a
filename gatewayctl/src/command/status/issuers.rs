//! Issuers of tokens: whose published keys are there, since when, and why not.

use super::State;
use super::agreement::{Line, Reports, SeenBy, lines};
use crate::output::{Resource, Row, age, moment};
use jiff::Timestamp;
use proto::v1::{GetStatusResponse, IssuerStatus};
use serde::Serialize;

/// The JWK set of an issuer, as some or all instances have it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Issuer {
    pub url: String,
    pub state: State,
    /// Why the last fetch failed.
    pub reason: String,
    /// Keys that can be used, where they are fewest.
    pub keys: u64,
    /// How often they were others than before, the first set included, where it is most.
    pub changes: u64,
    /// Last fetched as it should be, where that is longest ago.
    pub loaded: Option<Timestamp>,
    /// When the first of the instances fetches it again, unless a token asks for it earlier.
    pub next: Option<Timestamp>,
    /// Of all instances.
    pub fetches: u64,
    pub failures: u64,
    pub seen_by: SeenBy,
}

/// Every issuer whose keys are fetched; one item for each state that instances see it in.
pub fn issuers(status: &GetStatusResponse) -> Vec<Issuer> {
    let reports = Reports::of(status, |told| &told.issuers, |one| &one.url);
    reports.each().flat_map(|seen| lines(seen, judge)).map(|line| describe(&line)).collect()
}

fn judge(issuer: &IssuerStatus) -> State {
    match (issuer.loaded_ms > 0, issuer.last_error.is_empty()) {
        (true, true) => State::Ok,
        (true, false) => State::Degraded,
        (false, true) => State::Unknown,
        (false, false) => State::Down,
    }
}

fn describe(line: &Line<'_, IssuerStatus, State>) -> Issuer {
    let each = || line.seen.iter().map(|(_, seen)| *seen);
    let earliest =
        |moment: fn(&IssuerStatus) -> i64| each().map(moment).filter(|at| *at > 0).min().unwrap_or(0);
    let latest = each().max_by_key(|seen| seen.failed_ms).cloned().unwrap_or_default();
    Issuer {
        url: latest.url,
        state: line.state,
        reason: match line.state {
            State::Ok => String::new(),
            State::Unknown => "being fetched for the first time".to_owned(),
            _ => latest.last_error,
        },
        keys: each().map(|seen| seen.keys).min().unwrap_or(0),
        changes: each().map(|seen| seen.changes).max().unwrap_or(0),
        loaded: moment(earliest(|seen| seen.loaded_ms)),
        next: moment(earliest(|seen| seen.next_ms)),
        fetches: line.sum(|seen| seen.fetches),
        failures: line.sum(|seen| seen.failures),
        seen_by: line.seen_by.clone(),
    }
}

impl Issuer {
    /// Why the fleet is not as it should be because of it.
    pub fn complaint(&self) -> Option<String> {
        let Self { url, reason, seen_by, .. } = self;
        let what = match self.state {
            State::Degraded => "the keys of tokens are old ones",
            State::Down => "there are no keys of tokens",
            _ => return None,
        };
        Some(format!("{what} from {url} on {}: {reason}", seen_by.cell(false)))
    }
}

impl Resource for Issuer {
    const KIND: &'static str = "Issuer";

    fn name(&self) -> String {
        format!("issuer/{}", self.url)
    }

    fn row(&self, wide: bool, now: Timestamp) -> Row {
        let next = match self.next {
            None => String::new(),
            Some(at) if at <= now => "now".to_owned(),
            Some(at) => format!("in {}", age(Some(now), at)),
        };
        Row::default()
            .cell("ISSUER", &self.url)
            .toned("STATE", self.state.word(), self.state.tone())
            .cell("REASON", &self.reason)
            .cell("KEYS", self.keys)
            .cell("LOADED", age(self.loaded, now))
            .cell("NEXT", next)
            .cell("FETCHES", self.fetches)
            .cell("FAILED", self.failures)
            .cell_if(wide, "CHANGES", self.changes)
            .cell("INSTANCES", self.seen_by.cell(wide))
    }
}
