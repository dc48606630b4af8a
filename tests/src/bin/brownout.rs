//! Puts a constant load on failing targets and prints, second by second, what retries cost them and bring the clients.

use clap::Parser;
use std::net::SocketAddr;
use std::time::Duration;
use tests::config;
use tests::fleet::Fleet;
use tests::load::{Load, Plan, Tally};
use tests::upstream::{Mood, Target};

#[derive(Debug, Parser)]
#[command(
    about = "Amplification and client success through a brown-out: without retries, with a budget, with a breaker"
)]
struct Arguments {
    /// Requests a second
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seconds of each phase: healthy, every second answer a 503, nothing but 503, healthy again
    #[arg(long, default_value_t = 5)]
    phase: u32,
    /// The retry budget in percent
    #[arg(long, default_value_t = 20)]
    budget: u32,
}

/// Connections; each has one request under way.
const CLIENTS: u32 = 20;

/// What each part of a brown-out does to the targets.
const PHASES: [(&str, Mood); 4] = [
    ("healthy", Mood::Healthy),
    ("every second 503", Mood::Flapping),
    ("all 503", Mood::Status(503)),
    ("healthy again", Mood::Healthy),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(arguments.rate >= CLIENTS, "--rate must be at least {CLIENTS}");
    let targets = [Target::start("a").await, Target::start("b").await];
    let at: Vec<SocketAddr> = targets.iter().map(Target::address).collect();
    let retry = format!("retry: {{max_retries: 3, retry_on: [503], budget: {}%}}", arguments.budget);
    let breaker = "circuit_breaker: {threshold: 10, timeout: 1s}";
    let filters = [
        ("none", "filters: []".to_owned()),
        ("budget", format!("filters: [{{{retry}}}]")),
        ("breaker", format!("filters: [{{{retry}}}, {{{breaker}}}]")),
    ];
    let fleet = Fleet::start(1, |port| {
        let routes = filters.iter().map(|(name, filters)| config::route(name, &at, &[filters]));
        config::server(port, "") + "routes:\n" + &routes.collect::<String>()
    })
    .await;
    for (name, title) in [
        ("none", "no retries".to_owned()),
        ("budget", format!("3 retries within a budget of {} %", arguments.budget)),
        ("breaker", format!("3 retries within a budget of {} %, and a circuit breaker", arguments.budget)),
    ] {
        println!("{title}");
        println!(
            "   s  {:<17} {:>8} {:>8} {:>13} {:>7}",
            "targets", "requests", "attempts", "amplification", "success"
        );
        brown_out(&arguments, fleet.address(0), &format!("/{name}"), &targets).await;
    }
    Ok(())
}

async fn brown_out(arguments: &Arguments, address: SocketAddr, path: &str, targets: &[Target]) {
    let pace = Duration::from_secs(1) * CLIENTS / arguments.rate;
    let load = Load::start(address, &Plan { clients: CLIENTS as usize, pace, ..Plan::get(path) });
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.tick().await;
    let start = Seen::of(&load, path, targets);
    let mut second = 0;
    for (phase, mood) in PHASES {
        for target in targets {
            target.be(mood).await;
        }
        let (mut before, mut all) = (Seen::of(&load, path, targets), Seen::default());
        for _ in 0..arguments.phase {
            seconds.tick().await;
            second += 1;
            let now = Seen::of(&load, path, targets);
            let row = now.since(&before);
            println!("{second:>4}  {phase:<17} {}", row.columns());
            all = all.and(&row);
            before = now;
        }
        println!("   =  {phase:<17} {}", all.columns());
    }
    println!("   =  {:<17} {}", "all of it", Seen::of(&load, path, targets).since(&start).columns());
    let tally = load.stop().await;
    println!("      answers: {}\n", shown(&tally));
}

fn shown(tally: &Tally) -> String {
    tally.iter().map(|(answer, count)| format!("{count} × {answer}")).collect::<Vec<_>>().join(", ")
}

/// Counts at a moment, or between two.
#[derive(Debug, Default)]
struct Seen {
    requests: usize,
    good: usize,
    attempts: usize,
}

impl Seen {
    fn of(load: &Load, path: &str, targets: &[Target]) -> Self {
        let tally = load.tally();
        Self {
            requests: tally.values().sum(),
            good: tally.get("200").copied().unwrap_or_default(),
            attempts: targets.iter().map(|target| target.got(path)).sum(),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            good: self.good - before.good,
            attempts: self.attempts - before.attempts,
        }
    }

    fn and(self, other: &Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            good: self.good + other.good,
            attempts: self.attempts + other.attempts,
        }
    }

    fn columns(&self) -> String {
        let of_requests = |count: usize| count as f64 / self.requests.max(1) as f64;
        format!(
            "{:>8} {:>8} {:>13.3} {:>5.1} %",
            self.requests,
            self.attempts,
            of_requests(self.attempts),
            of_requests(self.good) * 100.0
        )
    }
}
