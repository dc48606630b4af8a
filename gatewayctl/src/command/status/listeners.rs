//! Listeners: by which ports clients come, and how long the certificates hold that they are shown.

use super::State;
use super::agreement::{Line, Reports, SeenBy, lines};
use crate::output::{Resource, Row, age, moment};
use jiff::Timestamp;
use proto::v1::{CertificateStatus, GetStatusResponse, ListenerStatus};
use serde::Serialize;

/// A listener, as some or all instances have it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    pub name: String,
    pub state: State,
    /// What is not as it should be.
    pub reason: String,
    pub port: String,
    pub tls: bool,
    pub protocols: Vec<String>,
    /// Of all instances.
    pub connections: u64,
    /// Connections that ended before they could ask for anything.
    pub turned_away: u64,
    /// As the instance has them whose certificates expire first.
    pub certificates: Vec<Certificate>,
    pub seen_by: SeenBy,
}

/// What clients are shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    pub names: Vec<String>,
    pub expires: Option<Timestamp>,
    pub path: String,
}

/// Every listener; one item for each state that instances see it in.
pub fn listeners(status: &GetStatusResponse) -> Vec<Listener> {
    let reports = Reports::of(status, |told| &told.listeners, |one| &one.name);
    reports.each().flat_map(|seen| lines(seen, judge)).map(|line| describe(&line)).collect()
}

fn judge(listener: &ListenerStatus) -> State {
    match (listener.problem.is_empty(), listener.certificates.is_empty()) {
        (true, _) => State::Ok,
        (false, false) => State::Degraded,
        (false, true) => State::Down,
    }
}

fn first_to_expire(listener: &ListenerStatus) -> Option<i64> {
    listener.certificates.iter().map(|certificate| certificate.not_after_ms).min()
}

fn describe(line: &Line<'_, ListenerStatus, State>) -> Listener {
    let seen = line.seen.iter().map(|(_, seen)| *seen);
    let worst = seen.min_by_key(|seen| first_to_expire(seen)).cloned().unwrap_or_default();
    let certificate = |CertificateStatus { path, names, not_after_ms }| Certificate {
        names,
        expires: moment(not_after_ms),
        path,
    };
    Listener {
        name: worst.name,
        state: line.state,
        reason: worst.problem,
        port: worst.address.rsplit_once(':').map_or(String::new(), |(_, port)| port.to_owned()),
        tls: worst.tls,
        protocols: worst.protocols,
        connections: line.sum(|seen| seen.connections),
        turned_away: line.sum(|seen| seen.turned_away),
        certificates: worst.certificates.into_iter().map(certificate).collect(),
        seen_by: line.seen_by.clone(),
    }
}

impl Listener {
    /// Why the fleet is not as it should be because of it.
    pub fn complaint(&self) -> Option<String> {
        let Self { name, reason, seen_by, .. } = self;
        let complaint = || format!("listener {name} on {}: {reason}", seen_by.cell(false));
        (self.state != State::Ok).then(complaint)
    }
}

impl Resource for Listener {
    const KIND: &'static str = "Listener";

    fn name(&self) -> String {
        format!("listener/{}", self.name)
    }

    fn row(&self, wide: bool, now: Timestamp) -> Row {
        let first = self.certificates.iter().min_by_key(|certificate| certificate.expires);
        let expires = match first.and_then(|first| first.expires) {
            None => String::new(),
            Some(at) if at <= now => "expired".to_owned(),
            Some(at) => format!("in {}", age(Some(now), at)),
        };
        let names = |certificate: &Certificate| match certificate.names.as_slice() {
            [first, _, ..] if !wide => format!("{first} (+{})", certificate.names.len() - 1),
            names => names.join(","),
        };
        let certificates = match self.certificates.as_slice() {
            [first, _, ..] if !wide => format!("{} and {} more", names(first), self.certificates.len() - 1),
            all => all.iter().map(names).collect::<Vec<_>>().join(" "),
        };
        Row::default()
            .cell("LISTENER", &self.name)
            .toned("STATE", self.state.word(), self.state.tone())
            .cell("REASON", &self.reason)
            .cell("PORT", &self.port)
            .cell("TLS", if self.tls { "yes" } else { "no" })
            .cell("PROTOCOLS", self.protocols.join(","))
            .cell("CONNECTIONS", self.connections)
            .cell("TURNED AWAY", self.turned_away)
            .cell("CERTIFICATES", certificates)
            .cell("EXPIRES", expires)
            .cell("INSTANCES", self.seen_by.cell(wide))
    }
}
