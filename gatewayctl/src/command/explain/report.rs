//! The answers of all instances: where they differ first, then each different one once.

use crate::exit::{Exit, Failure};
use crate::output::{self, API_VERSION, Row, Tone, count, printable};
use policy::explain::{Destination, Explanation, Rival, Says, Step, TargetSeen, Verdict};
use proto::v1::answer::Says as Said;
use proto::v1::{self, AnswerState, AskResponse, InstanceAnswer};
use serde::Serialize;
use std::fmt::Write as _;

/// What every instance says about one request.
pub struct Report {
    asked: v1::Explain,
    current_version: u64,
    answers: Vec<(String, Explanation)>,
    /// Who has not answered, and why.
    missing: Vec<Missing>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Missing {
    instance: String,
    state: &'static str,
    problem: String,
}

/// Instances that would do the same.
struct Group<'a> {
    instances: Vec<&'a str>,
    explanation: &'a Explanation,
}

impl Report {
    pub fn of(asked: &v1::Explain, response: AskResponse) -> Result<Self, Failure> {
        let (mut answers, mut missing) = (Vec::new(), Vec::new());
        for InstanceAnswer { instance, state, problem, answer } in response.instances {
            match answer.and_then(|answer| answer.says) {
                Some(Said::Explanation(explanation)) => {
                    let read = Explanation::try_from(explanation);
                    answers.push((instance, read.map_err(|error| Failure::new(Exit::Bug, error))?));
                }
                _ => missing.push(Missing { instance, state: state_name(state), problem }),
            }
        }
        Ok(Self { asked: asked.clone(), current_version: response.current_version, answers, missing })
    }

    /// 0 where it would be forwarded, or answered as the config wants; 1 where one instance would refuse it.
    pub fn exit(&self) -> Result<Exit, Failure> {
        if self.answers.is_empty() {
            return Err(Failure::new(Exit::Unconfirmed, "no instance has answered")
                .help("see `gatewayctl status instances`"));
        }
        let refused = |(_, told): &(String, Explanation)| told.verdict.is_refusal();
        if self.answers.iter().any(refused) {
            return Ok(Exit::No);
        }
        let silent = self.missing.iter().any(|one| one.state != "DISCONNECTED");
        Ok(if silent { Exit::Unconfirmed } else { Exit::Yes })
    }

    /// What a person must know who takes the answer for the whole truth.
    pub fn notes(&self) -> Vec<String> {
        let of = |one: &Missing| format!("{}: {}", one.instance, one.problem);
        self.missing.iter().map(of).collect()
    }

    fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for (instance, explanation) in &self.answers {
            match groups.iter_mut().find(|group| agree(group.explanation, explanation)) {
                Some(group) => group.instances.push(instance),
                None => groups.push(Group { instances: vec![instance], explanation }),
            }
        }
        groups
    }

    /// For people.
    pub fn text(&self) -> String {
        let groups = self.groups();
        let mut text = String::new();
        if groups.len() > 1 {
            text.push_str("the instances do not agree:\n");
            let row = |group: &Group<'_>| {
                let verdict = Summary(&group.explanation.verdict);
                Row::default()
                    .cell("INSTANCES", group.instances.join(", "))
                    .cell("VERSION", group.explanation.version)
                    .cell("ROUTE", group.explanation.route.as_deref().unwrap_or_default())
                    .toned("WOULD BE", verdict.line(), verdict.tone())
            };
            text.push_str(&indented(&output::rows(&groups.iter().map(row).collect::<Vec<_>>())));
            text.push('\n');
        }
        let sections: Vec<String> = groups.iter().map(|group| self.section(group)).collect();
        text + &sections.join("\n")
    }

    fn section(&self, group: &Group<'_>) -> String {
        let Explanation { version, request, verdict, route, rivals, steps, destination, .. } =
            group.explanation;
        let mut lines: Vec<Row> = Vec::new();
        let mut line = |name: &str, text: String, tone| {
            lines.push(Row::default().cell("", name).toned("", text, tone));
        };
        let behind = if *version == self.current_version {
            String::new()
        } else {
            format!(", not the fleet's {}", self.current_version)
        };
        let summary = Summary(verdict);
        line("would be", summary.line(), summary.tone());
        for (name, value) in summary.advice() {
            line(" ", format!("{name}: {value}"), Tone::Plain);
        }
        for condition in summary.provided() {
            line("provided that", condition.clone(), Tone::Doubtful);
        }
        line("request", asked(&self.asked, request), Tone::Plain);
        line("on", format!("{}, version {version}{behind}", group.instances.join(", ")), Tone::Plain);
        line("route", route.clone().unwrap_or_else(|| "none".to_owned()), Tone::Plain);
        for rival in rivals {
            line(if rival.fits { "beats" } else { "skips" }, told_rival(rival), Tone::Plain);
        }
        let mut text = output::untitled(&lines);
        text.push('\n');
        text.push_str(&output::rows(&steps.iter().map(told_step).collect::<Vec<_>>()));
        if let Some(destination) = destination {
            let _ = write!(text, "\n{}\n{}", told_destination(destination), told_targets(destination));
        }
        text
    }

    /// For programs: everything that every instance has said.
    pub fn document(&self) -> impl Serialize + '_ {
        let instances = self.answers.iter();
        Document {
            api_version: API_VERSION,
            kind: "Explanation",
            method: &self.asked.method,
            target: &self.asked.target,
            peer: &self.asked.peer,
            current_version: self.current_version,
            agree: self.groups().len() <= 1,
            instances: instances.map(|(instance, explanation)| Told { instance, explanation }).collect(),
            missing: &self.missing,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    method: &'a str,
    target: &'a str,
    peer: &'a str,
    current_version: u64,
    /// Every instance that answered would do the same.
    agree: bool,
    instances: Vec<Told<'a>>,
    missing: &'a [Missing],
}

#[derive(Serialize)]
struct Told<'a> {
    instance: &'a str,
    #[serde(flatten)]
    explanation: &'a Explanation,
}

/// Whether two instances would do the same; how much is left of a limit may differ.
fn agree(a: &Explanation, b: &Explanation) -> bool {
    let advice_aside = |verdict: &Verdict| match verdict.clone() {
        Verdict::Answer { status, reason, title, refused, advice: _ } => {
            Verdict::Answer { status, reason, title, refused, advice: Vec::new() }
        }
        forwarded @ Verdict::Forward { .. } => forwarded,
    };
    let candidates = |told: &Explanation| -> Vec<String> {
        let targets = told.destination.iter().flat_map(|destination| &destination.targets);
        targets.filter(|target| target.candidate).map(|target| target.addr.clone()).collect()
    };
    a.version == b.version
        && a.sha256 == b.sha256
        && a.route == b.route
        && advice_aside(&a.verdict) == advice_aside(&b.verdict)
        && candidates(a) == candidates(b)
}

/// A verdict in a line.
struct Summary<'a>(&'a Verdict);

impl<'a> Summary<'a> {
    fn line(&self) -> String {
        match self.0 {
            Verdict::Forward { upstream, .. } => format!("FORWARDED to {upstream}"),
            Verdict::Answer { status, reason, title, refused: true, .. } => {
                format!("REFUSED {status} {reason}: {title}")
            }
            Verdict::Answer { status, reason, title, .. } => format!("ANSWERED {status} {reason}: {title}"),
        }
    }

    fn tone(&self) -> Tone {
        match self.0 {
            Verdict::Forward { provided, .. } if !provided.is_empty() => Tone::Doubtful,
            Verdict::Answer { refused: true, .. } => Tone::Bad,
            Verdict::Forward { .. } | Verdict::Answer { .. } => Tone::Good,
        }
    }

    fn advice(&self) -> &'a [(String, String)] {
        match self.0 {
            Verdict::Answer { advice, .. } => advice,
            Verdict::Forward { .. } => &[],
        }
    }

    fn provided(&self) -> &'a [String] {
        match self.0 {
            Verdict::Forward { provided, .. } => provided,
            Verdict::Answer { .. } => &[],
        }
    }
}

fn asked(question: &v1::Explain, seen: &policy::explain::Seen) -> String {
    let host = if seen.host.is_empty() { String::new() } else { format!(" of {}", seen.host) };
    let client = if seen.client.is_empty() || seen.client == question.peer {
        format!("from {}", question.peer)
    } else {
        format!("from {}, whom the trusted proxy {} names", seen.client, question.peer)
    };
    format!("{} {}{host}, {client}", question.method, question.target)
}

fn told_rival(Rival { route, pattern, fits: _, why }: &Rival) -> String {
    format!("{route} ({pattern}): {why}")
}

fn told_step(Step { name, says, detail }: &Step) -> Row {
    let (word, tone) = match says {
        Says::Pass => ("PASS", Tone::Good),
        Says::Wait => ("WAIT", Tone::Doubtful),
        Says::Ask => ("ASK", Tone::Doubtful),
        Says::Answer => ("ANSWER", Tone::Good),
        Says::Refuse => ("REFUSE", Tone::Bad),
        Says::NotReached => ("NOT REACHED", Tone::Plain),
    };
    Row::default().cell("STEP", name).toned("SAYS", word, tone).cell("WHY", detail)
}

fn told_destination(destination: &Destination) -> String {
    let Destination {
        upstream,
        balancer,
        targets,
        pick,
        target,
        host,
        timeout_ms,
        per_try_timeout_ms,
        connect_timeout_ms,
        response_timeout_ms,
        retries,
    } = destination;
    let candidates = targets.iter().filter(|target| target.candidate).count();
    let next = match pick {
        Some(pick) => format!("next: {pick}"),
        None if candidates == 0 => "none of which takes it".to_owned(),
        None => format!("next: one of {candidates} by {balancer}"),
    };
    let mut text = format!("{upstream}: {}, {next}\n", count(targets.len(), "target"));
    let host = if host.is_empty() { "that of the target".to_owned() } else { host.clone() };
    let _ = writeln!(text, "sent as {}, Host: {}", printable(target), printable(&host));
    let limits = [
        ("connect", *connect_timeout_ms),
        ("response", *response_timeout_ms),
        ("each attempt", *per_try_timeout_ms),
        ("whole exchange", *timeout_ms),
    ];
    let limits = limits
        .iter()
        .filter(|(_, ms)| *ms > 0)
        .map(|(name, ms)| format!("{name} {}", output::took(ms * 1000)));
    let _ = writeln!(text, "timeouts: {}", limits.collect::<Vec<_>>().join(", "));
    let retries = if retries.is_empty() { "none" } else { retries };
    let _ = writeln!(text, "retries: {retries}");
    text
}

fn told_targets(destination: &Destination) -> String {
    let row = |TargetSeen { addr, weight, state, note, candidate }: &TargetSeen| {
        let tone = if *candidate { Tone::Good } else { Tone::Bad };
        Row::default()
            .cell("TARGET", addr)
            .toned("TAKES IT", if *candidate { "yes" } else { "no" }, tone)
            .cell("STATE", state.to_uppercase())
            .cell("WEIGHT", weight)
            .cell("NOTE", note)
    };
    output::rows(&destination.targets.iter().map(row).collect::<Vec<_>>())
}

fn state_name(state: i32) -> &'static str {
    match AnswerState::try_from(state) {
        Ok(AnswerState::Answered) => "ANSWERED",
        Ok(AnswerState::Refused) => "REFUSED",
        Ok(AnswerState::Silent) => "SILENT",
        Ok(AnswerState::Disconnected) => "DISCONNECTED",
        Ok(AnswerState::Unspecified) | Err(_) => "UNKNOWN",
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
