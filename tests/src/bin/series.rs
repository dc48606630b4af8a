//! Sends a million requests, each with a path, a method and a host of its own, and prints what they leave in the metrics.

use clap::Parser;
use std::net::SocketAddr;
use tests::client::get;
use tests::config;
use tests::fleet::{Fleet, Setup};
use tests::load::pipelined;
use tests::upstream::{After, Upstream};

#[derive(Debug, Parser)]
#[command(about = "Series and memory of a data plane that no two requests ask for the same")]
struct Arguments {
    /// Requests
    #[arg(long, default_value_t = 1_000_000)]
    requests: usize,
    /// Fails when resident memory grows by more MiB
    #[arg(long, default_value_t = 8)]
    growth: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { requests, growth } = Arguments::parse();
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", After::KeepOpen).await;
    let mut fleet =
        Fleet::start_with(Setup::default(), |port| config::forward_all(port, upstream.address())).await;
    let request =
        |number| format!("M{number} /p/{number}?q={number} HTTP/1.1\r\nHost: h{number}.test\r\n\r\n");
    // pools, buffers and arenas that any traffic brings
    pipelined(fleet.address(0), 0..20_000, request).await?;
    let (series_before, memory_before) =
        (series(fleet.admin_address(0)).await?, fleet.data_plane(0).memory_kib("VmRSS"));
    println!("{:>9}  {series_before} series, {} KiB", 20_000, memory_before);
    for tenth in 0..10 {
        let numbers = requests * tenth / 10..requests * (tenth + 1) / 10;
        let end = numbers.end;
        pipelined(fleet.address(0), numbers, request).await?;
        let memory = fleet.data_plane(0).memory_kib("VmRSS");
        println!("{end:>9}  {} series, {memory} KiB", series(fleet.admin_address(0)).await?);
    }
    let grown = fleet.data_plane(0).memory_kib("VmRSS").saturating_sub(memory_before) >> 10;
    anyhow::ensure!(series(fleet.admin_address(0)).await? == series_before, "there are more series");
    anyhow::ensure!(grown <= growth, "memory grew by {grown} MiB");
    Ok(())
}

async fn series(admin: SocketAddr) -> anyhow::Result<usize> {
    let page = get(admin, "/metrics").await?.body;
    Ok(page.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#').count())
}
