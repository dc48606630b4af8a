//! HTTP/2 with a client: the h2 crate speaks it, each stream is served in a task of its own, and this drives the
//! connection and ends it.
//!
//! Not hyper's server: it takes a request that its client has cancelled for one that is whole, cannot answer
//! `Expect: 100-continue`, says nothing to a client that it closes for a flood, and copies what goes through a tunnel.

mod meter;
mod offence;
mod reply;
mod stream;
mod streams;
mod tunnel;
mod wire;

pub(crate) use offence::{Offence, OffenceCounts};

use super::client::Limits;
use super::goodbye;
use super::io::ClientIo;
use super::session::Session;
use super::watchdog::{MIN_CHECK, Watchdog};
use bytes::Bytes;
use h2::server::{self, Builder};
use h2::{Ping, PingPong, Reason};
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use streams::Streams;
use tokio::task::spawn_local;
use wire::{Wire, WireIo};

/// What a client may send on a stream before the target has taken it, and on all streams of a connection together, which
/// is also what the connection may cost in memory. With the larger one an upload over 20 ms of distance makes 50 MB/s, and
/// a stream whose target does not read leaves the others half of the connection.
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The least that a peer must take (RFC 9113 §6.5.2): larger frames keep short ones waiting.
const MAX_FRAME: u32 = 16 * 1024;
/// Of a response, so much is handed to h2 before the client has taken it.
const SEND_BUFFER: usize = 128 * 1024;
/// Streams that a client may cancel before they were looked at (CVE-2023-44487), and those that it may have us cancel by
/// breaking the protocol on them (CVE-2025-8671), each per connection.
const MAX_UNSEEN_RESETS: usize = 32;
const MAX_PROVOKED_RESETS: usize = 256;
/// Streams that were reset and of which late frames are still taken (RFC 9113 §5.1), and for how long.
const REMEMBERED_RESETS: usize = 64;
const RESET_MEMORY: Duration = Duration::from_secs(1);
/// Short DATA frames that wait to be read cost more than their content; of that overhead, so many bytes per connection.
const DATA_OVERHEAD: usize = 512 * 1024;
/// Heads that are too large for the listener, but not for this factor of it, are refused as any other request; beyond that
/// h2 answers with a bare 431.
const HEAD_SLACK: usize = 2;
/// How long a client may take to hear that the connection ends.
const PARTING: Duration = Duration::from_secs(1);

/// Serves a connection until it ends.
pub(super) async fn serve(io: ClientIo, session: &Rc<Session>, mut watchdog: Pin<&mut Watchdog>) {
    let (stream, read_ahead) = io.into_parts();
    let wire = Wire::new(stream, read_ahead, session.clone());
    let Some(h2) = handshake(&wire, session, watchdog.as_mut()).await else { return };
    let streams = Streams::new(wire.clone(), session.clone());
    let ended = Driver::new(h2, &wire, &streams, session).run(watchdog).await;
    if let Some(offence) = ended {
        tracing::debug!(peer = %session.peer, reason = offence.reason(), "connection of HTTP/2 closed");
        session.worker.count_offence(offence);
    }
    // their connection is gone: each notices it and is told of
    streams.until_over().await;
    drop(streams);
    if let Some(stream) = wire.into_stream()
        && !session.write_overdue()
    {
        goodbye::linger(stream).await;
    }
}

type H2 = server::Connection<WireIo, Bytes>;

/// The exchange of prefaces; `None` when the client does not come to it.
async fn handshake(wire: &Rc<Wire>, session: &Session, mut watchdog: Pin<&mut Watchdog>) -> Option<H2> {
    let limits = session.limits();
    let mut handshake = pin!(builder(limits).handshake(wire.io()));
    let due = session.now() + limits.header_timeout;
    poll_fn(|cx| {
        session.remember_waker(cx.waker());
        let now = session.tick();
        if let Poll::Ready(outcome) = handshake.as_mut().poll(cx) {
            return Poll::Ready(outcome.ok());
        }
        if session.is_aborted() || now >= due {
            return Poll::Ready(None);
        }
        watchdog.as_mut().watch(due, now, cx);
        Poll::Pending
    })
    .await
}

fn builder(limits: &Limits) -> Builder {
    let head = u32::try_from(HEAD_SLACK * limits.max_header_bytes).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(head)
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(Some(MAX_PROVOKED_RESETS))
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .reset_stream_duration(RESET_MEMORY)
        .data_frame_budget(DATA_OVERHEAD)
        .enable_connect_protocol();
    builder
}

/// How far the end of a connection is.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Open,
    /// The client was told to open no more streams.
    Closing {
        since: Instant,
    },
    /// The streams were told to end.
    Aborting {
        until: Instant,
    },
    /// The last word was said, and may take so long to be heard.
    Parting {
        until: Instant,
    },
}

/// A connection and what its end depends on.
struct Driver<'a> {
    h2: H2,
    ping: Option<PingPong>,
    /// When a sign of life was asked for that has not come.
    pinged: Option<Instant>,
    wire: &'a Wire,
    streams: &'a Rc<Streams>,
    session: &'a Rc<Session>,
    stage: Stage,
    /// What the gateway ends the connection for.
    offence: Option<Offence>,
}

impl<'a> Driver<'a> {
    fn new(mut h2: H2, wire: &'a Wire, streams: &'a Rc<Streams>, session: &'a Rc<Session>) -> Self {
        let ping = h2.ping_pong();
        Self { h2, ping, pinged: None, wire, streams, session, stage: Stage::Open, offence: None }
    }

    /// Until the connection is over; for what, where the client is to blame.
    async fn run(mut self, mut watchdog: Pin<&mut Watchdog>) -> Option<Offence> {
        poll_fn(|cx| {
            self.session.remember_waker(cx.waker());
            let now = self.session.tick();
            loop {
                if self.poll_h2(cx).is_ready() {
                    return Poll::Ready(());
                }
                // what was decided has yet to be written
                if !self.decide(now) {
                    break;
                }
            }
            if self.session.write_overdue() {
                self.offence = self.offence.or(Some(Offence::WriteTimeout));
                return Poll::Ready(());
            }
            if matches!(self.stage, Stage::Parting { until } if now >= until) {
                return Poll::Ready(());
            }
            let fired = watchdog.has_fired(now);
            let check = self.next_check(now, fired).max(now + MIN_CHECK);
            watchdog.as_mut().watch(check, now, cx);
            Poll::Pending
        })
        .await;
        self.offence
    }

    /// Reads and writes, and begins what requests there are; ready when the connection is over.
    fn poll_h2(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.h2.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let served = self.streams.enter();
                    spawn_local(stream::serve(served, request, respond));
                }
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(peer = %self.session.peer, %error, "connection of HTTP/2 failed");
                    if error.is_library() {
                        self.offence = self.offence.or(error.reason().map(Offence::from));
                    }
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes the next step towards the end, if there is cause for one; whether it did.
    fn decide(&mut self, now: Instant) -> bool {
        let (session, limits) = (self.session, self.session.limits());
        match self.stage {
            Stage::Parting { .. } => return false,
            Stage::Aborting { until } => {
                if !self.streams.is_empty() && now < until {
                    return false;
                }
                self.part(Reason::NO_ERROR, now);
                return true;
            }
            Stage::Open | Stage::Closing { .. } => {}
        }
        if session.is_aborted() {
            self.streams.abort();
            self.stage = Stage::Aborting { until: now + PARTING };
            return true;
        }
        if let Some(offence) = self.offence_by(now) {
            self.offence = Some(offence);
            self.part(offence.code(), now);
            return true;
        }
        match self.stage {
            Stage::Closing { since } => {
                // the client has not even acknowledged that the connection ends
                let over = self.streams.idle_since().is_some_and(|idle| now >= idle.max(since) + PARTING);
                if over {
                    self.part(Reason::NO_ERROR, now);
                }
                over
            }
            _ => {
                let idle = self.streams.idle_since().is_some_and(|idle| now >= idle + limits.idle_timeout);
                let close = session.is_closing() || idle;
                if close {
                    self.h2.graceful_shutdown();
                    self.stage = Stage::Closing { since: now };
                }
                close
            }
        }
    }

    /// Why this client is not served any longer.
    fn offence_by(&mut self, now: Instant) -> Option<Offence> {
        let limits = self.session.limits();
        let meter = self.wire.meter.borrow();
        if meter.is_over() {
            return Some(Offence::ControlFrameFlood);
        }
        if self.streams.cancelled_too_often() {
            return Some(Offence::RapidReset);
        }
        if meter.head_since().is_some_and(|since| now >= since + limits.header_timeout) {
            return Some(Offence::HeaderTimeout);
        }
        drop(meter);
        self.is_dead(now).then_some(Offence::PingTimeout)
    }

    /// Whether a client that has streams open, and says nothing, does not answer either.
    fn is_dead(&mut self, now: Instant) -> bool {
        let interval = self.session.limits().ping_interval;
        let silent_since = self.wire.last_read();
        if interval.is_zero() || self.streams.is_empty() {
            return false;
        }
        match self.pinged {
            Some(pinged) if silent_since > pinged => {
                self.pinged = None;
                if let Some(ping) = &mut self.ping {
                    // makes room for the next one; any frame is as good a sign of life as the answer
                    let _ = ping.poll_pong(&mut Context::from_waker(Waker::noop()));
                }
            }
            Some(pinged) => return now >= pinged + interval,
            None => {}
        }
        if now >= silent_since + interval
            && let Some(ping) = &mut self.ping
            // an error: the answer to the last one was overtaken by other frames and is still to come
            && ping.send_ping(Ping::opaque()).is_ok()
        {
            self.pinged = Some(now);
        }
        false
    }

    /// Says the last word.
    fn part(&mut self, reason: Reason, now: Instant) {
        self.h2.abrupt_shutdown(reason);
        self.stage = Stage::Parting { until: now + PARTING };
    }

    /// When to look again at the latest; what is overdue on a stream is the stream's to see.
    fn next_check(&self, now: Instant, fired: bool) -> Instant {
        let limits = self.session.limits();
        let head = self.wire.meter.borrow().head_since().map(|since| since + limits.header_timeout);
        let stage = match self.stage {
            Stage::Open => self.streams.idle_since().map(|idle| idle + limits.idle_timeout),
            Stage::Closing { since } => self.streams.idle_since().map(|idle| idle.max(since) + PARTING),
            Stage::Aborting { until } | Stage::Parting { until } => Some(until),
        };
        let streams = self.streams.next_check(now, fired);
        let soonest = [head, stage, streams].into_iter().flatten().min();
        let at_most = now + limits.shortest();
        soonest.map_or(at_most, |soonest| soonest.min(at_most))
    }
}
