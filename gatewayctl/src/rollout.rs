//! Follows a rollout's stream of events to its end and turns its outcome into words, a document and an exit code.

use crate::client;
use crate::console;
use crate::exit::{Exit, Failure};
use crate::output::{API_VERSION, took};
use crate::progress::Progress;
use policy::diagnostic::{self, Diagnostic};
use proto::v1::rollout_event::Event;
use proto::v1::{Finished, InstanceStep, Outcome, RolloutEvent, Started, Step};
use serde::Serialize;
use std::time::Duration;
use tonic::Streaming;

/// Where to stop following.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    Started,
    Finished,
}

/// How far it was followed.
#[derive(Debug)]
pub enum Followed {
    Started(Started),
    Finished(Finished),
}

/// Shows every step; the deadline is for the whole rollout, time spent waiting for an earlier one included.
pub async fn follow(
    events: Streaming<RolloutEvent>,
    until: Until,
    deadline: Duration,
) -> Result<Followed, Failure> {
    match tokio::time::timeout(deadline, follow_to_end(events, until)).await {
        Ok(followed) => followed,
        Err(_) => Err(Failure::new(Exit::Unconfirmed, format_args!("no outcome within {deadline:?}"))
            .help("the rollout may still go on: `gatewayctl rollout status` follows it")),
    }
}

async fn follow_to_end(mut events: Streaming<RolloutEvent>, until: Until) -> Result<Followed, Failure> {
    let mut progress = Progress::on_stderr();
    let mut has_started = false;
    loop {
        let event = match events.message().await {
            Ok(Some(event)) => event.event,
            Ok(None) => return Err(cut_short(has_started, None)),
            Err(status) if has_started => return Err(cut_short(true, Some(status.message()))),
            Err(status) => return Err(client::failure(status)),
        };
        match event {
            Some(Event::Started(started)) => {
                has_started = true;
                progress.start(&started);
                if until == Until::Started {
                    return Ok(Followed::Started(started));
                }
            }
            Some(Event::Step(step)) => progress.step(&step),
            Some(Event::Finished(finished)) => return Ok(Followed::Finished(finished)),
            // an event of a later version of the control plane
            None => {}
        }
    }
}

fn cut_short(has_started: bool, why: Option<&str>) -> Failure {
    let why = why.filter(|why| !why.is_empty()).unwrap_or("the stream ended without an outcome");
    if has_started {
        Failure::new(Exit::Unconfirmed, format_args!("the connection was lost during the rollout: {why}"))
            .help("its outcome is unknown: ask with `gatewayctl rollout status`")
    } else {
        Failure::new(Exit::No, "no rollout has taken place")
    }
}

/// The exit code that an outcome deserves.
pub fn exit(finished: &Finished) -> Exit {
    match finished.outcome() {
        Outcome::Committed | Outcome::Unchanged | Outcome::DryRunOk => Exit::Yes,
        Outcome::Invalid => Exit::Invalid,
        Outcome::Rejected => Exit::Rejected,
        Outcome::BaseMoved => Exit::BaseMoved,
        Outcome::CommittedUnconfirmed => Exit::Unconfirmed,
        Outcome::Unspecified => Exit::Bug,
    }
}

/// The text a config's diagnostics point into.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

/// Tells on standard error what stood in the way, and where.
pub fn explain(finished: &Finished, source: Option<Source<'_>>) {
    let diagnostics: Vec<Diagnostic> = finished.diagnostics.iter().cloned().map(Diagnostic::from).collect();
    if !diagnostics.is_empty() {
        console::note(&render_diagnostics(&diagnostics, source));
    }
    for step in &finished.instances {
        for line in complaints(step) {
            console::note(&line);
        }
    }
    match exit(finished) {
        Exit::Yes => {}
        exit => console::error(&refusal(finished, exit)),
    }
}

fn render_diagnostics(diagnostics: &[Diagnostic], source: Option<Source<'_>>) -> String {
    let Source { name, text } = source.unwrap_or(Source { name: "config", text: "" });
    diagnostic::render(name, text, diagnostics, true)
}

/// What one instance has against the config, one line a diagnostic.
fn complaints(step: &InstanceStep) -> Vec<String> {
    let InstanceStep { instance, step: _, took_us: _, diagnostics } = step;
    diagnostics
        .iter()
        .map(|diagnostic| {
            let place =
                if diagnostic.path.is_empty() { String::new() } else { format!(" at {}", diagnostic.path) };
            let help = if diagnostic.help.is_empty() {
                String::new()
            } else {
                format!("\n  help: {}", diagnostic.help)
            };
            format!(
                "{instance}: {}[{}]{place}: {}{help}",
                step_word(step.step()),
                diagnostic.code,
                diagnostic.message
            )
        })
        .collect()
}

fn refusal(finished: &Finished, exit: Exit) -> Failure {
    let failure = Failure::new(exit, sentence(finished));
    match exit {
        Exit::BaseMoved => {
            failure.help("`gatewayctl diff -f FILE` shows what changed; apply again on top of it")
        }
        Exit::Unconfirmed => failure.help("`gatewayctl status instances --watch` shows who is behind"),
        Exit::Bug => failure.help("the control plane is of another version than this gatewayctl"),
        _ => failure,
    }
}

/// The control plane's own sentence, or one made of the facts.
pub fn sentence(finished: &Finished) -> String {
    if !finished.message.is_empty() {
        return finished.message.clone();
    }
    let (version, current) = (finished.version, finished.current_version);
    match finished.outcome() {
        Outcome::Committed => format!("version {version} is committed"),
        Outcome::Unchanged => format!("version {current} already has this config"),
        Outcome::DryRunOk => "every instance could run this config; nothing was changed".to_owned(),
        Outcome::Invalid => format!("the config is invalid; version {current} stays"),
        Outcome::Rejected => format!("version {version} was rejected; version {current} stays"),
        Outcome::BaseMoved => format!("the current version is {current}, not the one named as its base"),
        Outcome::CommittedUnconfirmed => {
            format!("version {version} is committed, but not confirmed by every instance")
        }
        Outcome::Unspecified => format!("unknown outcome {}", finished.outcome),
    }
}

/// One line for standard output: the outcome with its cost, where it is known.
pub fn summary(finished: &Finished) -> String {
    match (finished.outcome(), finished.took_us) {
        (Outcome::Committed | Outcome::DryRunOk, 1..) => {
            format!("{} in {}\n", sentence(finished), took(finished.took_us))
        }
        _ => format!("{}\n", sentence(finished)),
    }
}

/// One line an instance with its last step.
pub fn acknowledgements(finished: &Finished) -> String {
    finished.instances.iter().map(|step| format!("{}: {}\n", step.instance, describe(step))).collect()
}

/// The step with what it cost; what stood in its way, the outcome tells in full.
pub fn describe(step: &InstanceStep) -> String {
    let word = step_word(step.step());
    match (step.step(), step.took_us) {
        (Step::Prepared | Step::Active, 1..) => format!("{word} in {}", took(step.took_us)),
        _ => word.to_owned(),
    }
}

/// The outcome as a document; its items are the instances.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report<'a> {
    api_version: &'static str,
    kind: &'static str,
    outcome: &'static str,
    version: u64,
    current_version: u64,
    message: String,
    took_us: u64,
    diagnostics: Vec<Complaint<'a>>,
    items: Vec<InstanceOutcome<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InstanceOutcome<'a> {
    instance: &'a str,
    state: &'static str,
    took_us: u64,
    diagnostics: Vec<Complaint<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Complaint<'a> {
    code: &'a str,
    message: &'a str,
    help: &'a str,
    path: &'a str,
    line: u32,
    column: u32,
}

impl<'a> From<&'a proto::v1::Diagnostic> for Complaint<'a> {
    fn from(diagnostic: &'a proto::v1::Diagnostic) -> Self {
        let proto::v1::Diagnostic { code, message, help, path, line, column, start: _, end: _, related: _ } =
            diagnostic;
        Self { code, message, help, path, line: *line, column: *column }
    }
}

impl<'a> From<&'a InstanceStep> for InstanceOutcome<'a> {
    fn from(step: &'a InstanceStep) -> Self {
        let state = step_word(step.step());
        let InstanceStep { instance, step: _, took_us, diagnostics } = step;
        Self {
            instance,
            state,
            took_us: *took_us,
            diagnostics: diagnostics.iter().map(Complaint::from).collect(),
        }
    }
}

impl<'a> From<&'a Finished> for Report<'a> {
    fn from(finished: &'a Finished) -> Self {
        let Finished { outcome: _, version, current_version, diagnostics, message: _, took_us, instances } =
            finished;
        Self {
            api_version: API_VERSION,
            kind: "Rollout",
            outcome: outcome_word(finished.outcome()),
            version: *version,
            current_version: *current_version,
            message: sentence(finished),
            took_us: *took_us,
            diagnostics: diagnostics.iter().map(Complaint::from).collect(),
            items: instances.iter().map(InstanceOutcome::from).collect(),
        }
    }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unspecified => "unknown",
        Outcome::Committed => "committed",
        Outcome::Unchanged => "unchanged",
        Outcome::DryRunOk => "dry-run-ok",
        Outcome::Invalid => "invalid",
        Outcome::Rejected => "rejected",
        Outcome::BaseMoved => "base-moved",
        Outcome::CommittedUnconfirmed => "committed-unconfirmed",
    }
}

/// A step as it is shown to people and in documents.
pub fn step_word(step: Step) -> &'static str {
    match step {
        Step::Unspecified => "unknown",
        Step::Preparing => "preparing",
        Step::Prepared => "prepared",
        Step::Rejected => "rejected",
        Step::Committing => "committing",
        Step::Active => "active",
        Step::Aborted => "aborted",
        Step::Stale => "stale",
        Step::Lost => "lost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: Step, took_us: u64) -> InstanceStep {
        InstanceStep { instance: "dp-1".to_owned(), step: step.into(), took_us, diagnostics: Vec::new() }
    }

    #[test]
    fn steps_are_told_with_their_cost_where_it_is_known() {
        assert_eq!(describe(&step(Step::Prepared, 1_234)), "prepared in 1.2 ms");
        assert_eq!(describe(&step(Step::Active, 0)), "active");
        assert_eq!(describe(&step(Step::Committing, 5)), "committing");
    }

    #[test]
    fn every_outcome_has_a_sentence_and_an_exit() {
        let exits = (0..=8).map(|outcome| {
            let finished = Finished { outcome, version: 8, current_version: 7, ..Default::default() };
            assert!(!sentence(&finished).is_empty());
            exit(&finished).code()
        });
        // the last is an outcome that this version does not know
        assert_eq!(exits.collect::<Vec<_>>(), [70, 0, 0, 0, 3, 4, 6, 5, 70]);
    }
}
