//! The thread that sends spans: batches, patience with a collector that is away, an end that waits for the last ones.

use super::batch;
use super::client::{Client, Refusal};
use super::exporting::Exporting;
use bytes::Bytes;
use policy::retry::ceiling;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// How long spans wait for others at most.
const TURN: Duration = Duration::from_secs(1);
/// A batch holds no more than so many bytes and one exchange; collectors take 4 MiB by default.
const BATCH: usize = 1 << 20;
/// Between tries, doubled each time.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// A batch that no collector has taken for so long is dropped: newer spans are worth more.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The spans of one exchange.
pub(super) struct Queued {
    /// Fields of `ScopeSpans`.
    pub(super) encoded: Vec<u8>,
    /// How many they are.
    pub(super) spans: usize,
}

/// What the thread works with.
pub(super) struct Pipeline {
    pub(super) queued: mpsc::Receiver<Queued>,
    /// The queue fills faster than the thread takes its turns.
    pub(super) hurry: Arc<Notify>,
    pub(super) exporting: watch::Receiver<Option<Arc<Exporting>>>,
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) exported: Arc<AtomicU64>,
}

impl Pipeline {
    /// Starts the thread, with a runtime of its own that lives until the last span is sent: on a runtime that somebody
    /// else ends, the spans of the last second would be lost.
    pub(super) fn spawn(
        self,
        stopping: oneshot::Receiver<Duration>,
        ended: oneshot::Sender<()>,
    ) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("traces".to_owned()).spawn(move || {
            runtime.block_on(self.run(stopping));
            // whoever waits for it may be gone
            let _ = ended.send(());
        })?;
        Ok(())
    }

    async fn run(mut self, stopping: oneshot::Receiver<Duration>) {
        let (stop, stopped) = watch::channel(false);
        let dropped = self.dropped.clone();
        let before = {
            let mut work = pin!(self.work(stopped));
            let patience = tokio::select! {
                // it has no other end than the word to stop
                () = &mut work => return,
                // without a word: whoever owned this data plane is gone
                patience = stopping => patience.unwrap_or_default(),
            };
            let before = dropped.load(Ordering::Relaxed);
            stop.send_replace(true);
            // an error is the end of patience; what is left is counted below
            let _ = timeout(patience, work).await;
            before
        };
        while let Ok(Queued { spans, .. }) = self.queued.try_recv() {
            dropped.fetch_add(spans as u64, Ordering::Relaxed);
        }
        let lost = dropped.load(Ordering::Relaxed) - before;
        if lost > 0 {
            tracing::warn!(spans = lost, "no collector has taken the last spans");
        }
    }

    /// Turn after turn until it is stopped and the queue is empty.
    async fn work(&mut self, mut stopped: watch::Receiver<bool>) {
        let mut turns = interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut exporting = self.exporting.clone();
        exporting.mark_changed();
        let mut sender = Sender {
            exporting,
            stopped: stopped.clone(),
            to: None,
            outage: None,
            dropped: self.dropped.clone(),
            exported: self.exported.clone(),
        };
        loop {
            // looked at first: what came before the word to stop is sent all the same
            let last = *stopped.borrow();
            while let Some(batch) = self.next_batch() {
                sender.deliver(batch).await;
            }
            if last {
                return;
            }
            tokio::select! {
                _ = turns.tick() => {}
                () = self.hurry.notified() => {}
                // the sender lives in `run`
                _ = stopped.changed() => {}
            }
        }
    }

    /// What has come together.
    fn next_batch(&mut self) -> Option<Queued> {
        let mut batch = self.queued.try_recv().ok()?;
        while batch.encoded.len() < BATCH
            && let Ok(Queued { encoded, spans }) = self.queued.try_recv()
        {
            batch.encoded.extend_from_slice(&encoded);
            batch.spans += spans;
        }
        Some(batch)
    }
}

/// Delivers batches, one at a time, to whichever collector the config in force names.
struct Sender {
    exporting: watch::Receiver<Option<Arc<Exporting>>>,
    stopped: watch::Receiver<bool>,
    to: Option<(Arc<Exporting>, Client)>,
    outage: Option<Outage>,
    dropped: Arc<AtomicU64>,
    exported: Arc<AtomicU64>,
}

/// A collector is away: one line when it begins, one when it is over.
struct Outage {
    since: Instant,
    dropped_before: u64,
}

impl Sender {
    /// Until the collector has taken it, refused it, or was away for too long.
    async fn deliver(&mut self, Queued { encoded, spans }: Queued) {
        let give_up = Instant::now() + GIVE_UP;
        let mut undelivered = Undelivered { spans: spans as u64, dropped: self.dropped.clone() };
        let mut request = Bytes::new();
        for failures in 0.. {
            if self.follow_config() || request.is_empty() {
                let Some((exporting, _)) = &self.to else { return };
                request = batch::request(&exporting.resource, &encoded);
            }
            let Some((_, client)) = &self.to else { return };
            let sent = tokio::select! {
                biased;
                sent = client.send(request.clone()) => sent,
                () = another_collector(self.exporting.clone()) => continue,
            };
            match sent {
                Ok(rejected) => {
                    undelivered.spans = rejected.min(spans as u64);
                    self.exported.fetch_add(spans as u64 - undelivered.spans, Ordering::Relaxed);
                    return self.is_back();
                }
                Err(Refusal { retry, after, why }) => {
                    self.is_away(&why);
                    let pause = after.unwrap_or_else(|| ceiling(BACKOFF.0, BACKOFF.1, failures));
                    if !retry || Instant::now() + pause > give_up {
                        return;
                    }
                    self.pause(pause).await;
                }
            }
        }
    }

    /// True when spans go elsewhere from now on.
    fn follow_config(&mut self) -> bool {
        if !self.exporting.has_changed().unwrap_or(false) {
            return false;
        }
        // a config that traces nothing names no collector: what is left goes where it was meant to go
        let Some(exporting) = self.exporting.borrow_and_update().clone() else { return false };
        let client = Client::new(&exporting);
        self.to = Some((exporting, client));
        true
    }

    /// Shorter when a config names another collector, or when there is not much time left.
    async fn pause(&mut self, backoff: Duration) {
        let early = backoff.mul_f64(0.5 + fastrand::f64() / 2.0);
        if *self.stopped.borrow() {
            return sleep(early.min(BACKOFF.0)).await;
        }
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = sleep(early) => {}
            () = another_collector(self.exporting.clone()) => {}
            _ = stopped.changed() => {}
        }
    }

    fn is_away(&mut self, why: &str) {
        if self.outage.is_none()
            && let Some((exporting, _)) = &self.to
        {
            let dropped_before = self.dropped.load(Ordering::Relaxed);
            self.outage = Some(Outage { since: Instant::now(), dropped_before });
            tracing::warn!(collector = %exporting, error = why, "spans cannot be exported");
        }
    }

    fn is_back(&mut self) {
        let Some(Outage { since, dropped_before }) = self.outage.take() else { return };
        let dropped = self.dropped.load(Ordering::Relaxed).saturating_sub(dropped_before);
        let after_ms = since.elapsed().as_millis() as u64;
        tracing::info!(after_ms, dropped, "spans are exported again");
    }
}

/// Until a config names another collector than the one in use.
async fn another_collector(mut exporting: watch::Receiver<Option<Arc<Exporting>>>) {
    while exporting.changed().await.is_ok() {
        if exporting.borrow_and_update().is_some() {
            return;
        }
    }
    // nobody is left who could
    std::future::pending().await
}

/// Spans that are dropped unless a collector takes them: also when patience ends in the middle of a try.
struct Undelivered {
    spans: u64,
    dropped: Arc<AtomicU64>,
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        self.dropped.fetch_add(self.spans, Ordering::Relaxed);
    }
}
