//! One output as the workers see it: a queue that takes what fits, and what is counted.

use super::file::LogFile;
use super::writer::Writer;
use parking_lot::Mutex;
use policy::filter::logging::LogOutput;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use tokio::sync::Notify;

/// A worker hands over this much, or more by the line that was too many.
pub(super) const BATCH: usize = 64 * 1024;
/// Batches that wait: 8 MiB.
pub(super) const QUEUE: usize = 128;
/// When so many wait, only full ones are added: lines that come slowly would take up the places otherwise.
const CROWDED: usize = 8;
/// Buffers that were written and are used again.
const SPARE: usize = 16;

/// Whole lines.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
}

/// One output. Its thread ends when the last handle is gone and everything is written.
#[derive(Debug)]
pub(crate) struct Output {
    pub(super) name: LogOutput,
    queue: SyncSender<Batch>,
    shared: Arc<Shared>,
}

/// What is known of it on both sides of the queue.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Batches that were handed over and are not written yet.
    pending: AtomicUsize,
    written: AtomicU64,
    dropped: AtomicU64,
    open: AtomicBool,
    reopen: AtomicBool,
    /// A batch was written.
    progress: Notify,
    spare: Mutex<Vec<Vec<u8>>>,
    /// Why writing has failed last, until it goes on.
    error: Mutex<Option<String>>,
    told: Mutex<Told>,
}

/// What the log of the data plane says already.
#[derive(Debug, Default)]
struct Told {
    /// Of the lines dropped.
    seen: u64,
    /// How many there had been before lines began to be lost.
    outage: Option<u64>,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH
    }
}

impl Output {
    pub(super) fn start(name: LogOutput, file: Option<LogFile>, shared: Arc<Shared>) -> Self {
        let (queue, queued) = sync_channel(QUEUE);
        let writer = Writer::new(name.clone(), file, shared.clone());
        if let Err(error) = writer.spawn(queued) {
            // what is handed over is refused from now on, and counted
            tracing::error!(output = %name, %error, "an access log has no thread: its lines are dropped");
        }
        Self { name, queue, shared }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn is_open(&self) -> bool {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Takes the lines.
    ///
    /// # Errors
    /// Gives them back when there is no room.
    pub(super) fn take(&self, batch: Batch) -> Result<(), Batch> {
        let shared = &self.shared;
        shared.pending.fetch_add(1, Ordering::AcqRel);
        self.queue.try_send(batch).map_err(|(TrySendError::Full(back) | TrySendError::Disconnected(back))| {
            // nothing was written: whoever waits for that goes on waiting
            shared.pending.fetch_sub(1, Ordering::AcqRel);
            back
        })
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.shared.is_crowded()
    }

    pub(super) fn count_dropped(&self, lines: u64) {
        self.shared.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // wakes the thread; one that is busy looks by itself
        _ = self.take(Batch::default());
    }
}

impl Shared {
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn progress(&self) -> &Notify {
        &self.progress
    }

    fn is_crowded(&self) -> bool {
        self.pending.load(Ordering::Relaxed) >= CROWDED
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.load(Ordering::Acquire) == 0
    }

    pub(super) async fn until_idle(&self) {
        loop {
            let written = self.progress.notified();
            if self.is_idle() {
                return;
            }
            written.await;
        }
    }

    /// Never waits: where another worker is just taking one, a new one does.
    pub(super) fn spare(&self) -> Vec<u8> {
        let known = self.spare.try_lock().and_then(|mut spare| spare.pop());
        known.unwrap_or_else(|| Vec::with_capacity(BATCH + BATCH / 8))
    }

    fn one_less_pending(&self) {
        self.pending.fetch_sub(1, Ordering::AcqRel);
        self.progress.notify_waiters();
    }

    // ---- the thread's side

    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }

    pub(super) fn shall_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::AcqRel)
    }

    /// A batch is done with, as far as it was written.
    pub(super) fn done(&self, mut bytes: Vec<u8>, written: u64, lost: u64, error: Option<String>) {
        self.written.fetch_add(written, Ordering::Relaxed);
        self.dropped.fetch_add(lost, Ordering::Relaxed);
        *self.error.lock() = error;
        let mut spare = self.spare.lock();
        // one that a very long line has blown up is not kept
        if spare.len() < SPARE && (BATCH..=2 * BATCH).contains(&bytes.capacity()) {
            bytes.clear();
            spare.push(bytes);
        }
        drop(spare);
        self.one_less_pending();
    }

    // ---- whoever is on call

    /// Once when lines begin to be lost, and once when that is over.
    pub(super) fn tell_of_losses(&self, output: &LogOutput) {
        let (dropped, error) = (self.dropped(), self.error.lock().clone());
        let mut told = self.told.lock();
        let before = std::mem::replace(&mut told.seen, dropped);
        match told.outage {
            None if dropped > before => {
                told.outage = Some(before);
                let error = error.as_deref().unwrap_or("it does not take them in time");
                tracing::error!(%output, error, "lines of the access log are lost");
            }
            Some(since) if dropped == before && error.is_none() && !self.is_crowded() => {
                told.outage = None;
                tracing::info!(%output, lost = dropped - since, "the access log is whole again");
            }
            None | Some(_) => {}
        }
    }
}
