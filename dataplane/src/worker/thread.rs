//! One worker thread: accepts, serves, drains; everything of a request happens here.

use super::arrivals::{Accepted, Arrivals};
use super::{Command, Drained, Peer};
use crate::connection::client::{Client, Limits};
use crate::connection::http2::Offence;
use crate::connection::session::Session;
use crate::connection::stream::ClientStream;
use crate::connection::{self, goodbye};
use crate::dial::Transports;
use crate::gateway::{Gateway, Serving, WorkerCounters};
use crate::h1::Flusher;
use crate::listener::{ListenerId, ListenerState};
use crate::pool::Pool;
use crate::telemetry::WorkerTelemetry;
use crate::telemetry::access_log::{LAST_LINES, Sink, WorkerLog};
use crate::telemetry::metrics::TableSeries;
use arc_swap::{ArcSwapOption, Cache};
use bytes::Bytes;
use http::HeaderValue;
use jiff::fmt::rfc2822::DateTimePrinter;
use policy::rejection::Rejection;
use policy::table::RouteTable;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle as Task, spawn_local};

/// How often idle connections to targets are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// The most that one read takes.
const SCRATCH: usize = 64 * 1024;
/// How long accepting pauses when the process is out of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// The table that a request runs by, in a handle that costs nothing to hold: its count is not shared between threads.
pub(crate) struct TableHandle {
    serving: Arc<Serving>,
    /// Where lines of its access logs go, in the order of its `log_outputs`.
    pub(crate) sinks: Box<[Rc<Sink>]>,
}

impl TableHandle {
    pub(crate) fn new(serving: &Arc<Serving>, log: &WorkerLog) -> Self {
        Self { serving: serving.clone(), sinks: log.sinks(&serving.log_outputs) }
    }

    /// Where its requests are counted.
    pub(crate) fn series(&self) -> &TableSeries {
        &self.serving.series
    }

    /// How its targets are reached.
    pub(crate) fn transports(&self) -> &Transports {
        &self.serving.transports
    }
}

impl Deref for TableHandle {
    type Target = RouteTable;

    fn deref(&self) -> &RouteTable {
        &self.serving.table
    }
}

type TableCache = Cache<Arc<ArcSwapOption<Serving>>, Option<Arc<Serving>>>;

/// A worker, seen from the tasks on its thread.
pub(crate) struct Worker {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) pool: Pool,
    pub(crate) telemetry: WorkerTelemetry,
    /// Writes to targets.
    pub(crate) flusher: Flusher,
    /// Where a read lands first.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    counters: Arc<WorkerCounters>,
    index: usize,
    peers: Arc<[Peer]>,
    table: RefCell<(TableCache, Option<Rc<TableHandle>>)>,
    limits: RefCell<Option<Rc<Limits>>>,
    listening: RefCell<HashMap<ListenerId, Vec<Listening>>>,
    sessions: RefCell<HashMap<u64, Rc<Session>>>,
    /// Those that have not come to HTTP yet, the oldest first.
    pub(super) arrivals: Arrivals,
    next_id: Cell<u64>,
    /// One of these is gone.
    pub(super) client_ended: Notify,
    /// The wall clock, read once a second; in between it follows the monotonic one.
    wall: Cell<(Instant, Duration)>,
    /// A second since the Unix epoch, and how it is written.
    date: RefCell<Option<(u64, HeaderValue)>>,
}

/// Starts the thread.
pub(super) fn spawn(
    index: usize,
    peers: Arc<[Peer]>,
    gateway: Arc<Gateway>,
    commands: mpsc::UnboundedReceiver<Command>,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(run(Worker::new(index, peers, gateway), commands)),
            Err(error) => tracing::error!(%error, index, "a worker has no event queue"),
        }
    })
}

/// Obeys until drained.
async fn run(worker: Rc<Worker>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let sweeper = spawn_local(worker.clone().sweep());
    let logger = spawn_local(worker.clone().hand_over_lines());
    let flushing = worker.clone();
    let flusher = spawn_local(async move { flushing.flusher.run().await });
    let watching = spawn_local(worker.clone().watch_lag());
    while let Some(command) = commands.recv().await {
        match command {
            Command::Listen(socket, state) => worker.listen(socket, state),
            Command::Take(stream, peer, listener) => worker.take(stream, peer, listener),
            Command::Close(id, done) => {
                worker.close(id).await;
                // nobody waits any more: nothing to tell
                let _ = done.send(());
            }
            Command::Lend(lent) => {
                let _ = lent.send(worker.lend());
            }
            Command::Recall(request_id, answer) => {
                let _ = answer.send(worker.telemetry.recall(&request_id));
            }
            Command::Drain(deadline, done) => {
                let drained = worker.drain(deadline).await;
                // before anybody waits for the last line to be written
                worker.telemetry.log.finish(LAST_LINES).await;
                let _ = done.send(drained);
                break;
            }
        }
    }
    sweeper.abort();
    logger.abort();
    flusher.abort();
    watching.abort();
}

impl Worker {
    fn new(index: usize, peers: Arc<[Peer]>, gateway: Arc<Gateway>) -> Rc<Self> {
        let counters = peers[index].counters.clone();
        let telemetry = WorkerTelemetry::new(&gateway, index, counters.clone());
        Rc::new(Self {
            pool: Pool::default(),
            telemetry,
            flusher: Flusher::default(),
            scratch: RefCell::new(vec![0; SCRATCH].into()),
            counters,
            index,
            peers,
            table: RefCell::new((Cache::new(gateway.serving_cell()), None)),
            limits: RefCell::default(),
            listening: RefCell::default(),
            sessions: RefCell::default(),
            arrivals: Arrivals::default(),
            next_id: Cell::new(0),
            client_ended: Notify::new(),
            wall: Cell::new(wall_clock()),
            date: RefCell::default(),
            gateway,
        })
    }

    /// The current table.
    pub(crate) fn table(&self) -> Option<Rc<TableHandle>> {
        let (cache, known) = &mut *self.table.borrow_mut();
        let current = cache.load().as_ref()?;
        if !known.as_ref().is_some_and(|known| Arc::ptr_eq(&known.serving, current)) {
            *known = Some(Rc::new(TableHandle::new(current, &self.telemetry.log)));
        }
        known.clone()
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn unix_millis(&self, instant: Instant) -> u64 {
        u64::try_from(self.unix(instant).as_millis()).unwrap_or(u64::MAX)
    }

    /// Nanoseconds since the Unix epoch.
    pub(crate) fn unix_nanos(&self, instant: Instant) -> u64 {
        u64::try_from(self.unix(instant).as_nanos()).unwrap_or(u64::MAX)
    }

    fn unix(&self, instant: Instant) -> Duration {
        let (at, wall) = self.wall.get();
        match instant.checked_duration_since(at) {
            Some(later) => wall + later,
            None => wall.saturating_sub(at - instant),
        }
    }

    pub(crate) fn count_request(&self) {
        self.counters.requests.add_one();
    }

    /// A WebSocket is open for as long as the result lives.
    pub(crate) fn count_websocket(&self) -> impl Drop + use<> {
        self.counters.websockets_opened.add_one();
        OpenWebSocket(self.counters.clone())
    }

    /// A connection of HTTP/2 that was closed for what its client did.
    pub(crate) fn count_offence(&self, offence: Offence) {
        self.counters.offences.count(offence);
    }

    /// The second of `now`, as `Date` says it (RFC 9110 §5.6.7).
    pub(crate) fn date(&self, now: Instant) -> HeaderValue {
        let second = self.unix(now).as_secs();
        let mut known = self.date.borrow_mut();
        match &*known {
            Some((known, date)) if *known == second => date.clone(),
            _ => known.insert((second, date_of(second))).1.clone(),
        }
    }

    /// What the current config demands of new connections.
    fn limits(&self, table: &RouteTable) -> Rc<Limits> {
        let current = Limits::from(&table.server);
        let mut known = self.limits.borrow_mut();
        match &*known {
            Some(known) if **known == current => known.clone(),
            _ => known.insert(Rc::new(current)).clone(),
        }
    }

    fn listen(self: &Rc<Self>, socket: std::net::TcpListener, state: Arc<ListenerState>) {
        let watched = socket.try_clone().and_then(TcpListener::from_std);
        match watched {
            Ok(listener) => {
                let accepting = spawn_local(self.clone().accept(listener, state.clone()));
                let mut listening = self.listening.borrow_mut();
                listening.entry(state.id).or_default().push(Listening { socket, state, accepting });
            }
            Err(error) => {
                tracing::error!(%error, address = %state.address, "cannot watch a listening socket")
            }
        }
    }

    async fn accept(self: Rc<Self>, listener: TcpListener, state: Arc<ListenerState>) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.place(stream, peer, &state),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, address = %state.address, "cannot accept");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    /// Serves a new connection here, or hands it to the worker that holds the fewest.
    fn place(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, state: &Arc<ListenerState>) {
        let own = self.counters.connections.load(Ordering::Relaxed);
        let others = self.peers.iter().enumerate().filter(|(index, _)| *index != self.index);
        let least = others.map(|(_, other)| other).min_by_key(|other| other.connections());
        match least.filter(|other| other.connections() < own) {
            Some(other) => match stream.into_std() {
                Ok(stream) => other.give(stream, peer, state.clone()),
                Err(error) => tracing::warn!(%error, "a new connection was lost while it was handed over"),
            },
            None => {
                self.counters.connections.fetch_add(1, Ordering::Relaxed);
                self.begin(stream, peer, state.clone());
            }
        }
    }

    /// Takes a connection that another worker accepted and has counted as ours.
    fn take(self: &Rc<Self>, stream: std::net::TcpStream, peer: SocketAddr, listener: Arc<ListenerState>) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.begin(stream, peer, listener),
            Err(error) => {
                self.counters.connections.fetch_sub(1, Ordering::Relaxed);
                tracing::warn!(%error, "a connection that was handed over cannot be watched");
            }
        }
    }

    fn begin(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, listener: Arc<ListenerState>) {
        let open = Open::count(self.clone(), listener);
        let Some(table) = self.table() else { return };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "connection was gone at once");
            return;
        }
        let limits = self.limits(&table);
        let settings = open.listener.settings.load_full();
        let over = limits.max_connections > 0
            && open.listener.connections.load(Ordering::Relaxed) > limits.max_connections;
        if !settings.begins_with_http() {
            return self.expect(stream, peer, Accepted { open, settings, limits, over });
        }
        let stream = ClientStream::Plain(stream);
        let client = Client::new(self.clone(), open.listener.clone(), settings, peer, limits);
        let session = Rc::new(Session::new(Rc::new(client.arrived_by(&stream))));
        if over {
            spawn_local(too_many(stream, session, open));
            return;
        }
        let registered = self.register(&session, open);
        spawn_local(async move {
            let _registered = registered;
            connection::serve(stream, Bytes::new(), session).await;
        });
    }

    /// In the worker's list of clients for as long as the result lives.
    pub(super) fn register(&self, session: &Rc<Session>, open: Open) -> Registered {
        let id = self.next_id();
        self.sessions.borrow_mut().insert(id, session.clone());
        Registered { id, open }
    }

    fn lend(&self) -> io::Result<Vec<std::net::TcpListener>> {
        let listening = self.listening.borrow();
        listening.values().flatten().map(|listening| listening.socket.try_clone()).collect()
    }

    async fn close(self: &Rc<Self>, id: ListenerId) {
        let listening = self.listening.borrow_mut().remove(&id);
        for listening in listening.into_iter().flatten() {
            self.close_socket(listening).await;
        }
        for session in self.sessions.borrow().values().filter(|session| session.listener.id == id) {
            session.close();
        }
        self.arrivals.close(id);
    }

    /// Whoever has connected before the socket closes is served: the kernel resets what is left in its queue.
    async fn close_socket(self: &Rc<Self>, listening: Listening) {
        let Listening { socket, state, accepting } = listening;
        accepting.abort();
        // an error is the abort; what matters is that its clone of the socket is gone
        let _ = accepting.await;
        while let Ok((stream, peer)) = socket.accept() {
            self.counters.connections.fetch_add(1, Ordering::Relaxed);
            match stream.set_nonblocking(true) {
                Ok(()) => self.take(stream, peer, state.clone()),
                Err(_) => drop(self.counters.connections.fetch_sub(1, Ordering::Relaxed)),
            }
        }
    }

    async fn drain(self: &Rc<Self>, deadline: Duration) -> Drained {
        let ids: Vec<_> = self.listening.borrow().keys().copied().collect();
        for id in ids {
            self.close(id).await;
        }
        let before = self.clients();
        // nothing is left to be told twice: an error here is the deadline
        let _ = tokio::time::timeout(deadline, self.until_empty()).await;
        let left = self.clients();
        self.sessions.borrow().values().for_each(|session| session.abort());
        self.arrivals.abort();
        self.until_empty().await;
        Drained { finished: (before - left) as u64, aborted: left as u64 }
    }

    pub(super) fn next_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        id
    }

    fn clients(&self) -> usize {
        self.sessions.borrow().len() + self.arrivals.len()
    }

    async fn until_empty(&self) {
        loop {
            let ended = self.client_ended.notified();
            if self.clients() == 0 {
                return;
            }
            ended.await;
        }
    }

    async fn watch_lag(self: Rc<Self>) {
        self.counters.lag.watch().await;
    }

    async fn hand_over_lines(self: Rc<Self>) {
        self.telemetry.log.hand_over_in_time().await;
    }

    /// Housekeeping, once a second.
    async fn sweep(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(SWEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let now = ticks.tick().await.into_std();
            self.wall.set(wall_clock());
            self.pool.sweep(|target| self.gateway.lane(target), now);
            // a worker without requests would hold the table that served when its last one came
            drop(self.table());
        }
    }
}

/// A socket on which this worker accepts.
struct Listening {
    socket: std::net::TcpListener,
    state: Arc<ListenerState>,
    accepting: Task<()>,
}

/// A connection counted at its worker and its listener for as long as this lives.
pub(super) struct Open {
    worker: Rc<Worker>,
    pub(super) listener: Arc<ListenerState>,
}

impl Open {
    fn count(worker: Rc<Worker>, listener: Arc<ListenerState>) -> Self {
        listener.connections.fetch_add(1, Ordering::Relaxed);
        Self { worker, listener }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.listener.connections.fetch_sub(1, Ordering::Relaxed);
        self.worker.counters.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

struct OpenWebSocket(Arc<WorkerCounters>);

impl Drop for OpenWebSocket {
    fn drop(&mut self) {
        self.0.websockets_closed.add_one();
    }
}

/// A session in its worker's list, also when its task panics.
pub(super) struct Registered {
    id: u64,
    open: Open,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let worker = &self.open.worker;
        let session = worker.sessions.borrow_mut().remove(&self.id);
        // it may hold an exchange, which holds the session
        drop(session.and_then(|session| session.take_tunnel()));
        worker.client_ended.notify_waiters();
    }
}

/// Tells a client that the listener is full.
async fn too_many(mut stream: ClientStream, session: Rc<Session>, open: Open) {
    goodbye::refuse(&mut stream, &Rejection::TooManyConnections, &session).await;
    // it no longer counts while its last bytes are taken in
    drop(open);
    goodbye::linger(stream).await;
}

/// Errors of `accept` that concern the one connection that was about to be accepted (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

fn date_of(second: u64) -> HeaderValue {
    let timestamp = jiff::Timestamp::new(i64::try_from(second).unwrap_or(i64::MAX), 0).unwrap_or_default();
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&timestamp);
    // its years have four digits
    HeaderValue::try_from(text.unwrap_or_default()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn wall_clock() -> (Instant, Duration) {
    (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::exchange::Exchange;
    use crate::listener::ListenerSettings;
    use crate::telemetry::metrics::{Format, scrape};
    use policy::config::GatewayConfig;
    use serde_json::{Value, json};
    use std::path::Path;

    /// Its access log goes to this file.
    fn worker(log: &Path) -> Rc<Worker> {
        let route = json!({"name": "all", "prefix": "/", "respond": {"status": 200}});
        let filters = json!([{"logging": {"output": log}}]);
        let config = json!({"routes": [route], "global_filters": filters});
        let config: GatewayConfig = serde_json::from_value(config).unwrap();
        let table = RouteTable::build(&config, None).unwrap();
        let gateway = Gateway::new("edge-1".to_owned());
        let (commands, _) = mpsc::unbounded_channel();
        let peers = Arc::new([Peer { commands, counters: gateway.add_worker() }]);
        gateway.publish(table.identified(7, String::new()), Transports::default());
        Worker::new(0, peers, gateway)
    }

    /// An exchange with a client whose request had no head.
    fn exchange(worker: &Rc<Worker>) -> Box<Exchange> {
        let address = SocketAddr::from(([127, 0, 0, 1], 8080));
        let table = worker.table().unwrap();
        let settings = Arc::new(ListenerSettings::new(&table.listeners[0], None));
        let listener = Arc::new(ListenerState::new(address, settings.clone()));
        let limits = worker.limits(&table);
        let client = Client::new(worker.clone(), listener, settings, address, limits);
        Exchange::headless(Rc::new(Session::new(Rc::new(client))))
    }

    #[tokio::test]
    async fn every_refusal_is_told_the_same_to_the_client_the_operator_the_log_and_the_metrics() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("access.log");
        let worker = worker(&log);
        let mut logged: HashMap<String, (u16, &str)> = HashMap::new();
        for rejection in Rejection::ALL {
            let (status, reason) = (rejection.status(), rejection.reason());
            let mut exchange = exchange(&worker);
            let id = exchange.request_id.to_str().unwrap().to_owned();
            let response = exchange.refuse(&rejection);
            drop(exchange);
            let header = response.headers()["proxy-status"].to_str().unwrap();
            let error = rejection.proxy_error();
            assert_eq!(header, format!("\"edge-1\"; error={error}; details=\"{reason}\"; config-version=7"));
            let problem: Value = serde_json::from_str(response.body()).unwrap();
            assert_eq!((response.status(), &problem["status"]), (status, &json!(status.as_u16())));
            assert_eq!(
                (&problem["reason"], &problem["request_id"], &problem["config_version"]),
                (&json!(reason), &json!(id), &json!(7))
            );
            let remembered = worker.telemetry.recall(&id).requests;
            let [one] = &remembered[..] else { panic!("{remembered:?}") };
            assert_eq!((one.status, one.reason.as_str(), one.local), (status.as_u16().into(), reason, true));
            assert_eq!(one.version, 7);
            logged.insert(id, (status.as_u16(), reason));
        }
        worker.telemetry.log.finish(Duration::from_secs(20)).await;
        worker.gateway.access_log().finish(Duration::from_secs(20)).await;
        for line in std::fs::read_to_string(&log).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let (status, reason) = logged.remove(line["request_id"].as_str().unwrap()).unwrap();
            assert_eq!((&line["status_code"], &line["reason"]), (&json!(status), &json!(reason)));
        }
        assert!(logged.is_empty(), "these have no line: {logged:?}");
        let page = scrape(&worker.gateway, Format::Prometheus, clock::now());
        for rejection in Rejection::ALL {
            let line = format!("gateway_local_responses_total{{reason=\"{}\"}} 1\n", rejection.reason());
            assert!(page.contains(&line), "{line} is not in\n{page}");
        }
    }
}
