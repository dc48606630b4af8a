//! The two-phase rollout over the fleet, as a pure state machine: facts go in, effects come out, time is an argument.
//!
//! The whole protocol is here: who is asked, what is sent to whom, when a version is decided, how a joining or failing
//! data plane is brought to the current version. The shell (`actor`) executes the [`Effect`]s in order. It must make
//! [`Effect::Persist`] durable before it reports [`Coordinator::persisted`]: no Commit exists before that.

mod attempt;

use crate::fleet::{Identity, Member, Now, Problem, Rivals, StreamId, Task};
use attempt::{Attempt, Kind, Phase, summary};
use proto::v1::{
    self, Outcome, Step, control_plane_message::Message as Down, data_plane_message::Message as Up,
    rollout_event::Event,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a data plane that is brought to the current version by itself may take for each step.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What the shell has to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    Send {
        instance: String,
        stream: StreamId,
        message: v1::ControlPlaneMessage,
    },
    /// A newer stream of the same data plane has taken this one's place.
    Replace {
        stream: StreamId,
        /// Set when it has begun to happen again and again.
        rivalry: Option<String>,
    },
    /// Store the decision to commit, then report [`Coordinator::persisted`].
    Persist {
        version: u64,
    },
    Tell(Event),
}

/// A change to be rolled out.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) snapshot: v1::Snapshot,
    pub(crate) dry_run: bool,
    pub(crate) timeout: Duration,
    pub(crate) warnings: Vec<String>,
}

/// The fleet, the version it runs, and the rollout under way.
pub(crate) struct Coordinator {
    cluster_id: String,
    current: v1::Snapshot,
    members: BTreeMap<String, Member>,
    attempt: Option<Attempt>,
    effects: Vec<Effect>,
    jitter: fastrand::Rng,
}

impl Coordinator {
    /// A coordinator that knows its last committed version and, so far, no data plane.
    pub(crate) fn new(current: v1::Snapshot, jitter: fastrand::Rng) -> Self {
        Self {
            cluster_id: current.cluster_id.clone(),
            current,
            members: BTreeMap::new(),
            attempt: None,
            effects: Vec::new(),
            jitter,
        }
    }

    pub(crate) fn current(&self) -> &v1::Snapshot {
        &self.current
    }

    /// The highest version that a data plane of this cluster has reported: a store restored from a backup may be
    /// behind its own fleet.
    pub(crate) fn highest_reported(&self) -> u64 {
        let ours = |member: &&Member| member.incompatibility(&self.cluster_id, u64::MAX).is_none();
        self.members.values().filter(ours).map(|member| member.active.version).max().unwrap_or(0)
    }

    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Every data plane that has joined, by name.
    pub(crate) fn instances(&self, now: Now) -> Vec<v1::Instance> {
        let current = self.identity();
        self.members.values().map(|member| member.describe(now, &current)).collect()
    }

    /// Every member that is remembered, with its stream if it is connected.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (&str, Option<StreamId>)> {
        self.members.iter().map(|(name, member)| (name.as_str(), member.stream))
    }

    /// When [`Coordinator::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let tasks = self.members.values().filter_map(|member| match member.task {
            Task::CatchUp { until } | Task::Commit { until } => Some(until),
            Task::Retry { at } => Some(at),
            Task::Idle | Task::Prepare => None,
        });
        tasks.chain(self.attempt.as_ref().and_then(Attempt::deadline)).min()
    }

    /// Begins a rollout; none may be under way, and the version must be allocated in the store.
    pub(crate) fn start(&mut self, now: Now, plan: Plan) {
        debug_assert!(self.attempt.is_none(), "one rollout at a time");
        let version = plan.snapshot.version;
        let asked: Vec<(String, StreamId)> = self
            .members
            .iter()
            .filter(|(_, member)| !member.is_draining())
            .filter(|(_, member)| member.incompatibility(&self.cluster_id, version).is_none())
            .filter_map(|(name, member)| Some((name.clone(), member.stream?)))
            .collect();
        let kind = if plan.dry_run { Kind::DryRun } else { Kind::Change };
        let names = asked.iter().map(|(name, _)| name.clone());
        let attempt = Attempt::new(kind, Phase::Preparing, plan.snapshot, names, now, plan.timeout);
        self.tell(Event::Started(attempt.started(plan.warnings)));
        let prepare = Down::Prepare(v1::Prepare { snapshot: Some(attempt.snapshot.clone()) });
        self.attempt = Some(attempt);
        for (name, stream) in asked {
            self.set_task(&name, Task::Prepare);
            self.send(&name, stream, prepare.clone());
            self.step(&name, Step::Preparing, 0, Vec::new());
        }
        self.decide_when_prepared(now);
    }

    /// Sends the current version again; an empty list means every connected data plane.
    pub(crate) fn push(&mut self, now: Now, instances: &[String], timeout: Duration) {
        debug_assert!(self.attempt.is_none(), "one rollout at a time");
        let names: Vec<String> = if instances.is_empty() {
            let reachable = |(_, member): &(&String, &Member)| self.unreachable(member).is_none();
            self.members.iter().filter(reachable).map(|(name, _)| name.clone()).collect()
        } else {
            instances.to_vec()
        };
        let current = self.current.clone();
        let attempt =
            Attempt::new(Kind::Push, Phase::Committing, current, names.iter().cloned(), now, timeout);
        self.tell(Event::Started(attempt.started(Vec::new())));
        self.attempt = Some(attempt);
        for name in &names {
            let problem = match self.members.get(name) {
                None => Some("has not joined since the control plane started".to_owned()),
                Some(member) => self.unreachable(member),
            };
            if let Some(problem) = problem {
                return self.finish(now, Outcome::Rejected, format!("{name} {problem}; nothing was sent"));
            }
        }
        for name in &names {
            self.catch_up(now, name);
        }
        self.finish_when_active(now);
    }

    fn unreachable(&self, member: &Member) -> Option<String> {
        if member.stream.is_none() {
            return Some("is not connected".to_owned());
        }
        member.incompatibility(&self.cluster_id, self.current.version)
    }

    /// Known instances that are not connected.
    pub(crate) fn absent(&self) -> Vec<String> {
        let absent = self.members.iter().filter(|(_, member)| member.stream.is_none());
        absent.map(|(name, _)| name.clone()).collect()
    }

    /// A data plane has opened a stream; `peer` is where from.
    pub(crate) fn join(&mut self, now: Now, stream: StreamId, peer: String, hello: v1::Hello) {
        self.members.retain(|_, member| !member.is_forgotten(now));
        let name = hello.instance.clone();
        let before = self.members.get(&name);
        let known = before.is_some_and(|member| member.rivals.complaint(now).is_some());
        let rivals = before.map_or_else(Rivals::default, |member| member.rivals_of(now, &hello));
        if let Some(stream) = before.and_then(|member| member.stream) {
            self.lose(now, &name);
            let rivalry = rivals.complaint(now).filter(|_| !known);
            self.effects.push(Effect::Replace { stream, rivalry });
        }
        self.members.insert(name.clone(), Member::new(now, stream, peer, rivals, hello));
        self.bring_up(now, &name);
        self.finish_when_active(now);
    }

    /// A stream has ended; a stream that was replaced no longer counts.
    pub(crate) fn leave(&mut self, now: Now, instance: &str, stream: StreamId) {
        if self.is_stream_of(instance, stream) {
            self.lose(now, instance);
        }
    }

    /// A data plane has said something.
    pub(crate) fn hear(&mut self, now: Now, instance: &str, stream: StreamId, message: Up) {
        if !self.is_stream_of(instance, stream) {
            return;
        }
        if let Some(member) = self.members.get_mut(instance) {
            member.seen(now);
        }
        match message {
            // the first message alone is a Hello; discovery has taken it
            Up::Hello(_) => {}
            // a sign of life; what it says is for `orders`
            Up::OrdersApplied(_) | Up::Answer(_) => {}
            Up::Prepared(prepared) => self.prepared(now, instance, stream, prepared),
            Up::Rejected(rejected) => self.rejected(now, instance, rejected),
            Up::Active(active) => self.active(now, instance, active),
            Up::Status(status) => self.reported(now, instance, status),
        }
    }

    /// The decision asked for by [`Effect::Persist`] is durable, or could not be stored.
    pub(crate) fn persisted(&mut self, now: Now, result: Result<(), String>) {
        let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.phase == Phase::Deciding) else {
            return;
        };
        if let Err(error) = result {
            return self.abort(now, format!("the decision could not be stored: {error}"));
        }
        let committing = attempt.decide(now);
        let (version, until) = (attempt.snapshot.version, attempt.until);
        self.current = attempt.snapshot.clone();
        for name in &committing {
            let Some(stream) = self.members.get(name).and_then(|member| member.stream) else { continue };
            self.set_task(name, Task::Commit { until });
            self.send(name, stream, Down::Commit(v1::Commit { version }));
            self.step(name, Step::Committing, 0, Vec::new());
        }
        // whoever joined meanwhile may still be on its way to the version before
        self.bring_up_all(now, |name, _| !committing.contains(name));
        self.finish_when_active(now);
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Now) {
        let attempt_is_due =
            self.attempt.as_ref().and_then(Attempt::deadline).is_some_and(|until| until <= now.at);
        if attempt_is_due {
            self.attempt_timed_out(now);
        }
        let names: Vec<String> = self.members.keys().cloned().collect();
        for name in names {
            match self.members[&name].task {
                Task::CatchUp { until } | Task::Commit { until } if until <= now.at => {
                    let version = self.current.version;
                    let reason = format!("has not confirmed version {version} in time");
                    self.retry_later(now, &name, Problem::Silent(reason));
                }
                Task::Retry { at } if at <= now.at => self.bring_up(now, &name),
                _ => {}
            }
        }
    }

    fn prepared(&mut self, now: Now, instance: &str, stream: StreamId, prepared: v1::Prepared) {
        let answered = Identity { version: prepared.version, sha256: prepared.sha256 };
        match self.members[instance].task {
            Task::Prepare => {
                let Some(attempt) = self.attempt_preparing(answered.version) else { return };
                if answered.sha256 != attempt.snapshot.sha256 {
                    return self.refused(now, instance, vec![wrong_hash(&answered.sha256)]);
                }
                self.step(instance, Step::Prepared, prepared.took_us, Vec::new());
                self.decide_when_prepared(now);
            }
            Task::CatchUp { .. } if answered == self.identity() => {
                self.set_task(instance, Task::Commit { until: now.at + CATCH_UP_TIMEOUT });
                self.send(instance, stream, Down::Commit(v1::Commit { version: answered.version }));
                self.step(instance, Step::Committing, prepared.took_us, Vec::new());
            }
            _ => {}
        }
    }

    fn rejected(&mut self, now: Now, instance: &str, rejected: v1::Rejected) {
        match self.members[instance].task {
            Task::Prepare if self.attempt_preparing(rejected.version).is_some() => {
                self.refused(now, instance, rejected.diagnostics);
            }
            Task::CatchUp { .. } | Task::Commit { .. } if rejected.version == self.current.version => {
                let reason =
                    format!("cannot run version {}: {}", rejected.version, summary(&rejected.diagnostics));
                self.retry_later(now, instance, Problem::Rejected(reason));
                self.step(instance, Step::Rejected, 0, rejected.diagnostics);
                self.finish_when_active(now);
            }
            _ => {}
        }
    }

    /// The attempt, if it still waits for answers about this version: later ones cannot change its decision, and an
    /// answer about another version is one to something asked before.
    fn attempt_preparing(&self, version: u64) -> Option<&Attempt> {
        let attempt = self.attempt.as_ref()?;
        (attempt.phase == Phase::Preparing && attempt.snapshot.version == version).then_some(attempt)
    }

    fn reported(&mut self, now: Now, instance: &str, status: v1::InstanceStatus) {
        let current = self.identity();
        let Some(member) = self.members.get_mut(instance) else { return };
        member.report(status);
        if member.task == Task::Idle && member.active != current {
            self.bring_up(now, instance);
        }
    }

    fn active(&mut self, now: Now, instance: &str, active: v1::Active) {
        let current = self.identity();
        let Some(member) = self.members.get_mut(instance) else { return };
        member.active = Identity { version: active.version, sha256: active.sha256 };
        if member.active == current && matches!(member.task, Task::Commit { .. }) {
            member.task = Task::Idle;
            self.confirm(instance, active.took_us);
            self.finish_when_active(now);
        }
    }

    /// In the prepare phase a data plane has said no: that decides for all.
    fn refused(&mut self, now: Now, instance: &str, diagnostics: Vec<v1::Diagnostic>) {
        let reason = format!("{instance} rejected it: {}", summary(&diagnostics));
        self.step(instance, Step::Rejected, 0, diagnostics);
        self.abort(now, reason);
    }

    fn attempt_timed_out(&mut self, now: Now) {
        let Some(attempt) = &self.attempt else { return };
        let (phase, silent, waited) = (attempt.phase, attempt.unanswered(), show(attempt.timeout));
        for name in &silent {
            if let Some(member) = self.members.get_mut(name) {
                member.problem = Some(Problem::Silent(format!("no answer within {waited}")));
            }
            self.step(name, Step::Stale, 0, Vec::new());
        }
        match phase {
            Phase::Preparing => {
                self.abort(now, format!("no answer within {waited} from {}", silent.join(", ")));
            }
            Phase::Committing => self.conclude(now),
            Phase::Deciding => {}
        }
    }

    fn decide_when_prepared(&mut self, now: Now) {
        let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.phase == Phase::Preparing) else {
            return;
        };
        if !attempt.is_prepared() {
            return;
        }
        if attempt.is_deserted() {
            // a config that ends every process it is shown to must not be committed by default
            return self.abort(now, "every data plane was lost while it prepared".to_owned());
        }
        match attempt.kind {
            Kind::DryRun => {
                self.send_aborts("dry run");
                self.finish(now, Outcome::DryRunOk, "every connected data plane can run it".to_owned());
            }
            Kind::Change | Kind::Push => {
                attempt.phase = Phase::Deciding;
                let version = attempt.snapshot.version;
                self.effects.push(Effect::Persist { version });
            }
        }
    }

    fn finish_when_active(&mut self, now: Now) {
        let done =
            self.attempt.as_ref().is_some_and(|one| one.phase == Phase::Committing && one.is_confirmed());
        if done {
            self.conclude(now);
        }
    }

    /// Ends the commit phase with what is known of every data plane.
    fn conclude(&mut self, now: Now) {
        let Some(attempt) = &self.attempt else { return };
        let (outcome, message) = attempt.verdict();
        self.finish(now, outcome, message);
    }

    fn abort(&mut self, now: Now, reason: String) {
        self.send_aborts(&reason);
        let Some(attempt) = &self.attempt else { return };
        for name in attempt.preparing_or_prepared() {
            self.step(&name, Step::Aborted, 0, Vec::new());
        }
        self.finish(now, Outcome::Rejected, format!("{reason}; nothing changed"));
    }

    fn send_aborts(&mut self, reason: &str) {
        let Some(attempt) = &self.attempt else { return };
        let version = attempt.snapshot.version;
        let abort = Down::Abort(v1::Abort { version, reason: reason.to_owned() });
        let asked: Vec<(String, StreamId)> = self
            .members
            .iter_mut()
            .filter(|(_, member)| member.task == Task::Prepare)
            .filter_map(|(name, member)| {
                member.task = Task::Idle;
                Some((name.clone(), member.stream?))
            })
            .collect();
        for (name, stream) in asked {
            self.send(&name, stream, abort.clone());
        }
    }

    fn finish(&mut self, now: Now, outcome: Outcome, message: String) {
        let Some(attempt) = self.attempt.take() else { return };
        let finished = attempt.finished(now, outcome, message, self.current.version);
        self.tell(Event::Finished(finished));
        // whoever was on its way to the current version when it was asked to prepare another
        self.bring_up_all(now, |_, member| matches!(member.task, Task::Idle | Task::Retry { .. }));
    }

    fn lose(&mut self, now: Now, instance: &str) {
        let Some(member) = self.members.get_mut(instance) else { return };
        member.disconnect();
        if member.is_draining() {
            self.members.remove(instance);
        }
        if self.attempt.as_ref().is_some_and(|attempt| attempt.is_open(instance)) {
            self.step(instance, Step::Lost, 0, Vec::new());
        }
        self.decide_when_prepared(now);
    }

    fn bring_up_all(&mut self, now: Now, wanted: impl Fn(&String, &Member) -> bool) {
        let chosen = self.members.iter().filter(|(name, member)| wanted(name, member));
        let names: Vec<String> = chosen.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.bring_up(now, &name);
        }
    }

    /// Brings one data plane to the current version if it does not run it already.
    fn bring_up(&mut self, now: Now, instance: &str) {
        let current = self.identity();
        let Some(member) = self.members.get_mut(instance) else { return };
        if member.stream.is_none() || member.is_draining() {
            return;
        }
        member.task = Task::Idle;
        if let Some(Problem::Incompatible(_)) = member.problem {
            member.problem = None;
        }
        if let Some(reason) = member.incompatibility(&self.cluster_id, current.version) {
            member.problem = Some(Problem::Incompatible(reason));
        } else if member.active == current {
            self.confirm(instance, 0);
        } else {
            self.catch_up(now, instance);
        }
    }

    fn catch_up(&mut self, now: Now, instance: &str) {
        let Some(stream) = self.members.get(instance).and_then(|member| member.stream) else { return };
        self.set_task(instance, Task::CatchUp { until: now.at + CATCH_UP_TIMEOUT });
        let snapshot = Some(self.current.clone());
        self.send(instance, stream, Down::Prepare(v1::Prepare { snapshot }));
        self.step(instance, Step::Preparing, 0, Vec::new());
    }

    /// It runs the current version.
    fn confirm(&mut self, instance: &str, took_us: u64) {
        if let Some(member) = self.members.get_mut(instance) {
            member.failures = 0;
            if !matches!(member.problem, Some(Problem::Silent(_))) {
                member.problem = None;
            }
        }
        if self.attempt.as_ref().is_some_and(|attempt| attempt.phase == Phase::Committing) {
            self.step(instance, Step::Active, took_us, Vec::new());
        }
    }

    fn retry_later(&mut self, now: Now, instance: &str, problem: Problem) {
        let Some(member) = self.members.get_mut(instance) else { return };
        member.problem = Some(problem);
        let pause = FIRST_RETRY.saturating_mul(1 << member.failures.min(10)).min(LAST_RETRY);
        member.failures = member.failures.saturating_add(1);
        // full jitter on the second half, so that a fleet that failed together does not come back together
        let pause = pause.mul_f64(0.5 + self.jitter.f64() / 2.0);
        member.task = Task::Retry { at: now.at + pause };
    }

    /// Records and tells what a participant of the attempt has reached; of anyone else it is not told.
    fn step(&mut self, instance: &str, step: Step, took_us: u64, diagnostics: Vec<v1::Diagnostic>) {
        let Some(attempt) = &mut self.attempt else { return };
        if let Some(told) = attempt.record(instance, step, took_us, diagnostics) {
            self.tell(Event::Step(told));
        }
    }

    fn is_stream_of(&self, instance: &str, stream: StreamId) -> bool {
        self.members.get(instance).is_some_and(|member| member.stream == Some(stream))
    }

    fn set_task(&mut self, instance: &str, task: Task) {
        if let Some(member) = self.members.get_mut(instance) {
            member.task = task;
        }
    }

    fn identity(&self) -> Identity {
        Identity { version: self.current.version, sha256: self.current.sha256.clone() }
    }

    fn send(&mut self, instance: &str, stream: StreamId, message: Down) {
        let message = v1::ControlPlaneMessage { message: Some(message) };
        self.effects.push(Effect::Send { instance: instance.to_owned(), stream, message });
    }

    fn tell(&mut self, event: Event) {
        self.effects.push(Effect::Tell(event));
    }
}

/// `10s` or `1500ms`.
fn show(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

fn wrong_hash(answered: &str) -> v1::Diagnostic {
    v1::Diagnostic {
        message: format!("it prepared other contents (sha256 {answered})"),
        ..v1::Diagnostic::default()
    }
}

#[cfg(test)]
mod schedule;
#[cfg(test)]
mod tests;
