//! What the actor can be told, and the handle to tell it.

use super::feed::Follower;
use crate::candidate::Candidate;
use crate::fleet::StreamId;
use crate::orders::Order;
use crate::questions::{Asked, Questions};
use crate::source::{Reading, Stamp};
use crate::watcher::Observation;
use proto::v1::{self, data_plane_message};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

/// The way down to one data plane, open for as long as the actor keeps it.
#[derive(Debug)]
pub(crate) struct Outbox {
    messages: mpsc::Sender<Result<v1::ControlPlaneMessage, Status>>,
    /// Dropped with the outbox: whoever listens to the data plane notices that it is no longer wanted.
    _open: oneshot::Sender<()>,
}

/// The other end of an [`Outbox`].
pub(crate) struct Outgoing {
    pub(crate) messages: mpsc::Receiver<Result<v1::ControlPlaneMessage, Status>>,
    /// Resolves when the actor has dropped the outbox.
    pub(crate) closed: oneshot::Receiver<()>,
}

impl Outbox {
    /// With room for this many messages that the data plane has not read.
    pub(crate) fn new(capacity: usize) -> (Self, Outgoing) {
        let (sender, messages) = mpsc::channel(capacity);
        let (open, closed) = oneshot::channel();
        (Self { messages: sender, _open: open }, Outgoing { messages, closed })
    }

    /// False: it is full or nobody reads it any more.
    pub(super) fn send(&self, message: Result<v1::ControlPlaneMessage, Status>) -> bool {
        self.messages.try_send(message).is_ok()
    }

    /// The same for what is not worth a stream: half of the room is left to what is.
    pub(super) fn offer(&self, message: v1::ControlPlaneMessage) -> bool {
        self.messages.capacity() > self.messages.max_capacity() / 2 && self.send(Ok(message))
    }
}

/// A change somebody asks for.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) contents: Contents,
    pub(crate) origin: Origin,
    /// From the file: the state it was read in.
    pub(crate) read_in: Option<Stamp>,
    /// 0: does not matter.
    pub(crate) base_version: u64,
    pub(crate) dry_run: bool,
    pub(crate) allow_empty: bool,
    pub(crate) author: String,
    pub(crate) note: String,
    pub(crate) timeout: Duration,
    pub(crate) follower: Option<Follower>,
}

#[derive(Debug)]
pub(crate) enum Contents {
    New(Candidate),
    /// Those of an earlier version; 0: of the one before the current.
    Earlier(u64),
}

/// Through which door a change came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The watched file already holds it.
    File,
    /// It is written to the watched file once it is committed.
    Admin,
}

/// An order as it was given: names are not yet those of the config.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) order: Order,
    pub(crate) author: String,
    pub(crate) timeout: Duration,
}

#[derive(Debug)]
pub(super) enum Message {
    Change(Change),
    Push {
        instances: Vec<String>,
        timeout: Duration,
        follower: Follower,
    },
    Follow {
        follower: Follower,
        found: oneshot::Sender<bool>,
    },
    Status(oneshot::Sender<v1::GetStatusResponse>),
    Order {
        given: Given,
        answer: oneshot::Sender<Result<v1::OrderResponse, Status>>,
    },
    Ask {
        question: v1::Question,
        instance: String,
        lasting: bool,
        asked: oneshot::Sender<Result<Asked, Status>>,
    },
    EndTap(u64),
    Join {
        stream: StreamId,
        hello: v1::Hello,
        peer: String,
        outbox: Outbox,
    },
    Leave {
        instance: String,
        stream: StreamId,
    },
    Hear {
        instance: String,
        stream: StreamId,
        message: Box<data_plane_message::Message>,
    },
    File(Observation),
    FileChecked {
        reading: Reading,
        number: u64,
        checked: Result<Candidate, Vec<v1::Diagnostic>>,
    },
}

/// Tells the actor. A full mailbox slows the teller down.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    mailbox: mpsc::Sender<Message>,
    streams: Arc<AtomicU64>,
    questions: Arc<Questions>,
}

/// The actor has ended: the control plane is shutting down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopped;

impl From<Stopped> for Status {
    fn from(Stopped: Stopped) -> Self {
        Status::unavailable("the control plane is shutting down")
    }
}

impl Handle {
    pub(super) fn new(mailbox: mpsc::Sender<Message>) -> Self {
        Self { mailbox, streams: Arc::new(AtomicU64::new(1)), questions: Arc::default() }
    }

    async fn send(&self, message: Message) -> Result<(), Stopped> {
        self.mailbox.send(message).await.map_err(|_| Stopped)
    }

    pub(crate) async fn change(&self, change: Change) -> Result<(), Stopped> {
        self.send(Message::Change(change)).await
    }

    pub(crate) async fn push(
        &self,
        instances: Vec<String>,
        timeout: Duration,
        follower: Follower,
    ) -> Result<(), Stopped> {
        self.send(Message::Push { instances, timeout, follower }).await
    }

    /// False: there is no rollout to follow and none to tell of.
    pub(crate) async fn follow(&self, follower: Follower) -> Result<bool, Stopped> {
        let (found, answer) = oneshot::channel();
        self.send(Message::Follow { follower, found }).await?;
        answer.await.map_err(|_| Stopped)
    }

    pub(crate) async fn status(&self) -> Result<v1::GetStatusResponse, Stopped> {
        let (status, answer) = oneshot::channel();
        self.send(Message::Status(status)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Answers when the order is confirmed, or its timeout has passed.
    pub(crate) async fn order(&self, given: Given) -> Result<v1::OrderResponse, Status> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Order { given, answer }).await?;
        answered.await.map_err(|_| Stopped)?
    }

    /// Where answers go.
    pub(crate) fn questions(&self) -> &Arc<Questions> {
        &self.questions
    }

    /// Puts a question to an instance, or to all.
    pub(crate) async fn ask(&self, question: v1::Question, instance: String) -> Result<Asked, Status> {
        self.put(question, instance, false).await
    }

    /// The same, and to those that join later, until it is ended.
    pub(crate) async fn tap(&self, question: v1::Question, instance: String) -> Result<Asked, Status> {
        self.put(question, instance, true).await
    }

    async fn put(&self, question: v1::Question, instance: String, lasting: bool) -> Result<Asked, Status> {
        let (asked, answer) = oneshot::channel();
        self.send(Message::Ask { question, instance, lasting, asked }).await?;
        answer.await.map_err(|_| Stopped)?
    }

    pub(crate) async fn end_tap(&self, id: u64) -> Result<(), Stopped> {
        self.send(Message::EndTap(id)).await
    }

    /// `peer` is where the data plane's connection comes from, for people.
    pub(crate) async fn join(
        &self,
        hello: v1::Hello,
        peer: String,
        outbox: Outbox,
    ) -> Result<StreamId, Stopped> {
        let stream = StreamId(self.streams.fetch_add(1, Ordering::Relaxed));
        self.send(Message::Join { stream, hello, peer, outbox }).await?;
        Ok(stream)
    }

    pub(crate) async fn leave(&self, instance: String, stream: StreamId) -> Result<(), Stopped> {
        self.send(Message::Leave { instance, stream }).await
    }

    pub(crate) async fn hear(
        &self,
        instance: String,
        stream: StreamId,
        message: data_plane_message::Message,
    ) -> Result<(), Stopped> {
        self.send(Message::Hear { instance, stream, message: Box::new(message) }).await
    }

    pub(crate) async fn file(&self, observation: Observation) -> Result<(), Stopped> {
        self.send(Message::File(observation)).await
    }

    pub(super) async fn file_checked(
        &self,
        reading: Reading,
        number: u64,
        checked: Result<Candidate, Vec<v1::Diagnostic>>,
    ) -> Result<(), Stopped> {
        self.send(Message::FileChecked { reading, number, checked }).await
    }
}
