//! Load that is not spread: a hash by the client's address, where everybody comes from the balancer's.

use super::target::Target;
use super::{apply, ctl, reported, shown, signal, step, total};
use crate::config;
use crate::fleet::Fleet;
use crate::load::pipelined;
use crate::wait::eventually;
use std::net::SocketAddr;
use tokio::task::JoinSet;

/// Clients behind the layer 7 balancer in front, which comes from 127.0.0.1.
const CLIENTS: usize = 200;
/// Requests over which shares are looked at.
const ENOUGH: f64 = 400.0;

pub(super) async fn run() {
    let mut targets = Vec::new();
    for name in ["a", "b", "c"] {
        targets.push(Target::start(name, &[]).await);
    }
    let addresses: Vec<_> = targets.iter().map(|target| target.address).collect();
    let text = |port, more: &str| {
        let keys = ["balancer: consistent_hash", "hash_on: client_ip"];
        config::server(port, more) + "routes:\n" + &config::route("carts", &addresses, &keys)
    };
    let fleet = Fleet::start(2, |port| text(port, "")).await;
    let _traffic = traffic(&fleet);

    step("SYMPTOM", "one target of `carts` is slow, the two others have nothing to do");
    step("SIGNAL", "requests of each target");
    let skewed = |shares: &[f64]| shares.iter().any(|share| *share > 0.9);
    let shares = shares(&fleet, &addresses, "one target has nearly all", skewed).await;
    signal(&fleet, "gateway_target_requests_total", &[r#"upstream="carts""#], |values| values.len() == 3)
        .await;
    println!("shares of late: {}", told(&shares));
    let busy = |line: &str| line.split_whitespace().nth(5).is_some_and(|rate| rate != "0");
    reported(&fleet, &["status", "targets", "carts"], |said| said.lines().skip(1).any(busy)).await;

    step(
        "CAUSE",
        "`hash_on: client_ip`, and all clients have one address: the balancer's. Two of them, asked about:",
    );
    for client in ["192.0.2.1", "192.0.2.77"] {
        explained(&fleet, client).await;
    }

    step("DO", "name the balancer in `trusted_proxies`, so that what it says of its clients is believed");
    apply(&fleet, &text(fleet.port(), "  trusted_proxies: [127.0.0.1/32]\n"), "trust the balancer").await;

    step("RECOVERY", "each target has its part");
    let spread = |shares: &[f64]| shares.iter().all(|share| *share > 0.15);
    let shares = self::shares(&fleet, &addresses, "every target has a part", spread).await;
    println!("shares of late: {}", told(&shares));
    for client in ["192.0.2.1", "192.0.2.77"] {
        explained(&fleet, client).await;
    }
    ctl(&fleet, &["status"], 0).await;
}

/// For whom the gateway takes a client, and where its requests go.
async fn explained(fleet: &Fleet, client: &str) {
    let header = format!("X-Forwarded-For: {client}");
    let arguments = ["explain", "GET", "http://a.test/carts", "-H", &header, "--at", "dp-1"];
    let said = fleet.ctl(arguments).await.exits(0).stdout;
    let told = said.lines().filter(|line| line.starts_with("request") || line.starts_with("upstream"));
    shown(
        &format!(
            "gatewayctl explain GET http://a.test/carts -H '{header}' --at dp-1 | grep -E '^(request|upstream)'"
        ),
        &told.collect::<Vec<_>>().join("\n"),
    );
}

/// One request of each client after the other, on every instance, until it is dropped.
fn traffic(fleet: &Fleet) -> JoinSet<()> {
    let mut traffic = JoinSet::new();
    for address in fleet.addresses() {
        traffic.spawn(async move {
            loop {
                pipelined(address, 0..CLIENTS, |number| {
                    let client = format!("192.0.2.{}", number + 1);
                    format!("GET /carts HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: {client}\r\n\r\n")
                })
                .await
                .expect("every request is answered");
            }
        });
    }
    traffic
}

/// The shares of the targets in the next requests, once they are as expected.
async fn shares(
    fleet: &Fleet,
    targets: &[SocketAddr],
    what: &str,
    holds: impl Fn(&[f64]) -> bool,
) -> Vec<f64> {
    let mut before = counts(fleet, targets).await;
    eventually(what, async || {
        let now = counts(fleet, targets).await;
        let grown: Vec<_> = now.iter().zip(&before).map(|(now, before)| now - before).collect();
        let sum: f64 = grown.iter().sum();
        if sum < ENOUGH {
            return Err(format!("{sum} requests"));
        }
        before = now;
        let shares: Vec<_> = grown.iter().map(|grown| grown / sum).collect();
        if holds(&shares) { Ok(shares) } else { Err(told(&shares)) }
    })
    .await
}

async fn counts(fleet: &Fleet, targets: &[SocketAddr]) -> Vec<f64> {
    let mut counts = Vec::new();
    for target in targets {
        let label = format!("target=\"http://{target}\"");
        counts.push(total(fleet, "gateway_target_requests_total", &[&label]).await);
    }
    counts
}

fn told(shares: &[f64]) -> String {
    shares.iter().map(|share| format!("{:.0} %", share * 100.0)).collect::<Vec<_>>().join(", ")
}
