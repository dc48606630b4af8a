//! Sends a request for each of a million keys through a limit by header and prints what the keys cost in memory.

use clap::Parser;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;
use tests::config;
use tests::fleet::{Fleet, Setup};
use tests::load::pipelined;
use tests::upstream::{After, Upstream};

#[derive(Debug, Parser)]
#[command(about = "Memory of a data plane that limits by a header of which every request brings a new value")]
struct Arguments {
    /// Different keys, one request each
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
    /// Keys that the limit keeps
    #[arg(long, default_value_t = 100_000)]
    max_keys: usize,
    /// How requests are counted
    #[arg(long, value_enum, default_value_t = Algorithm::SlidingWindow)]
    algorithm: Algorithm,
    /// Fails when resident memory grows by more MiB
    #[arg(long, default_value_t = 96)]
    growth: u64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Algorithm {
    /// The least that a key can cost; forgotten a second after its request
    TokenBucket,
    /// The most that a key can cost, and remembered to the end
    SlidingWindow,
}

impl Algorithm {
    fn settings(self) -> &'static str {
        match self {
            Self::TokenBucket => "qps: 1, burst: 100",
            Self::SlidingWindow => "qps: 1, algorithm: sliding_window, window: 1h",
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", After::KeepOpen).await;
    let filters = format!(
        "filters: [{{rate_limit: {{{}, key: \"header:X-Key\", max_keys: {}}}}}]",
        arguments.algorithm.settings(),
        arguments.max_keys
    );
    let mut fleet = Fleet::start_with(Setup::default(), |port| {
        let at = [upstream.address()];
        config::server(port, "")
            + "routes:\n"
            + &config::route("limited", &at, &[&filters])
            + &config::route("free", &at, &[])
    })
    .await;
    // pools, buffers and arenas that any traffic brings
    load(fleet.address(0), "/free", 0..10_000).await?;
    let before = fleet.data_plane(0).memory_kib("VmRSS");
    println!("resident memory before: {} MiB", before >> 10);

    let started = Instant::now();
    for tenth in 0..10 {
        let keys = arguments.keys * tenth / 10..arguments.keys * (tenth + 1) / 10;
        let end = keys.end;
        load(fleet.address(0), "/limited", keys).await?;
        println!("  after {end:>8} keys: {} MiB", fleet.data_plane(0).memory_kib("VmRSS") >> 10);
    }
    let rate = arguments.keys as f64 / started.elapsed().as_secs_f64();
    println!("{rate:.0} requests/s");
    print!("{}", fleet.ctl(["status", "limits", "-o", "wide"]).await.exits(0).stdout);
    let grown = fleet.data_plane(0).memory_kib("VmRSS").saturating_sub(before) >> 10;
    println!("grown by {grown} MiB");
    anyhow::ensure!(grown <= arguments.growth, "memory grew by more than {} MiB", arguments.growth);
    Ok(())
}

async fn load(address: SocketAddr, path: &'static str, keys: Range<usize>) -> anyhow::Result<()> {
    let request = move |key| format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\n\r\n");
    pipelined(address, keys, request).await
}
