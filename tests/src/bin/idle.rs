//! Holds many idle keep-alive connections against one data plane and prints what each costs it.

use anyhow::Context as _;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tests::authority::Authority;
use tests::config;
use tests::fleet::{Fleet, Setup};
use tests::upstream::{After, Upstream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

#[derive(Debug, Parser)]
#[command(about = "Memory of a data plane per idle keep-alive connection")]
struct Arguments {
    /// Connections to hold
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// Worker threads of the data plane
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Fails when a connection costs more KiB than this
    #[arg(long, default_value_t = 10.0)]
    budget: f64,
    /// By TLS 1.3 and not in plain text
    #[arg(long)]
    tls: bool,
}

/// Connections opened at a time.
const AT_ONCE: usize = 100;

/// Source addresses, so that their ports do not run out.
const SOURCES: usize = 4;

/// Everything must stand by then.
const LIMIT: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // before the fleet starts: it inherits the limit
    raise_open_files(arguments.connections as u64 + 1000)?;
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", After::KeepOpen).await;
    let setup = Setup { workers: arguments.workers, ..Setup::default() };
    let directory = tempfile::tempdir()?;
    let authority = Authority::new(directory.path());
    let certificate = authority.server("a", &["a"]).item();
    let tls =
        if arguments.tls { format!("\n  tls: {{certificates: [{certificate}]}}") } else { String::new() };
    let mut fleet = Fleet::start_with(setup, |port| {
        config::forward_all(port, upstream.address())
            .replace("drain_delay: 0s", &format!("drain_delay: 0s\n  idle_timeout: 1h{tls}"))
    })
    .await;
    let client = Client { address: fleet.address(0), tls: arguments.tls.then(|| authority.connector(&[])) };
    // pools, buffers and allocator arenas that every data plane has
    let warm = client.open(0, 100).await?;
    let before = fleet.data_plane(0).memory_kib("VmRSS");

    let started = Instant::now();
    let mut held = tokio::time::timeout(LIMIT, client.open(100, arguments.connections))
        .await
        .with_context(|| format!("the connections do not stand after {LIMIT:?}"))??;
    let opened = started.elapsed();
    let just_used = fleet.data_plane(0).memory_kib("VmRSS");
    let after = settled(|| fleet.data_plane(0).memory_kib("VmRSS")).await;
    let each = after.saturating_sub(before) as f64 / held.len() as f64;

    let mut alive = 0;
    for stream in held.iter_mut().step_by(100) {
        alive += usize::from(ask(stream).await.is_ok());
    }
    println!(
        "{} idle keep-alive connections, opened and used once in {:.1} s",
        held.len(),
        opened.as_secs_f64()
    );
    println!(
        "  resident memory {before} KiB → {just_used} KiB just used → {after} KiB idle: {each:.2} KiB each (budget {} KiB)",
        arguments.budget
    );
    println!("  {alive} of {} asked again still answer", held.len().div_ceil(100));
    drop(warm);
    anyhow::ensure!(alive == held.len().div_ceil(100), "connections were lost");
    anyhow::ensure!(each <= arguments.budget, "over budget");
    Ok(())
}

/// The value once it has not changed by more than a hundredth for four seconds; the last one when it never rests.
async fn settled(mut read: impl FnMut() -> u64) -> u64 {
    let deadline = Instant::now() + LIMIT;
    let (mut last, mut since) = (read(), Instant::now());
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    while since.elapsed() < Duration::from_secs(4) && Instant::now() < deadline {
        ticks.tick().await;
        let now = read();
        if now.abs_diff(last) > last / 100 {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

fn raise_open_files(wanted: u64) -> anyhow::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let maximum = maximum.map(|maximum| maximum.max(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).with_context(|| {
        format!("cannot raise the limit of open files to {wanted}; try `ulimit -n {wanted}`")
    })
}

/// Who opens connections, and how.
#[derive(Clone)]
struct Client {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Client {
    /// Opens connections and sends one request on each, so that all are idle between two requests.
    async fn open(&self, first: usize, count: usize) -> anyhow::Result<Vec<Box<dyn Connection>>> {
        let mut held = Vec::with_capacity(count);
        let mut opening = JoinSet::new();
        for n in first..first + count {
            if opening.len() == AT_ONCE {
                held.push(opening.join_next().await.context("one is opening")???);
            }
            let client = self.clone();
            opening.spawn(async move { client.open_one(n).await });
        }
        while let Some(opened) = opening.join_next().await {
            held.push(opened??);
        }
        Ok(held)
    }

    async fn open_one(&self, n: usize) -> anyhow::Result<Box<dyn Connection>> {
        let socket = TcpSocket::new_v4()?;
        let source = Ipv4Addr::new(127, 1, 0, 1 + (n % SOURCES) as u8);
        socket.bind((source, 0).into())?;
        let stream = socket.connect(self.address).await?;
        let mut stream: Box<dyn Connection> = match &self.tls {
            Some(tls) => Box::new(tls.connect(ServerName::try_from("a")?, stream).await?),
            None => Box::new(stream),
        };
        ask(&mut stream).await?;
        Ok(stream)
    }
}

async fn ask(stream: &mut (impl Connection + ?Sized)) -> anyhow::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let mut answer = Vec::with_capacity(1024);
    while !answer.ends_with(b"\r\n\r\nok") {
        anyhow::ensure!(stream.read_buf(&mut answer).await? > 0, "closed");
    }
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
    Ok(())
}
