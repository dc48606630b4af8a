//! Traces: which exchange belongs to which, and the spans of those that are recorded on their way to a collector.
//!
//! A worker encodes the spans of an exchange when it is over, and queues them; a thread of their own takes what has come
//! together and sends it. Nothing here is waited for: what the queue cannot hold is dropped and counted.

mod batch;
mod client;
mod exporting;
mod pipeline;
mod span;
mod wire;

use crate::settings::OtelEnvironment;
use crate::telemetry::Exchanged;
use exporting::Exporting;
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use pipeline::{Pipeline, Queued};
use policy::filter::tracing::Tracing;
use policy::table::RouteTable;
use policy::trace::{SpanContext, new_span_id};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Exchanges whose spans wait; about 1 KiB each, at most 4.
const QUEUE: usize = 8192;
/// When fewer than so many places are left, the thread does not wait for its next turn.
const HURRY: usize = QUEUE / 2;
/// Failures that are recorded a second though their trace is not.
const FAILURES_A_SECOND: u64 = 100;
/// What most exchanges with one attempt need.
const USUAL_SIZE: usize = 1024;

/// One exchange in its trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace {
    context: SpanContext,
    records_errors: bool,
}

impl Trace {
    /// For one attempt or question: the id of its span, and the `traceparent` that the other end gets.
    pub(crate) fn client_span(&self) -> (u64, HeaderValue) {
        let id = new_span_id();
        (id, self.context.traceparent(id))
    }

    /// The `traceparent` of whoever gets a copy of the request.
    pub(crate) fn server_span(&self) -> HeaderValue {
        self.context.traceparent(self.context.span_id)
    }

    /// Takes out of a request what must not be passed on.
    pub(crate) fn clean(&self, headers: &mut HeaderMap) {
        self.context.clean(headers);
    }

    /// The id that all who take part know.
    pub(crate) fn trace_id(&self) -> [u8; 16] {
        self.context.trace_id.to_be_bytes()
    }

    /// Its spans are recorded, here and by those who are told of it.
    pub(crate) fn sampled(&self) -> bool {
        self.context.is_sampled()
    }
}

/// All traces of the process.
pub(crate) struct Traces {
    environment: OtelEnvironment,
    instance: String,
    queue: mpsc::Sender<Queued>,
    hurry: Arc<Notify>,
    dropped: Arc<AtomicU64>,
    exported: Arc<AtomicU64>,
    failures: Allowance,
    exporting: watch::Sender<Option<Arc<Exporting>>>,
    thread: Mutex<Thread>,
}

/// Started by the first table that traces.
enum Thread {
    Waits(mpsc::Receiver<Queued>),
    Runs { stop: oneshot::Sender<Duration>, stopped: oneshot::Receiver<()> },
    Gone,
}

impl Traces {
    /// Of an instance; nothing runs yet.
    pub(crate) fn new(instance: &str, environment: OtelEnvironment) -> Arc<Self> {
        let (queue, queued) = mpsc::channel(QUEUE);
        Arc::new(Self {
            environment,
            instance: instance.to_owned(),
            queue,
            hurry: Arc::default(),
            dropped: Arc::default(),
            exported: Arc::default(),
            failures: Allowance::default(),
            exporting: watch::Sender::new(None),
            thread: Mutex::new(Thread::Waits(queued)),
        })
    }

    /// A table is about to serve: its spans go where it says.
    pub(crate) fn adopt(&self, table: &RouteTable) {
        let exporting =
            table.tracing.as_ref().map(|config| Exporting::new(config, &self.environment, &self.instance));
        let traces = exporting.is_some();
        self.exporting.send_if_modified(|current| {
            let differs = current.as_deref() != exporting.as_ref();
            if differs {
                *current = exporting.map(Arc::new);
            }
            differs
        });
        if traces {
            self.run();
        }
    }

    fn run(&self) {
        let mut thread = self.thread.lock();
        let queued = match std::mem::replace(&mut *thread, Thread::Gone) {
            Thread::Waits(queued) => queued,
            other => return *thread = other,
        };
        let (stop, stopping) = oneshot::channel();
        let (ended, stopped) = oneshot::channel();
        let pipeline = Pipeline {
            queued,
            hurry: self.hurry.clone(),
            exporting: self.exporting.subscribe(),
            dropped: self.dropped.clone(),
            exported: self.exported.clone(),
        };
        match pipeline.spawn(stopping, ended) {
            Ok(()) => *thread = Thread::Runs { stop, stopped },
            Err(error) => tracing::error!(%error, "traces have no thread: no spans are exported"),
        }
    }

    /// The span of a request that has come with these headers.
    pub(crate) fn begin(&self, tracing: &Tracing, headers: &HeaderMap, peer_is_trusted: bool) -> Trace {
        let context = tracing.begin(headers, peer_is_trusted, &self.environment.sampling);
        Trace { context, records_errors: tracing.errors }
    }

    /// An exchange is over. Its spans are sent if it is recorded, or if it failed here and failures are.
    pub(crate) fn export(&self, trace: &Trace, of: &Exchanged<'_>) {
        if !trace.sampled() && !self.records_failure(trace, of) {
            return;
        }
        match self.queue.try_reserve() {
            Ok(place) => {
                let mut encoded = Vec::with_capacity(USUAL_SIZE);
                let spans = span::write(&mut encoded, trace, of);
                place.send(Queued { encoded, spans });
            }
            Err(_) => {
                self.dropped.fetch_add(span::count(of) as u64, Ordering::Relaxed);
            }
        }
        if self.queue.capacity() < HURRY {
            self.hurry.notify_one();
        }
    }

    fn records_failure(&self, trace: &Trace, of: &Exchanged<'_>) -> bool {
        trace.records_errors && failed_here(of) && self.failures.take(of.unix_nanos / 1_000_000_000)
    }

    /// Spans that no collector has got.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Spans that a collector has taken.
    pub(crate) fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Sends what is left, for at most so long. Nothing is exported afterwards.
    pub(crate) async fn shutdown(&self, patience: Duration) {
        let thread = std::mem::replace(&mut *self.thread.lock(), Thread::Gone);
        if let Thread::Runs { stop, stopped } = thread {
            // errors mean that the thread has ended already
            let _ = stop.send(patience);
            let _ = stopped.await;
            tracing::info!(exported = self.exported(), dropped = self.dropped(), "traces ended");
        }
    }
}

/// The gateway answered with a failure of its own, or broke off a response.
fn failed_here(of: &Exchanged<'_>) -> bool {
    (of.local && of.status >= 500) || span::failed_midway(of)
}

/// So many a second, counted by all workers together.
#[derive(Debug, Default)]
struct Allowance(AtomicU64);

impl Allowance {
    /// Seconds above, the count of the last of them below.
    const COUNT: u32 = 16;

    fn take(&self, second: u64) -> bool {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |known| {
            let fresh = second << Self::COUNT;
            // workers may differ by a little in what second it is
            let known = known.max(fresh);
            (known & ((1 << Self::COUNT) - 1) < FAILURES_A_SECOND).then_some(known + 1)
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests;
