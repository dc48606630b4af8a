//! Saves a file of 10 000 routes and measures the time until every data plane serves the change.

use anyhow::Context as _;
use clap::Parser;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tests::config;
use tests::fleet::{Fleet, Setup};
use tests::upstream::Upstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Debug, Parser)]
#[command(about = "Milliseconds from saving a large config to every data plane serving it")]
struct Arguments {
    /// Routes in the file
    #[arg(long, default_value_t = 10_000)]
    routes: usize,
    /// Times the file is saved
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Data planes that must serve it
    #[arg(long, default_value_t = 3)]
    data_planes: u8,
}

/// Between two looks: fast enough to tell, and slow enough not to take the cores from those who are looked at.
const PACE: Duration = Duration::from_millis(2);
/// A round that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let upstream = Upstream::echo("target").await;
    let setup = Setup { data_planes: arguments.data_planes, workers: 1, ..Setup::default() };
    let fleet = Fleet::start_with(setup, |port| routes(port, arguments.routes, upstream.address(), 0)).await;

    let mut took = Vec::with_capacity(arguments.rounds);
    for round in 1..=arguments.rounds {
        let text = routes(fleet.port(), arguments.routes, upstream.address(), round);
        let started = Instant::now();
        fleet.write_config(&text);
        let path = format!("/round-{round}/last");
        let served = fleet.addresses().into_iter().map(|address| served(address, path.clone()));
        let served = tokio::time::timeout(LIMIT, futures_util::future::try_join_all(served)).await;
        served.with_context(|| format!("round {round} is not served after {LIMIT:?}"))??;
        took.push(started.elapsed());
    }
    took.sort();
    println!(
        "{} routes, {} data planes, {} rounds, saved → served by all:",
        arguments.routes,
        arguments.data_planes,
        took.len()
    );
    println!("  min {:.1} ms", milliseconds(took[0]));
    println!("  median {:.1} ms", milliseconds(took[took.len() / 2]));
    println!("  max {:.1} ms", milliseconds(took[took.len() - 1]));
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// `routes` routes; the last one's path tells the round.
fn routes(port: u16, routes: usize, target: SocketAddr, round: usize) -> String {
    let mut text = config::server(port, "") + "upstreams:\n";
    let _ = writeln!(text, "  - {{name: target, targets: [{{addr: \"http://{target}\"}}]}}\nroutes:");
    for n in 0..routes.saturating_sub(1) {
        let _ = writeln!(
            text,
            "  - {{name: route-{n}, prefix: /service-{n}/v1, strip_prefix: true, upstream: target}}"
        );
    }
    let _ = writeln!(text, "  - {{name: last, prefix: /round-{round}/last, upstream: target}}");
    text
}

/// Asks on one connection until the answer is no longer 404.
async fn served(address: SocketAddr, path: String) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut head = [0; 4096];
    loop {
        stream.write_all(request.as_bytes()).await?;
        let read = stream.read(&mut head).await?;
        match &head[..read] {
            head if head.starts_with(b"HTTP/1.1 200") => return Ok(()),
            head if head.starts_with(b"HTTP/1.1 404") => tokio::time::sleep(PACE).await,
            other => anyhow::bail!("{address}: {}", other.escape_ascii()),
        }
    }
}
