//! Drills: problems that are made on a real fleet, found by the signal that an operator has, cured, and seen to be over.
//!
//! Each prints what an operator sees and does, and panics when a signal does not come in its bounded time.

mod balance;
mod cascade;
mod flood;
mod health;
mod reload;
mod target;
mod tokens;

pub use target::Service;

use crate::client::get;
use crate::ctl::Output;
use crate::fleet::Fleet;
use crate::wait::eventually;
use std::net::SocketAddr;

/// The problems that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Subcommand)]
pub enum Drill {
    /// One client sends more than the backend can take
    Flood,
    /// A service hangs, and those that call it go down with it
    Cascade,
    /// A config that is broken, and one that an instance cannot run
    Reload,
    /// Verifying tokens takes the processor
    Tokens,
    /// One target of three gets everything
    Balance,
    /// A health check takes a good target out
    Health,
}

impl Drill {
    /// Makes the problem, finds it, cures it.
    pub async fn run(self) {
        match self {
            Self::Flood => flood::run().await,
            Self::Cascade => cascade::run().await,
            Self::Reload => reload::run().await,
            Self::Tokens => tokens::run().await,
            Self::Balance => balance::run().await,
            Self::Health => health::run().await,
        }
        println!("\nOVER      every signal came");
    }
}

/// One step of what an operator goes through: SYMPTOM, SIGNAL, CAUSE, DO, RECOVERY.
fn step(name: &str, text: &str) {
    println!("\n{name:<9} {text}");
}

/// What somebody typed, and what it said.
fn shown(command: &str, said: &str) {
    println!("$ {command}");
    for line in said.lines().filter(|line| !line.is_empty()) {
        println!("{line}");
    }
}

/// Runs `gatewayctl`, which must end with `code`, and shows it.
async fn ctl(fleet: &Fleet, arguments: &[&str], code: i32) -> Output {
    let output = fleet.ctl(arguments.iter().copied()).await.exits(code);
    let quoted =
        arguments.iter().map(|one| if one.contains(' ') { format!("'{one}'") } else { one.to_string() });
    let said = format!("{}{}", output.stderr, output.stdout);
    shown(&format!("gatewayctl {}", quoted.collect::<Vec<_>>().join(" ")), &said);
    if code != 0 {
        println!("(exit code {code})");
    }
    output
}

/// Applies a text, which must succeed, and shows what came of it.
async fn apply(fleet: &Fleet, text: &str, note: &str) {
    let output = fleet.apply(text, &["--note", note]).await.exits(0);
    shown(&format!("gatewayctl apply -f gateway.yaml --note '{note}'"), &output.stdout);
}

/// A line of a page of metrics.
#[derive(Debug, Clone)]
struct Sample {
    line: String,
    value: f64,
}

/// The samples of a metric on one instance whose labels contain all of these texts.
async fn samples(admin: SocketAddr, name: &str, labels: &[&str]) -> Vec<Sample> {
    let page = get(admin, "/metrics").await.expect("a page of metrics");
    let page = String::from_utf8_lossy(&page.body).into_owned();
    page.lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| {
            Some(Sample { line: line.to_owned(), value: line.rsplit(' ').next()?.parse().ok()? })
        })
        .collect()
}

/// The sum of a metric over all instances.
async fn total(fleet: &Fleet, name: &str, labels: &[&str]) -> f64 {
    let mut total = 0.0;
    for at in 0..fleet.addresses().len() {
        total +=
            samples(fleet.admin_address(at), name, labels).await.iter().map(|one| one.value).sum::<f64>();
    }
    total
}

/// Waits until a metric has such values on every instance, and shows it.
async fn signal(fleet: &Fleet, name: &str, labels: &[&str], holds: impl Fn(&[f64]) -> bool) {
    for at in 0..fleet.addresses().len() {
        let admin = fleet.admin_address(at);
        let found = eventually(&format!("{name}{labels:?} on dp-{}", at + 1), async || {
            let samples = samples(admin, name, labels).await;
            let values: Vec<_> = samples.iter().map(|one| one.value).collect();
            if holds(&values) { Ok(samples) } else { Err(format!("{samples:?}")) }
        })
        .await;
        let lines: Vec<_> = found.into_iter().map(|one| one.line).collect();
        shown(&format!("curl -s http://{admin}/metrics | grep {name}"), &lines.join("\n"));
    }
}

/// Waits until the lines of a status have what is looked for, then shows them.
async fn reported(fleet: &Fleet, arguments: &[&str], holds: impl Fn(&str) -> bool) {
    eventually(&format!("gatewayctl {arguments:?}"), async || {
        let said = fleet.ctl(arguments.iter().copied()).await.stdout;
        if holds(&said) {
            shown(&format!("gatewayctl {}", arguments.join(" ")), &said);
            Ok(())
        } else {
            Err(said)
        }
    })
    .await;
}
