//! grpcio of Python on both sides, which is C-core: other framing, other timing, other errors than tonic's.
//!
//! Needs `tests/python/venv`: `.ci/run packages` makes it.

use crate::{comes_to, fleet, route};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use tests::peers::present;
use tests::ports;
use tests::process::Process;

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/venv/bin/python");
const CALLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/calls.py");

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new(PYTHON);
    command.arg(CALLS).args(arguments);
    command
}

/// What the client says of each call, by its name.
async fn play(gateway: SocketAddr) -> BTreeMap<String, Value> {
    let output = tokio::task::spawn_blocking(move || python(&["client", &gateway.to_string()]).output());
    let output = output.await.expect("no panic").expect("python runs");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    let parse = |line: &str| -> Value {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    };
    said.lines().map(parse).map(|said| (said["name"].as_str().unwrap_or_default().to_owned(), said)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_call_goes_through() {
    if !present(&[PYTHON]) {
        return;
    }
    let mut command = python(&["server", "0"]);
    command.stdin(Stdio::null());
    let mut server = Process::spawn("grpcio", &mut command);
    let address: SocketAddr = server
        .logged("where it listens", |line| {
            line.strip_prefix("listening on ").and_then(|text| text.parse().ok())
        })
        .await;
    let (nobody, _lease) = ports::refusing();
    let hang = tests::calls::CallServer::start().await;
    let fleet = fleet(&[
        route("python", "prefix: /test.Python", address, ""),
        route("limited", "prefix: /limited.Service", address, "filters: [{ip: {deny: [127.0.0.0/8]}}]"),
        route("hanging", "prefix: /hanging.Service", hang.address(), "rewrite: /test.Echo"),
        route("unreachable", "prefix: /unreachable.Service", nobody, ""),
    ])
    .await;
    let said = play(fleet.address(0)).await;
    let of = |name: &str, key: &str| said[name][key].clone();
    assert_eq!((of("unary", "said"), of("unary", "trailing")), ("unary hello".into(), "of python".into()));
    let parts: String = (0..100).map(|at| at.to_string()).collect();
    assert_eq!(of("client_streaming", "said"), parts);
    assert_eq!(of("server_streaming", "count"), 1000);
    let turns: Vec<String> = (0..50).map(|at| at.to_string()).collect();
    assert_eq!(of("bidirectional", "said"), serde_json::json!(turns));
    assert_eq!(of("large", "length"), (3 << 20) + 6);
    let left = of("deadline", "left").as_f64().expect("a time");
    assert!((1.0..30.2).contains(&left), "{left}");
    for (name, code, details) in [
        ("trailers_only", "NOT_FOUND", "no such thing: 100% \u{fc}ber"),
        ("no_method", "UNIMPLEMENTED", "Method not found!"),
        ("no_route", "UNIMPLEMENTED", "no route matches this host and path"),
        ("refused", "PERMISSION_DENIED", "requests from this address are not allowed"),
        ("unreachable", "UNAVAILABLE", "the service could not be reached"),
    ] {
        assert_eq!((of(name, "code"), of(name, "details")), (code.into(), details.into()), "{name}");
    }
    assert_eq!(of("too_late", "code"), "DEADLINE_EXCEEDED");
    comes_to(&fleet, "python", "NOT_FOUND", 1).await;
    comes_to(&fleet, "python", "OK", 6).await;
}
