//! Random schedules: data planes join, answer, refuse, fall silent and break, the coordinator is killed at any step and
//! restarted from its store; nobody ever runs an aborted version, and in the end everybody runs the same.

use super::{Coordinator, Effect, Plan};
use crate::fleet::{Now, StreamId};
use bytes::Bytes;
use proptest::prelude::*;
use proto::v1::{
    self, control_plane_message::Message as Down, data_plane_message::Message as Up, rollout_event::Event,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

const CLUSTER: &str = "cluster";
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
enum Action {
    Join(usize),
    Break(usize),
    /// The process ends; what it has on its disk stays.
    Crash(usize),
    /// The next message down is taken and answered.
    Work(usize),
    /// The next message up arrives.
    Arrive(usize),
    /// From now on it refuses, or takes, what it is asked to prepare.
    Refuse(usize, bool),
    Start {
        dry_run: bool,
    },
    Push,
    /// The decision asked for becomes durable and is reported.
    Store,
    /// It becomes durable, and the coordinator dies before it hears of it.
    StoreAndDie,
    FailToStore,
    Die,
    Wait(u64),
}

const MEMBERS: usize = 4;

fn action() -> impl Strategy<Value = Action> {
    let member = 0..MEMBERS;
    prop_oneof![
        3 => member.clone().prop_map(Action::Join),
        1 => member.clone().prop_map(Action::Break),
        1 => member.clone().prop_map(Action::Crash),
        12 => member.clone().prop_map(Action::Work),
        12 => member.clone().prop_map(Action::Arrive),
        1 => (member, any::<bool>()).prop_map(|(member, refuses)| Action::Refuse(member, refuses)),
        4 => prop::bool::weighted(0.2).prop_map(|dry_run| Action::Start { dry_run }),
        1 => Just(Action::Push),
        4 => Just(Action::Store),
        1 => Just(Action::StoreAndDie),
        1 => Just(Action::FailToStore),
        1 => Just(Action::Die),
        2 => (1u64..12).prop_map(Action::Wait),
    ]
}

/// A data plane that keeps to the protocol.
#[derive(Debug, Default)]
struct DataPlane {
    active: Option<v1::Snapshot>,
    prepared: Option<v1::Snapshot>,
    refuses: bool,
    stream: Option<StreamId>,
    down: VecDeque<Down>,
    up: VecDeque<Up>,
}

impl DataPlane {
    fn hello(&self, name: &str) -> v1::Hello {
        let active = self.active.clone().unwrap_or_default();
        v1::Hello {
            instance: name.to_owned(),
            cluster_id: active.cluster_id,
            active_version: active.version,
            active_sha256: active.sha256,
            ..v1::Hello::default()
        }
    }

    fn disconnect(&mut self) {
        self.stream = None;
        self.prepared = None;
        self.down.clear();
        self.up.clear();
    }

    fn work(&mut self) {
        match self.down.pop_front() {
            Some(Down::Prepare(v1::Prepare { snapshot })) => {
                let snapshot = snapshot.expect("a prepare carries a snapshot");
                let active = self.active.as_ref().map_or(0, |active| active.version);
                assert!(snapshot.version >= active, "sent {} to one that runs {active}", snapshot.version);
                let version = snapshot.version;
                if self.refuses {
                    self.up.push_back(Up::Rejected(v1::Rejected { version, diagnostics: Vec::new() }));
                } else {
                    let sha256 = snapshot.sha256.clone();
                    self.prepared = Some(snapshot);
                    self.up.push_back(Up::Prepared(v1::Prepared { version, sha256, took_us: 1 }));
                }
            }
            Some(Down::Commit(v1::Commit { version })) => {
                let Some(prepared) = self.prepared.take_if(|prepared| prepared.version == version) else {
                    // only a version that is already committed is ever prepared twice on one stream: the first answer
                    // came late, and the second said no
                    self.up.push_back(Up::Rejected(v1::Rejected { version, diagnostics: Vec::new() }));
                    return;
                };
                let sha256 = prepared.sha256.clone();
                self.active = Some(prepared);
                self.up.push_back(Up::Active(v1::Active { version, sha256, took_us: 1 }));
            }
            Some(Down::Abort(v1::Abort { version, .. })) => {
                self.prepared.take_if(|prepared| prepared.version == version);
            }
            Some(Down::Orders(_) | Down::Question(_)) => unreachable!("the coordinator gives no orders"),
            None => {}
        }
    }
}

/// The coordinator with its store, the network and the fleet.
struct World {
    coordinator: Coordinator,
    /// What the store knows: the committed versions, and the highest number allocated.
    committed: BTreeMap<u64, v1::Snapshot>,
    allocated: u64,
    /// What is being rolled out, until it has ended.
    under_way: Option<v1::Snapshot>,
    to_store: Option<u64>,
    outcomes: BTreeMap<u64, v1::Outcome>,
    fleet: Vec<DataPlane>,
    streams: u64,
    now: Now,
}

impl World {
    fn new() -> Self {
        let first = snapshot(1);
        Self {
            coordinator: Coordinator::new(first.clone(), fastrand::Rng::with_seed(7)),
            committed: BTreeMap::from([(1, first)]),
            allocated: 1,
            under_way: None,
            to_store: None,
            outcomes: BTreeMap::new(),
            fleet: (0..MEMBERS).map(|_| DataPlane::default()).collect(),
            streams: 0,
            now: Now { at: Instant::now(), unix_ms: 0 },
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Join(member) => self.join(member),
            Action::Break(member) => self.break_stream(member),
            Action::Crash(member) => {
                self.break_stream(member);
                let active = self.fleet[member].active.clone();
                self.fleet[member] = DataPlane { active, ..DataPlane::default() };
            }
            Action::Work(member) => self.fleet[member].work(),
            Action::Arrive(member) => self.arrive(member),
            Action::Refuse(member, refuses) => self.fleet[member].refuses = refuses,
            Action::Start { dry_run } => self.start(dry_run),
            Action::Push => {
                if self.under_way.is_none() {
                    self.under_way = Some(self.coordinator.current().clone());
                    self.coordinator.push(self.now, &[], TIMEOUT);
                }
            }
            Action::Store => {
                if self.store() {
                    self.coordinator.persisted(self.now, Ok(()));
                }
            }
            Action::StoreAndDie => {
                if self.store() {
                    self.die();
                }
            }
            Action::FailToStore => {
                if self.to_store.take().is_some() {
                    self.coordinator.persisted(self.now, Err("disk full".to_owned()));
                }
            }
            Action::Die => self.die(),
            Action::Wait(seconds) => {
                self.now.at += Duration::from_secs(seconds);
                self.coordinator.tick(self.now);
            }
        }
        self.execute();
        self.check();
    }

    fn join(&mut self, member: usize) {
        let name = name(member);
        self.streams += 1;
        let stream = StreamId(self.streams);
        self.fleet[member].disconnect();
        self.fleet[member].stream = Some(stream);
        self.coordinator.join(self.now, stream, String::new(), self.fleet[member].hello(&name));
    }

    fn break_stream(&mut self, member: usize) {
        if let Some(stream) = self.fleet[member].stream {
            self.fleet[member].disconnect();
            self.coordinator.leave(self.now, &name(member), stream);
        }
    }

    fn arrive(&mut self, member: usize) {
        let Some(stream) = self.fleet[member].stream else { return };
        if let Some(message) = self.fleet[member].up.pop_front() {
            self.coordinator.hear(self.now, &name(member), stream, message);
        }
    }

    fn start(&mut self, dry_run: bool) {
        if self.under_way.is_some() {
            return;
        }
        self.allocated += 1;
        let snapshot = snapshot(self.allocated);
        self.under_way = Some(snapshot.clone());
        self.coordinator.start(self.now, Plan { snapshot, dry_run, timeout: TIMEOUT, warnings: Vec::new() });
    }

    /// Makes the decision durable, if one is asked for.
    fn store(&mut self) -> bool {
        let Some(version) = self.to_store.take() else { return false };
        let snapshot = self.under_way.clone().expect("a decision is about the rollout under way");
        assert_eq!(snapshot.version, version);
        self.committed.insert(version, snapshot);
        true
    }

    /// The control plane is killed and started again: it knows what is in its store, and nobody.
    fn die(&mut self) {
        let current = self.committed.values().next_back().expect("one is always committed").clone();
        self.coordinator = Coordinator::new(current, fastrand::Rng::with_seed(8));
        self.under_way = None;
        self.to_store = None;
        for data_plane in &mut self.fleet {
            data_plane.disconnect();
        }
    }

    fn execute(&mut self) {
        for effect in self.coordinator.take_effects() {
            match effect {
                Effect::Send { stream, message, .. } => {
                    let Some(to) = self.fleet.iter_mut().find(|one| one.stream == Some(stream)) else {
                        continue;
                    };
                    let message = message.message.expect("a message");
                    if let Down::Commit(v1::Commit { version }) = message {
                        assert!(
                            self.committed.contains_key(&version),
                            "commit of {version} before it is stored"
                        );
                    }
                    to.down.push_back(message);
                }
                Effect::Replace { .. } => {}
                Effect::Persist { version } => self.to_store = Some(version),
                Effect::Tell(Event::Finished(finished)) => {
                    self.outcomes.insert(finished.version, finished.outcome());
                    self.under_way = None;
                }
                Effect::Tell(_) => {}
            }
        }
    }

    fn check(&self) {
        for (member, data_plane) in self.fleet.iter().enumerate() {
            let Some(active) = &data_plane.active else { continue };
            assert_eq!(
                Some(active),
                self.committed.get(&active.version),
                "{} runs {}, which was never committed",
                name(member),
                active.version
            );
        }
    }

    /// Everything works again: whoever is not connected joins, nobody refuses, every message arrives.
    fn heal(&mut self) {
        for member in 0..MEMBERS {
            self.fleet[member].refuses = false;
            if self.fleet[member].stream.is_none() {
                self.act(Action::Join(member));
            }
        }
        // long enough for the longest pause before another try, and for the deadline of a rollout under way
        for _ in 0..5 {
            while let Some(member) =
                self.fleet.iter().position(|one| !one.down.is_empty() || !one.up.is_empty())
            {
                self.act(Action::Work(member));
                self.act(Action::Arrive(member));
            }
            self.act(Action::Store);
            self.act(Action::Wait(31));
        }
    }
}

fn name(member: usize) -> String {
    format!("dp-{member}")
}

fn snapshot(version: u64) -> v1::Snapshot {
    v1::Snapshot {
        cluster_id: CLUSTER.to_owned(),
        version,
        sha256: format!("hash-{version}"),
        table: Bytes::from(version.to_string()),
        ..v1::Snapshot::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_live_data_plane_ends_on_one_committed_version(schedule in prop::collection::vec(action(), 0..200)) {
        let mut world = World::new();
        for action in schedule {
            world.act(action);
        }
        world.heal();
        let current = world.coordinator.current().clone();
        prop_assert_eq!(Some(&current), world.committed.values().next_back());
        let running: BTreeSet<u64> =
            world.fleet.iter().map(|one| one.active.as_ref().map_or(0, |active| active.version)).collect();
        prop_assert_eq!(running, BTreeSet::from([current.version]));
        prop_assert!(world.under_way.is_none(), "a rollout never ended");
        prop_assert_eq!(world.coordinator.next_deadline(), None);
        for (version, outcome) in &world.outcomes {
            if matches!(outcome, v1::Outcome::Rejected | v1::Outcome::DryRunOk) && *version != 1 {
                let is_push = world.committed.contains_key(version);
                prop_assert!(is_push || world.fleet.iter().all(|one| one.active.as_ref() != Some(&snapshot(*version))));
            }
        }
    }
}
