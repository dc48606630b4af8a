//! Probes of targets that fail on command, through the real loop and real sockets.

use super::*;
use crate::dial::Transports;
use parking_lot::Mutex;
use policy::config::GatewayConfig;
use policy::health::{HealthState, HealthView};
use policy::table::RouteTable;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::ServingStatus;

/// Longer than anything here takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a target does with a connection.
#[derive(Clone)]
enum Answer {
    Bytes(String),
    Close,
    Hang,
}

/// A server on a free port that does as it is told, and keeps what it was sent.
struct Target {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    heads: Arc<Mutex<Vec<String>>>,
    server: AbortHandle,
}

impl Target {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (answer, heads) = (Arc::new(Mutex::new(answer)), Arc::new(Mutex::new(Vec::new())));
        let (current, seen) = (answer.clone(), heads.clone());
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, current.clone(), seen.clone()));
            }
        });
        Self { address, answer, heads, server: server.abort_handle() }
    }

    async fn with_status(status: u16) -> Self {
        Self::start(response(status, "")).await
    }

    fn now(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    fn requests(&self) -> usize {
        self.heads.lock().len()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<Mutex<Answer>>, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    heads.lock().push(String::from_utf8(head).unwrap());
    let answer = answer.lock().clone();
    match answer {
        // who does not want it all has closed
        Answer::Bytes(bytes) => drop(stream.write_all(bytes.as_bytes()).await),
        Answer::Close => {}
        Answer::Hang => drop(stream.read_to_end(&mut Vec::new()).await),
    }
}

fn response(status: u16, body: &str) -> Answer {
    Answer::Bytes(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// A gateway whose one upstream has these targets, and its health checks.
struct Checked {
    gateway: Arc<Gateway>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Checked {
    fn start(targets: &[SocketAddr], settings: Value) -> Self {
        let gateway = Gateway::new("edge-1".to_owned());
        let checks = HealthChecks::new(gateway.clone());
        let checked = Self { gateway, shared: checks.shared.clone(), task: tokio::spawn(checks.run()) };
        checked.publish(targets, settings);
        checked
    }

    fn publish(&self, targets: &[SocketAddr], settings: Value) {
        let targets: Vec<_> =
            targets.iter().map(|address| json!({"addr": format!("http://{address}")})).collect();
        let mut upstream = json!({"name": "u", "targets": targets});
        upstream.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let config: GatewayConfig = serde_json::from_value(json!({"upstreams": [upstream]})).unwrap();
        let previous = self.gateway.table();
        let table = RouteTable::build(&config, previous.as_deref()).unwrap();
        let before = self.gateway.serving().map(|serving| serving.transports.clone());
        let transports = Transports::prepare(&table, before.as_deref()).unwrap();
        self.gateway.publish(table, transports);
    }

    fn view(&self, at: usize) -> HealthView {
        let table = self.gateway.table().unwrap();
        table.upstreams[0].targets[at].state.health_view(clock::now())
    }

    async fn until(&self, at: usize, what: &str, holds: impl Fn(&HealthView) -> bool) -> HealthView {
        let begun = Instant::now();
        loop {
            let view = self.view(at);
            if holds(&view) {
                return view;
            }
            assert!(begun.elapsed() < PATIENCE, "not {what}: {view:?}");
            // the pace of looking: a target's health changes on other threads and wakes nobody
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn state(&self, at: usize, state: HealthState) -> HealthView {
        self.until(at, state.name(), |view| view.state == state).await
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Quick probes that decide at once.
fn check(more: Value) -> Value {
    let mut check = json!({
        "interval": "5ms", "timeout": "15s", "healthy_threshold": 1, "unhealthy_threshold": 1,
    });
    check.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"health_check": check, "slow_start": "0s"})
}

#[tokio::test]
async fn a_target_goes_and_comes_back_with_its_answers() {
    let target = Target::with_status(200).await;
    let checked = Checked::start(&[target.address], check(json!({"timeout": "100ms"})));
    // a busy machine may not answer itself in time at first
    checked.until(0, "well", |view| view.probes > 2 && view.state == HealthState::Healthy).await;

    let failures = [
        (response(503, ""), "GET /health: status 503, expected 200"),
        (response(302, ""), "GET /health: status 302, expected 200"),
        (Answer::Close, "GET /health: connection closed before message completed"),
        (Answer::Hang, "GET /health: no answer within 100ms"),
        (Answer::Bytes("nonsense\r\n\r\n".into()), "GET /health: invalid HTTP version parsed"),
    ];
    for (answer, reason) in failures {
        target.now(answer);
        checked.until(0, reason, |view| view.state == HealthState::Unhealthy && view.reason == reason).await;
        target.now(response(200, ""));
        checked.state(0, HealthState::Healthy).await;
    }
}

#[tokio::test]
async fn a_target_that_is_gone_is_told_by_what_the_system_says() {
    // a port of ours on which nobody listens
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let checked = Checked::start(&[socket.local_addr().unwrap()], check(json!({})));
    let view = checked.state(0, HealthState::Unhealthy).await;
    assert_eq!(view.reason, "connect: connection refused");
}

#[tokio::test]
async fn a_target_that_takes_no_connection_is_told_by_its_silence() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // nobody accepts: once the queue is full, the system drops what comes
    let mut queue = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queue.push(connected.unwrap());
    }
    let checked = Checked::start(&[address], check(json!({"type": "tcp", "timeout": "100ms"})));
    let view = checked.state(0, HealthState::Unhealthy).await;
    assert_eq!(view.reason, "connect: no answer within 100ms");
}

#[tokio::test]
async fn a_name_that_is_unknown_is_told_as_such() {
    let checked = Checked::start(
        &[],
        json!({"targets": [{"addr": "http://nowhere.invalid:80"}],
        "health_check": {"interval": "5ms", "unhealthy_threshold": 1, "timeout": "20s"}}),
    );
    let view = checked.state(0, HealthState::Unhealthy).await;
    assert_eq!(view.reason, "connect: the name is not resolved: there is no such name");
}

#[tokio::test]
async fn a_probe_says_who_it_is_and_asks_for_what_is_configured() {
    let target = Target::with_status(200).await;
    let more = json!({
        "path": "/status?full=1", "host": "users.internal", "expected_status": ["200-204"],
        "headers": [{"name": "X-Probe", "value": "1"}],
    });
    let checked = Checked::start(&[target.address], check(more));
    checked.until(0, "probed", |view| view.probes > 0).await;
    let head = target.heads.lock()[0].clone();
    let mut lines: Vec<_> = head.trim_end().split("\r\n").map(str::to_owned).collect();
    lines[1..].sort();
    let agent = format!("user-agent: mini-gateway/{} (health check)", env!("CARGO_PKG_VERSION"));
    let expected =
        ["GET /status?full=1 HTTP/1.1", "connection: close", "host: users.internal", &agent, "x-probe: 1"];
    assert_eq!(lines, expected);

    let plain = Checked::start(&[target.address], check(json!({})));
    plain.until(0, "probed", |view| view.probes > 0).await;
    // the other one goes on asking
    let own_host = format!("host: {}\r\n", target.address);
    assert!(target.heads.lock().iter().any(|head| head.contains(&own_host)));
}

#[tokio::test]
async fn the_body_must_hold_the_text() {
    let target = Target::start(response(200, r#"{"status":"ok"}"#)).await;
    let checked = Checked::start(&[target.address], check(json!({"body_contains": "\"ok\""})));
    checked.until(0, "probed", |view| view.probes > 0).await;
    assert_eq!(checked.view(0).state, HealthState::Healthy);

    target.now(response(200, "starting"));
    let view = checked.state(0, HealthState::Unhealthy).await;
    assert_eq!(view.reason, r#"GET /health: body lacks "\"ok\"""#);

    // at the very end of what is looked at, and a byte behind it
    target.now(response(200, &format!("{}\"ok\"", "x".repeat(64 * 1024 - 4))));
    checked.state(0, HealthState::Healthy).await;
    target.now(response(200, &format!("{}\"ok\"", "x".repeat(64 * 1024 - 3))));
    let view = checked.state(0, HealthState::Unhealthy).await;
    assert!(view.reason.ends_with("in its first 64 KiB"), "{}", view.reason);
}

#[tokio::test]
async fn tcp_asks_only_for_a_connection() {
    let target = Target::start(Answer::Hang).await;
    let checked = Checked::start(&[target.address], check(json!({"type": "tcp"})));
    checked.until(0, "probed", |view| view.probes > 2).await;
    assert_eq!(checked.view(0).state, HealthState::Healthy);
    drop(target);
    let view = checked.state(0, HealthState::Unhealthy).await;
    // "reset", when it went away between a connection and its acceptance
    assert!(view.reason.starts_with("connect: connection re"), "{}", view.reason);
}

#[tokio::test]
async fn probes_may_go_to_another_port() {
    let (target, side) = (Target::with_status(500).await, Target::with_status(200).await);
    let checked = Checked::start(&[target.address], check(json!({"port": side.address.port()})));
    checked.until(0, "probed", |view| view.probes > 2).await;
    assert_eq!(checked.view(0).state, HealthState::Healthy);
    assert_eq!(target.requests(), 0);
}

#[tokio::test]
async fn grpc_asks_the_standard_health_service() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("chat.v1.Chat", ServingStatus::Serving).await;
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let checked = Checked::start(&[address], check(json!({"type": "grpc", "service": "chat.v1.Chat"})));
    checked.until(0, "probed", |view| view.probes > 1).await;
    assert_eq!(checked.view(0).state, HealthState::Healthy);
    reporter.set_service_status("chat.v1.Chat", ServingStatus::NotServing).await;
    let view = checked.state(0, HealthState::Unhealthy).await;
    assert_eq!(view.reason, "grpc.health.v1.Health/Check: NOT_SERVING, expected SERVING");
    reporter.set_service_status("chat.v1.Chat", ServingStatus::Serving).await;
    checked.state(0, HealthState::Healthy).await;

    let unknown = Checked::start(&[address], check(json!({"type": "grpc", "service": "mail.v1.Mail"})));
    let view = unknown.state(0, HealthState::Unhealthy).await;
    assert_eq!(view.reason, "grpc.health.v1.Health/Check: status NotFound: service not registered");
}

#[tokio::test]
async fn a_server_that_speaks_no_grpc_fails_its_probe() {
    let target = Target::with_status(200).await;
    let checked = Checked::start(&[target.address], check(json!({"type": "grpc", "timeout": "300ms"})));
    let view = checked.state(0, HealthState::Unhealthy).await;
    assert!(view.reason.starts_with("grpc.health.v1.Health/Check: "), "{}", view.reason);
}

#[tokio::test]
async fn an_edit_keeps_what_is_known_and_its_removal_makes_healthy() {
    let (sick, well) = (Target::with_status(500).await, Target::with_status(200).await);
    let both = [sick.address, well.address];
    let checked = Checked::start(&both, check(json!({"interval": "10s"})));
    let before = checked.state(0, HealthState::Unhealthy).await;
    checked.until(1, "probed", |view| view.probes > 0).await;
    let requests = well.requests();

    // an edit that leaves the checks alone starts nothing anew
    let mut settings = check(json!({"interval": "10s"}));
    settings["balancer"] = json!("random");
    checked.publish(&both, settings);
    // another path does
    checked.publish(&both, check(json!({"interval": "5ms", "path": "/other"})));
    let view = checked.view(0);
    assert_eq!((view.state, view.since), (before.state, before.since), "the state is kept");
    checked.until(1, "probed by the new rules", |view| view.probes > 2).await;
    let paths: Vec<_> =
        well.heads.lock().iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect();
    assert!(paths[..requests].iter().all(|path| path == "/health"), "{paths:?}");
    assert!(paths[requests..].iter().all(|path| path == "/other"), "{paths:?}");

    checked.publish(&both, json!({}));
    assert_eq!(checked.view(0).state, HealthState::Healthy);
}

#[tokio::test]
async fn thresholds_keep_a_flapping_target_where_it_is() {
    let target = Target::with_status(200).await;
    let settings = check(json!({"unhealthy_threshold": 1000, "healthy_threshold": 1000}));
    let checked = Checked::start(&[target.address], settings);
    for round in 1..6 {
        target.now(response(if round % 2 == 0 { 200 } else { 500 }, ""));
        let probes = checked.view(0).probes;
        checked.until(0, "probed again", |view| view.probes > probes + 2).await;
        assert_eq!(checked.view(0).state, HealthState::Healthy);
    }
    assert!(checked.view(0).probe_failures > 0);
}

#[test]
fn first_probes_are_spread_at_a_rate_and_within_the_interval() {
    let (second, interval) = (Duration::from_secs(1), Duration::from_secs(5));
    assert_eq!(first_wait(0, 1, interval), Duration::ZERO);
    assert_eq!(first_wait(2, 3, interval), Duration::from_millis(2));
    assert_eq!(first_wait(1000, 2000, interval), second);
    assert!((0..20_000).all(|at| first_wait(at, 20_000, interval) < interval));
    assert_eq!(first_wait(10_000, 20_000, interval), interval / 2);
}

/// Every address of 127.0.0.0/8 is this machine.
#[tokio::test]
async fn a_stampede_of_probes_is_held_back() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = |at: u16| SocketAddr::from(([127, 1, (at / 250) as u8, (at % 250) as u8 + 1], port));
    let targets: Vec<_> = (0..300).map(target).collect();
    let checked = Checked::start(&targets, check(json!({"timeout": "60s", "interval": "1ms"})));
    let mut held = Vec::new();
    let connection =
        async || tokio::time::timeout(PATIENCE, listener.accept()).await.expect("a probe").unwrap().0;
    for _ in 0..prober::MAX_AT_ONCE {
        held.push(connection().await);
    }
    assert_eq!(checked.shared.slots.available_permits(), 0);
    // the next one begins when one of these ends
    drop(held.pop());
    connection().await;
    drop(checked);
}
