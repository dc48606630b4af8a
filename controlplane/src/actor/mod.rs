//! The one owner of versions, store and fleet: takes messages one at a time, executes what the coordinator decides.
//!
//! One change is rolled out at a time, others wait in a queue. Calls that block (store, file) run on a blocking thread
//! and are awaited here: nothing may overtake a decision on its way to the disk.

mod change;
mod feed;
mod file;
mod message;
mod order;
mod question;
mod trace;

pub(crate) use feed::Follower;
pub(crate) use file::describe;
pub(crate) use message::{Change, Contents, Given, Handle, Origin, Outbox, Stopped};

use crate::fleet::{Now, StreamId, add_reason};
use crate::mask::MaskedTable;
use crate::orders::{self, Orders};
use crate::rollout::{Coordinator, Effect};
use crate::source::WatchedFile;
use crate::store::{Store, StoreError, StoredVersion};
use change::Running;
use feed::Feed;
use file::FileState;
use message::Message;
use order::Answer;
use proto::v1::{self, Outcome, Step, data_plane_message::Message as Up, rollout_event::Event};
use question::Tapping;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::Status;
use trace::RolloutTrace;

/// Messages waiting before those who send them are slowed down.
const MAILBOX: usize = 1024;

/// How long the fleet may take for each phase unless the request says otherwise.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The target of the spans of rollouts.
pub(crate) const TRACE_TARGET: &str = "rollout";

/// Something to be done when nothing else is under way.
#[derive(Debug)]
enum Job {
    Change(Box<Change>),
    Push { instances: Vec<String>, timeout: Duration, follower: Follower },
}

pub(crate) struct Actor {
    handle: Handle,
    store: Arc<dyn Store>,
    coordinator: Coordinator,
    orders: Orders,
    /// Whoever waits for an order to be confirmed, by ticket.
    answers: HashMap<u64, Answer>,
    last_ticket: u64,
    taps: HashMap<u64, Tapping>,
    outboxes: HashMap<StreamId, Outbox>,
    queue: VecDeque<Job>,
    running: Option<Running>,
    feed: Feed,
    trace: RolloutTrace,
    file: FileState,
    /// The current table as it may be shown.
    shown: MaskedTable,
    /// Routes in the current table.
    routes: usize,
    /// The highest version number used, also by dry runs.
    last_version: u64,
}

/// Starts the actor on the current version. It ends when `stop` turns true.
pub(crate) fn spawn(
    store: Arc<dyn Store>,
    current: StoredVersion,
    last_version: u64,
    standing: v1::Orders,
    watched: WatchedFile,
    config_problem: String,
    stop: watch::Receiver<bool>,
) -> Result<(Handle, tokio::task::JoinHandle<()>), prost::DecodeError> {
    let routes = <v1::RouteTable as prost::Message>::decode(current.table.clone())?.routes.len();
    let (mailbox, messages) = mpsc::channel(MAILBOX);
    let handle = Handle::new(mailbox);
    let actor = Actor {
        handle: handle.clone(),
        file: FileState::new(watched, &current.source, config_problem),
        coordinator: Coordinator::new(snapshot(store.cluster_id(), &current), fastrand::Rng::new()),
        orders: Orders::new(store.cluster_id(), standing),
        answers: HashMap::new(),
        last_ticket: 0,
        taps: HashMap::new(),
        store,
        outboxes: HashMap::new(),
        queue: VecDeque::new(),
        running: None,
        feed: Feed::default(),
        trace: RolloutTrace::default(),
        shown: MaskedTable::default(),
        routes,
        last_version,
    };
    Ok((handle, tokio::spawn(actor.run(messages, stop))))
}

/// A stored version as it goes to data planes; the table's bytes are shared, not copied.
fn snapshot(cluster_id: &str, version: &StoredVersion) -> v1::Snapshot {
    v1::Snapshot {
        cluster_id: cluster_id.to_owned(),
        version: version.record.version,
        sha256: version.record.sha256.clone(),
        created_ms: version.record.created_ms,
        author: version.record.author.clone(),
        note: version.record.note.clone(),
        table: version.table.clone(),
    }
}

impl Actor {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>, mut stop: watch::Receiver<bool>) {
        loop {
            let deadlines = [self.coordinator.next_deadline(), self.orders.next_deadline()];
            let deadline = deadlines.into_iter().flatten().min().map(Instant::from_std);
            let message = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                () = sleep_until(deadline) => None,
                message = messages.recv() => match message {
                    Some(message) => Some(message),
                    None => break,
                },
            };
            match message {
                Some(message) => self.take(message).await,
                None => self.tick(Now::read()),
            }
            self.execute().await;
            while self.running.is_none()
                && let Some(job) = self.queue.pop_front()
            {
                self.begin(job).await;
                self.execute().await;
            }
        }
        // dropping the outboxes ends every stream; an undecided version is settled by the next start
    }

    fn tick(&mut self, now: Now) {
        self.coordinator.tick(now);
        self.orders.tick(now);
    }

    async fn take(&mut self, message: Message) {
        let now = Now::read();
        match message {
            Message::Change(change) => self.queue.push_back(Job::Change(Box::new(change))),
            Message::Push { instances, timeout, follower } => {
                self.queue.push_back(Job::Push { instances, timeout, follower });
            }
            Message::Follow { follower, found } => {
                let _ = found.send(self.feed.follow(follower));
            }
            Message::Status(status) => {
                let _ = status.send(self.status(now));
            }
            Message::Order { given, answer } => self.order(given, answer).await,
            Message::Ask { question, instance, lasting, asked } => {
                let put = match lasting {
                    true => self.tap(question, instance),
                    false => self.ask(&question, &instance),
                };
                // whoever asked may have hung up
                let _ = asked.send(put);
            }
            Message::EndTap(id) => self.end_tap(id),
            Message::Join { stream, hello, peer, outbox } => {
                tracing::info!(
                    instance = hello.instance,
                    version = hello.active_version,
                    peer,
                    "data plane joined"
                );
                self.outboxes.insert(stream, outbox);
                self.tap_joined(&hello.instance, stream);
                self.orders.join(stream, &hello);
                self.coordinator.join(now, stream, peer, hello);
            }
            Message::Leave { instance, stream } => {
                if self.outboxes.remove(&stream).is_some() {
                    tracing::info!(instance, "data plane left");
                }
                self.left(now, &instance, stream);
            }
            Message::Hear { instance, stream, message } => {
                if let Up::OrdersApplied(v1::OrdersApplied { revision }) = &*message {
                    self.orders.confirmed(now, &instance, stream, *revision);
                }
                self.coordinator.hear(now, &instance, stream, *message);
            }
            Message::File(observation) => self.file_observed(observation),
            Message::FileChecked { reading, number, checked } => {
                self.file_checked(reading, number, checked);
            }
        }
    }

    async fn begin(&mut self, job: Job) {
        match job {
            Job::Change(change) => self.begin_change(*change).await,
            Job::Push { instances, timeout, follower } => {
                self.running = Some(Running::Push);
                self.feed.begin(Some(follower));
                self.coordinator.push(Now::read(), &instances, timeout);
            }
        }
    }

    fn left(&mut self, now: Now, instance: &str, stream: StreamId) {
        self.orders.leave(instance, stream);
        self.coordinator.leave(now, instance, stream);
    }

    /// Does what the state machines have decided, until they have nothing more to say. Orders go first: one who joins
    /// must know what is drained before it serves a new table.
    async fn execute(&mut self) {
        loop {
            let orders = self.orders.take_effects();
            let effects = self.coordinator.take_effects();
            if orders.is_empty() && effects.is_empty() {
                return;
            }
            for effect in orders {
                match effect {
                    orders::Effect::Send { instance, stream, message } => {
                        self.send(&instance, stream, message);
                    }
                    orders::Effect::Answer { ticket, response } => self.answer(ticket, response),
                }
            }
            for effect in effects {
                match effect {
                    Effect::Send { instance, stream, message } => self.send(&instance, stream, message),
                    Effect::Replace { stream, rivalry } => self.replace(stream, rivalry),
                    Effect::Persist { version } => self.persist(version).await,
                    Effect::Tell(event) => self.tell(event).await,
                }
            }
            // the commits are on their way: the file follows
            self.publish().await;
        }
    }

    fn send(&mut self, instance: &str, stream: StreamId, message: v1::ControlPlaneMessage) {
        let Some(outbox) = self.outboxes.get(&stream) else { return };
        if !outbox.send(Ok(message)) {
            // it reads nothing any more, or has just gone: either way it must join again to be told the truth
            tracing::warn!(instance, "data plane does not read its stream, closing it");
            self.outboxes.remove(&stream);
            self.left(Now::read(), instance, stream);
        }
    }

    fn replace(&mut self, stream: StreamId, rivalry: Option<String>) {
        if let Some(rivalry) = rivalry {
            tracing::error!(rivalry, "two processes displace each other: give each its own --instance");
        }
        if let Some(outbox) = self.outboxes.remove(&stream) {
            tracing::warn!("a second stream of the same instance name took the first one's place");
            let status = Status::aborted("another stream of this instance name has taken this one's place");
            // if it is full, the stream ends without a reason
            outbox.send(Err(status));
        }
    }

    async fn persist(&mut self, version: u64) {
        let in_file = matches!(&self.running, Some(Running::Change(change)) if change.origin == Origin::File);
        let result = match self.allocated().await {
            Ok(()) => self.in_store(move |store| store.commit(version, in_file)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            tracing::error!(version, %error, "the decision to commit could not be stored");
        }
        let stored = result.map_err(|error| error.to_string());
        if stored.is_ok() {
            self.decided();
        }
        self.coordinator.persisted(Now::read(), stored);
    }

    async fn tell(&mut self, event: Event) {
        match event {
            Event::Started(started) => {
                tracing::info!(
                    version = started.version,
                    instances = started.instances.len(),
                    dry_run = started.dry_run,
                    "rollout started"
                );
                self.trace.started(&started);
                self.feed.tell(Event::Started(started));
            }
            Event::Step(step) => {
                log_step(&step);
                self.trace.step(&step);
                self.feed.tell(Event::Step(step));
            }
            Event::Finished(finished) => {
                let finished = self.finish(finished).await;
                if finished.outcome() == Outcome::Committed {
                    self.drop_missing_orders().await;
                }
                tracing::info!(
                    version = finished.version,
                    outcome = finished.outcome().as_str_name(),
                    result = finished.message,
                    took_us = finished.took_us,
                    "rollout finished"
                );
                self.trace.finished(&finished);
                self.feed.tell(Event::Finished(finished));
            }
        }
    }

    fn status(&mut self, now: Now) -> v1::GetStatusResponse {
        let current = self.coordinator.current();
        let mut instances = self.coordinator.instances(now);
        for instance in &mut instances {
            if instance.hello.as_ref().is_some_and(|hello| self.orders.is_behind(&hello.instance)) {
                let revision = self.orders.standing().revision;
                add_reason(instance, &format!("has not confirmed the orders of revision {revision}"));
            }
        }
        v1::GetStatusResponse {
            current_version: current.version,
            current_sha256: current.sha256.clone(),
            cluster_id: current.cluster_id.clone(),
            instances,
            table: self.shown.of(current),
            config_problem: self.file.problem().to_owned(),
            config_file: self.file.name(),
            orders: Some(self.orders.standing().clone()),
        }
    }

    /// Runs a call of the store where it may block.
    async fn in_store<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(&self.store);
        blocking(move || call(store.as_ref())).await
    }
}

/// Runs a blocking call aside; a panic in it is ours and goes on here.
pub(crate) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    unwind(tokio::task::spawn_blocking(call).await)
}

/// What a blocking call returned; such calls are never cancelled, so all that can be wrong is a panic.
fn unwind<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    match joined {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn log_step(step: &v1::InstanceStep) {
    let name = step.step().as_str_name();
    match step.step() {
        Step::Rejected | Step::Stale | Step::Lost => {
            let reason = step.diagnostics.first().map_or("", |first| first.message.as_str());
            tracing::warn!(instance = step.instance, step = name, reason, "rollout step");
        }
        _ => tracing::debug!(instance = step.instance, step = name, took_us = step.took_us, "rollout step"),
    }
}

/// An end that needed no data plane.
fn ended(
    outcome: Outcome,
    current_version: u64,
    message: String,
    diagnostics: Vec<v1::Diagnostic>,
) -> v1::Finished {
    v1::Finished { outcome: outcome.into(), current_version, message, diagnostics, ..Default::default() }
}
