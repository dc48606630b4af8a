//! A connection of HTTP/2 to a target: how many streams it carries, and whether it may carry another.

use crate::dial::{Origin, Stream as Socket};
use crate::pool::lane::LanePermit;
use ::h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use ::h2::{Error, Ping, PingPong, SendStream};
use bytes::Bytes;
use http::Request;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval};

/// Streams of one connection at most, however many the target allows.
pub(crate) const MAX_STREAMS: usize = 100;

/// What a target may send of one response before the client has taken any of it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same of all streams: a client that takes nothing leaves the others' share untouched.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;
/// The largest frame that a target may send; larger ones cost less for each byte, and are buffered whole.
const MAX_FRAME: u32 = 64 * 1024;
/// The head of a response, as it counts in HTTP/2; larger ones are refused.
const MAX_HEAD: u32 = 64 * 1024;
/// Of each request body, as much waits here to be written.
const MAX_WAITING: usize = 64 * 1024;

/// How often a connection is looked after.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A connection that has been silent for longer is asked whether it lives as soon as another request depends on it.
const SILENT: Duration = Duration::from_secs(15);
/// One whose streams are silent is asked so often; servers of gRPC take more than one question in five minutes ill.
const ASK_EVERY: Duration = Duration::from_secs(310);
/// How long the answer may take.
const PONG_PATIENCE: Duration = Duration::from_secs(10);

/// A connection; its task ends when this is dropped and its streams are over.
pub(crate) struct Link {
    sender: RefCell<SendRequest<Bytes>>,
    state: Rc<State>,
    origin: Option<Origin>,
    scheme: &'static str,
    /// When it was last without streams.
    idle_since: Cell<Instant>,
    /// Told of each stream that is given back.
    freed: Rc<Notify>,
}

/// What a connection and its task tell each other.
struct State {
    streams: Cell<usize>,
    served: Cell<bool>,
    /// It has ended, or is about to.
    ended: Cell<bool>,
    /// Somebody depends on it after a long silence.
    doubted: Cell<bool>,
    heard: Cell<Instant>,
    /// Bytes that came since it was last looked after.
    read: Cell<u64>,
    /// Bytes that ever went out.
    written: Cell<u64>,
}

impl State {
    fn new(now: Instant) -> Rc<Self> {
        Rc::new(Self {
            streams: Cell::new(0),
            served: Cell::new(false),
            ended: Cell::new(false),
            doubted: Cell::new(false),
            heard: Cell::new(now),
            read: Cell::new(0),
            written: Cell::new(0),
        })
    }
}

impl Link {
    /// On a new connection, on which the target must speak HTTP/2 too. It counts in the target's budget until it ends.
    pub(crate) async fn establish(
        socket: Socket,
        origin: Option<Origin>,
        scheme: &'static str,
        permit: LanePermit,
        freed: Rc<Notify>,
    ) -> Result<Rc<Self>, Error> {
        let now = Instant::now();
        let state = State::new(now);
        let (sender, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_header_list_size(MAX_HEAD)
            .max_send_buffer_size(MAX_WAITING)
            .initial_max_send_streams(MAX_STREAMS)
            .handshake(Metered { socket, state: state.clone() })
            .await?;
        spawn_local(run(connection, state.clone(), permit));
        let (sender, idle_since) = (RefCell::new(sender), Cell::new(now));
        Ok(Rc::new(Self { sender, state, origin, scheme, idle_since, freed }))
    }

    pub(crate) fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Streams in use.
    pub(crate) fn streams(&self) -> usize {
        self.state.streams.get()
    }

    /// Whether another stream can be opened now.
    pub(crate) fn has_room(&self) -> bool {
        self.streams() < MAX_STREAMS.min(self.sender.borrow().current_max_send_streams())
    }

    /// It takes no more streams: it has ended, the target has said that it will, or the target's name no longer stands
    /// for where it leads.
    pub(crate) fn is_closing(&self) -> bool {
        // no stream is opened by this handle itself, so that it waits for none
        let ready = self.sender.borrow_mut().poll_ready(&mut Context::from_waker(Waker::noop()));
        self.state.ended.get()
            || matches!(ready, Poll::Ready(Err(_)))
            || !self.origin.as_ref().is_none_or(Origin::is_current)
    }

    /// Since when it carries no stream; `None` while it does.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.streams() == 0).then(|| self.idle_since.get())
    }

    pub(super) fn has_served(&self) -> bool {
        self.state.served.get()
    }

    /// Bytes that were written to the socket.
    pub(super) fn written(&self) -> u64 {
        self.state.written.get()
    }

    pub(super) fn count_in(&self) {
        self.state.streams.set(self.streams() + 1);
    }

    pub(super) fn count_out(&self) {
        self.state.streams.set(self.streams() - 1);
        self.state.served.set(true);
        if self.streams() == 0 {
            self.idle_since.set(Instant::now());
        }
        self.freed.notify_waiters();
    }

    /// Opens a stream; `ends` when no body follows.
    pub(super) fn open(
        &self,
        request: Request<()>,
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Error> {
        if self.state.heard.get().elapsed() > SILENT {
            self.state.doubted.set(true);
        }
        let mut sender = self.sender.borrow().clone();
        sender.send_request(request, ends)
    }
}

/// Reads and writes until the connection is over.
async fn run(mut connection: Connection<Metered, Bytes>, state: Rc<State>, permit: LanePermit) {
    let mut pings = connection.ping_pong();
    let mut pulse = Pulse::default();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut connection => break ended.err().map(|error| error.to_string()),
            _ = pong(&mut pings), if pulse.asked.is_some() => pulse.asked = None,
            now = looks.tick() => match pulse.look(&state, now.into_std()) {
                Next::Wait => {}
                Next::Ask => pulse.ask(pings.as_mut(), now.into_std()),
                Next::GiveUp => break Some(format!("no answer to a ping within {PONG_PATIENCE:?}")),
            },
        }
    };
    state.ended.set(true);
    if let Some(error) = ended {
        tracing::debug!(error, streams = state.streams.get(), "a connection to a target ended");
    }
    // its streams learn of it before another connection may take its place
    drop(connection);
    drop(permit);
}

async fn pong(pings: &mut Option<PingPong>) {
    match pings {
        // an error is the connection's, which tells it better
        Some(pings) => drop(poll_fn(|cx| pings.poll_pong(cx)).await),
        None => std::future::pending().await,
    }
}

/// Whether the other end is still there.
#[derive(Default)]
struct Pulse {
    asked: Option<Instant>,
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Wait,
    Ask,
    GiveUp,
}

impl Pulse {
    fn look(&self, state: &State, now: Instant) -> Next {
        if state.read.replace(0) > 0 {
            state.heard.set(now);
            state.doubted.set(false);
        }
        let heard = state.heard.get();
        if let Some(asked) = self.asked {
            let silent = heard <= asked && now.saturating_duration_since(asked) >= PONG_PATIENCE;
            return if silent { Next::GiveUp } else { Next::Wait };
        }
        let in_doubt = state.doubted.get() || now.saturating_duration_since(heard) > ASK_EVERY;
        if in_doubt && state.streams.get() > 0 { Next::Ask } else { Next::Wait }
    }

    fn ask(&mut self, pings: Option<&mut PingPong>, now: Instant) {
        if pings.is_some_and(|pings| pings.send_ping(Ping::opaque()).is_ok()) {
            self.asked = Some(now);
        }
    }
}

/// A socket whose bytes are counted.
struct Metered {
    socket: Socket,
    state: Rc<State>,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buffer);
        let read = (buffer.filled().len() - before) as u64;
        self.state.read.set(self.state.read.get() + read);
        polled
    }
}

impl Metered {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &written {
            self.state.written.set(self.state.written.get() + *written as u64);
        }
        written
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_asked_when_somebody_depends_on_it_after_a_silence_and_given_up_without_an_answer() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let (state, mut pulse) = (State::new(begun), Pulse::default());
        assert_eq!(pulse.look(&state, at(1000)), Next::Wait, "nobody depends on it");
        state.streams.set(1);
        state.read.set(1);
        assert_eq!(pulse.look(&state, at(1000)), Next::Wait, "it has just been heard");
        assert_eq!(pulse.look(&state, at(1310)), Next::Wait);
        assert_eq!(pulse.look(&state, at(1311)), Next::Ask, "a stream is silent");
        state.read.set(1);
        assert_eq!(pulse.look(&state, at(1315)), Next::Wait);
        state.doubted.set(true);
        assert_eq!(pulse.look(&state, at(1331)), Next::Ask, "a request has begun after a silence");

        pulse.asked = Some(at(1331));
        assert_eq!(pulse.look(&state, at(1340)), Next::Wait);
        assert_eq!(pulse.look(&state, at(1341)), Next::GiveUp);
        state.read.set(1);
        assert_eq!(pulse.look(&state, at(1342)), Next::Wait, "it has said something");
    }
}
