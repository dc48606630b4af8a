//! The access log as an operator finds it: on standard output, in files that are rotated, and whole or counted.

use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use rustix::fs::{CWD, Mode};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tests::client::{RawClient, get, send};
use tests::config::{self, route};
use tests::fleet::{Fleet, Setup};
use tests::process::field;
use tests::upstream::{Upstream, full};
use tests::wait::{eventually, soon, throughout};
use tokio::net::TcpStream;

/// Answers with a status.
async fn answering(status: StatusCode) -> Upstream {
    Upstream::http(move |_| {
        let mut response = Response::new(full("answered"));
        *response.status_mut() = status;
        std::future::ready(response)
    })
    .await
}

fn gone() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port")
}

/// A config of routes, and a global access log.
fn table(port: u16, routes: &[String], logging: &str) -> String {
    let global = match logging {
        "" => String::new(),
        settings => format!("global_filters: [{{logging: {{{settings}}}}}]\n"),
    };
    config::server(port, "") + "routes:\n" + &routes.concat() + &global
}

/// One data plane of one worker: its lines come in the order in which their requests ended.
async fn one_worker(config: impl FnOnce(u16) -> String) -> Fleet {
    Fleet::start_with(Setup { workers: 1, ..Setup::default() }, config).await
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
}

fn in_file(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // what has no end yet is being written
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    text[..whole].lines().map(parsed).collect()
}

async fn lines_in(path: &Path, count: usize) -> Vec<Value> {
    eventually("the lines", async || match in_file(path) {
        lines if lines.len() >= count => Ok(lines),
        lines => Err(format!("{} of {count}: {lines:?}", lines.len())),
    })
    .await
}

/// The lines of the access log among all that the program writes.
async fn on_stdout(fleet: &mut Fleet, count: usize) -> Vec<Value> {
    eventually("the lines", async || {
        let log = fleet.data_plane(0).log();
        let lines: Vec<_> = log.lines().filter(|line| line.starts_with('{')).map(parsed).collect();
        if lines.len() >= count { Ok(lines) } else { Err(format!("{} of {count}:\n{log}", lines.len())) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_exchange_has_its_line() {
    let (echo, bad) = (Upstream::echo("users").await, answering(StatusCode::SERVICE_UNAVAILABLE).await);
    let (held, _gate) = Upstream::held("held").await;
    let sockets = Upstream::websocket().await;
    let auth = "filters: [{auth: {type: apikey, keys: [{name: batch, key: sesame-open-0123456789}]}}]";
    let retry = "filters: [{retry: {max_retries: 2, retry_on: [503], backoff: {base: 0s}, budget: 100%}}]";
    let mut fleet = one_worker(|port| {
        let routes = [
            route("users", &[echo.address()], &[auth]),
            route("bad", &[bad.address(), gone(), bad.address()][..1], &[retry]),
            route("held", &[held.address()], &[]),
            route("sockets", &[sockets.address()], &["websocket: true"]),
        ];
        table(port, &routes, "query: true")
    })
    .await;
    let address = fleet.address(0);

    let request = Request::get("/users/7?a=1&access_token=s3cr3t")
        .header("X-API-Key", "sesame-open-0123456789")
        .header("User-Agent", "a \"quoted\" agent")
        .body(Full::default())
        .expect("a request");
    let reply = send(address, request).await.expect("a reply");
    assert_eq!(reply.status, 200);
    let lines = on_stdout(&mut fleet, 1).await;
    let line = &lines[0];
    for (key, expected) in [
        ("method", "GET"),
        ("path", "/users/7"),
        ("query", "a=1&access_token=***"),
        ("client_ip", "127.0.0.1"),
        ("target", &*echo.address().to_string()),
        ("request_id", reply.header("x-request-id")),
        ("user_agent", "a \"quoted\" agent"),
        ("route", "users"),
        ("consumer", "batch"),
        ("protocol", "HTTP/1.1"),
        ("host", &*address.to_string()),
    ] {
        assert_eq!(line[key], expected, "{key} in {line}");
    }
    for (key, expected) in [("status_code", 200), ("attempts", 1), ("config_version", 1), ("bytes_in", 0)] {
        assert_eq!(line[key], expected, "{key} in {line}");
    }
    assert_eq!(line["bytes_out"], reply.body.len());
    assert!(line["upstream_ms"].as_f64().expect("a time") <= line["duration_ms"].as_f64().expect("a time"));
    assert!(line.get("error").is_none() && line.get("reason").is_none() && line.get("trace_id").is_none());

    assert_eq!(get(address, "/nowhere").await.expect("a reply").status, 404);
    assert_eq!(get(address, "/users/8").await.expect("a reply").status, 401);
    assert_eq!(get(address, "/bad").await.expect("a reply").status, 503);
    let mut garbage = RawClient::connect(address).await;
    garbage.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n").await;
    assert_eq!(garbage.response().await.status, 400);
    let mut impatient = RawClient::connect(address).await;
    impatient.send("POST /held HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello").await;
    eventually(
        "it is at the target",
        async || if held.requests().is_empty() { Err("not yet") } else { Ok(()) },
    )
    .await;
    drop(impatient);
    let lines = on_stdout(&mut fleet, 6).await;
    let shown: Vec<_> = lines[1..]
        .iter()
        .map(|line| {
            let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
            let number = |key: &str| line[key].as_u64().expect("a number");
            let (status, attempts) = (number("status_code"), number("attempts"));
            format!(
                "{} {} {} {attempts} {} {}",
                text("method"),
                text("path"),
                status,
                text("route"),
                text("reason")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "GET /nowhere 404 0 - no_route",
            "GET /users/8 401 0 users unauthenticated",
            "GET /bad 503 3 bad -",
            "  400 0 - malformed_request",
            "POST /held 499 1 held client_closed",
        ]
    );
    assert_eq!(bad.requests().len(), 3, "what the line calls attempts");
    assert_eq!(lines[5]["bytes_in"], 5);
    assert!(lines[5]["upstream_ms"].as_f64() > Some(0.0), "until the client left: {}", lines[5]);

    let stream = TcpStream::connect(address).await.expect("connect");
    let url = format!("ws://{address}/sockets");
    let (mut socket, _) =
        soon("a WebSocket", tokio_tungstenite::client_async(url, stream)).await.expect("a WebSocket");
    socket.send("hello".into()).await.expect("a message");
    assert_eq!(get(address, "/nowhere").await.expect("a reply").status, 404);
    let lines = on_stdout(&mut fleet, 7).await;
    assert_eq!(lines[6]["path"], "/nowhere", "a tunnel that is open has no line yet");
    soon("the close", socket.close(None)).await.expect("a close");
    while soon("the end", socket.next()).await.is_some() {}
    drop(socket);
    let lines = on_stdout(&mut fleet, 8).await;
    assert_eq!((&lines[7]["path"], &lines[7]["status_code"]), (&"/sockets".into(), &101.into()));
    assert!(lines[7]["bytes_in"].as_u64() >= Some(11), "a frame of five letters: {}", lines[7]);
    let log = fleet.data_plane(0).log();
    assert!(!log.contains("s3cr3t") && !log.contains("sesame"), "{log}");
}

const CLIENTS: usize = 4;

/// As logrotate does it, while requests go on, and to the last line at the end.
#[tokio::test(flavor = "multi_thread")]
async fn no_line_is_lost_while_the_file_is_rotated_nor_at_the_end() {
    let (echo, directory) = (Upstream::echo("all").await, TempDir::new().expect("a directory"));
    let path = directory.path().join("access.log");
    let output = path.to_str().expect("UTF-8").to_owned();
    let mut fleet = Fleet::start(1, |port| {
        let routes = [route("all", &[echo.address()], &[])];
        table(port, &routes, &format!("output: [{output}, stderr], schema: otel"))
    })
    .await;
    let address = fleet.address(0);
    let asked = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (asked, over) = (asked.clone(), over.clone());
            tokio::spawn(async move {
                let mut client = RawClient::connect(address).await;
                while over.load(Ordering::Relaxed) == 0 {
                    client.send("GET /all HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
                    assert_eq!(client.response().await.status, 200);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut files = vec![path.clone()];
    for round in 1..=3 {
        lines_in(&path, 20).await;
        let rotated = path.with_extension(round.to_string());
        fs::rename(&path, &rotated).expect("rename");
        files.push(rotated);
        fleet.data_plane(0).signal(Signal::HUP);
    }
    lines_in(&path, 20).await;
    over.store(1, Ordering::Relaxed);
    for client in clients {
        client.await.expect("every request was answered");
    }
    fleet.data_plane(0).signal(Signal::TERM);
    assert!(fleet.data_plane(0).ended().await.success());

    let lines: Vec<_> = files.iter().flat_map(|file| in_file(file)).collect();
    assert_eq!(lines.len(), asked.load(Ordering::Relaxed));
    let ids: BTreeSet<_> = lines.iter().map(|line| line["gateway.request_id"].to_string()).collect();
    assert_eq!(ids.len(), lines.len(), "none is there twice");
    assert!(lines.iter().all(|line| line["http.response.status_code"] == 200));
    let log = fleet.data_plane(0).log();
    let reopened = log.matches("the access log goes on in a new file").count();
    assert_eq!(reopened, 3, "{log}");
    let ended = log.lines().find(|line| line.contains("access log ended") && line.contains(&output));
    let counts = ended.map(|line| (field(line, "written"), field(line, "dropped")));
    assert_eq!(counts, Some((Some(&*lines.len().to_string()), Some("0"))), "{log}");
    let on_stderr = log.lines().filter(|line| line.starts_with('{')).map(parsed).count();
    assert_eq!(on_stderr, lines.len(), "each output has every line");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_samples_and_a_log_of_a_routes_own() {
    let (fine, missing) = (Upstream::echo("fine").await, answering(StatusCode::NOT_FOUND).await);
    let directory = TempDir::new().expect("a directory");
    let [global, own] = ["global.log", "own.log"].map(|name| directory.path().join(name));
    let fleet = one_worker(|port| {
        let audit = format!(
            "filters: [{{logging: {{output: {}, format: text, only: {{min_status: 400}}}}}}]",
            own.display()
        );
        let routes = [
            route("fine", &[fine.address()], &[]),
            route("gone", &[gone()], &[]),
            route("audit", &[missing.address()], &[&audit]),
            route("audited", &[fine.address()], &[&audit]),
        ];
        table(port, &routes, &format!("output: {}, sample: 0", global.display()))
    })
    .await;
    let address = fleet.address(0);
    for (path, status) in [
        ("/fine", 200),
        ("/gone/1", 502),
        ("/audit", 404),
        ("/audited", 200),
        ("/nowhere", 404),
        ("/gone/2", 502),
    ] {
        assert_eq!(get(address, path).await.expect("a reply").status, status, "{path}");
    }
    let lines = lines_in(&global, 2).await;
    let shown: Vec<_> = lines.iter().map(|line| (line["path"].as_str(), line["reason"].as_str())).collect();
    let failed = |path| (Some(path), Some("connect_failed"));
    assert_eq!(shown, [failed("/gone/1"), failed("/gone/2")]);
    let line = eventually("its line", async || {
        fs::read_to_string(&own).ok().filter(|text| text.ends_with('\n')).ok_or("none yet")
    })
    .await;
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains(" GET /audit 404 ") && line.contains(" route=audit config_version=1 "), "{line}");
}

/// A FIFO, and somebody who has opened it to read.
fn fifo(directory: &TempDir) -> (PathBuf, File) {
    let path = directory.path().join("fifo");
    rustix::fs::mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).expect("a FIFO");
    // for reading and writing: that waits for nobody
    let reader = File::options().read(true).write(true).open(&path).expect("the reader");
    (path, reader)
}

/// Counts the lines that come, by their path.
fn read_on(reader: File) -> Arc<AtomicUsize> {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = read.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            assert!(parsed(&line)["path"].as_str().is_some_and(|path| path.len() > 7000));
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    read
}

/// Requests of which each has a line of 7 KiB, one after the other; how many were answered so far.
fn ask_on(address: SocketAddr, route: &str, count: usize) -> Arc<AtomicUsize> {
    let answered = Arc::new(AtomicUsize::new(0));
    let counted = answered.clone();
    let request = format!("GET /{route}/{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "x".repeat(7000));
    tokio::spawn(async move {
        let mut client = RawClient::connect(address).await;
        for _ in 0..count {
            client.send(&request).await;
            assert_eq!(client.response().await.status, 200);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    answered
}

async fn reaches(what: &str, counter: &AtomicUsize, count: usize) {
    eventually(what, async || match counter.load(Ordering::Relaxed) {
        reached if reached >= count => Ok(()),
        reached => Err(format!("{reached} of {count}")),
    })
    .await;
}

const MANY: usize = 2000;
/// Of lines of 7 KiB, what may wait, with what a pipe holds.
const WAITING: std::ops::Range<usize> = 1000..1400;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stands_still_costs_lines_but_no_request() {
    let (echo, directory) = (answering(StatusCode::OK).await, TempDir::new().expect("a directory"));
    let (path, reader) = fifo(&directory);
    let mut fleet = one_worker(|port| {
        table(port, &[route("all", &[echo.address()], &[])], &format!("output: {}", path.display()))
    })
    .await;
    let answered = ask_on(fleet.address(0), "all", MANY);
    reaches("every request is answered", &answered, MANY).await;
    let lost = fleet.data_plane(0).logged("that lines are lost", |line| {
        line.contains("lines of the access log are lost").then(|| field(line, "output").map(str::to_owned))
    });
    assert_eq!(lost.await.as_deref(), path.to_str());

    let read = read_on(reader);
    let lost = fleet.data_plane(0).logged("that it is over", |line| {
        line.contains("the access log is whole again").then(|| field(line, "lost")?.parse::<usize>().ok())
    });
    let lost = lost.await.expect("how many were lost");
    assert!(WAITING.contains(&(MANY - lost)), "8 MiB were kept: {lost} are lost");
    reaches("what was kept is read", &read, MANY - lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_shall_wait_for_the_log_wait_and_no_others() {
    let (echo, directory) = (answering(StatusCode::OK).await, TempDir::new().expect("a directory"));
    let (path, reader) = fifo(&directory);
    let fleet = one_worker(|port| {
        let audit = format!("filters: [{{logging: {{output: {}, when_full: block}}}}]", path.display());
        let routes = [route("audit", &[echo.address()], &[&audit]), route("free", &[echo.address()], &[])];
        table(port, &routes, "")
    })
    .await;
    let answered = ask_on(fleet.address(0), "audit", MANY);
    reaches("what may wait is there", &answered, WAITING.start).await;
    throughout(Duration::from_millis(500), "requests wait", async || {
        match answered.load(Ordering::Relaxed) {
            some if some < WAITING.end => Ok(()),
            many => Err(format!("{many} were answered")),
        }
    })
    .await;
    assert_eq!(get(fleet.address(0), "/free").await.expect("a reply").status, 200, "another route goes on");

    let read = read_on(reader);
    reaches("every request is answered", &answered, MANY).await;
    reaches("every line is read", &read, MANY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_one_instance_cannot_write_changes_nothing_anywhere() {
    let (echo, directory) = (Upstream::echo("all").await, TempDir::new().expect("a directory"));
    let folder = directory.path().join("log");
    let path = folder.join("access.log");
    let routes = [route("all", &[echo.address()], &[])];
    let fleet = Fleet::start(2, |port| table(port, &routes, "")).await;
    let with = table(fleet.port(), &routes, &format!("output: {}", path.display()));
    let refused = fleet.apply(&with, &[]).await.exits(4).text();
    let told = format!(
        ": rejected[GW2003] at global_filters[0].logging.output: the access log {} cannot be written: \
         No such file or directory (os error 2)",
        path.display()
    );
    // the first to refuse is enough, the other need not go on
    assert!(["dp-1", "dp-2"].iter().any(|one| refused.contains(&format!("{one}{told}"))), "{refused}");
    assert!(refused.contains(&format!("help: create the directory {}", folder.display())), "{refused}");
    assert_eq!(fleet.settled().await, 1);

    fs::create_dir(&folder).expect("the directory");
    fleet.apply(&with, &[]).await.exits(0);
    let mut asked = BTreeMap::new();
    for address in fleet.addresses() {
        let reply = get(address, "/all").await.expect("a reply");
        asked.insert(reply.header("x-request-id").to_owned(), address.to_string());
    }
    let lines = lines_in(&path, 2).await;
    let shared: BTreeMap<_, _> = lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().expect("a text").to_owned();
            (text("request_id"), text("host"))
        })
        .collect();
    assert_eq!(shared, asked, "both write to one file");
}
