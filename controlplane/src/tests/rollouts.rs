//! Rollouts over real streams: all or nothing, told truthfully, and safe across a restart.

use super::data_plane::FakeDataPlane;
use super::{Gateway, apply, config, last, settings};
use crate::start;
use crate::store::{RedbStore, Store as _, StoredVersion};
use proto::v1::{
    self, InstanceState, Outcome, Step, VersionState, control_plane_message::Message as Down,
    data_plane_message::Message as Up, rollout_event::Event,
};
use std::fs;

#[tokio::test]
async fn an_apply_that_all_can_prepare_is_committed_and_written_to_the_file() {
    let mut gateway = Gateway::new().await;
    let _one = gateway.obedient("dp-1").await;
    let _two = gateway.obedient("dp-2").await;
    let finished = gateway.apply(apply(&["first", "second"])).await;
    assert_eq!(finished.outcome(), Outcome::Committed, "{}", finished.message);
    assert_eq!((finished.version, finished.current_version), (2, 2));
    assert!(finished.instances.iter().all(|one| one.step() == Step::Active), "{:?}", finished.instances);
    assert_eq!(gateway.text(), config(&["first", "second"]));
    let status = gateway.status().await;
    assert_eq!(status.current_version, 2);
    assert!(status.instances.iter().all(|one| one.state() == InstanceState::Current));
    assert_eq!(status.config_problem, "");
}

#[tokio::test]
async fn one_rejection_changes_nothing_anywhere() {
    let mut gateway = Gateway::new().await;
    let _one = gateway.obedient("dp-1").await;
    let mut two = gateway.join("dp-2").await;
    two.catch_up().await;
    gateway.wait_for("dp-2", InstanceState::Current).await;
    let before = gateway.text();

    let mut events = gateway.admin.apply(apply(&["second"])).await.unwrap().into_inner();
    let snapshot = two.snapshot().await;
    two.rejected(&snapshot, "port 8080 is in use").await;
    assert!(matches!(two.next().await, Some(Down::Abort(v1::Abort { version: 2, .. }))));
    let started = events.message().await.unwrap().unwrap().event;
    assert!(matches!(started, Some(Event::Started(v1::Started { version: 2, .. }))), "{started:?}");
    let finished = last(events).await;
    assert_eq!(finished.outcome(), Outcome::Rejected);
    assert_eq!(finished.message, "dp-2 rejected it: port 8080 is in use; nothing changed");
    assert_eq!(finished.current_version, 1);
    assert_eq!(gateway.text(), before);
    let versions = gateway.versions().await;
    assert_eq!(versions[0].state(), VersionState::Rejected);
    assert!(versions[0].detail.contains("port 8080 is in use"), "{}", versions[0].detail);
    assert_eq!(gateway.status().await.current_version, 1);
}

#[tokio::test]
async fn a_silent_data_plane_aborts_the_apply_at_its_deadline() {
    let mut gateway = Gateway::new().await;
    let mut silent = gateway.join("dp-1").await;
    silent.catch_up().await;
    gateway.wait_for("dp-1", InstanceState::Current).await;
    let finished = gateway.apply(v1::ApplyRequest { timeout_ms: 100, ..apply(&["second"]) }).await;
    assert_eq!(finished.outcome(), Outcome::Rejected);
    assert_eq!(finished.message, "no answer within 100ms from dp-1; nothing changed");
    assert_eq!(gateway.wait_for("dp-1", InstanceState::Stale).await.reason, "no answer within 100ms");
    assert_eq!(gateway.text(), config(&["first"]));
}

#[tokio::test]
async fn a_commit_without_confirmation_is_told_as_unconfirmed() {
    let mut gateway = Gateway::new().await;
    let mut one = gateway.join("dp-1").await;
    one.catch_up().await;
    gateway.wait_for("dp-1", InstanceState::Current).await;
    let request = v1::ApplyRequest { timeout_ms: 300, ..apply(&["second"]) };
    let events = gateway.admin.apply(request).await.unwrap().into_inner();
    let snapshot = one.snapshot().await;
    one.prepared(&snapshot).await;
    let finished = last(events).await;
    assert_eq!(finished.outcome(), Outcome::CommittedUnconfirmed, "{}", finished.message);
    assert!(finished.message.contains("dp-1"), "{}", finished.message);
    assert_eq!(gateway.text(), config(&["second"]), "it is committed: the file says so");
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_what_it_started() {
    let mut gateway = Gateway::new().await;
    let mut one = gateway.join("dp-1").await;
    one.catch_up().await;
    gateway.wait_for("dp-1", InstanceState::Current).await;
    let events = gateway.admin.apply(apply(&["second"])).await.unwrap().into_inner();
    let snapshot = one.snapshot().await;
    drop(events);
    one.prepared(&snapshot).await;
    assert_eq!(one.next().await, Some(Down::Commit(v1::Commit { version: 2 })));
    one.active(&snapshot).await;
    let followed = gateway.admin.watch_rollout(v1::WatchRolloutRequest {}).await.unwrap().into_inner();
    assert_eq!(last(followed).await.outcome(), Outcome::Committed);
}

#[tokio::test]
async fn a_rollout_under_way_is_followed_from_its_beginning() {
    let mut gateway = Gateway::new().await;
    let mut one = gateway.join("dp-1").await;
    one.catch_up().await;
    gateway.wait_for("dp-1", InstanceState::Current).await;
    let _events = gateway.admin.apply(apply(&["second"])).await.unwrap();
    let snapshot = one.snapshot().await;
    let mut followed = gateway.admin.watch_rollout(v1::WatchRolloutRequest {}).await.unwrap().into_inner();
    let first = followed.message().await.unwrap().unwrap().event;
    assert!(matches!(first, Some(Event::Started(_))), "{first:?}");
    one.rejected(&snapshot, "no").await;
    assert_eq!(last(followed).await.outcome(), Outcome::Rejected);
}

#[tokio::test]
async fn after_a_restart_the_committed_version_is_the_truth_and_late_comers_get_it() {
    let mut gateway = Gateway::new().await;
    let mut one = gateway.join("dp-1").await;
    let first = one.catch_up().await;
    gateway.wait_for("dp-1", InstanceState::Current).await;
    // dp-1 prepares and is gone before the commit reaches it
    let events =
        gateway.admin.apply(v1::ApplyRequest { timeout_ms: 300, ..apply(&["second"]) }).await.unwrap();
    let second = one.snapshot().await;
    one.prepared(&second).await;
    assert_eq!(last(events.into_inner()).await.outcome(), Outcome::CommittedUnconfirmed);
    let dir = gateway.stop().await;

    let mut gateway = Gateway::start_in(dir).await;
    assert_eq!(gateway.status().await.current_version, 2);
    let hello = v1::Hello {
        instance: "dp-1".to_owned(),
        cluster_id: first.cluster_id,
        active_version: 1,
        active_sha256: first.sha256,
        ..v1::Hello::default()
    };
    let mut one = FakeDataPlane::join(gateway.bound.address, hello).await;
    assert_eq!(one.catch_up().await, second);
    gateway.wait_for("dp-1", InstanceState::Current).await;
    let followed = gateway.admin.watch_rollout(v1::WatchRolloutRequest {}).await.unwrap().into_inner();
    assert_eq!(last(followed).await.outcome(), Outcome::Committed, "the last outcome outlives the process");
}

#[tokio::test]
async fn a_version_left_undecided_by_a_killed_control_plane_never_reaches_anyone() {
    let gateway = Gateway::new().await;
    let dir = gateway.stop().await;
    {
        let store = RedbStore::open(&dir.path().join("state")).unwrap();
        let first = store.current().unwrap().expect("version 1");
        store.allocate(&second_version(&first)).unwrap();
    }
    let mut gateway = Gateway::start_in(dir).await;
    assert_eq!(gateway.status().await.current_version, 1);
    let left = &gateway.versions().await[0];
    assert_eq!((left.version, left.state()), (2, VersionState::Rejected));
    assert_eq!(left.detail, "control plane restarted");
    let finished = gateway.apply(apply(&["third"])).await;
    assert_eq!(finished.version, 3, "its number is not used again");
}

#[tokio::test]
async fn a_control_plane_killed_between_commit_and_write_finishes_the_write() {
    let gateway = Gateway::new().await;
    let dir = gateway.stop().await;
    let second = {
        let store = RedbStore::open(&dir.path().join("state")).unwrap();
        let second = second_version(&store.current().unwrap().expect("version 1"));
        store.allocate(&second).unwrap();
        store.commit(2, false).unwrap();
        second
    };
    assert_eq!(fs::read_to_string(dir.path().join("gateway.yaml")).unwrap(), config(&["first"]));
    let mut gateway = Gateway::start_in(dir).await;
    assert_eq!(gateway.text(), second.source);
    let status = gateway.status().await;
    assert_eq!((status.current_version, status.config_problem.as_str()), (2, ""));
}

/// A secret that was rotated would otherwise be in force only with the next edit.
#[tokio::test]
async fn what_the_file_names_is_read_anew_by_a_control_plane_that_starts() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "127.0.0.1:1\n").unwrap();
    let text = config(&["first"]).replace("127.0.0.1:9", &format!("${{file:{}}}", secret.display()));
    fs::write(dir.path().join("gateway.yaml"), text).unwrap();
    let gateway = Gateway::start_in(dir).await;

    let dir = gateway.stop().await;
    fs::write(&secret, "127.0.0.1:2\n").unwrap();
    let mut gateway = Gateway::start_in(dir).await;
    let status = gateway.status().await;
    assert_eq!(status.current_version, 1);
    assert!(status.config_problem.contains("means something else"), "{}", status.config_problem);
    let status = gateway.when(|status| status.current_version == 2 && status.config_problem.is_empty()).await;
    let table = policy::snapshot::decode_table(&status.table).unwrap();
    assert_eq!(table.routes[0].targets[0].addr.to_string(), "http://127.0.0.1:2");

    // what it names is gone: the fleet keeps what it has
    let dir = gateway.stop().await;
    fs::remove_file(&secret).unwrap();
    let mut gateway = Gateway::start_in(dir).await;
    let status = gateway.status().await;
    assert!(status.config_problem.contains("GW1012"), "{}", status.config_problem);
    assert_eq!(status.current_version, 2);
}

#[tokio::test]
async fn a_file_edited_while_the_control_plane_was_down_is_rolled_out_once_the_fleet_could_rejoin() {
    let gateway = Gateway::new().await;
    let dir = gateway.stop().await;
    fs::write(dir.path().join("gateway.yaml"), config(&["edited"])).unwrap();
    let mut gateway = Gateway::start_in(dir).await;
    let status = gateway.status().await;
    assert_eq!(status.current_version, 1);
    assert!(status.config_problem.contains("was edited while the control plane was down"));
    let mut one = gateway.join("dp-1").await;
    assert_eq!(one.catch_up().await.version, 1);
    let edited = one.snapshot().await;
    assert_eq!(
        (edited.version, edited.author.as_str()),
        (2, "watcher"),
        "it is asked before it is committed"
    );
    one.rejected(&edited, "cannot").await;
    let status = gateway.when(|status| status.config_problem.contains("cannot")).await;
    assert_eq!(status.current_version, 1);
}

#[tokio::test]
async fn a_stream_that_does_not_say_who_it_is_gets_nothing() {
    let gateway = Gateway::new().await;
    let status = Up::Status(v1::InstanceStatus::default());
    let refusal = FakeDataPlane::try_join(gateway.bound.address, status).await.err().expect("refused");
    assert_eq!(refusal.code(), tonic::Code::InvalidArgument);
    let nameless = Up::Hello(v1::Hello::default());
    assert!(FakeDataPlane::try_join(gateway.bound.address, nameless).await.is_err());
}

#[tokio::test]
async fn shutdown_ends_every_stream() {
    let mut gateway = Gateway::new().await;
    let one = gateway.obedient("dp-1").await;
    gateway.stop().await;
    assert_eq!(one.await.unwrap(), 0, "its stream has ended without another commit");
}

#[tokio::test]
async fn a_second_control_plane_on_the_same_state_is_refused() {
    let gateway = Gateway::new().await;
    let Err(refusal) = start(settings(&gateway.dir)).await else { panic!("started twice") };
    assert!(refusal.to_string().contains("in use by another control plane"), "{refusal}");
}

/// A version 2 with the contents of another config.
fn second_version(first: &StoredVersion) -> StoredVersion {
    let source = config(&["second"]);
    let candidate = crate::candidate::Candidate::check(source.clone().into()).unwrap();
    let record = v1::Version {
        version: 2,
        sha256: candidate.sha256,
        state: VersionState::Preparing.into(),
        ..first.record.clone()
    };
    StoredVersion { record, source, table: candidate.table }
}
