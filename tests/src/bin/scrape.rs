//! Scrapes a data plane that counts many routes, and prints how long it takes and what requests feel of it.

use anyhow::Context as _;
use clap::Parser;
use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tests::client::{RawClient, get};
use tests::config;
use tests::fleet::{Fleet, Setup};
use tests::load::pipelined;
use tests::upstream::{After, Upstream};
use tokio::task::JoinSet;

#[derive(Debug, Parser)]
#[command(about = "Time of a scrape of many routes, and latency of requests with and without scrapes")]
struct Arguments {
    /// Routes, all of which have been asked for
    #[arg(long, default_value_t = 1000)]
    routes: usize,
    /// How long each latency is measured
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// From one scrape to the next while requests are measured
    #[arg(long, default_value_t = 1000)]
    every_ms: u64,
}

/// Connections with one request at a time while latency is measured.
const CLIENTS: usize = 4;
/// From one request of a client to its next: much less than a core can do.
const PACE: Duration = Duration::from_millis(2);
/// Scrapes without requests beside them.
const SCRAPES: usize = 50;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", After::KeepOpen).await;
    let fleet = Fleet::start_with(Setup::default(), |port| {
        let mut text = config::server(port, "") + "routes:\n";
        for number in 0..arguments.routes {
            // writing to a String cannot fail
            let _ = write!(text, "{}", config::route(&format!("route-{number}"), &[upstream.address()], &[]));
        }
        text
    })
    .await;
    let (address, admin, routes) = (fleet.address(0), fleet.admin_address(0), arguments.routes);
    for method in ["GET", "POST", "PUT"] {
        let request =
            move |number| format!("{method} /route-{} HTTP/1.1\r\nHost: a\r\n\r\n", number % routes);
        pipelined(address, 0..routes * 2, request).await?;
    }

    let mut scrapes = new_histogram()?;
    for _ in 0..SCRAPES {
        scrapes.record(scrape(admin).await?.0.as_micros() as u64)?;
    }
    let (_, page) = scrape(admin).await?;
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    println!("{routes} routes: {series} series, {} KiB", page.len() >> 10);
    println!("scrape           {}", told(&scrapes));

    let span = Duration::from_secs(arguments.seconds);
    println!("requests         {}", told(&measure(address, span).await?));
    let every = Duration::from_millis(arguments.every_ms);
    let scraping = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            if let Err(error) = scrape(admin).await {
                return error;
            }
        }
    });
    println!("   while scraped {}", told(&measure(address, span).await?));
    anyhow::ensure!(!scraping.is_finished(), "a scrape failed: {:?}", scraping.await);
    Ok(())
}

async fn scrape(admin: SocketAddr) -> anyhow::Result<(Duration, String)> {
    let began = Instant::now();
    let page = get(admin, "/metrics").await?.body;
    Ok((began.elapsed(), String::from_utf8(page.to_vec())?))
}

/// How long requests take, in microseconds.
async fn measure(address: SocketAddr, span: Duration) -> anyhow::Result<Histogram<u64>> {
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(async move {
            let (mut taken, began) = (new_histogram()?, Instant::now());
            let mut client = RawClient::try_connect(None, address).await.context("connect")?;
            let mut pace = tokio::time::interval(PACE);
            while began.elapsed() < span {
                pace.tick().await;
                let began = Instant::now();
                client.try_send("GET /route-0 HTTP/1.1\r\nHost: a\r\n\r\n").await?;
                client.try_response().await?;
                taken.record(began.elapsed().as_micros() as u64)?;
            }
            Ok::<_, anyhow::Error>(taken)
        });
    }
    let mut all = new_histogram()?;
    while let Some(taken) = clients.join_next().await {
        all.add(taken??)?;
    }
    Ok(all)
}

fn new_histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

fn told(histogram: &Histogram<u64>) -> String {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    format!(
        "{:>6} times: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, most {:.2} ms",
        histogram.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        histogram.max() as f64 / 1e3
    )
}
