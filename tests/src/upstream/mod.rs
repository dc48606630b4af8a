//! Fake targets inside the test process; each keeps the bytes it was sent.

mod grpc;
mod http;
mod message;
mod raw;
mod target;

pub use grpc::GrpcHealth;
pub use http::{Body, Gate, Received, empty, full};
pub use raw::{After, Backlogged, Wire};
pub use target::{Arrival, Mood, Target};

use parking_lot::Mutex;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

/// Bytes kept of each connection; a large upload must not fill the test's own memory.
const KEPT_PER_CONNECTION: usize = 1 << 20;

/// A listening fake target; gone when dropped, with all its connections.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    record: Arc<Record>,
    acceptor: AbortHandle,
}

/// What a target has been sent.
#[derive(Debug, Default)]
pub struct Record {
    connections: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    requests: Mutex<Vec<Received>>,
    produced: AtomicUsize,
}

impl Upstream {
    /// Accepts connections and gives each to `handle`.
    pub async fn accepting<F, Fut>(handle: F) -> Self
    where
        F: Fn(Wire, Arc<Record>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind a fake target");
        let address = listener.local_addr().expect("a bound listener has an address");
        let record = Arc::new(Record::default());
        let shared = Arc::clone(&record);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // an answer written in pieces must not wait for the delayed acknowledgement of the first
                let _ = stream.set_nodelay(true);
                let bytes = Arc::new(Mutex::new(Vec::new()));
                shared.connections.lock().push(Arc::clone(&bytes));
                connections.spawn(handle(Wire::new(stream, bytes), Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, record, acceptor: task.abort_handle() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first bytes of each connection so far, in the order of acceptance.
    pub fn connections(&self) -> Vec<Vec<u8>> {
        self.record.connections.lock().iter().map(|bytes| bytes.lock().clone()).collect()
    }

    /// All bytes kept so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.connections().concat()
    }

    /// Requests that arrived whole, for the fakes that parse them.
    pub fn requests(&self) -> Vec<Received> {
        self.record.requests.lock().clone()
    }

    /// Bytes of downloads that left it.
    pub fn produced(&self) -> usize {
        self.record.produced.load(Ordering::Relaxed)
    }

    /// Forgets what was received; open connections go on being kept.
    pub fn forget(&self) {
        self.record.requests.lock().clear();
        for bytes in self.record.connections.lock().iter() {
            bytes.lock().clear();
        }
    }
}

impl Record {
    fn produces(&self, bytes: usize) {
        self.produced.fetch_add(bytes, Ordering::Relaxed);
    }

    fn received(&self, request: Received) {
        self.requests.lock().push(request);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}
