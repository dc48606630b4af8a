//! A worker's side: a buffer for each output, handed over when it is full or when its first line is 50 ms old.

use super::output::{BATCH, Batch, Output};
use crate::telemetry::{Exchanged, TryEnd};
use policy::access_log::{Lines, Record};
use policy::filter::logging::{Logging, WhenFull};
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// How long a line waits for others at most.
const TURN: Duration = Duration::from_millis(50);
/// While requests wait for an output, clients may give up, and each that does has a line too. So many bytes of these are
/// kept; more are dropped like any other, for memory must not depend on how many clients there are.
const OVERFLOW: usize = 8 << 20;

/// One worker's lines on their way to all outputs.
#[derive(Default)]
pub(crate) struct WorkerLog {
    lines: RefCell<Lines>,
    /// A line that several outputs get.
    line: RefCell<Vec<u8>>,
    sinks: RefCell<Vec<Weak<Sink>>>,
    /// Some buffer holds a line.
    dirty: Cell<bool>,
    began: Notify,
}

/// One worker's lines on their way to one output.
pub(crate) struct Sink {
    pub(super) output: Arc<Output>,
    batch: RefCell<Batch>,
}

impl WorkerLog {
    /// Those of a table that begins to serve. A buffer outlasts the table: lines of both
    /// tables that go to one output are written in their order.
    pub(crate) fn sinks(&self, outputs: &[Arc<Output>]) -> Box<[Rc<Sink>]> {
        let mut known = self.sinks.borrow_mut();
        known.retain(|sink| sink.strong_count() > 0);
        let of = |output: &Arc<Output>| {
            let same = known.iter().filter_map(Weak::upgrade).find(|sink| Arc::ptr_eq(&sink.output, output));
            same.unwrap_or_else(|| {
                let sink = Rc::new(Sink { output: output.clone(), batch: RefCell::default() });
                known.push(Rc::downgrade(&sink));
                sink
            })
        };
        outputs.iter().map(of).collect()
    }

    /// The line of an exchange that is over.
    pub(crate) fn write(&self, logging: &Logging, sinks: &[Rc<Sink>], of: &Exchanged<'_>) {
        let Logging { config, outputs } = logging;
        let query = match (of.query, of.table) {
            (Some(query), Some(table)) if config.query => Some(table.credential_parameters.mask(query)),
            _ => None,
        };
        let record = record(of, query.as_deref());
        let append = |to: &mut Vec<u8>| {
            self.lines.borrow_mut().write(to, config.format, config.schema, &record);
        };
        let sinks = outputs.iter().filter_map(|at| sinks.get(*at));
        if let [_] = **outputs {
            sinks.for_each(|sink| sink.add(config.when_full, append));
        } else {
            let mut line = self.line.borrow_mut();
            line.clear();
            append(&mut line);
            sinks.for_each(|sink| sink.add(config.when_full, |to| to.extend_from_slice(&line)));
        }
        if !self.dirty.replace(true) {
            self.began.notify_one();
        }
    }

    /// Hands over in time what is not full. Never ends.
    pub(crate) async fn hand_over_in_time(&self) {
        loop {
            self.began.notified().await;
            sleep(TURN).await;
            self.dirty.set(false);
            let left = self.living().filter(|sink| !sink.hand_over_unless_crowded()).count();
            if left > 0 && !self.dirty.replace(true) {
                self.began.notify_one();
            }
        }
    }

    /// Hands over everything that there is room for.
    pub(crate) fn finish(&self) {
        for sink in self.living() {
            sink.hand_over();
        }
    }

    fn living(&self) -> impl Iterator<Item = Rc<Sink>> {
        let living: Vec<_> = self.sinks.borrow().iter().filter_map(Weak::upgrade).collect();
        living.into_iter()
    }
}

impl Sink {
    pub(super) fn add(&self, when_full: WhenFull, append: impl Fn(&mut Vec<u8>)) {
        if self.is_full() && !self.hand_over() && self.must_drop(when_full) {
            self.output.count_dropped(1);
            return;
        }
        let mut batch = self.batch.borrow_mut();
        append(&mut batch.bytes);
        batch.lines += 1;
        drop(batch);
        if self.is_full() {
            self.hand_over();
        }
    }

    fn is_full(&self) -> bool {
        self.batch.borrow().bytes.len() >= BATCH
    }

    fn must_drop(&self, when_full: WhenFull) -> bool {
        when_full == WhenFull::Drop || self.batch.borrow().bytes.len() >= OVERFLOW
    }

    /// Whether nothing is left here.
    pub(super) fn hand_over(&self) -> bool {
        let mut batch = self.batch.borrow_mut();
        batch.bytes.is_empty() || self.output.take(&mut batch)
    }

    fn hand_over_unless_crowded(&self) -> bool {
        self.batch.borrow().bytes.is_empty() || (!self.output.is_crowded() && self.hand_over())
    }

    /// Until a line more has room.
    pub(crate) async fn room(&self) {
        loop {
            let written = self.output.shared().progress().notified();
            if !self.is_full() || self.hand_over() {
                return;
            }
            written.await;
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.hand_over() {
            self.output.count_dropped(self.batch.borrow().lines);
        }
    }
}

/// Where it went. A route's own targets are an upstream of the route's name, which is told already.
fn upstream<'a>(of: &Exchanged<'a>) -> Option<&'a str> {
    let (route, upstream) = (of.route?, of.upstream?);
    Some(&*upstream.name).filter(|name| !of.tries.is_empty() && **name != *route.name)
}

fn record<'a>(of: &Exchanged<'a>, query: Option<&'a str>) -> Record<'a> {
    let last = of.tries.last();
    let targets = of.upstream.map_or(&[][..], |upstream| &upstream.targets);
    Record {
        unix_nanos: of.unix_nanos,
        duration: of.duration,
        method: of.method,
        path: of.path,
        query,
        host: of.host.map(|host| host.as_bytes()),
        user_agent: of.user_agent.map(|agent| agent.as_bytes()),
        version: of.version,
        client_ip: of.client_ip,
        request_id: of.request_id,
        consumer: of.consumer,
        client_certificate: of.client_certificate,
        config_version: of.table.map_or(0, |table| table.version),
        route: of.route.map(|route| &*route.name),
        upstream: upstream(of),
        target: last.and_then(|last| targets.get(last.target)).map(|target| &target.addr),
        upstream_time: last.map(|last| match last.ended {
            TryEnd::Status(_) | TryEnd::Failed(_) => last.took,
            // until the client left
            TryEnd::Abandoned => of.duration.saturating_sub(last.began.saturating_duration_since(of.began)),
        }),
        attempts: of.tries.len() as u32,
        status: of.status,
        reason: of.reason,
        grpc_status: of.grpc_status,
        error: of.error,
        bytes_in: of.bytes_in,
        bytes_out: of.bytes_out,
        trace_id: of.trace.map(|trace| trace.trace_id()),
    }
}
