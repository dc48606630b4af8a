//! What a data plane tells of itself on its admin address: how its workers are, and where their time goes.

use serde_json::Value;
use std::net::SocketAddr;
use tests::client::{RawClient, get};
use tests::config;
use tests::fleet::Fleet;
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
        ("/debug/pprof/profile?seconds=1", 501, "this program was built without frame pointers"),
        ("/debug/pprof/heap", 404, "not found; here are "),
    ] {
        let reply = get(admin, path).await.expect("a reply");
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.body.starts_with(why.as_bytes()), "{path}: {:?}", reply.body);
    }
}
