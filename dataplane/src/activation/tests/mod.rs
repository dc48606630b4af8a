//! All or nothing, with real listeners, a real disk and real workers.

mod orders;

use super::*;
use crate::listener;
use bytes::Bytes;
use policy::config::GatewayConfig;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Weak;
use std::{fs, io};
use tokio::net::TcpStream;

pub(crate) const CLUSTER: &str = "cluster-a";

/// A config with one route, `name`, on `port`.
pub(crate) fn snapshot(version: u64, port: u16, name: &str) -> Snapshot {
    snapshot_with(version, port, name, serde_json::json!([]))
}

/// The same with global filters.
fn snapshot_with(version: u64, port: u16, name: &str, filters: serde_json::Value) -> Snapshot {
    let config: GatewayConfig = serde_json::from_value(serde_json::json!({
        "server": {"port": port},
        "routes": [{"name": name, "prefix": "/", "targets": [{"addr": "http://127.0.0.1:9"}]}],
        "global_filters": filters,
    }))
    .unwrap();
    let policy::snapshot::Encoded { table, sha256 } = policy::snapshot::encode(&config);
    let cluster_id = CLUSTER.to_owned();
    Snapshot { cluster_id, version, sha256, created_ms: 1, author: "test".into(), note: String::new(), table }
}

struct Fixture {
    dir: tempfile::TempDir,
    gateway: Arc<Gateway>,
    board: Board,
    activation: Activation,
}

impl Fixture {
    fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap())
    }

    /// A process that starts on what an earlier one has left.
    fn on(dir: tempfile::TempDir) -> Self {
        let gateway = Gateway::new("edge-1".to_owned());
        let workers = Arc::new(crate::worker::Workers::spawn(1, gateway.clone()).unwrap());
        let board = Board::default();
        let listeners = Listeners::new(Ipv4Addr::LOCALHOST.into(), gateway.clone(), workers, 1);
        let disk = Disk::open(dir.path().to_owned()).unwrap();
        let activation = Activation::new(gateway.clone(), listeners, disk, board.clone());
        Self { dir, gateway, board, activation }
    }

    fn restart(self) -> Self {
        let Self { dir, activation, .. } = self;
        drop(activation);
        Self::on(dir)
    }

    async fn activate(&mut self, snapshot: Snapshot) {
        let version = snapshot.version;
        self.activation.prepare(snapshot).await.unwrap();
        self.activation.commit(version).await.unwrap();
    }

    async fn rejection(&mut self, snapshot: Snapshot) -> Diagnostic {
        let mut diagnostics = self.activation.prepare(snapshot).await.unwrap_err();
        assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
        diagnostics.remove(0)
    }

    fn serving(&self) -> Option<(u64, String)> {
        self.gateway.table().map(|table| (table.version, table.routes[0].name.to_string()))
    }

    fn on_disk(&self) -> Option<u64> {
        self.activation.disk.load().unwrap().map(|snapshot| snapshot.version)
    }
}

fn taken_port() -> (std::net::TcpListener, u16) {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    (taken, port)
}

/// A port that nobody has, though anybody might take it.
fn free_port() -> u16 {
    taken_port().1
}

fn is_free(port: u16) -> bool {
    listener::reserve(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), 1).is_ok()
}

#[tokio::test]
async fn a_commit_publishes_listens_and_persists() {
    let mut it = Fixture::new();
    it.activation.prepare(snapshot(1, 0, "users")).await.unwrap();
    assert_eq!((it.serving(), it.on_disk()), (None, None), "a prepare changes nothing");
    assert_eq!(it.board.get(), status_of_nothing());

    let committed = it.activation.commit(1).await.unwrap();
    assert_eq!(committed.identity.version, 1);
    assert_eq!(it.serving(), Some((1, "users".to_owned())));
    assert_eq!(it.on_disk(), Some(1));
    let running = it.board.get();
    assert_eq!(running.active.unwrap(), committed.identity);
    assert_eq!(running.not_stored, None);
    TcpStream::connect(running.listening[0]).await.unwrap();
}

/// The last one to let go of ten thousand routes spends milliseconds on freeing them, and was a worker.
#[tokio::test]
async fn the_table_before_is_held_as_long_as_a_request_runs_by_it_and_freed_by_no_worker() {
    let mut it = Fixture::new();
    it.activate(snapshot(1, 0, "users")).await;
    let (request, before) = {
        let serving = it.gateway.serving().unwrap();
        (serving.clone(), Arc::downgrade(&serving))
    };
    it.activate(snapshot(2, 0, "orders")).await;
    assert!(Weak::strong_count(&before) > 1, "one is the request's, one is for whoever frees it");
    drop(request);
    let freed = async {
        while Weak::strong_count(&before) > 0 {
            // the pace of looking: freeing wakes nobody
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), freed).await.expect("it is freed in time");
}

fn status_of_nothing() -> crate::status::Running {
    crate::status::Running::default()
}

/// Unlike a prepare, a restart has no other config to go on with.
#[tokio::test]
async fn a_log_that_cannot_be_written_refuses_a_config_but_keeps_nobody_from_serving_after_a_restart() {
    let mut it = Fixture::new();
    let folder = it.dir.path().join("log");
    let path = folder.join("access.log");
    let logging = serde_json::json!([{"logging": {"output": path}}]);
    it.activate(snapshot(1, 0, "users")).await;
    let before = it.board.get();
    let problem = it.rejection(snapshot_with(2, 0, "orders", logging.clone())).await;
    assert_eq!((problem.code, &*problem.path), (Code::LOG_OUTPUT, "global_filters[0].logging.output"));
    assert!(problem.message.contains(&path.display().to_string()), "{problem}");
    assert_eq!((it.serving(), it.on_disk()), (Some((1, "users".to_owned())), Some(1)));
    assert_eq!(it.board.get(), before);

    fs::create_dir(&folder).unwrap();
    it.activate(snapshot_with(2, 0, "orders", logging)).await;
    fs::remove_dir_all(&folder).unwrap();
    let mut it = it.restart();
    it.activation.restore().await;
    assert_eq!(it.serving(), Some((2, "orders".to_owned())));
}

#[tokio::test]
async fn a_taken_port_changes_nothing() {
    let mut it = Fixture::new();
    it.activate(snapshot(1, 0, "users")).await;
    let before = it.board.get();
    let (_taken, port) = taken_port();

    let problem = it.rejection(snapshot(2, port, "orders")).await;
    assert_eq!(problem.code, Code::LISTEN);
    assert!(problem.message.contains(&format!("127.0.0.1:{port}")), "{problem}");
    assert!(problem.help.unwrap().contains("free the port"));

    assert_eq!(it.board.get(), before);
    assert_eq!((it.serving(), it.on_disk()), (Some((1, "users".to_owned())), Some(1)));
    assert_eq!(it.activation.commit(2).await.unwrap_err(), NotPrepared { version: 2, prepared: None });
    TcpStream::connect(before.listening[0]).await.unwrap();
}

#[tokio::test]
async fn an_abort_frees_the_port_and_the_file() {
    let mut it = Fixture::new();
    let port = free_port();
    it.activation.prepare(snapshot(1, port, "users")).await.unwrap();
    assert!(!is_free(port), "a prepared port is reserved");
    it.activation.abort(2);
    assert!(!is_free(port), "another version's abort is not ours");
    it.activation.abort(1);
    assert!(is_free(port));
    assert_eq!(files(it.dir.path()), ["lock"]);
    assert!(it.activation.commit(1).await.is_err());
}

fn files(dir: &std::path::Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_reserved_port_does_not_accept() {
    let mut it = Fixture::new();
    let port = free_port();
    it.activation.prepare(snapshot(1, port, "users")).await.unwrap();
    let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn the_next_prepare_replaces_the_last() {
    let mut it = Fixture::new();
    let port = free_port();
    it.activation.prepare(snapshot(1, port, "users")).await.unwrap();
    it.activation.prepare(snapshot(2, 0, "orders")).await.unwrap();
    assert!(is_free(port));
    assert_eq!(it.activation.commit(1).await.unwrap_err(), NotPrepared { version: 1, prepared: Some(2) });
    it.activation.commit(2).await.unwrap();
    assert_eq!(it.serving(), Some((2, "orders".to_owned())));
}

#[tokio::test]
async fn an_edit_keeps_the_listener_and_a_new_port_moves_it() {
    let mut it = Fixture::new();
    it.activate(snapshot(1, 0, "users")).await;
    let first = it.board.get().listening;
    it.activate(snapshot(2, 0, "orders")).await;
    assert_eq!(it.board.get().listening, first, "port 0 keeps the one it got");

    let port = free_port();
    it.activate(snapshot(3, port, "orders")).await;
    let second = it.board.get().listening;
    assert_eq!(second, [SocketAddr::from((Ipv4Addr::LOCALHOST, port))]);
    TcpStream::connect(second[0]).await.unwrap();
    closed(first[0]).await;
}

/// The kernel resets what is left in the queue of a listening socket when it closes.
#[tokio::test]
async fn who_connected_before_a_listener_went_away_is_answered() {
    use std::io::{Read, Write};
    let mut it = Fixture::new();
    for version in 1..=10 {
        it.activate(snapshot(2 * version, 0, "users")).await;
        let address = it.board.get().listening[0];
        let moved = snapshot(2 * version + 1, free_port(), "users");
        it.activation.prepare(moved).await.unwrap();
        let clients: Vec<_> = (0..50)
            .map(|_| {
                let mut client = std::net::TcpStream::connect(address).unwrap();
                client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
                client
            })
            .collect();
        it.activation.commit(2 * version + 1).await.unwrap();
        let read = |mut client: std::net::TcpStream| {
            let mut answer = String::new();
            client.read_to_string(&mut answer).map(|_| answer)
        };
        let answers = spawn_blocking(move || clients.into_iter().map(read).collect::<io::Result<Vec<_>>>());
        for answer in answers.await.unwrap().unwrap() {
            assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
        }
    }
}

/// Returns once nothing listens there.
async fn closed(address: SocketAddr) {
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn only_newer_versions_and_the_same_once_more_are_taken() {
    let mut it = Fixture::new();
    it.activate(snapshot(5, 0, "users")).await;
    let older = it.rejection(snapshot(4, 0, "orders")).await;
    assert!(older.message.contains("version 4 is older than 5"), "{older}");
    let other = it.rejection(snapshot(5, 0, "orders")).await;
    assert!(other.message.contains("another content"), "{other}");
    it.activate(snapshot(5, 0, "users")).await;
    it.activate(snapshot(6, 0, "orders")).await;
    assert_eq!(it.serving(), Some((6, "orders".to_owned())));
}

#[tokio::test]
async fn another_cluster_is_refused_with_the_way_out() {
    let mut it = Fixture::new();
    it.activate(snapshot(1, 0, "users")).await;
    let foreign = Snapshot { cluster_id: "cluster-b".into(), ..snapshot(2, 0, "orders") };
    let problem = it.rejection(foreign).await;
    assert!(problem.message.contains("`cluster-a`, the snapshot to `cluster-b`"), "{problem}");
    assert!(problem.help.unwrap().contains(it.dir.path().to_str().unwrap()));
    assert_eq!(it.serving(), Some((1, "users".to_owned())));
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused() {
    let mut it = Fixture::new();
    let cases = [
        Snapshot { table: Bytes::from_static(b"\xff\xff"), ..snapshot(1, 0, "users") },
        Snapshot { sha256: "0".repeat(64), ..snapshot(1, 0, "users") },
        Snapshot { version: 0, ..snapshot(1, 0, "users") },
        Snapshot { cluster_id: String::new(), ..snapshot(1, 0, "users") },
    ];
    for case in cases {
        assert_eq!(it.rejection(case).await.code, Code::SNAPSHOT);
    }
    assert_eq!(it.board.get(), status_of_nothing());
}

#[tokio::test]
async fn a_restart_serves_the_last_commit_without_a_control_plane() {
    let mut it = Fixture::new();
    it.activate(snapshot(1, 0, "users")).await;
    it.activation.prepare(snapshot(2, 0, "orders")).await.unwrap();

    let mut it = it.restart();
    it.activation.restore().await;
    assert_eq!(it.serving(), Some((1, "users".to_owned())), "what was only prepared is gone");
    assert_eq!(it.board.get().cluster_id, CLUSTER);
    TcpStream::connect(it.board.get().listening[0]).await.unwrap();
    assert_eq!(
        it.rejection(Snapshot { cluster_id: "b".into(), ..snapshot(3, 0, "x") }).await.code,
        Code::SNAPSHOT
    );
}

#[tokio::test]
async fn a_corrupt_snapshot_is_set_aside_and_the_next_config_is_taken() {
    let mut it = Fixture::new();
    it.activate(snapshot(1, 0, "users")).await;
    let mut it = it.restart();
    let path = it.activation.disk.path();
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();

    it.activation.restore().await;
    assert_eq!(it.serving(), None);
    assert_eq!(fs::read(path.with_extension("corrupt")).unwrap(), bytes);
    it.activate(snapshot(1, 0, "users")).await;
    assert_eq!(it.on_disk(), Some(1));
}

#[tokio::test]
async fn a_port_taken_at_the_start_is_tried_again() {
    let mut it = Fixture::new();
    let port = free_port();
    it.activate(snapshot(1, port, "users")).await;
    let mut it = it.restart();
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    it.activation.restore().await;
    assert_eq!(it.serving(), None);
    drop(taken);
    it.activation.restore().await;
    assert_eq!(it.serving(), Some((1, "users".to_owned())));
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written_does_not_stop_the_rollout() {
    let mut it = Fixture::new();
    let state = it.dir.path().to_owned();
    fs::remove_dir_all(&state).unwrap();
    it.activate(snapshot(1, 0, "users")).await;
    assert_eq!(it.serving(), Some((1, "users".to_owned())));
    assert!(it.board.get().not_stored.is_some(), "and it is reported");

    fs::create_dir(&state).unwrap();
    it.activate(snapshot(2, 0, "users")).await;
    assert_eq!((it.on_disk(), it.board.get().not_stored), (Some(2), None));
}

#[tokio::test]
async fn a_draining_instance_takes_configs_and_opens_nothing() {
    let mut it = Fixture::new();
    it.activate(snapshot(1, 0, "users")).await;
    it.board.update(|running| running.draining = true);
    let (_taken, port) = taken_port();
    it.activate(snapshot(2, port, "orders")).await;
    assert_eq!(it.on_disk(), Some(2), "its next start is not behind");
    assert_eq!(it.serving(), Some((2, "orders".to_owned())));
}
