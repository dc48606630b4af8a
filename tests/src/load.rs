//! Constant load on keep-alive connections, and what became of every request.

use crate::client::RawClient;
use crate::wait::{eventually, soon};
use anyhow::Context as _;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How load is put on an address.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Exact bytes of the one request that is sent again and again.
    pub request: String,
    /// Connections, each with one request at a time.
    pub clients: usize,
    /// From one request of a client to its next, or until the answer when that takes longer.
    pub pace: Duration,
}

impl Plan {
    /// `GET path` by a few clients, some hundred times a second: little enough for a busy machine of two cores.
    pub fn get(path: &str) -> Self {
        Self {
            request: format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
            clients: 4,
            pace: Duration::from_millis(10),
        }
    }
}

/// Load that goes on until it is stopped.
#[derive(Debug)]
pub struct Load {
    over: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    clients: JoinSet<()>,
}

/// How often each kind of answer came: `200`, `503 circuit_open`, or what broke.
pub type Tally = BTreeMap<String, usize>;

impl Load {
    /// Starts it.
    pub fn start(address: SocketAddr, plan: &Plan) -> Self {
        let (over, tally) = (Arc::default(), Arc::default());
        let mut clients = JoinSet::new();
        for _ in 0..plan.clients {
            clients.spawn(client(address, plan.clone(), Arc::clone(&over), Arc::clone(&tally)));
        }
        Self { over, tally, clients }
    }

    /// What came so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().clone()
    }

    /// Waits for `count` more answers, whatever they are.
    pub async fn goes_on_for(&self, count: usize) {
        let answers = || self.tally.lock().values().sum::<usize>();
        let wanted = answers() + count;
        eventually("the load goes on", async || match answers() {
            enough if enough >= wanted => Ok(()),
            missing => Err(format!("{missing} of {wanted} answers: {:?}", self.tally())),
        })
        .await;
    }

    /// Lets every client finish its request; returns all that came.
    pub async fn stop(mut self) -> Tally {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = soon("the clients end", self.clients.join_next()).await {
            ended.expect("a client does not panic");
        }
        self.tally()
    }
}

async fn client(address: SocketAddr, plan: Plan, over: Arc<AtomicBool>, tally: Arc<Mutex<Tally>>) {
    let mut pace = tokio::time::interval(plan.pace);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut connection = None;
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        let answer = match exchange(address, &plan.request, &mut connection).await {
            Ok(answer) => answer,
            Err(error) => {
                connection = None;
                format!("{error:#}")
            }
        };
        *tally.lock().entry(answer).or_default() += 1;
    }
}

async fn exchange(
    address: SocketAddr,
    request: &str,
    connection: &mut Option<RawClient>,
) -> anyhow::Result<String> {
    if connection.is_none() {
        *connection = Some(RawClient::try_connect(None, address).await.context("connect")?);
    }
    let client = connection.as_mut().context("connected just now")?;
    client.try_send(request).await.context("send")?;
    let response = client.try_response().await.context("no response")?;
    if response.header("connection") == Some("close") {
        *connection = None;
    }
    Ok(response.outcome())
}

/// Connections of [`pipelined`], each with a share of the requests.
const PIPELINES: usize = 8;

/// Requests written at once; the answers are read meanwhile.
const AT_ONCE: usize = 32;

/// Sends one request for each number, as fast as they are answered; the answers must end in `ok`.
pub async fn pipelined<R>(address: SocketAddr, numbers: Range<usize>, request: R) -> anyhow::Result<()>
where
    R: Fn(usize) -> String + Copy + Send + 'static,
{
    let mut clients = JoinSet::new();
    let share = numbers.len().div_ceil(PIPELINES);
    for client in 0..PIPELINES {
        let first = (numbers.start + client * share).min(numbers.end);
        clients.spawn(pipeline(address, first..(first + share).min(numbers.end), request));
    }
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

async fn pipeline(
    address: SocketAddr,
    numbers: Range<usize>,
    request: impl Fn(usize) -> String,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let numbers: Vec<usize> = numbers.collect();
    let mut answers = Vec::new();
    for batch in numbers.chunks(AT_ONCE) {
        let requests: String = batch.iter().map(|number| request(*number)).collect();
        stream.write_all(requests.as_bytes()).await?;
        answers.clear();
        while answers.windows(6).filter(|window| window == b"\r\n\r\nok").count() < batch.len() {
            anyhow::ensure!(
                stream.read_buf(&mut answers).await? > 0,
                "closed after {}",
                answers.escape_ascii()
            );
        }
    }
    stream.shutdown().await.context("close")
}
