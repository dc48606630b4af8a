//! A worker's side: a buffer for each output, handed over when it is full or when its first line is 50 ms old.

use super::output::{Batch, Output};
use crate::telemetry::{Exchanged, TryEnd};
use policy::access_log::{Lines, Record};
use policy::filter::logging::{Logging, WhenFull};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How long a line waits for others at most.
const TURN: Duration = Duration::from_millis(50);
/// While requests wait for an output, clients may give up, and each that does has a line too. So many batches of these are
/// kept, 8 MiB; more are dropped like any other, for memory must not depend on how many clients there are.
const OVERFLOW: usize = 128;

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
    batches: RefCell<Batches>,
}

#[derive(Default)]
struct Batches {
    /// Those that the output has had no room for, the first one first. Each needs a place of its own in the queue, so that
    /// what a queue holds is bounded too.
    full: VecDeque<Batch>,
    /// Where lines are added.
    last: Batch,
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
                let sink = Rc::new(Sink { output: output.clone(), batches: RefCell::default() });
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

    /// Hands over everything, for at most so long. What is left then is dropped and counted.
    pub(crate) async fn finish(&self, patience: Duration) {
        let all = async {
            for sink in self.living() {
                sink.handed_over().await;
            }
        };
        // those that had no room know it by themselves
        let _ = timeout(patience, all).await;
    }

    fn living(&self) -> impl Iterator<Item = Rc<Sink>> {
        let living: Vec<_> = self.sinks.borrow().iter().filter_map(Weak::upgrade).collect();
        living.into_iter()
    }
}

impl Sink {
    pub(super) fn add(&self, when_full: WhenFull, append: impl Fn(&mut Vec<u8>)) {
        let mut batches = self.batches.borrow_mut();
        if batches.last.is_full()
            && !batches.hand_over(&self.output)
            && !batches.begin_another(&self.output, when_full)
        {
            self.output.count_dropped(1);
            return;
        }
        append(&mut batches.last.bytes);
        batches.last.lines += 1;
        if batches.last.is_full() {
            batches.hand_over(&self.output);
        }
    }

    /// Whether nothing is left here.
    pub(super) fn hand_over(&self) -> bool {
        self.batches.borrow_mut().hand_over(&self.output)
    }

    fn hand_over_unless_crowded(&self) -> bool {
        let mut batches = self.batches.borrow_mut();
        batches.is_empty() || (!self.output.is_crowded() && batches.hand_over(&self.output))
    }

    /// Until a line more has room.
    pub(crate) async fn room(&self) {
        self.until(Batches::have_room).await;
    }

    /// Until nothing is left here.
    async fn handed_over(&self) {
        self.until(Batches::hand_over).await;
    }

    /// Until the output has taken enough for this.
    async fn until(&self, done: impl Fn(&mut Batches, &Output) -> bool) {
        loop {
            let written = self.output.shared().progress().notified();
            if done(&mut self.batches.borrow_mut(), &self.output) {
                return;
            }
            written.await;
        }
    }
}

impl Batches {
    /// Whether nothing is left here.
    fn hand_over(&mut self, output: &Output) -> bool {
        while let Some(first) = self.full.pop_front() {
            if let Err(back) = output.take(first) {
                self.full.push_front(back);
                return false;
            }
        }
        if self.last.bytes.is_empty() {
            return true;
        }
        match output.take(mem::take(&mut self.last)) {
            Ok(()) => {
                self.last.bytes = output.shared().spare();
                true
            }
            Err(back) => {
                self.last = back;
                false
            }
        }
    }

    /// For a line that must not be dropped though the output has no room.
    fn begin_another(&mut self, output: &Output, when_full: WhenFull) -> bool {
        let room = when_full == WhenFull::Block && self.full.len() < OVERFLOW;
        if room {
            let bytes = output.shared().spare();
            self.full.push_back(mem::replace(&mut self.last, Batch { bytes, lines: 0 }));
        }
        room
    }

    fn have_room(&mut self, output: &Output) -> bool {
        (self.full.is_empty() && !self.last.is_full()) || self.hand_over(output)
    }

    fn is_empty(&self) -> bool {
        self.full.is_empty() && self.last.bytes.is_empty()
    }

    fn lines(&self) -> u64 {
        self.full.iter().chain([&self.last]).map(|batch| batch.lines).sum()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.hand_over() {
            self.output.count_dropped(self.batches.borrow().lines());
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
