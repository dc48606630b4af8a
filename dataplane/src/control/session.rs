//! One stream to the control plane, from the hello to the reason why it ended.

use super::{Control, JOIN_TIMEOUT, LOOK_EVERY, MAX_MESSAGE, STATUS_EVERY, door, halted};
use crate::activation::{Committed, NotPrepared};
use crate::clock;
use crate::status::{self, Rates};
use crate::telemetry::metrics::Meter;
use crate::telemetry::taps::{self, Watching};
use policy::diagnostic::Diagnostic;
use proto::access::{Bearer, Unusable};
use proto::v1::control_plane_message::Message as Order;
use proto::v1::data_plane_message::Message as Fact;
use proto::v1::discovery_client::DiscoveryClient;
use proto::v1::{
    Abort, Active, Commit, ControlPlaneMessage, DataPlaneMessage, InstanceStatus, Orders, OrdersApplied,
    Prepare, Prepared, Rejected, Snapshot,
};
use std::time::Instant;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::codec::CompressionEncoding;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

/// Facts that the control plane has not taken yet; more, and it does not read.
pub(super) const OUTBOX: usize = 64;

pub(super) struct Session<'a> {
    pub(super) control: &'a mut Control,
    pub(super) outbox: mpsc::Sender<DataPlaneMessage>,
    inbox: Streaming<ControlPlaneMessage>,
    rates: Rates,
    traffic: Meter,
    /// As they were when last looked at.
    states: Vec<u8>,
    pub(super) watching: Watching,
}

/// Why a session is over. There is no good reason: a control plane never hangs up on purpose.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("no answer in {JOIN_TIMEOUT:?}")]
    NoAnswer,
    #[error("{}", told(.0))]
    Rpc(tonic::Status),
    #[error("it closed the stream")]
    Closed,
    #[error("it does not read what this instance sends")]
    NotReading,
    #[error("it sent {0}")]
    Malformed(&'static str),
    #[error("another process takes over")]
    Halted,
    #[error("it ordered a commit out of turn: {0}")]
    OutOfTurn(#[from] NotPrepared),
}

impl<'a> Session<'a> {
    /// Says hello and waits to be taken in.
    pub(super) async fn join(control: &'a mut Control) -> Result<Self, Ended> {
        let (endpoint, bearer) = door(control)?;
        let (outbox, queue) = mpsc::channel(OUTBOX);
        send(&outbox, Fact::Hello(control.hello()))?;
        let inbox =
            timeout(JOIN_TIMEOUT, join(&endpoint, bearer, queue)).await.map_err(|_| Ended::NoAnswer)??;
        tracing::info!(control_plane = %control.control_plane.url, "joined the control plane");
        let watching = Watching::new(control.gateway.taps().clone());
        Ok(Self {
            control,
            outbox,
            inbox,
            rates: Rates::default(),
            traffic: Meter::default(),
            states: Vec::new(),
            watching,
        })
    }

    /// Obeys and reports until it ends.
    pub(super) async fn serve(mut self) -> Ended {
        let mut changes = self.control.board.watch();
        let mut halt = self.control.halt.clone();
        let [mut ticks, mut looks, mut taps] = [STATUS_EVERY, LOOK_EVERY, taps::EVERY].map(|every| {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        loop {
            let step = tokio::select! {
                received = self.inbox.message() => match received {
                    Ok(Some(message)) => self.obey(message).await,
                    Ok(None) => Err(Ended::Closed),
                    Err(status) => Err(Ended::Rpc(status)),
                },
                () = changed(&mut changes) => self.send_status(),
                () = halted(&mut halt) => Err(Ended::Halted),
                _ = ticks.tick() => self.send_tick(),
                _ = looks.tick() => self.look(),
                _ = taps.tick(), if !self.watching.is_idle() => self.tell_taps(),
            };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    async fn obey(&mut self, message: ControlPlaneMessage) -> Result<(), Ended> {
        match message.message {
            Some(Order::Prepare(Prepare { snapshot: Some(snapshot) })) => self.prepare(snapshot).await,
            Some(Order::Prepare(Prepare { snapshot: None })) => {
                Err(Ended::Malformed("a prepare without a snapshot"))
            }
            Some(Order::Commit(Commit { version })) => self.commit(version).await,
            Some(Order::Abort(Abort { version, reason })) => {
                tracing::info!(version, reason, "config aborted");
                self.control.activation.abort(version);
                Ok(())
            }
            Some(Order::Orders(orders)) => self.orders(orders).await,
            Some(Order::Question(question)) => self.question(question),
            None => Err(Ended::Malformed("a message that this version does not know")),
        }
    }

    /// Confirmed once they hold; those of another cluster are not carried out and not confirmed.
    async fn orders(&mut self, orders: Orders) -> Result<(), Ended> {
        match self.control.activation.obey(orders).await {
            Some(revision) => self.send(Fact::OrdersApplied(OrdersApplied { revision })),
            None => Ok(()),
        }
    }

    async fn prepare(&mut self, snapshot: Snapshot) -> Result<(), Ended> {
        let begun = Instant::now();
        let (version, sha256) = (snapshot.version, snapshot.sha256.clone());
        match self.control.activation.prepare(snapshot).await {
            Ok(()) => {
                let took_us = begun.elapsed().as_micros() as u64;
                tracing::info!(version, sha256, took_us, "config prepared");
                self.send(Fact::Prepared(Prepared { version, sha256, took_us }))
            }
            Err(diagnostics) => {
                for problem in &diagnostics {
                    tracing::warn!(version, %problem, "config rejected");
                }
                let diagnostics = diagnostics.into_iter().map(Diagnostic::into).collect();
                self.send(Fact::Rejected(Rejected { version, diagnostics }))
            }
        }
    }

    async fn commit(&mut self, version: u64) -> Result<(), Ended> {
        let Committed { identity, took } = self.control.activation.commit(version).await?;
        let (sha256, took_us) = (identity.sha256, took.as_micros() as u64);
        self.send(Fact::Active(Active { version, sha256, took_us }))
    }

    /// Told at once: what a commit, an order or a drain has changed.
    fn send_status(&self) -> Result<(), Ended> {
        let mut status = self.report();
        self.rates.carry_over(&mut status);
        self.traffic.carry_over(&mut status, &self.control.gateway);
        self.send(Fact::Status(status))
    }

    /// A target that went out or a breaker that opened is told before the next tick.
    fn look(&mut self) -> Result<(), Ended> {
        let states = status::states(&self.control.gateway);
        if states == self.states {
            return Ok(());
        }
        self.states = states;
        self.send_status()
    }

    fn send_tick(&mut self) -> Result<(), Ended> {
        let mut status = self.report();
        let now = clock::now();
        self.rates.tick(&mut status, now);
        self.traffic.tick(&mut status, &self.control.gateway, now);
        self.send(Fact::Status(status))
    }

    fn report(&self) -> InstanceStatus {
        let Control { board, gateway, .. } = &*self.control;
        status::report(&board.get(), gateway)
    }

    pub(super) fn send(&self, fact: Fact) -> Result<(), Ended> {
        send(&self.outbox, fact)
    }
}

/// Never waits: whoever does not read is left, not waited for.
fn send(outbox: &mpsc::Sender<DataPlaneMessage>, fact: Fact) -> Result<(), Ended> {
    outbox.try_send(DataPlaneMessage { message: Some(fact) }).map_err(|e| match e {
        mpsc::error::TrySendError::Full(_) => Ended::NotReading,
        mpsc::error::TrySendError::Closed(_) => Ended::Closed,
    })
}

async fn join(
    endpoint: &Endpoint,
    bearer: Bearer,
    queue: mpsc::Receiver<DataPlaneMessage>,
) -> Result<Streaming<ControlPlaneMessage>, Ended> {
    let channel = endpoint.connect().await.map_err(|e| Ended::Connect(root_cause(&e)))?;
    let inbox = client(channel, bearer).join(ReceiverStream::new(queue)).await.map_err(Ended::Rpc)?;
    Ok(inbox.into_inner())
}

fn client(channel: Channel, bearer: Bearer) -> DiscoveryClient<InterceptedService<Channel, Bearer>> {
    DiscoveryClient::with_interceptor(channel, bearer)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE)
}

/// What the control plane said, or else what became of the connection.
fn told(status: &tonic::Status) -> String {
    match std::error::Error::source(status) {
        Some(error) => format!("the stream broke: {}", root_cause(error)),
        None => format!("it answered {:?}: {}", status.code(), status.message()),
    }
}

/// tonic says "transport error"; what happened stands at the end of the chain.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error).to_string()
}

/// Resolves when what runs has changed; never, once nobody is left to change it.
async fn changed<T>(watch: &mut watch::Receiver<T>) {
    if watch.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
