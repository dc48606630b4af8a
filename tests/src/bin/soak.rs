//! Constant load, open WebSockets, gRPC streams and slow downloads over many applies, and over processes that take over
//! from one another: nothing may be lost, nothing may be closed.

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tests::calls::{CallClient, CallServer};
use tests::config;
use tests::fleet::{Fleet, Setup};
use tests::upstream::{After, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_tungstenite::tungstenite::Message;

/// As many as a client may have open on one connection at the very least.
const STREAMS_PER_CONNECTION: usize = 50;

#[derive(Debug, Parser)]
#[command(about = "Requests lost, streams closed and memory over many applies under load")]
struct Arguments {
    /// Configs applied, one after the other
    #[arg(long, default_value_t = 200)]
    applies: usize,
    /// Data planes
    #[arg(long, default_value_t = 1)]
    data_planes: u8,
    /// Keep-alive connections under constant load, over all data planes
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Open WebSockets
    #[arg(long, default_value_t = 50)]
    websockets: usize,
    /// Open gRPC streams, up to 50 of them on each connection
    #[arg(long, default_value_t = 50)]
    streams: usize,
    /// Slow downloads
    #[arg(long, default_value_t = 20)]
    downloads: usize,
    /// How often a new process takes over from each data plane on the way; a tenth more WebSockets and streams is opened
    /// then
    #[arg(long, default_value_t = 0)]
    takeovers: usize,
    /// Fails when a data plane's resident memory grows by more KiB
    #[arg(long, default_value_t = 32 << 10)]
    growth: u64,
}

/// What the load has seen, shared by all of it.
#[derive(Debug, Default)]
struct Tally {
    over: AtomicBool,
    requests: AtomicU64,
    messages: AtomicU64,
    calls: AtomicU64,
    download_bytes: AtomicU64,
    lost: Mutex<Vec<String>>,
    closed: Mutex<Vec<String>>,
}

/// The fakes behind the routes.
struct Targets {
    fast: Upstream,
    websocket: Upstream,
    slow: Upstream,
    echo: CallServer,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let targets = Targets {
        fast: Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", After::KeepOpen).await,
        websocket: Upstream::websocket().await,
        slow: Upstream::download(1024, None, Some(Duration::from_millis(20))).await,
        echo: CallServer::start().await,
    };
    let setup = Setup { data_planes: arguments.data_planes, workers: 1, ..Setup::default() };
    let mut fleet = Fleet::start_with(setup, |port| table(port, &targets, 0)).await;

    let tally = Arc::new(Tally::default());
    let mut load = JoinSet::new();
    let addresses = fleet.addresses();
    let mut next = addresses.iter().copied().cycle();
    for _ in 0..arguments.clients {
        load.spawn(requests(next.next().context("a data plane")?, Arc::clone(&tally)));
    }
    for _ in 0..arguments.downloads {
        load.spawn(download(next.next().context("a data plane")?, Arc::clone(&tally)));
    }
    let (mut websockets, mut streams) = (arguments.websockets, arguments.streams);
    open(&mut load, &addresses, websockets, streams, &tally).await;

    let mut applies = Histogram::<u64>::new(3)?;
    // growth is measured after the first tenth: pools and buffers have their size by then
    let warm = (arguments.applies / 10).max(1);
    let mut before = Vec::new();
    let mut predecessors = Vec::new();
    let mut measured_in = warm;
    let part = arguments.applies / (arguments.takeovers + 1);
    let started = Instant::now();
    for round in 1..=arguments.applies {
        if predecessors.len() < arguments.takeovers * addresses.len() && round.is_multiple_of(part.max(1)) {
            for at in 0..addresses.len() {
                predecessors.push(fleet.take_over(at, 1).await);
            }
            let (more_websockets, more_streams) = (arguments.websockets / 10, arguments.streams / 10);
            open(&mut load, &addresses, more_websockets, more_streams, &tally).await;
            (websockets, streams) = (websockets + more_websockets, streams + more_streams);
            measured_in = round + warm.min(part / 2);
        }
        let began = Instant::now();
        let applied = fleet.apply(&table(fleet.port(), &targets, round), &[]).await;
        anyhow::ensure!(applied.code == 0, "apply {round} ended with {}: {}", applied.code, applied.text());
        applies.record(began.elapsed().as_micros() as u64)?;
        if round == measured_in {
            before = memory(&mut fleet);
        }
    }
    let elapsed = started.elapsed();
    let after = memory(&mut fleet);
    tally.over.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended?;
    }
    let taken_over = predecessors.len();
    for mut predecessor in predecessors {
        let status = predecessor.ended().await;
        anyhow::ensure!(status.success(), "one that was taken over from ended with {status}");
    }
    println!(
        "WebSockets {websockets}, gRPC streams {streams}, downloads {}; data planes taken over {taken_over}",
        arguments.downloads
    );
    report(&arguments, &tally, &applies, elapsed, (&before, &after))
}

/// WebSockets and streams for the rest of the time, over all data planes.
async fn open(
    load: &mut JoinSet<()>,
    addresses: &[SocketAddr],
    websockets: usize,
    streams: usize,
    tally: &Arc<Tally>,
) {
    for address in addresses.iter().cycle().take(websockets) {
        load.spawn(messages(*address, Arc::clone(tally)));
    }
    let mut left = streams;
    for address in addresses.iter().cycle() {
        let some = left.min(STREAMS_PER_CONNECTION);
        if some == 0 {
            break;
        }
        let client = CallClient::connect(*address).await;
        for _ in 0..some {
            load.spawn(call(client.clone(), Arc::clone(tally)));
        }
        left -= some;
    }
}

fn report(
    arguments: &Arguments,
    tally: &Tally,
    applies: &Histogram<u64>,
    elapsed: Duration,
    (before, after): (&[u64], &[u64]),
) -> anyhow::Result<()> {
    let (lost, closed) = (tally.lost.lock(), tally.closed.lock());
    let requests = tally.requests.load(Ordering::Relaxed);
    let rate = requests as f64 / elapsed.as_secs_f64();
    println!("{} applies in {:.1} s", arguments.applies, elapsed.as_secs_f64());
    println!(
        "  apply (gatewayctl's own start included): median {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        applies.value_at_quantile(0.5) as f64 / 1e3,
        applies.value_at_quantile(0.99) as f64 / 1e3,
        applies.max() as f64 / 1e3
    );
    println!("  requests {requests} ({rate:.0}/s), lost {}", lost.len());
    println!(
        "  echoes by WebSocket {}, by gRPC {}; bytes downloaded {}; streams closed {}",
        tally.messages.load(Ordering::Relaxed),
        tally.calls.load(Ordering::Relaxed),
        tally.download_bytes.load(Ordering::Relaxed),
        closed.len()
    );
    for (at, (before, after)) in before.iter().zip(after).enumerate() {
        println!("  dp-{}: resident memory {before} KiB → {after} KiB", at + 1);
    }
    for what in lost.iter().chain(closed.iter()).take(10) {
        println!("  {what}");
    }
    anyhow::ensure!(lost.is_empty(), "requests were lost");
    anyhow::ensure!(closed.is_empty(), "streams were closed");
    let grown =
        before.iter().zip(after).any(|(before, after)| after.saturating_sub(*before) > arguments.growth);
    anyhow::ensure!(!grown, "memory grew by more than {} KiB", arguments.growth);
    Ok(())
}

/// Four routes that stay and one that changes every round.
fn table(port: u16, targets: &Targets, round: usize) -> String {
    // the targets are one process, to which a thousand connect at once
    let route = |name: &str, prefix: &str, upstream: &Upstream| {
        format!(
            "  - {{name: {name}, prefix: {prefix}, connect_timeout: 20s, targets: [{{addr: \"http://{}\"}}]}}\n",
            upstream.address()
        )
    };
    // what was open when another process took over stays with the old one
    config::server(port, "  drain_timeout: 1h\n")
        + "routes:\n"
        + &route("fast", "/fast", &targets.fast)
        + &route("ws", "/ws", &targets.websocket)
        + &route("slow", "/slow", &targets.slow)
        + &format!(
            "  - {{name: echo, prefix: /test.Echo, protocol: h2, targets: [{{addr: \"http://{}\"}}]}}\n",
            targets.echo.address()
        )
        + &route(&format!("round-{round}"), &format!("/round-{round}"), &targets.fast)
}

fn memory(fleet: &mut Fleet) -> Vec<u64> {
    (0..fleet.addresses().len()).map(|at| fleet.data_plane(at).memory_kib("VmRSS")).collect()
}

const CLOSE: &[u8] = b"\r\nConnection: close\r\n";

/// One request after the other on one connection; every one that gets no 200 is lost.
async fn requests(address: SocketAddr, tally: Arc<Tally>) {
    while !tally.over.load(Ordering::Relaxed) {
        if let Err(error) = requests_on_one_connection(address, &tally).await {
            tally.lost.lock().push(format!("request: {error:#}"));
        }
    }
}

async fn requests_on_one_connection(address: SocketAddr, tally: &Tally) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut answer = Vec::with_capacity(1024);
    while !tally.over.load(Ordering::Relaxed) {
        answer.clear();
        stream.write_all(b"GET /fast HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        while !answer.ends_with(b"\r\n\r\nok") {
            anyhow::ensure!(stream.read_buf(&mut answer).await? > 0, "closed after {} bytes", answer.len());
        }
        anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
        tally.requests.fetch_add(1, Ordering::Relaxed);
        if answer.windows(CLOSE.len()).any(|some| some.eq_ignore_ascii_case(CLOSE)) {
            break;
        }
    }
    Ok(())
}

/// One WebSocket for the whole time.
async fn messages(address: SocketAddr, tally: Arc<Tally>) {
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let (mut socket, _) = tokio_tungstenite::client_async(format!("ws://{address}/ws"), stream).await?;
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        while !tally.over.load(Ordering::Relaxed) {
            pace.tick().await;
            socket.send(Message::text("ping")).await?;
            let echo = socket.next().await.context("closed")??;
            anyhow::ensure!(echo.is_text(), "{echo:?}");
            tally.messages.fetch_add(1, Ordering::Relaxed);
        }
        anyhow::Ok(())
    };
    if let Err(error) = exchange.await {
        tally.closed.lock().push(format!("WebSocket: {error:#}"));
    }
}

/// One stream in both directions for the whole time.
async fn call(mut client: CallClient, tally: Arc<Tally>) {
    let exchange = async {
        let (send, receive) = mpsc::unbounded_channel();
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        send.send(Bytes::from_static(b"ping"))?;
        let answer = client.streaming("Echo", UnboundedReceiverStream::new(receive)).await?;
        let mut echoes = answer.into_inner();
        while !tally.over.load(Ordering::Relaxed) {
            pace.tick().await;
            let echo = echoes.message().await?.context("ended")?;
            anyhow::ensure!(echo == "ping", "{echo:?}");
            tally.calls.fetch_add(1, Ordering::Relaxed);
            send.send(echo)?;
        }
        anyhow::Ok(())
    };
    if let Err(error) = exchange.await {
        tally.closed.lock().push(format!("gRPC stream: {error:#}"));
    }
}

/// One download without end for the whole time.
async fn download(address: SocketAddr, tally: Arc<Tally>) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await?;
        let mut piece = vec![0; 16 * 1024];
        while !tally.over.load(Ordering::Relaxed) {
            let read = stream.read(&mut piece).await?;
            anyhow::ensure!(read > 0, "closed");
            tally.download_bytes.fetch_add(read as u64, Ordering::Relaxed);
        }
        anyhow::Ok(())
    };
    if let Err(error) = exchange.await {
        tally.closed.lock().push(format!("download: {error:#}"));
    }
}
