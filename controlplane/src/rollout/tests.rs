//! The protocol step by step: who is asked, what decides, and what is told of it.

use super::{Coordinator, Effect, Plan};
use crate::fleet::{Now, StreamId};
use proto::v1::{
    self, InstanceState, Outcome, Step, control_plane_message::Message as Down,
    data_plane_message::Message as Up, rollout_event::Event,
};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(10);

struct Bench {
    coordinator: Coordinator,
    now: Now,
}

impl Bench {
    /// A fleet of these names, each running version 1.
    fn with(names: &[&str]) -> Self {
        let now = Now { at: Instant::now(), unix_ms: 0 };
        let mut bench = Self { coordinator: Coordinator::new(snapshot(1), fastrand::Rng::with_seed(1)), now };
        for name in names {
            bench.join(name, "cluster", 1);
        }
        assert_eq!(bench.effects(), [], "who runs the current version is left alone");
        bench
    }

    fn join(&mut self, name: &str, cluster_id: &str, version: u64) {
        let hello = v1::Hello {
            instance: name.to_owned(),
            cluster_id: cluster_id.to_owned(),
            active_version: version,
            active_sha256: format!("hash-{version}"),
            ..v1::Hello::default()
        };
        self.coordinator.join(self.now, stream(name), String::new(), hello);
    }

    fn start(&mut self, version: u64, dry_run: bool) {
        let plan = Plan { snapshot: snapshot(version), dry_run, timeout: TIMEOUT, warnings: Vec::new() };
        self.coordinator.start(self.now, plan);
    }

    fn hear(&mut self, name: &str, message: Up) {
        self.coordinator.hear(self.now, name, stream(name), message);
    }

    fn prepared(&mut self, name: &str, version: u64) {
        let sha256 = format!("hash-{version}");
        self.hear(name, Up::Prepared(v1::Prepared { version, sha256, took_us: 5 }));
    }

    fn active(&mut self, name: &str, version: u64) {
        let sha256 = format!("hash-{version}");
        self.hear(name, Up::Active(v1::Active { version, sha256, took_us: 5 }));
    }

    fn reject(&mut self, name: &str, version: u64) {
        let diagnostics =
            vec![v1::Diagnostic { message: "port 80 is taken".to_owned(), ..Default::default() }];
        self.hear(name, Up::Rejected(v1::Rejected { version, diagnostics }));
    }

    fn wait(&mut self, time: Duration) {
        self.now.at += time;
        self.coordinator.tick(self.now);
    }

    fn effects(&mut self) -> Vec<Effect> {
        self.coordinator.take_effects()
    }

    /// What is sent, as `dp-1 prepare 2`.
    fn sent(&mut self) -> Vec<String> {
        self.effects().into_iter().filter_map(|effect| describe(&effect)).collect()
    }

    /// The end of the rollout, dropping what was told before.
    fn finished(&mut self) -> v1::Finished {
        let finished = self.effects().into_iter().find_map(|effect| match effect {
            Effect::Tell(Event::Finished(finished)) => Some(finished),
            _ => None,
        });
        finished.expect("the rollout has ended")
    }

    fn state(&self, name: &str) -> (InstanceState, String) {
        let instances = self.coordinator.instances(self.now);
        let named = |one: &&v1::Instance| one.hello.as_ref().is_some_and(|hello| hello.instance == name);
        let instance = instances.iter().find(named).expect("known");
        (instance.state(), instance.reason.clone())
    }
}

fn describe(effect: &Effect) -> Option<String> {
    let Effect::Send { instance, message, .. } = effect else { return None };
    Some(match message.message.as_ref().expect("a message") {
        Down::Prepare(prepare) => {
            format!("{instance} prepare {}", prepare.snapshot.as_ref().expect("a snapshot").version)
        }
        Down::Commit(commit) => format!("{instance} commit {}", commit.version),
        Down::Abort(abort) => format!("{instance} abort {}", abort.version),
        Down::Orders(_) | Down::Question(_) => unreachable!("the coordinator gives no orders"),
    })
}

/// A stream by the letters of its name.
fn stream(name: &str) -> StreamId {
    StreamId(name.bytes().fold(0, |id, byte| id * 256 + u64::from(byte)))
}

fn snapshot(version: u64) -> v1::Snapshot {
    v1::Snapshot {
        cluster_id: "cluster".to_owned(),
        version,
        sha256: format!("hash-{version}"),
        ..v1::Snapshot::default()
    }
}

fn step_of(finished: &v1::Finished, name: &str) -> Step {
    finished.instances.iter().find(|step| step.instance == name).expect("a participant").step()
}

#[test]
fn nobody_commits_before_everybody_has_prepared_and_the_decision_is_stored() {
    let mut bench = Bench::with(&["a", "b"]);
    bench.start(2, false);
    assert_eq!(bench.sent(), ["a prepare 2", "b prepare 2"]);
    bench.prepared("a", 2);
    assert_eq!(bench.sent(), Vec::<String>::new());
    bench.prepared("b", 2);
    let effects = bench.effects();
    assert!(effects.contains(&Effect::Persist { version: 2 }));
    assert!(effects.iter().all(|effect| describe(effect).is_none()), "nothing is sent before it is stored");
    bench.coordinator.persisted(bench.now, Ok(()));
    assert_eq!(bench.sent(), ["a commit 2", "b commit 2"]);
    bench.active("a", 2);
    bench.active("b", 2);
    let finished = bench.finished();
    assert_eq!(finished.outcome(), Outcome::Committed);
    assert_eq!(finished.current_version, 2);
    assert_eq!(bench.state("a"), (InstanceState::Current, String::new()));
}

#[test]
fn one_rejection_aborts_everywhere_and_names_who_and_why() {
    let mut bench = Bench::with(&["a", "b", "c"]);
    bench.start(2, false);
    bench.prepared("a", 2);
    bench.effects();
    bench.reject("b", 2);
    let effects = bench.effects();
    let sent: Vec<String> = effects.iter().filter_map(describe).collect();
    assert_eq!(sent, ["a abort 2", "b abort 2", "c abort 2"]);
    let Some(Effect::Tell(Event::Finished(finished))) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(finished.outcome(), Outcome::Rejected);
    assert_eq!(finished.message, "b rejected it: port 80 is taken; nothing changed");
    assert_eq!(finished.current_version, 1);
    assert_eq!(step_of(finished, "a"), Step::Aborted);
    assert_eq!(step_of(finished, "b"), Step::Rejected);
    assert_eq!(bench.state("b"), (InstanceState::Current, String::new()), "it still runs version 1");
}

#[test]
fn a_silent_data_plane_aborts_the_rollout_at_the_deadline_and_is_stale() {
    let mut bench = Bench::with(&["a", "b"]);
    bench.start(2, false);
    bench.prepared("a", 2);
    assert_eq!(bench.coordinator.next_deadline(), Some(bench.now.at + TIMEOUT));
    bench.wait(TIMEOUT);
    let finished = bench.finished();
    assert_eq!(finished.outcome(), Outcome::Rejected);
    assert_eq!(finished.message, "no answer within 10s from b; nothing changed");
    assert_eq!(step_of(&finished, "b"), Step::Stale);
    assert_eq!(bench.state("b").0, InstanceState::Stale);
    bench.hear(
        "b",
        Up::Status(v1::InstanceStatus {
            active_version: 1,
            active_sha256: "hash-1".to_owned(),
            ..Default::default()
        }),
    );
    assert_eq!(bench.state("b").0, InstanceState::Current, "it has been heard again");
}

#[test]
fn a_stream_that_breaks_while_preparing_is_dropped_and_brought_up_when_it_returns() {
    let mut bench = Bench::with(&["a", "b"]);
    bench.start(2, false);
    bench.prepared("a", 2);
    bench.coordinator.leave(bench.now, "b", stream("b"));
    assert!(bench.effects().contains(&Effect::Persist { version: 2 }));
    bench.coordinator.persisted(bench.now, Ok(()));
    bench.active("a", 2);
    let finished = bench.finished();
    assert_eq!(finished.outcome(), Outcome::Committed);
    assert_eq!(step_of(&finished, "b"), Step::Lost);
    bench.join("b", "cluster", 1);
    assert_eq!(bench.sent(), ["b prepare 2"]);
    bench.prepared("b", 2);
    assert_eq!(bench.sent(), ["b commit 2"]);
}

#[test]
fn a_config_that_ends_every_data_plane_is_not_committed() {
    let mut bench = Bench::with(&["a", "b"]);
    bench.start(2, false);
    bench.coordinator.leave(bench.now, "a", stream("a"));
    bench.coordinator.leave(bench.now, "b", stream("b"));
    let finished = bench.finished();
    assert_eq!(finished.outcome(), Outcome::Rejected);
    assert_eq!(bench.coordinator.current().version, 1);
}

#[test]
fn a_decision_that_cannot_be_stored_aborts() {
    let mut bench = Bench::with(&["a"]);
    bench.start(2, false);
    bench.prepared("a", 2);
    bench.effects();
    bench.coordinator.persisted(bench.now, Err("disk full".to_owned()));
    let effects = bench.effects();
    assert_eq!(effects.iter().filter_map(describe).collect::<Vec<_>>(), ["a abort 2"]);
    assert_eq!(bench.coordinator.current().version, 1);
}

#[test]
fn a_late_rejection_does_not_undo_a_decision_on_its_way_to_the_disk() {
    let mut bench = Bench::with(&["a"]);
    bench.start(2, false);
    bench.prepared("a", 2);
    bench.effects();
    bench.reject("a", 2);
    assert_eq!(bench.effects(), []);
    bench.coordinator.persisted(bench.now, Ok(()));
    assert_eq!(bench.sent(), ["a commit 2"]);
}

#[test]
fn a_commit_that_is_not_confirmed_in_time_is_told_as_such() {
    let mut bench = Bench::with(&["a", "b"]);
    bench.start(2, false);
    bench.prepared("a", 2);
    bench.prepared("b", 2);
    bench.coordinator.persisted(bench.now, Ok(()));
    bench.active("a", 2);
    bench.effects();
    bench.wait(TIMEOUT);
    let finished = bench.finished();
    assert_eq!(finished.outcome(), Outcome::CommittedUnconfirmed);
    assert_eq!(finished.message, "version 2 is committed, but not confirmed by b (silent)");
    assert_eq!(bench.state("b").0, InstanceState::Stale);
}

#[test]
fn a_data_plane_lost_after_the_commit_counts_once_it_is_back() {
    let mut bench = Bench::with(&["a"]);
    bench.start(2, false);
    bench.prepared("a", 2);
    bench.coordinator.persisted(bench.now, Ok(()));
    bench.coordinator.leave(bench.now, "a", stream("a"));
    bench.effects();
    bench.join("a", "cluster", 2);
    assert_eq!(bench.finished().outcome(), Outcome::Committed);
}

#[test]
fn a_dry_run_stops_after_prepare() {
    let mut bench = Bench::with(&["a"]);
    bench.start(2, true);
    bench.effects();
    bench.prepared("a", 2);
    let effects = bench.effects();
    assert_eq!(effects.iter().filter_map(describe).collect::<Vec<_>>(), ["a abort 2"]);
    let Some(Effect::Tell(Event::Finished(finished))) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(finished.outcome(), Outcome::DryRunOk);
    assert_eq!(bench.coordinator.current().version, 1);
}

#[test]
fn an_answer_with_other_contents_is_a_rejection() {
    let mut bench = Bench::with(&["a"]);
    bench.start(2, false);
    bench.hear("a", Up::Prepared(v1::Prepared { version: 2, sha256: "other".to_owned(), took_us: 1 }));
    assert_eq!(bench.finished().outcome(), Outcome::Rejected);
}

#[test]
fn who_would_refuse_anything_from_here_is_sent_nothing_and_blocks_nothing() {
    let mut bench = Bench::with(&["a"]);
    bench.join("foreign", "another", 1);
    bench.join("ahead", "cluster", 7);
    assert_eq!(bench.sent(), Vec::<String>::new());
    assert_eq!(bench.state("foreign").0, InstanceState::Rejected);
    assert!(bench.state("foreign").1.contains("belongs to cluster another"));
    assert!(bench.state("ahead").1.contains("runs version 7, which is newer"));
    assert_eq!(bench.coordinator.highest_reported(), 7);
    bench.start(8, false);
    assert_eq!(bench.sent(), ["a prepare 8", "ahead prepare 8"], "a newer version than its own heals it");
}

#[test]
fn a_joining_data_plane_that_cannot_run_the_version_is_tried_again_later() {
    let mut bench = Bench::with(&[]);
    bench.join("a", "", 0);
    assert_eq!(bench.sent(), ["a prepare 1"]);
    bench.reject("a", 1);
    assert_eq!(bench.state("a").0, InstanceState::Rejected);
    assert!(bench.state("a").1.contains("port 80 is taken"));
    let retry = bench.coordinator.next_deadline().expect("a retry");
    assert!(retry > bench.now.at);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.sent(), ["a prepare 1"]);
    bench.prepared("a", 1);
    bench.active("a", 1);
    assert_eq!(bench.state("a"), (InstanceState::Current, String::new()));
}

#[test]
fn a_second_stream_of_a_name_takes_the_first_ones_place() {
    let mut bench = Bench::with(&["a"]);
    let hello = v1::Hello { instance: "a".to_owned(), ..v1::Hello::default() };
    bench.coordinator.join(bench.now, StreamId(99), String::new(), hello);
    assert!(bench.effects().contains(&Effect::Replace { stream: stream("a"), rivalry: None }));
    bench.coordinator.leave(bench.now, "a", stream("a"));
    assert_eq!(bench.state("a").0, InstanceState::Syncing, "the end of the old stream means nothing");
}

#[test]
fn two_processes_that_displace_each_other_are_told_of_until_it_ends() {
    let mut bench = Bench::with(&[]);
    let mut streams = 0;
    let mut join = |bench: &mut Bench, started_ms: i64, peer: &str| {
        streams += 1;
        let hello = v1::Hello {
            instance: "a".to_owned(),
            active_version: 1,
            active_sha256: "hash-1".to_owned(),
            started_ms,
            admin: "127.0.0.1:9901".to_owned(),
            ..v1::Hello::default()
        };
        bench.now.at += Duration::from_secs(3);
        bench.coordinator.join(bench.now, StreamId(streams), peer.to_owned(), hello);
        bench.effects().into_iter().find_map(|effect| match effect {
            Effect::Replace { rivalry, .. } => rivalry,
            _ => None,
        })
    };
    assert_eq!(join(&mut bench, 1, "10.0.0.1:1"), None);
    assert_eq!(join(&mut bench, 1, "10.0.0.1:2"), None, "a reconnect of itself");
    assert_eq!(join(&mut bench, 2, "10.0.0.2:1"), None, "a restart elsewhere");
    assert_eq!(bench.state("a"), (InstanceState::Current, String::new()));
    let told = "another process joins under this name, from 10.0.0.2:1 (its admin address is 127.0.0.1:9901)";
    assert_eq!(join(&mut bench, 1, "10.0.0.1:3").as_deref(), Some(told), "the first one is back");
    assert_eq!(bench.state("a"), (InstanceState::Current, told.to_owned()));
    assert_eq!(join(&mut bench, 2, "10.0.0.2:2"), None, "logged once");
    assert!(bench.state("a").1.contains("from 10.0.0.1:3"), "{}", bench.state("a").1);
    bench.now.at += Duration::from_secs(60);
    assert!(!bench.state("a").1.contains("another process"), "{}", bench.state("a").1);
}

#[test]
fn a_config_that_is_not_on_the_disk_is_told_of() {
    let mut bench = Bench::with(&["a"]);
    let status = v1::InstanceStatus {
        active_version: 1,
        active_sha256: "hash-1".to_owned(),
        not_stored: "No space left on device".to_owned(),
        ..v1::InstanceStatus::default()
    };
    bench.hear("a", Up::Status(status));
    let reason = "a restart would not serve this: No space left on device".to_owned();
    assert_eq!(bench.state("a"), (InstanceState::Current, reason));
}

#[test]
fn whoever_joins_during_a_rollout_ends_on_its_version() {
    let mut bench = Bench::with(&["a"]);
    bench.start(2, false);
    bench.join("b", "", 0);
    bench.effects();
    bench.prepared("a", 2);
    bench.coordinator.persisted(bench.now, Ok(()));
    assert_eq!(bench.sent(), ["a commit 2", "b prepare 2"]);
    bench.prepared("b", 1);
    assert_eq!(bench.sent(), Vec::<String>::new(), "an answer about the version before is late");
}

#[test]
fn push_sends_the_current_version_again_and_waits_for_it() {
    let mut bench = Bench::with(&["a", "b"]);
    bench.coordinator.push(bench.now, &["a".to_owned()], TIMEOUT);
    assert_eq!(bench.sent(), ["a prepare 1"]);
    bench.prepared("a", 1);
    assert_eq!(bench.sent(), ["a commit 1"]);
    bench.active("a", 1);
    assert_eq!(bench.finished().outcome(), Outcome::Committed);
    bench.coordinator.push(bench.now, &["nobody".to_owned()], TIMEOUT);
    let finished = bench.finished();
    assert_eq!(finished.outcome(), Outcome::Rejected);
    assert_eq!(finished.message, "nobody has not joined since the control plane started; nothing was sent");
}

#[test]
fn silence_turns_a_connected_data_plane_stale_and_a_closed_stream_disconnects_it() {
    let mut bench = Bench::with(&["a"]);
    bench.wait(Duration::from_secs(16));
    assert_eq!(bench.state("a"), (InstanceState::Stale, "silent for 16s".to_owned()));
    bench.coordinator.leave(bench.now, "a", stream("a"));
    assert_eq!(bench.state("a").0, InstanceState::Disconnected);
}

#[test]
fn a_draining_data_plane_is_asked_for_nothing_and_forgotten_when_it_leaves() {
    let mut bench = Bench::with(&["a", "b"]);
    let status = v1::InstanceStatus {
        active_version: 1,
        active_sha256: "hash-1".to_owned(),
        draining: true,
        ..v1::InstanceStatus::default()
    };
    bench.hear("b", Up::Status(status));
    bench.start(2, false);
    assert_eq!(bench.sent(), ["a prepare 2"]);
    assert_eq!(bench.state("b").0, InstanceState::Draining);
    bench.coordinator.leave(bench.now, "b", stream("b"));
    assert_eq!(bench.coordinator.instances(bench.now).len(), 1);
}
