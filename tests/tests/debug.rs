//! What a data plane tells of itself on its admin address: how its workers are, and where their time goes.

use flate2::read::GzDecoder;
use prost::Message;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::io::Read as _;
use std::net::SocketAddr;
use tests::client::{RawClient, get};
use tests::config;
use tests::fleet::Fleet;
use tests::load::{Load, Plan};
use tests::upstream::Upstream;
use tests::wait::eventually;

async fn workers(admin: SocketAddr) -> Vec<Value> {
    let reply = get(admin, "/debug/workers").await.expect("a reply");
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "application/json"));
    reply.json()["workers"].as_array().expect("a list").clone()
}

fn sum(workers: &[Value], key: &str) -> u64 {
    workers.iter().map(|worker| worker[key].as_u64().unwrap_or_else(|| panic!("no {key} in {worker}"))).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_tell_what_they_hold_and_how_late_they_are() {
    let (target, gate) = Upstream::held("held").await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, target.address())).await;
    let (address, admin) = (fleet.address(0), fleet.admin_address(0));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = RawClient::connect(address).await;
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        clients.push(client);
    }
    let held = eventually("all four are at the target", async || {
        let workers = workers(admin).await;
        match (target.requests().len(), sum(&workers, "active")) {
            (4, 4) => Ok(workers),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(held.len(), 2);
    assert_eq!((sum(&held, "connections"), sum(&held, "requests")), (4, 4));
    assert!(held.iter().all(|worker| worker["connections"] == 2), "shared evenly: {held:?}");
    gate.open(4);
    for client in &mut clients {
        assert_eq!(client.response().await.status, 200);
    }
    let after = eventually("the timers have fired", async || {
        let workers = workers(admin).await;
        let fired = |worker: &Value| worker["lag_max_ms"].as_f64().is_some_and(|lag| lag > 0.0);
        if workers.iter().all(fired) && sum(&workers, "active") == 0 {
            Ok(workers)
        } else {
            Err(format!("{workers:?}"))
        }
    })
    .await;
    for worker in &after {
        let number = |key: &str| worker[key].as_f64().expect("a number");
        assert!(number("lag_ms") <= number("lag_max_ms"), "{worker}");
        assert!((0.0..=1.0).contains(&number("busy")), "{worker}");
    }
}

/// Of `profile.proto` of google/pprof what is needed to read one.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    str: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

impl Profile {
    fn text(&self, at: i64) -> &str {
        &self.string_table[usize::try_from(at).expect("a position")]
    }

    /// The names of the functions of a sample, the innermost first.
    fn stack(&self, sample: &Sample) -> Vec<&str> {
        let locations: HashMap<_, _> = self.location.iter().map(|one| (one.id, one)).collect();
        let functions: HashMap<_, _> = self.function.iter().map(|one| (one.id, one)).collect();
        let lines = sample.location_id.iter().flat_map(|id| &locations[id].line);
        lines.map(|line| self.text(functions[&line.function_id].name)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_under_load_names_functions_of_ours() {
    let target = Upstream::echo("target").await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, target.address())).await;
    let admin = fleet.admin_address(0);
    let load = Load::start(fleet.address(0), &Plan::get("/"));
    let path = "/debug/pprof/profile?seconds=3";
    let (one, other) = tokio::join!(get(admin, path), get(admin, path));
    let (one, other) = (one.expect("a reply"), other.expect("a reply"));
    let (reply, busy) = if one.status == 200 { (one, other) } else { (other, one) };
    assert_eq!((reply.status.as_u16(), busy.status.as_u16()), (200, 409), "one at a time");
    assert!(busy.body.starts_with(b"another profile is being taken"), "{busy:?}");
    assert!(reply.header("content-disposition").contains("profile.pb.gz"), "{reply:?}");

    let mut bytes = Vec::new();
    GzDecoder::new(&reply.body[..]).read_to_end(&mut bytes).expect("gzip");
    let profile = Profile::decode(&*bytes).expect("a profile");
    assert_eq!(profile.string_table[0], "");
    let types: Vec<_> =
        profile.sample_type.iter().map(|one| (profile.text(one.kind), profile.text(one.unit))).collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    assert!(profile.duration_nanos >= 3_000_000_000 && profile.period == 1_000_000_000 / 99);
    assert!(profile.sample.iter().all(|one| one.value == [one.value[0], one.value[0] * profile.period]));
    let threads: BTreeSet<_> = profile
        .sample
        .iter()
        .flat_map(|sample| &sample.label)
        .map(|label| (profile.text(label.key), profile.text(label.str)))
        .collect();
    assert!(threads.contains(&("thread", "worker-0")), "{threads:?}");
    let stacks: Vec<_> = profile.sample.iter().map(|sample| profile.stack(sample)).collect();
    let of_a_request = |stack: &&Vec<&str>| {
        let has = |name: &str| stack.iter().any(|function| function.contains(name));
        has("dataplane::connection::serve") && has("dataplane::worker::thread::spawn")
    };
    assert!(stacks.iter().any(|stack| of_a_request(&stack)), "{stacks:#?}");

    let picture = get(admin, "/debug/pprof/flamegraph?seconds=2").await.expect("a reply");
    assert_eq!((picture.status.as_u16(), picture.header("content-type")), (200, "image/svg+xml"));
    let picture = String::from_utf8(picture.body.to_vec()).expect("UTF-8");
    assert!(picture.contains("dataplane::connection::serve"), "{picture:.2000}");
    let ended = load.stop().await;
    assert_eq!(ended.keys().collect::<Vec<_>>(), ["200"], "no request has suffered: {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_cannot_be_taken_says_why() {
    let target = Upstream::echo("target").await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, target.address())).await;
    let admin = fleet.admin_address(0);
    for (path, status, why) in [
        ("/debug/pprof/profile?seconds=0", 400, "`seconds` is a whole number from 1 to 120, not \"0\"\n"),
        (
            "/debug/pprof/flamegraph?seconds=1h",
            400,
            "`seconds` is a whole number from 1 to 120, not \"1h\"\n",
        ),
        ("/debug/pprof/heap", 404, "not found; here are "),
    ] {
        let reply = get(admin, path).await.expect("a reply");
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.body.starts_with(why.as_bytes()), "{path}: {:?}", reply.body);
    }
}
