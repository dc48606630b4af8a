//! One rollout: its phase, its deadline, and what every participant has reached.

use crate::fleet::Now;
use proto::v1::{self, Outcome, Step};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What the rollout is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A new version.
    Change,
    /// A new version that is prepared and then dropped.
    DryRun,
    /// The current version, once more.
    Push,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Preparing,
    /// Every participant can; the decision is being stored.
    Deciding,
    /// Decided: the version is the current one, whatever happens from here on.
    Committing,
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) kind: Kind,
    pub(super) phase: Phase,
    pub(super) snapshot: v1::Snapshot,
    pub(super) timeout: Duration,
    /// The end of the phase.
    pub(super) until: Instant,
    began: Instant,
    participants: BTreeMap<String, Participant>,
}

#[derive(Debug)]
struct Participant {
    step: Step,
    took_us: u64,
    diagnostics: Vec<v1::Diagnostic>,
    /// The rollout is not over before it runs the version: it has prepared, or the push is for it.
    awaited: bool,
}

impl Attempt {
    pub(super) fn new(
        kind: Kind,
        phase: Phase,
        snapshot: v1::Snapshot,
        instances: impl Iterator<Item = String>,
        now: Now,
        timeout: Duration,
    ) -> Self {
        let awaited = phase == Phase::Committing;
        let participant = |name| {
            (name, Participant { step: Step::Unspecified, took_us: 0, diagnostics: Vec::new(), awaited })
        };
        Self {
            kind,
            phase,
            snapshot,
            timeout,
            until: now.at + timeout,
            began: now.at,
            participants: instances.map(participant).collect(),
        }
    }

    /// When the phase ends by itself; storing the decision has no deadline, it succeeds or fails.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.phase != Phase::Deciding).then_some(self.until)
    }

    /// Records what a participant has reached; returns what to tell if that is news.
    pub(super) fn record(
        &mut self,
        instance: &str,
        step: Step,
        took_us: u64,
        diagnostics: Vec<v1::Diagnostic>,
    ) -> Option<v1::InstanceStep> {
        let participant = self.participants.get_mut(instance)?;
        if participant.step == step {
            return None;
        }
        participant.step = step;
        participant.took_us = took_us;
        participant.diagnostics = diagnostics;
        Some(participant.told(instance))
    }

    /// Whether something is still to come from it.
    pub(super) fn is_open(&self, instance: &str) -> bool {
        let step = self.participants.get(instance).map(|participant| participant.step);
        matches!(step, Some(Step::Preparing | Step::Prepared | Step::Committing))
    }

    /// Nobody is left to answer.
    pub(super) fn is_prepared(&self) -> bool {
        self.participants.values().all(|participant| matches!(participant.step, Step::Prepared | Step::Lost))
    }

    /// There were participants, and each one's stream broke.
    pub(super) fn is_deserted(&self) -> bool {
        !self.participants.is_empty()
            && self.participants.values().all(|participant| participant.step == Step::Lost)
    }

    /// Enters the commit phase; returns who is to be told.
    pub(super) fn decide(&mut self, now: Now) -> Vec<String> {
        self.phase = Phase::Committing;
        self.until = now.at + self.timeout;
        let mut prepared = Vec::new();
        for (name, participant) in &mut self.participants {
            if participant.step == Step::Prepared {
                participant.awaited = true;
                prepared.push(name.clone());
            }
        }
        prepared
    }

    /// Whether every awaited participant has said yes or no; one whose stream broke may still come back.
    pub(super) fn is_confirmed(&self) -> bool {
        let settled = |one: &Participant| matches!(one.step, Step::Active | Step::Rejected);
        self.participants.values().filter(|participant| participant.awaited).all(settled)
    }

    /// Connected, asked, and silent.
    pub(super) fn unanswered(&self) -> Vec<String> {
        self.with_step(|step| match self.phase {
            Phase::Preparing => step == Step::Preparing,
            Phase::Deciding | Phase::Committing => matches!(step, Step::Preparing | Step::Committing),
        })
    }

    pub(super) fn preparing_or_prepared(&self) -> Vec<String> {
        self.with_step(|step| matches!(step, Step::Preparing | Step::Prepared))
    }

    fn with_step(&self, wanted: impl Fn(Step) -> bool) -> Vec<String> {
        let chosen = self.participants.iter().filter(|(_, participant)| wanted(participant.step));
        chosen.map(|(name, _)| name.clone()).collect()
    }

    /// The end of the commit phase in a word and a sentence.
    pub(super) fn verdict(&self) -> (Outcome, String) {
        let version = self.snapshot.version;
        let missing = |(_, one): &(&String, &Participant)| one.awaited && one.step != Step::Active;
        let unconfirmed: Vec<String> =
            self.participants.iter().filter(missing).map(|(name, one)| one.excuse(name)).collect();
        let refused = self.participants.values().any(|participant| participant.step == Step::Rejected);
        if unconfirmed.is_empty() {
            return (Outcome::Committed, self.success());
        }
        let who = unconfirmed.join(", ");
        match self.kind {
            Kind::Push if refused => (Outcome::Rejected, format!("version {version} is not run by {who}")),
            Kind::Push => {
                (Outcome::CommittedUnconfirmed, format!("version {version} is not confirmed by {who}"))
            }
            Kind::Change | Kind::DryRun => (
                Outcome::CommittedUnconfirmed,
                format!("version {version} is committed, but not confirmed by {who}"),
            ),
        }
    }

    fn success(&self) -> String {
        let version = self.snapshot.version;
        match self.with_step(|step| step == Step::Active).len() {
            0 => format!("version {version} is current; no data plane is connected"),
            1 => format!("version {version} is active on 1 data plane"),
            count => format!("version {version} is active on {count} data planes"),
        }
    }

    pub(super) fn started(&self, warnings: Vec<String>) -> v1::Started {
        v1::Started {
            version: self.snapshot.version,
            sha256: self.snapshot.sha256.clone(),
            instances: self.participants.keys().cloned().collect(),
            dry_run: self.kind == Kind::DryRun,
            warnings,
        }
    }

    pub(super) fn finished(
        &self,
        now: Now,
        outcome: Outcome,
        message: String,
        current_version: u64,
    ) -> v1::Finished {
        v1::Finished {
            outcome: outcome.into(),
            version: self.snapshot.version,
            current_version,
            diagnostics: Vec::new(),
            message,
            took_us: now.at.duration_since(self.began).as_micros() as u64,
            instances: self.participants.iter().map(|(name, one)| one.told(name)).collect(),
        }
    }
}

impl Participant {
    fn told(&self, instance: &str) -> v1::InstanceStep {
        v1::InstanceStep {
            instance: instance.to_owned(),
            step: self.step.into(),
            took_us: self.took_us,
            diagnostics: self.diagnostics.clone(),
        }
    }

    fn excuse(&self, instance: &str) -> String {
        match self.step {
            Step::Rejected => format!("{instance} ({})", summary(&self.diagnostics)),
            Step::Lost => format!("{instance} (its stream broke)"),
            _ => format!("{instance} (silent)"),
        }
    }
}

/// The first diagnostic in a line, and how many more there are.
pub(super) fn summary(diagnostics: &[v1::Diagnostic]) -> String {
    let Some(first) = diagnostics.first() else { return "it gave no reason".to_owned() };
    let mut text = match first.code.as_str() {
        "" => first.message.clone(),
        code => format!("{code}: {}", first.message),
    };
    if diagnostics.len() > 1 {
        text.push_str(&format!(" (and {} more)", diagnostics.len() - 1));
    }
    text
}
