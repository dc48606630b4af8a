//! A control plane that other machines reach: TLS, tokens, and what each of them is good for.

use proto::access::{Bearer, Token};
use proto::v1::WatchRequestsRequest;
use proto::v1::admin_client::AdminClient;
use serde_json::Value;
use std::process::Command;
use tests::authority;
use tests::binaries::binary;
use tests::client::get;
use tests::config;
use tests::ctl;
use tests::fleet::{Fleet, Setup};
use tests::upstream::Upstream;
use tests::wait::{eventually, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

async fn guarded(upstream: &Upstream) -> Fleet {
    let setup = Setup { guarded: true, ..Setup::default() };
    Fleet::start_with(setup, |port| config::forward_all(port, upstream.address())).await
}

async fn authors(fleet: &Fleet) -> Vec<Value> {
    let versions = fleet.ctl(["status", "versions", "-o", "json"]).await.exits(0).json();
    let items = versions["items"].as_array().expect("a list").clone();
    items.into_iter().map(|version| version["author"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_token_is_good_for_its_role_and_nothing_else() {
    let upstream = Upstream::echo("target").await;
    let fleet = guarded(&upstream).await;
    let answer = get(fleet.address(0), "/").await.expect("an answer");
    assert_eq!(answer.status, 200, "a data plane has joined with its token");

    let text = config::forward_all(fleet.port(), upstream.address()).replace("prefix: /", "prefix: /a");
    fleet.apply(&text, &[]).await.exits(0);
    // whatever the account is called that gatewayctl runs by
    assert_eq!(authors(&fleet).await[0], "alice");

    fleet.ctl_as("wall", ["status", "instances"]).await.exits(0);
    let file = fleet.directory().join("apply.yaml");
    let apply = ["apply", "--yes", "-f", file.to_str().expect("UTF-8")];
    let refused = fleet.ctl_as("wall", apply).await.exits(8);
    assert!(refused.stderr.contains("wall has the role viewer, which may not call Apply"), "{refused:?}");
    let refused = fleet.ctl_as("dp", ["status", "routes"]).await.exits(8);
    assert!(refused.stderr.contains("dp has the role data-plane"), "{refused:?}");
    assert_eq!(authors(&fleet).await.len(), 2, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_token_or_trusts_nobody_is_told_what_is_missing() {
    let upstream = Upstream::echo("target").await;
    let fleet = guarded(&upstream).await;
    let ca = fleet.guard().ca();
    let run = async |endpoint: &str, more: &[&str]| {
        ctl::run(endpoint, fleet.directory(), more.iter().chain(&["status", "routes"]).copied()).await
    };
    let by_ca = ["--ca", ca.to_str().expect("UTF-8")];
    let refused = run(&fleet.endpoint(), &by_ca).await.exits(8);
    assert!(
        refused.stderr.contains("wants a token") && refused.stderr.contains("GATEWAYCTL_TOKEN"),
        "{refused:?}"
    );
    HealthClient::new(fleet.channel().await.expect("a connection"))
        .check(HealthCheckRequest::default())
        .await
        .expect("health is told to everybody");
    let refused = run(&fleet.endpoint(), &[]).await.exits(7);
    assert!(refused.stderr.contains("UnknownIssuer"), "{refused:?}");
    let [.., token] = fleet.guard().of_ctl("alice");
    let in_the_clear = fleet.endpoint().replace("https://127.0.0.1", "http://gateway.example");
    let refused = run(&in_the_clear, &["--token-file", &token]).await.exits(2);
    assert!(refused.stderr.contains("in the clear"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_data_plane_does_not_join_and_tells_why() {
    let upstream = Upstream::echo("target").await;
    let mut fleet = guarded(&upstream).await;
    let line = fleet.guard().create_token("stranger", "data-plane").await;
    fleet.kill_data_plane(0);
    let tokens = ["stranger", "dp"].map(|name| fleet.guard().token_file(name));
    std::fs::rename(&tokens[0], &tokens[1]).expect("another token in its place");
    let mut process = fleet.spawn_data_plane(0, 1, &[]);
    process.logged("the refusal", |line| line.contains("the token is not known here").then_some(())).await;
    // it serves what it had
    eventually("the stored config serves", async || {
        get(fleet.address(0), "/").await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    // known from now on, without a restart of either
    let known = std::fs::read_to_string(fleet.guard().tokens()).expect("the tokens");
    fleet.guard().write_tokens(&(known + &line));
    process
        .logged("that it has joined", |line| line.contains("joined the control plane").then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_files_are_in_force_and_broken_ones_are_not() {
    let upstream = Upstream::echo("target").await;
    let mut fleet = guarded(&upstream).await;
    let guard = fleet.guard();
    let tokens = std::fs::read_to_string(guard.tokens()).expect("the tokens");
    guard.write_tokens("tokens: [{name: alice");
    let told = |line: &str| line.contains("what=\"tokens\"").then_some(());
    fleet.control_plane().logged("that the tokens are broken", told).await;
    fleet.ctl(["status", "routes"]).await.exits(0);

    // a key that is not that of the certificate
    let key = fleet.guard().key();
    let right = std::fs::read(&key).expect("the key");
    std::fs::copy(fleet.guard().ca().with_extension("key"), &key).expect("another key");
    let told = |line: &str| line.contains("certificate and key cannot be used").then_some(());
    fleet.control_plane().logged("that the key is another's", told).await;
    fleet.ctl(["status", "routes"]).await.exits(0);
    std::fs::write(&key, right).expect("the right key");

    // alice's is taken away
    let without: String =
        tokens.lines().filter(|line| !line.contains("alice")).map(|line| format!("{line}\n")).collect();
    fleet.guard().write_tokens(&without);
    eventually("alice is unknown", async || {
        let output = fleet.ctl(["status", "routes"]).await;
        if output.code == 8 { Ok(()) } else { Err(format!("{output:?}")) }
    })
    .await;

    // by another authority, which everybody reads anew
    fleet.guard().write_tokens(&tokens);
    fleet.guard().renew_certificate();
    eventually("the new certificate is shown", async || {
        let output = fleet.ctl(["status", "instances", "-o", "name"]).await;
        if output.code == 0 { Ok(()) } else { Err(format!("{output:?}")) }
    })
    .await;
    fleet.kill_control_plane();
    fleet.start_control_plane().await;
    fleet.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_taken_away_ends_what_it_began() {
    let upstream = Upstream::echo("target").await;
    let mut fleet = guarded(&upstream).await;
    let tokens = std::fs::read_to_string(fleet.guard().tokens()).expect("the tokens");
    let token = Token::read(&fleet.guard().token_file("wall")).expect("a token");
    let mut wall =
        AdminClient::with_interceptor(fleet.channel().await.expect("a connection"), Bearer(Some(token)));
    let watching = wall.watch_requests(WatchRequestsRequest::default()).await;
    let mut events = watching.expect("a viewer may").into_inner();
    fleet.guard().write_tokens(&tokens.replace("viewer", "operator").replace("data-plane", "viewer"));
    let ended = soon("the end of what it watches", async {
        loop {
            match events.message().await {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(status) => break Some(status.code()),
            }
        }
    });
    assert_eq!(ended.await, Some(Code::Unauthenticated));
    let told = |line: &str| line.contains("its token was taken away").then_some(());
    fleet.control_plane().logged("that the data plane was sent away", told).await;
    let refused = |line: &str| line.contains("dp has the role viewer").then_some(());
    fleet.data_plane(0).logged("that it may not come back", refused).await;
    assert_eq!(get(fleet.address(0), "/").await.expect("an answer").status, 200, "traffic goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_does_not_stay() {
    let upstream = Upstream::echo("target").await;
    let fleet = guarded(&upstream).await;
    let address = fleet.endpoint().replace("https://", "");
    let connect = || async { TcpStream::connect(&address).await.expect("a connection") };
    let mut silent = connect().await;
    let connector = authority::connector(&fleet.guard().ca(), &["h2"]);
    let shake = async || {
        let name = "localhost".try_into().expect("a name");
        connector.connect(name, connect().await).await.expect("a handshake")
    };
    let (mut idle, mut deaf) = (shake().await, shake().await);
    let (mut nothing, mut settings) = (Vec::new(), Vec::new());
    // pings whose answers it does not read
    let pings = async {
        let _ = deaf.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
        let ping = b"\0\0\x08\x06\0\0\0\0\0pingpong".repeat(1000);
        while deaf.write_all(&ping).await.is_ok() {}
    };
    // whether in good order or not
    let _ = tokio::join!(
        soon("the end of one that says nothing", silent.read_to_end(&mut nothing)),
        soon("the end of one that asks for nothing", idle.read_to_end(&mut settings)),
        soon("the end of one that does not read", pings),
    );
    fleet.ctl(["status", "instances", "-o", "name"]).await.exits(0);
    assert_eq!(fleet.settled().await, 1, "the data plane is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_machines_reach_is_not_served_without_both() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("gateway.yaml"), "routes: []\n").expect("write the config");
    let mut command = Command::new(binary("controlplane"));
    command.args(["--config", "gateway.yaml", "--listen", "0.0.0.0:0", "--state-dir", "state"]);
    let output = command.current_dir(directory.path()).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--tls-cert") && said.contains("--tokens"), "{said}");
}
