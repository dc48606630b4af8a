//! A new process takes the place of a data plane that serves, or finds its sockets opened by systemd.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::process::Signal;
use std::process::Command;
use std::time::Duration;
use tests::calls::{CallClient, CallServer};
use tests::client::{RawClient, get};
use tests::config;
use tests::fleet::{Fleet, Setup};
use tests::load::{Load, Plan, Tally};
use tests::peers;
use tests::process::Process;
use tests::upstream::Upstream;
use tests::wait::{eventually, soon};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_tungstenite::tungstenite::Message;

/// One route to one target; what is in flight when another process takes over has `patience` to end.
fn patient(port: u16, upstream: &Upstream, patience: &str) -> String {
    let server = config::server(port, &format!("  drain_timeout: {patience}\n"));
    server + "routes:\n  - name: all\n    prefix: /\n" + &config::targets(&[upstream.address()])
}

fn assert_nothing_lost(what: &str, tally: &Tally) {
    assert!(tally.len() == 1 && tally.contains_key("200"), "{what}: {tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_refused_and_no_request_lost_while_processes_take_over_from_one_another() {
    let upstream = Upstream::echo("target").await;
    let slow = Upstream::download(1000, Some(300), Some(Duration::from_millis(5))).await;
    let setup = Setup { workers: 2, ..Setup::default() };
    let mut fleet = Fleet::start_with(setup, |port| {
        let slow = format!(
            "  - {{name: slow, prefix: /slow, targets: [{{addr: \"http://{}\"}}]}}\n",
            slow.address()
        );
        patient(port, &upstream, "20s") + &slow
    })
    .await;
    let kept = Load::start(fleet.address(0), &Plan::get("/kept"));
    let anew = Plan {
        request: "GET /anew HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n".to_owned(),
        ..Plan::get("/")
    };
    let anew = Load::start(fleet.address(0), &anew);
    let admin = fleet.admin_address(0);
    let version = fleet.settled().await;

    // more workers than there are sockets, then fewer
    for workers in [3, 1, 2] {
        kept.goes_on_for(20).await;
        let before = slow.produced();
        let mut download = RawClient::connect(fleet.address(0)).await;
        download.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
        eventually("the download has begun", async || match slow.produced() {
            produced if produced > before => Ok(()),
            produced => Err(format!("{produced} bytes")),
        })
        .await;
        let mut old = fleet.take_over(0, workers).await;
        anew.goes_on_for(40).await;
        kept.goes_on_for(40).await;
        // what was in flight ends in the old process, as a whole
        assert_eq!(download.response().await.body.len(), 300_000);
        assert!(old.ended().await.success(), "{}", old.log());
    }
    assert_eq!(get(admin, "/readyz").await.expect("the same admin address").status, 200);
    assert_eq!(fleet.settled().await, version, "nothing was rolled out");
    assert_nothing_lost("kept connections", &kept.stop().await);
    assert_nothing_lost("new connections", &anew.stop().await);

    // and it obeys
    fleet.apply(&patient(fleet.port(), &upstream, "1s"), &[]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_stay_with_the_process_that_they_began_in() {
    let (websocket, echo) = (Upstream::websocket().await, CallServer::start().await);
    let mut fleet = Fleet::start(1, |port| {
        let calls = format!(
            "  - {{name: calls, prefix: /test.Echo, protocol: h2, targets: [{{addr: \"http://{}\"}}]}}\n",
            echo.address()
        );
        patient(port, &websocket, "20s") + &calls
    })
    .await;
    let address = fleet.address(0);
    let stream = TcpStream::connect(address).await.expect("connect");
    let opened = soon("a WebSocket", tokio_tungstenite::client_async(format!("ws://{address}/ws"), stream));
    let (mut socket, _) = opened.await.expect("a WebSocket");
    let (say, said) = mpsc::unbounded_channel();
    say.send(Bytes::from_static(b"before")).expect("said");
    let mut client = CallClient::connect(address).await;
    let mut echoes =
        client.streaming("Echo", UnboundedReceiverStream::new(said)).await.expect("a stream").into_inner();
    assert_eq!(echoes.message().await.expect("an echo").expect("a message"), "before");

    let mut old = fleet.take_over(0, 1).await;
    old.logged("that it drains", |line| line.contains("draining").then_some(())).await;
    for round in 0..3 {
        let text = format!("{round}");
        socket.send(Message::text(&*text)).await.expect("sent");
        let echo = soon("an echo", socket.next()).await.expect("it is open").expect("a message");
        assert_eq!(echo, Message::text(&*text));
        say.send(text.clone().into()).expect("said");
        assert_eq!(soon("an echo", echoes.message()).await.expect("it is open").expect("a message"), text);
    }
    drop(say);
    assert_eq!(soon("its end", echoes.message()).await.expect("status 0"), None);
    socket.close(None).await.expect("a Close");
    // the target closes, this side does not: that is no reason for the old one to stay
    while soon("the end of the WebSocket", socket.next()).await.is_some() {}
    assert!(old.ended().await.success(), "{}", old.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_dies_before_it_serves_costs_nothing() {
    let upstream = Upstream::echo("target").await;
    let mut fleet = Fleet::start(1, |port| patient(port, &upstream, "1s")).await;
    let load = Load::start(fleet.address(0), &Plan::get("/"));
    // it knocks, is given everything, and goes away
    let door = fleet.directory().join("dp-1/takeover.sock");
    let mut stranger = tokio::net::UnixStream::connect(&door).await.expect("the door is there");
    let (mut read, mut write) = stranger.split();
    tokio::io::AsyncWriteExt::write_all(&mut write, b"mini-gateway takeover 1\n").await.expect("knock");
    tokio::io::AsyncReadExt::read_exact(&mut read, &mut [0; 16]).await.expect("version and number");
    drop(stranger);
    let line = |line: &str| line.contains("it did not take over, this one goes on").then_some(());
    fleet.data_plane(0).logged("that it goes on", line).await;

    fleet.apply(&patient(fleet.port(), &upstream, "2s"), &[]).await.exits(0);
    load.goes_on_for(20).await;
    assert_nothing_lost("kept connections", &load.stop().await);
    // the directory is its own again
    let mut second = fleet.spawn_data_plane(0, 1, &[]);
    second.logged("why it cannot start", |line| line.contains("another data plane uses").then_some(())).await;
    assert!(!second.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_predecessor_it_starts_as_usual() {
    let upstream = Upstream::echo("target").await;
    let mut fleet = Fleet::start(1, |port| patient(port, &upstream, "1s")).await;
    fleet.data_plane(0).signal(Signal::TERM);
    assert!(fleet.data_plane(0).ended().await.success());
    let mut alone = fleet.spawn_data_plane(0, 2, &["--takeover"]);
    alone.logged("that it serves", |line| line.contains("data plane started").then_some(())).await;
    eventually("it serves", async || match get(fleet.address(0), "/").await {
        Ok(reply) if reply.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// What systemd does for a service with a socket: it opens the socket, and passes it to one process after the other.
const ACTIVATOR: &str = r#"
import os, signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listening = socket.create_server((sys.argv[1], int(sys.argv[2])))
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
while True:
    child = os.fork()
    if child == 0:
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
        os.execv(sys.argv[3], sys.argv[3:])
    os.waitpid(child, 0)
    print("restarts", flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn connections_made_while_a_socket_activated_data_plane_restarts_wait_for_it() {
    if !peers::present(&["python3"]) {
        return;
    }
    let upstream = Upstream::echo("target").await;
    let mut fleet = Fleet::start(1, |port| patient(port, &upstream, "1s")).await;
    fleet.data_plane(0).signal(Signal::TERM);
    assert!(fleet.data_plane(0).ended().await.success());

    let address = fleet.address(0);
    let inner = fleet.data_plane_command(0, 2);
    let mut command = Command::new("python3");
    command.args(["-c", ACTIVATOR, &address.ip().to_string(), &address.port().to_string()]);
    let mut activated = Process::spawn("activated", command.arg(inner.get_program()).args(inner.get_args()));
    activated.logged("that it serves", |line| line.contains("data plane started").then_some(())).await;
    let load = Load::start(address, &Plan::get("/"));
    for restarts in 1..=3 {
        load.goes_on_for(20).await;
        activated.signal(Signal::TERM);
        eventually("it restarts", async || match activated.log().matches("restarts").count() {
            enough if enough >= restarts => Ok(()),
            missing => Err(format!("{missing} restarts")),
        })
        .await;
    }
    load.goes_on_for(20).await;
    assert_nothing_lost("kept connections", &load.stop().await);
}
