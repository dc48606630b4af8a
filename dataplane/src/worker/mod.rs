//! The worker threads: each a runtime of its own, its own listening socket, its own connections to targets.
//!
//! No request ever crosses threads. The kernel spreads connections over the workers' sockets by hash, which with few
//! long connections is unfair; so a worker that is ahead hands a new connection to the one that holds the fewest.

mod arrivals;
mod lag;
mod thread;

pub(crate) use lag::{Lag, Lags};
pub(crate) use thread::{TableHandle, Worker};

use crate::gateway::{Gateway, WorkerCounters};
use crate::listener::{ListenerId, ListenerSettings, ListenerState, Reserved};
use crate::telemetry::recent;
use proto::v1::Recollection;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a worker is told from outside its thread.
pub(crate) enum Command {
    Listen(TcpListener, Arc<ListenerState>),
    /// A connection that another worker accepted.
    Take(TcpStream, SocketAddr, Arc<ListenerState>),
    Close(ListenerId, oneshot::Sender<()>),
    /// Clones of all sockets on which it accepts.
    Lend(oneshot::Sender<io::Result<Vec<TcpListener>>>),
    Drain(Duration, oneshot::Sender<Drained>),
    /// What is remembered of the request with this id?
    Recall(Arc<str>, oneshot::Sender<Recollection>),
}

/// How the connections of a drain ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Finished by themselves.
    pub finished: u64,
    /// Cut off at the deadline.
    pub aborted: u64,
}

/// One worker as the others see it.
#[derive(Clone)]
pub(crate) struct Peer {
    commands: mpsc::UnboundedSender<Command>,
    counters: Arc<WorkerCounters>,
}

impl Peer {
    pub(crate) fn connections(&self) -> u64 {
        self.counters.connections.load(Ordering::Relaxed)
    }

    /// Hands a connection over; it counts as the other worker's from now on.
    pub(crate) fn give(&self, stream: TcpStream, peer: SocketAddr, listener: Arc<ListenerState>) {
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        if self.commands.send(Command::Take(stream, peer, listener)).is_err() {
            self.counters.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// All worker threads; they end when this is dropped.
pub struct Workers {
    peers: Arc<[Peer]>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub fn spawn(count: usize, gateway: Arc<Gateway>) -> io::Result<Self> {
        let mut receivers = Vec::with_capacity(count);
        let peers: Vec<Peer> = (0..count)
            .map(|_| {
                let (commands, receiver) = mpsc::unbounded_channel();
                receivers.push(receiver);
                Peer { commands, counters: gateway.add_worker() }
            })
            .collect();
        let peers: Arc<[Peer]> = peers.into();
        let threads = receivers
            .into_iter()
            .enumerate()
            .map(|(index, receiver)| thread::spawn(index, peers.clone(), gateway.clone(), receiver))
            .collect::<io::Result<_>>()?;
        Ok(Self { peers, threads })
    }

    /// Listens on a reserved address and accepts on every worker.
    ///
    /// # Errors
    /// What `listen` says.
    pub(crate) fn open(
        &self,
        reserved: Reserved,
        settings: Arc<ListenerSettings>,
    ) -> io::Result<Arc<ListenerState>> {
        let state = Arc::new(ListenerState::new(reserved.address(), settings));
        // what was adopted may be more than one for each: all must be accepted on
        for (peer, socket) in self.peers.iter().cycle().zip(reserved.listen()?) {
            peer.send(Command::Listen(socket, state.clone()));
        }
        Ok(state)
    }

    /// Stops accepting; connections of the listener finish their request and close.
    pub async fn close(&self, id: ListenerId) {
        for peer in self.peers.iter() {
            let (done, closed) = oneshot::channel();
            peer.send(Command::Close(id, done));
            // a worker that is gone has closed everything
            let _ = closed.await;
        }
    }

    /// Clones of all sockets on which the workers accept.
    ///
    /// # Errors
    /// Out of descriptors.
    pub(crate) async fn lend(&self) -> io::Result<Vec<TcpListener>> {
        let mut all = Vec::new();
        for peer in self.peers.iter() {
            let (lent, sockets) = oneshot::channel();
            peer.send(Command::Lend(lent));
            // a worker that is gone has closed everything
            all.extend(sockets.await.unwrap_or_else(|_| Ok(Vec::new()))?);
        }
        Ok(all)
    }

    /// What all workers remember of a request; one that does not answer in time, as little as if it were gone.
    pub(crate) async fn recall(&self, request_id: &str, patience: Duration) -> Recollection {
        let request_id: Arc<str> = request_id.into();
        let ask = |peer: &Peer| {
            let (answer, recalled) = oneshot::channel();
            peer.send(Command::Recall(request_id.clone(), answer));
            tokio::time::timeout(patience, recalled)
        };
        let asked: Vec<_> = self.peers.iter().map(ask).collect();
        let mut recalled = Vec::with_capacity(asked.len());
        for answer in asked {
            recalled.extend(answer.await.ok().and_then(Result::ok));
        }
        recent::merged(recalled)
    }

    /// Closes every listener, lets requests finish until `deadline`, then cuts off the rest.
    pub async fn drain(&self, deadline: Duration) -> Drained {
        let waiting: Vec<_> = self
            .peers
            .iter()
            .map(|peer| {
                let (done, drained) = oneshot::channel();
                peer.send(Command::Drain(deadline, done));
                drained
            })
            .collect();
        let mut total = Drained::default();
        for drained in waiting {
            let Drained { finished, aborted } = drained.await.unwrap_or_default();
            total.finished += finished;
            total.aborted += aborted;
        }
        total
    }
}

impl Peer {
    fn send(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::error!("a worker thread has ended before its time");
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // the threads hold each other's senders, so no channel closes by itself: a drain without patience ends them
        for peer in self.peers.iter() {
            let (done, _) = oneshot::channel();
            let _ = peer.commands.send(Command::Drain(Duration::ZERO, done));
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker thread ended in a panic");
            }
        }
    }
}
