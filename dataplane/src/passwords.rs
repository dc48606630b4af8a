//! The threads that check passwords, so that no worker is busy for a quarter of a second: few, and behind the traffic.

use parking_lot::Mutex;
use policy::auth::PasswordJob;
use policy::limiter::client_ip_hash;
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;

/// Checks that may wait for each thread: at a quarter of a second each, the last of them waits for as long as a client
/// does.
const QUEUE: usize = 16;

/// More would only take the memory that Argon2 wants.
const MAX_THREADS: usize = 4;

/// What the traffic gets before them, of processors that are busy.
const NICENESS: i32 = 10;

/// Started by the first password.
#[derive(Default)]
pub(crate) struct Passwords {
    queue: OnceLock<Queue>,
}

struct Queue {
    jobs: SyncSender<Queued>,
    per_client: usize,
    /// Of each client that waits: how often.
    waiting: Arc<Mutex<HashMap<u64, usize>>>,
}

struct Queued {
    job: PasswordJob,
    /// Falls when the check is over.
    _counted: Counted,
}

/// A check of a client, counted for as long as this lives.
struct Counted {
    client: u64,
    waiting: Arc<Mutex<HashMap<u64, usize>>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        if let Some(count) = waiting.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.client);
            }
        }
    }
}

/// Why a check was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("too many passwords wait to be checked")]
    Queue,
    #[error("too many passwords of this client wait to be checked")]
    Client,
    #[error("there is no thread that checks passwords")]
    NoThread,
}

impl Passwords {
    /// Has a password checked, if there is room. A single client never takes more than half of it.
    pub(crate) fn check(&self, job: PasswordJob, client: IpAddr) -> Result<(), Full> {
        let queue = self.queue.get_or_init(Queue::start);
        let counted = queue.count(client_ip_hash(client)).ok_or(Full::Client)?;
        queue.jobs.try_send(Queued { job, _counted: counted }).map_err(|error| match error {
            TrySendError::Full(_) => Full::Queue,
            TrySendError::Disconnected(_) => Full::NoThread,
        })
    }
}

impl Queue {
    fn start() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = (cores / 2).clamp(1, MAX_THREADS);
        let (jobs, queued) = sync_channel(QUEUE * threads);
        let queued = Arc::new(Mutex::new(queued));
        for at in 0..threads {
            let queued = Arc::clone(&queued);
            let spawned = thread::Builder::new().name(format!("passwords-{at}")).spawn(move || run(&queued));
            if let Err(error) = spawned {
                tracing::error!(%error, "a thread for passwords cannot be started");
            }
        }
        Self { jobs, per_client: QUEUE * threads / 2, waiting: Arc::default() }
    }

    fn count(&self, client: u64) -> Option<Counted> {
        let mut waiting = self.waiting.lock();
        let count = waiting.entry(client).or_default();
        if *count >= self.per_client {
            return None;
        }
        *count += 1;
        Some(Counted { client, waiting: Arc::clone(&self.waiting) })
    }
}

/// Until the gateway is gone.
fn run(queued: &Mutex<Receiver<Queued>>) {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "passwords are checked with the priority of the traffic");
    }
    loop {
        // a statement of its own: the other threads may take their jobs while this one runs
        let next = queued.lock().recv();
        match next {
            Ok(Queued { job, _counted }) => job.run(),
            Err(_) => return,
        }
    }
}
