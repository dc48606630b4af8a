//! A whole data plane against a control plane that is right, wrong, lying or gone.

mod fake;

use crate::activation::tests::{CLUSTER, snapshot};
use crate::{Bound, Settings};
use fake::{FakeControlPlane, Member};
use proto::v1::control_plane_message::Message as Order;
use proto::v1::data_plane_message::Message as Fact;
use proto::v1::{
    Abort, Commit, ControlPlaneMessage, DrainedTarget, HealthState, Orders, Prepare, Snapshot, TargetHealth,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::Path;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tonic::Status;
use tonic::transport::Uri;

fn start(control_plane: &Uri, state_dir: &Path) -> Bound {
    let settings = Settings {
        control_plane: control_plane.clone(),
        control_plane_ca: None,
        token_file: None,
        instance: "edge-1".parse().unwrap(),
        bind: Ipv4Addr::LOCALHOST.into(),
        admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        state_dir: Some(state_dir.to_owned()),
        workers: NonZeroUsize::MIN,
        takeover: false,
    };
    crate::start(settings).unwrap()
}

fn prepare(snapshot: Snapshot) -> Order {
    Order::Prepare(Prepare { snapshot: Some(snapshot) })
}

fn commit(version: u64) -> Order {
    Order::Commit(Commit { version })
}

async fn roll_out(member: &mut Member, snapshot: Snapshot) {
    let version = snapshot.version;
    member.order(prepare(snapshot)).await;
    assert!(matches!(member.answer().await, Fact::Prepared(p) if p.version == version));
    member.order(commit(version)).await;
    assert!(matches!(member.answer().await, Fact::Active(a) if a.version == version));
}

/// Nothing but the gateway's own answer tells that a listener serves.
async fn serves(bound: &Bound) {
    TcpStream::connect(bound.listening()[0]).await.unwrap();
}

#[tokio::test]
async fn a_rollout_from_hello_to_active() {
    let dir = tempfile::tempdir().unwrap();
    let mut plane = FakeControlPlane::start().await;
    let bound = start(&plane.uri, dir.path());
    let mut member = plane.joined().await;

    let hello = member.hello.clone();
    assert_eq!((hello.instance.as_str(), hello.workers), ("edge-1", 1));
    assert_eq!((hello.cluster_id.as_str(), hello.active_version), ("", 0));
    assert_eq!(hello.admin, bound.admin.to_string());
    assert!(hello.started_ms > 0);
    assert!(matches!(member.fact().await.unwrap(), Fact::Status(status) if status.active_version == 0));

    let first = snapshot(1, 0, "users");
    member.order(prepare(first.clone())).await;
    let Fact::Prepared(prepared) = member.answer().await else { panic!("not prepared") };
    assert_eq!((prepared.version, &prepared.sha256), (1, &first.sha256));
    assert_eq!(bound.active_version(), None);

    member.order(commit(1)).await;
    let Fact::Active(active) = member.answer().await else { panic!("not active") };
    assert_eq!((active.version, &active.sha256), (1, &first.sha256));
    assert_eq!(bound.active_version(), Some(1));
    serves(&bound).await;

    let status = member.status(|status| status.active_version == 1).await;
    assert_eq!(status.listening, [bound.listening()[0].to_string()]);
    assert_eq!(status.targets[0].addr, "http://127.0.0.1:9");
}

#[tokio::test]
async fn orders_are_confirmed_once_they_hold_and_told_in_the_status_and_the_next_hello() {
    let dir = tempfile::tempdir().unwrap();
    let mut plane = FakeControlPlane::start().await;
    let _bound = start(&plane.uri, dir.path());
    let mut member = plane.joined().await;
    roll_out(&mut member, snapshot(1, 0, "users")).await;

    let drained = DrainedTarget { upstream: "users".into(), addr: "http://127.0.0.1:9".into(), by: None };
    let orders =
        Orders { cluster_id: CLUSTER.into(), revision: 3, drained: vec![drained], ..Orders::default() };
    member.order(Order::Orders(orders)).await;
    let Fact::OrdersApplied(applied) = member.answer().await else { panic!("not confirmed") };
    assert_eq!(applied.revision, 3);
    let status = member.status(|status| status.orders_revision == 3).await;
    let health = status.targets[0].health.clone().unwrap();
    assert_eq!(health.state(), HealthState::Drained);
    assert!(!health.reason.is_empty() && health.since_ms > 0, "{health:?}");
    drop(member);
    assert_eq!(plane.joined().await.hello.orders_revision, 3);
}

/// A target whose health check finds nobody there.
fn unhealthy(version: u64) -> Snapshot {
    let config = serde_json::from_value(serde_json::json!({
        "server": {"port": 0},
        "routes": [{"name": "users", "prefix": "/", "targets": [{"addr": "http://127.0.0.1:1"}],
            "health_check": {"interval": "100ms", "timeout": "50ms", "unhealthy_threshold": 1}}],
    }))
    .unwrap();
    let policy::snapshot::Encoded { table, sha256 } = policy::snapshot::encode(&config);
    Snapshot { table, sha256, ..snapshot(version, 0, "users") }
}

#[tokio::test]
async fn a_target_that_goes_out_is_told_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut plane = FakeControlPlane::start().await;
    let _bound = start(&plane.uri, dir.path());
    let mut member = plane.joined().await;
    roll_out(&mut member, unhealthy(1)).await;
    let is_out = |health: &TargetHealth| health.state() == HealthState::Unhealthy;
    let status =
        member.status(|status| status.targets.iter().filter_map(|one| one.health.as_ref()).any(is_out)).await;
    let health = status.targets[0].health.clone().unwrap();
    assert!(!health.reason.is_empty() && health.since_ms > 0 && health.probe_failures > 0, "{health:?}");
}

#[tokio::test]
async fn a_snapshot_that_cannot_run_is_rejected_and_the_next_one_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut plane = FakeControlPlane::start().await;
    let bound = start(&plane.uri, dir.path());
    let mut member = plane.joined().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();

    member.order(prepare(snapshot(1, taken.local_addr().unwrap().port(), "users"))).await;
    let Fact::Rejected(rejected) = member.answer().await else { panic!("not rejected") };
    assert_eq!((rejected.version, rejected.diagnostics[0].code.as_str()), (1, "GW2001"));
    member.order(Order::Abort(Abort { version: 1, reason: "rejected".into() })).await;

    roll_out(&mut member, snapshot(2, 0, "users")).await;
    assert_eq!(bound.active_version(), Some(2));
}

#[tokio::test]
async fn an_aborted_version_cannot_be_committed() {
    let dir = tempfile::tempdir().unwrap();
    let mut plane = FakeControlPlane::start().await;
    let bound = start(&plane.uri, dir.path());
    let mut member = plane.joined().await;
    roll_out(&mut member, snapshot(1, 0, "users")).await;

    member.order(prepare(snapshot(2, 0, "orders"))).await;
    assert!(matches!(member.answer().await, Fact::Prepared(_)));
    member.order(Order::Abort(Abort { version: 2, reason: "another instance cannot".into() })).await;
    member.order(commit(2)).await;
    member.left().await;

    let member = plane.joined().await;
    assert_eq!((member.hello.active_version, member.hello.cluster_id.as_str()), (1, CLUSTER));
    serves(&bound).await;
}

#[tokio::test]
async fn a_broken_stream_drops_what_was_prepared() {
    let dir = tempfile::tempdir().unwrap();
    let mut plane = FakeControlPlane::start().await;
    let bound = start(&plane.uri, dir.path());
    let mut member = plane.joined().await;
    member.order(prepare(snapshot(1, 0, "users"))).await;
    assert!(matches!(member.answer().await, Fact::Prepared(_)));
    drop(member);

    let member = plane.joined().await;
    member.order(commit(1)).await;
    member.left().await;
    assert_eq!(bound.active_version(), None);

    let mut member = plane.joined().await;
    roll_out(&mut member, snapshot(1, 0, "users")).await;
}

#[tokio::test]
async fn garbage_leads_to_a_reconnect_and_never_stops_traffic() {
    let dir = tempfile::tempdir().unwrap();
    let mut plane = FakeControlPlane::start().await;
    let bound = start(&plane.uri, dir.path());
    let mut member = plane.joined().await;
    roll_out(&mut member, snapshot(1, 0, "users")).await;

    let garbage = [
        Ok(ControlPlaneMessage { message: None }),
        Ok(ControlPlaneMessage { message: Some(Order::Prepare(Prepare { snapshot: None })) }),
        Ok(ControlPlaneMessage { message: Some(commit(7)) }),
        Err(Status::internal("a bug")),
    ];
    for message in garbage {
        member.send(message).await;
        member = plane.joined().await;
        assert_eq!(member.hello.active_version, 1);
        serves(&bound).await;
    }
    roll_out(&mut member, snapshot(2, 0, "orders")).await;
}

#[tokio::test]
async fn a_peer_that_is_no_control_plane_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let _bound = start(&uri, dir.path());
    for nonsense in
        [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\xff\x07 nothing of this is HTTP/2 \x01\x02"]
    {
        let (mut stream, _) = listener.accept().await.unwrap();
        // it may have left already, which is as good
        let _ = stream.write_all(nonsense).await;
    }
    listener.accept().await.unwrap();
}

#[tokio::test]
async fn the_same_version_again_is_prepared_and_active_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut plane = FakeControlPlane::start().await;
    let bound = start(&plane.uri, dir.path());
    let mut member = plane.joined().await;
    roll_out(&mut member, snapshot(1, 0, "users")).await;
    let listening = bound.listening();
    roll_out(&mut member, snapshot(1, 0, "users")).await;
    assert_eq!(bound.listening(), listening);
}

#[tokio::test]
async fn without_a_control_plane_the_last_commit_serves_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut plane = FakeControlPlane::start().await;
    let bound = start(&plane.uri, dir.path());
    let mut member = plane.joined().await;
    roll_out(&mut member, with_quick_drain(snapshot(3, 0, "users"))).await;
    bound.shutdown().await;

    let nobody = "http://127.0.0.1:1".parse().unwrap();
    let bound = start(&nobody, dir.path());
    assert_eq!(bound.active_version(), Some(3));
    serves(&bound).await;
}

#[tokio::test]
async fn a_drain_is_reported_and_closes_the_listeners() {
    let dir = tempfile::tempdir().unwrap();
    let mut plane = FakeControlPlane::start().await;
    let bound = start(&plane.uri, dir.path());
    let mut member = plane.joined().await;
    roll_out(&mut member, with_quick_drain(snapshot(1, 0, "users"))).await;
    let address = bound.listening()[0];

    let drained = tokio::spawn(bound.shutdown());
    member.status(|status| status.draining).await;
    drained.await.unwrap();
    TcpStream::connect(address).await.unwrap_err();
    member.left().await;
}

/// The same without the delay for load balancers.
fn with_quick_drain(snapshot: Snapshot) -> Snapshot {
    let mut config = policy::snapshot::open(&snapshot).unwrap();
    config.server.drain_delay = serde_json::from_value("0s".into()).unwrap();
    let policy::snapshot::Encoded { table, sha256 } = policy::snapshot::encode(&config);
    Snapshot { table, sha256, ..snapshot }
}

#[tokio::test]
async fn the_state_directory_of_a_running_instance_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let nobody: Uri = "http://127.0.0.1:1".parse().unwrap();
    let first = start(&nobody, dir.path());
    let settings = Settings {
        control_plane: nobody.clone(),
        control_plane_ca: None,
        token_file: None,
        instance: "edge-2".parse().unwrap(),
        bind: Ipv4Addr::LOCALHOST.into(),
        admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        state_dir: Some(dir.path().to_owned()),
        workers: NonZeroUsize::MIN,
        takeover: false,
    };
    let error = crate::start(settings).unwrap_err();
    assert!(format!("{error:#}").contains("another data plane uses"), "{error:#}");
    first.shutdown().await;
    start(&nobody, dir.path());
}
