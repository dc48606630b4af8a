//! Rate limits, breakers, health, ejection, retries and concurrency, against targets that fail on command.

mod breaker;
mod concurrency;
mod ejection;
mod health;
mod operator;
mod rate_limit;
mod retry;
mod survival;

use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tests::client::{RawClient, RawResponse};
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::Target;
use tests::wait::{eventually, soon};
use tokio::task::JoinSet;

/// The whole config of some routes, each made by [`config::route`].
fn table(port: u16, routes: &[String]) -> String {
    config::server(port, "") + "routes:\n" + &routes.concat()
}

/// One data plane that serves them.
async fn gateway(routes: &[String]) -> Fleet {
    Fleet::start(1, |port| table(port, routes)).await
}

fn addresses(targets: &[&Target]) -> Vec<SocketAddr> {
    targets.iter().map(|target| target.address()).collect()
}

/// A GET with more header lines, each ended by CRLF, on a connection of its own.
async fn ask_with(address: SocketAddr, path: &str, headers: &str) -> RawResponse {
    let mut client = RawClient::connect(address).await;
    client.send(get(path, headers)).await;
    client.response().await
}

async fn ask(fleet: &Fleet, path: &str) -> RawResponse {
    ask_with(fleet.address(0), path, "").await
}

async fn outcome(fleet: &Fleet, path: &str) -> String {
    ask(fleet, path).await.outcome()
}

/// `count` requests, one after the other, by how they ended.
async fn outcomes(fleet: &Fleet, path: &str, count: usize) -> BTreeMap<String, usize> {
    let mut ended = BTreeMap::new();
    for _ in 0..count {
        *ended.entry(outcome(fleet, path).await).or_default() += 1;
    }
    ended
}

fn only(outcome: &str, count: usize) -> BTreeMap<String, usize> {
    BTreeMap::from([(outcome.to_owned(), count)])
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{headers}\r\n")
}

/// Waits for a condition and says what is seen while it does not hold.
async fn until<T: std::fmt::Debug>(
    what: &str,
    mut look: impl AsyncFnMut() -> T,
    holds: impl Fn(&T) -> bool,
) -> T {
    eventually(what, async || {
        let seen = look().await;
        if holds(&seen) { Ok(seen) } else { Err(format!("{seen:?}")) }
    })
    .await
}

/// Requests sent at once, each on a connection of its own.
#[derive(Debug)]
struct Volley {
    answers: Arc<Mutex<Vec<String>>>,
    clients: JoinSet<()>,
}

impl Volley {
    fn fire(fleet: &Fleet, path: &str, count: usize) -> Self {
        let mut volley = Self { answers: Arc::default(), clients: JoinSet::new() };
        volley.add(fleet, path, count);
        volley
    }

    fn add(&mut self, fleet: &Fleet, path: &str, count: usize) {
        for _ in 0..count {
            let (address, path, answers) = (fleet.address(0), path.to_owned(), Arc::clone(&self.answers));
            self.clients.spawn(async move {
                let outcome = ask_with(address, &path, "").await.outcome();
                answers.lock().push(outcome);
            });
        }
    }

    /// Those that have been answered so far, in the order of their answers.
    fn answers(&self) -> Vec<String> {
        self.answers.lock().clone()
    }

    /// Waits until each request has its answer or is held by the target; returns how many it holds.
    async fn settles_at(&self, target: &Target) -> usize {
        let sent = self.clients.len();
        let seen = async || (self.answers().len(), target.in_flight());
        until("every request is answered or held", seen, |(answered, held)| answered + held == sent).await.1
    }

    /// Waits for all answers.
    async fn end(mut self) -> Vec<String> {
        while let Some(ended) = soon("all answers", self.clients.join_next()).await {
            ended.expect("a client does not panic");
        }
        self.answers()
    }
}

/// How many passed before the first that did not, that one, and the most that a bucket may have let through besides
/// its burst while all this took its time.
struct Drained {
    passed: usize,
    refused: RawResponse,
    refilled: usize,
}

/// Sends until a request is refused; the bucket refills by `qps` meanwhile.
async fn drain(qps: f64, mut send: impl AsyncFnMut() -> RawResponse) -> Drained {
    let started = Instant::now();
    let mut passed = 0;
    let refused = eventually("a request is refused", async || {
        let response = send().await;
        if response.status != 200 {
            return Ok(response);
        }
        passed += 1;
        Err(format!("{passed} passed"))
    })
    .await;
    let refilled = (started.elapsed().as_secs_f64() * qps).ceil() as usize + 1;
    Drained { passed, refused, refilled }
}

/// The items of `gatewayctl status WHAT -o json`.
async fn status(fleet: &Fleet, what: &str) -> Vec<Value> {
    let output = fleet.ctl(["status", what, "-o", "json"]).await;
    let json = output.exits(0).json();
    json["items"].as_array().unwrap_or_else(|| panic!("no items: {json:#}")).clone()
}

/// Waits until the one item of a status with these fields has what is looked for.
async fn reported(
    fleet: &Fleet,
    what: &str,
    fields: &[(&str, &str)],
    holds: impl Fn(&Value) -> bool,
) -> Value {
    let ours = |item: &Value| fields.iter().all(|(name, value)| item[name].as_str() == Some(value));
    let look = async || status(fleet, what).await.into_iter().filter(|item| ours(item)).collect::<Vec<_>>();
    let what = format!("status {what} of {fields:?}");
    let is_so = |items: &Vec<Value>| matches!(items.as_slice(), [item] if holds(item));
    until(&what, look, is_so).await.swap_remove(0)
}
