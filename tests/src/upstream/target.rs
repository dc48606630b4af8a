//! A target that fails on command while it runs, and tells what it got and in which order.

use super::{Received, Wire};
use crate::ports::{PortLease, loopback};
use crate::{ports, wait};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// What a target does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// 200 with the target's name as body.
    Healthy,
    /// This status.
    Status(u16),
    /// Its process is gone: nobody listens, and every connection was closed.
    Refusing,
    /// Half a head, then a RST.
    Resetting,
    /// Takes requests and says nothing, until the mood changes; then they are answered as that says.
    Hanging,
    /// Its process is stuck: the kernel accepts connections and bytes, nobody reads them until the mood changes.
    Stuck,
    /// 200 after so long.
    Slow(Duration),
    /// 200 and 503 by turns, for each path.
    Flapping,
    /// The head and a part of the body it announces, then the end.
    Truncating,
}

/// A request that a [`Target`] got whole.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its place among the arrivals at all targets of the test process.
    pub order: usize,
    /// Which of the target's connections it came on.
    pub connection: usize,
    /// What it was.
    pub request: Received,
}

/// A listening target whose mood can be changed; gone when dropped.
#[derive(Debug)]
pub struct Target {
    shared: Arc<Shared>,
    moods: Arc<watch::Sender<Moods>>,
    listening: mpsc::UnboundedSender<(Listening, oneshot::Sender<()>)>,
    lease: PortLease,
}

/// Whether connections are taken; the acceptor confirms each change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listening {
    Accept,
    /// The queue of the kernel fills.
    Leave,
    Refuse,
}

#[derive(Debug, Clone)]
struct Moods {
    general: Mood,
    of_paths: Vec<(String, Mood)>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    arrivals: Mutex<Arrivals>,
    connections: AtomicUsize,
    in_flight: Mutex<InFlight>,
}

#[derive(Debug, Default)]
struct Arrivals {
    all: Vec<Arrival>,
    by_path: HashMap<String, usize>,
}

#[derive(Debug, Default)]
struct InFlight {
    now: usize,
    most: usize,
}

impl Target {
    /// Starts one in good health.
    pub async fn start(name: &str) -> Self {
        let lease = ports::lease(1);
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            arrivals: Mutex::default(),
            connections: AtomicUsize::new(0),
            in_flight: Mutex::default(),
        });
        let moods = Arc::new(watch::Sender::new(Moods { general: Mood::Healthy, of_paths: Vec::new() }));
        let (listening, commands) = mpsc::unbounded_channel();
        let acceptor = Acceptor {
            address: SocketAddr::new(loopback(1), lease.port),
            shared: Arc::clone(&shared),
            moods: Arc::clone(&moods),
            connections: JoinSet::new(),
        };
        tokio::spawn(acceptor.run(commands));
        let target = Self { shared, moods, listening, lease };
        target.be(Mood::Healthy).await;
        target
    }

    /// Where it listens, when it does.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(loopback(1), self.lease.port)
    }

    /// Changes the mood for all paths that have none of their own; holds for every request that comes after this
    /// returns, and for those that hang.
    pub async fn be(&self, mood: Mood) {
        self.moods.send_modify(|moods| moods.general = mood);
        let listening = match mood {
            Mood::Refusing => Listening::Refuse,
            Mood::Stuck => Listening::Leave,
            _ => Listening::Accept,
        };
        let (done, confirmed) = oneshot::channel();
        self.listening.send((listening, done)).expect("the acceptor lives as long as its target");
        wait::soon("the target obeys", confirmed).await.expect("the acceptor confirms");
    }

    /// Gives one path a mood of its own, such as a health check's.
    pub fn be_at(&self, path: &str, mood: Mood) {
        assert!(!matches!(mood, Mood::Refusing | Mood::Stuck), "{mood:?} is of the whole process");
        self.moods.send_modify(|moods| {
            moods.of_paths.retain(|(of, _)| of != path);
            moods.of_paths.push((path.to_owned(), mood));
        });
    }

    /// Every request so far, in the order of arrival.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.lock().all.clone()
    }

    /// Requests for this path so far.
    pub fn got(&self, path: &str) -> usize {
        self.shared.arrivals.lock().by_path.get(path).copied().unwrap_or_default()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Requests it holds unanswered.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.lock().now
    }

    /// The most it ever held at once.
    pub fn most_in_flight(&self) -> usize {
        self.shared.in_flight.lock().most
    }

    /// Forgets what has arrived so far.
    pub fn forget(&self) {
        *self.shared.arrivals.lock() = Arrivals::default();
        let mut in_flight = self.shared.in_flight.lock();
        in_flight.most = in_flight.now;
    }
}

struct Acceptor {
    address: SocketAddr,
    shared: Arc<Shared>,
    moods: Arc<watch::Sender<Moods>>,
    connections: JoinSet<()>,
}

impl Acceptor {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<(Listening, oneshot::Sender<()>)>) {
        let (mut listener, mut listening) = (None, Listening::Refuse);
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => {
                    // its target was dropped
                    let Some((wanted, done)) = command else { return };
                    listening = wanted;
                    if listening == Listening::Refuse {
                        listener = None;
                        self.connections.shutdown().await;
                    } else if listener.is_none() {
                        listener = Some(self.listen().await);
                    }
                    // whoever asked may have given up
                    let _ = done.send(());
                }
                stream = next(listener.as_ref().filter(|_| listening == Listening::Accept)) => self.take(stream),
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    async fn listen(&self) -> TcpListener {
        TcpListener::bind(self.address)
            .await
            .unwrap_or_else(|error| panic!("cannot listen at {}: {error}", self.address))
    }

    fn take(&mut self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let conversation = Conversation {
            wire: Wire::new(stream, Arc::default()),
            connection: self.shared.connections.fetch_add(1, Ordering::Relaxed),
            shared: Arc::clone(&self.shared),
            moods: self.moods.subscribe(),
        };
        self.connections.spawn(conversation.run());
    }
}

async fn next(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return pending().await };
    match listener.accept().await {
        Ok((stream, _)) => stream,
        Err(error) => panic!("cannot accept: {error}"),
    }
}

/// One connection of a target.
struct Conversation {
    wire: Wire,
    connection: usize,
    shared: Arc<Shared>,
    moods: watch::Receiver<Moods>,
}

impl Conversation {
    async fn run(mut self) {
        loop {
            if self.moods.wait_for(|moods| moods.general != Mood::Stuck).await.is_err() {
                return;
            }
            let Some(message) = self.wire.request().await else { return };
            let Some(request) = Received::parse(&message) else { return };
            // the process got stuck while this connection was idle
            if self.moods.wait_for(|moods| moods.general != Mood::Stuck).await.is_err() {
                return;
            }
            let is_head = request.method == http::Method::HEAD;
            let path = request.path().to_owned();
            let _in_flight = Held::new(&self.shared);
            let turn = self.shared.arrived(self.connection, request);
            let Some(mood) = self.decided(&path).await else { return };
            if !self.answer(mood, turn, is_head).await {
                return;
            }
        }
    }

    /// The mood for a request, which is not to hang; `None` when its client has gone meanwhile.
    async fn decided(&mut self, path: &str) -> Option<Mood> {
        loop {
            let mood = self.moods.borrow_and_update().of(path);
            let pause = async {
                match mood {
                    Mood::Slow(pause) => tokio::time::sleep(pause).await,
                    Mood::Hanging | Mood::Stuck => pending().await,
                    _ => {}
                }
            };
            tokio::select! {
                biased;
                () = pause => return Some(mood),
                changed = self.moods.changed() => changed.ok()?,
                () = gone(&mut self.wire) => return None,
            }
        }
    }

    /// Whether the connection can take another request.
    async fn answer(&mut self, mood: Mood, turn: usize, is_head: bool) -> bool {
        let name = &self.shared.name;
        let whole = |status: u16| {
            let body = if is_head { "" } else { name };
            format!("HTTP/1.1 {status} -\r\nX-Target: {name}\r\nContent-Length: {}\r\n\r\n{body}", name.len())
        };
        let (answer, goes_on) = match mood {
            Mood::Healthy | Mood::Slow(_) => (whole(200), true),
            Mood::Flapping if turn.is_multiple_of(2) => (whole(200), true),
            Mood::Flapping => (whole(503), true),
            Mood::Status(status) => (whole(status), true),
            Mood::Truncating => {
                ("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart of it".to_owned(), false)
            }
            Mood::Resetting => ("HTTP/1.1 200 O".to_owned(), false),
            // `decided` waits these out
            Mood::Refusing | Mood::Hanging | Mood::Stuck => return false,
        };
        let written = self.wire.write_all(answer.as_bytes()).await.is_ok();
        if mood == Mood::Resetting {
            self.wire.reset_on_close();
        }
        written && goes_on
    }
}

/// When the peer has closed its side; a client that sends on while it waits is none of the gateway's.
async fn gone(wire: &mut Wire) {
    let mut more = [0; 64];
    while wire.read(&mut more).await.is_ok_and(|read| read > 0) {}
}

impl Moods {
    fn of(&self, path: &str) -> Mood {
        self.of_paths.iter().find(|(of, _)| of == path).map_or(self.general, |(_, mood)| *mood)
    }
}

impl Shared {
    /// Returns how many for the same path came before it.
    fn arrived(&self, connection: usize, request: Received) -> usize {
        static ORDER: AtomicUsize = AtomicUsize::new(0);
        let mut arrivals = self.arrivals.lock();
        let count = arrivals.by_path.entry(request.path().to_owned()).or_default();
        let turn = *count;
        *count += 1;
        arrivals.all.push(Arrival { order: ORDER.fetch_add(1, Ordering::Relaxed), connection, request });
        turn
    }
}

/// Counts a request as in flight while it lives.
struct Held(Arc<Shared>);

impl Held {
    fn new(shared: &Arc<Shared>) -> Self {
        let mut in_flight = shared.in_flight.lock();
        in_flight.now += 1;
        in_flight.most = in_flight.most.max(in_flight.now);
        drop(in_flight);
        Self(Arc::clone(shared))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.in_flight.lock().now -= 1;
    }
}
