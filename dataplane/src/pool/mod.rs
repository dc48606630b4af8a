//! One worker's connections to targets: newest first, never shared with another thread, ready when they are handed out.

pub(crate) mod lane;

use crate::body::RequestBody;
use crate::clock;
use crate::connection::session::Session;
use crate::gateway::Gateway;
use crate::h1::{Connection, RequestHead, Upgraded};
use bytes::Bytes;
use foldhash::fast::RandomState;
use http_body::SizeHint;
use lane::{Lane, LanePermit};
use policy::concurrency::Slot;
use policy::outcome::Outcome;
use policy::rejection::Rejection;
use policy::upstream::{Target, TargetState, Upstream};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// All connections of one worker.
#[derive(Default)]
pub(crate) struct Pool {
    shelves: RefCell<HashMap<u64, Rc<Shelf>, RandomState>>,
}

/// The connections to one target.
pub(crate) struct Shelf {
    lane: Arc<Lane>,
    idle: RefCell<Vec<Idle>>,
    idle_timeout: std::cell::Cell<Duration>,
}

struct Idle {
    connection: Box<Connection>,
    since: Instant,
}

/// A connection taken out for one request, which counts as in flight while this lives, also while it connects.
///
/// Dropped before [`Checkout::release`] it closes the connection: what is left of an unfinished exchange must never
/// meet the next one.
pub(crate) struct Checkout {
    connection: Option<Box<Connection>>,
    shelf: Rc<Shelf>,
    /// Whether it has served a request before.
    pub(crate) reused: bool,
    /// Its place among the requests in flight, where these are bounded.
    pub(crate) place: Option<Place>,
}

/// A place among the requests in flight, held until the response is over.
pub(crate) struct Place {
    pub(crate) slot: Slot,
    /// How long the head of the response took.
    pub(crate) latency: Duration,
    pub(crate) outcome: Option<Outcome>,
}

impl Place {
    /// Leaves it to the next request.
    pub(crate) fn leave(self) {
        self.slot.finished(self.latency, clock::now(), self.outcome);
    }
}

impl Pool {
    /// Takes out an idle connection to `target`, or the place of one that [`Checkout::connect`] is to fill.
    pub(crate) fn checkout(
        &self,
        gateway: &Gateway,
        upstream: &Upstream,
        target: &Target,
        now: Instant,
    ) -> Checkout {
        let shelf = self.shelf(gateway, upstream, &target.state);
        shelf.lane.target().in_flight.fetch_add(1, Ordering::Relaxed);
        let connection = shelf.take_idle(now);
        Checkout { reused: connection.is_some(), connection, shelf, place: None }
    }

    fn shelf(&self, gateway: &Gateway, upstream: &Upstream, state: &Arc<TargetState>) -> Rc<Shelf> {
        if let Some(shelf) = self.shelves.borrow().get(&state.id) {
            shelf.idle_timeout.set(upstream.idle_timeout);
            return shelf.clone();
        }
        // a request of an old table may come here after its target left the current one: it gets a lane of its own
        let lane =
            gateway.lane(state.id).unwrap_or_else(|| Lane::new(state.clone(), upstream.max_connections));
        let idle_timeout = upstream.idle_timeout.into();
        let shelf = Rc::new(Shelf { lane, idle: RefCell::default(), idle_timeout });
        self.shelves.borrow_mut().insert(state.id, shelf.clone());
        shelf
    }

    /// Closes what is dead, idle for too long, wanted elsewhere, or belongs to a target that is gone.
    pub(crate) fn sweep(&self, gateway: &Gateway, now: Instant) {
        self.shelves.borrow_mut().retain(|id, shelf| {
            shelf.sweep(now);
            gateway.lane(*id).is_some_and(|lane| Arc::ptr_eq(&lane, &shelf.lane))
        });
    }
}

impl Shelf {
    /// The youngest idle connection that can take a request now. Those that cannot are closed.
    fn take_idle(&self, now: Instant) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let youngest = idle.pop()?;
            if self.is_usable(&youngest, now) {
                return Some(youngest.connection);
            }
        }
    }

    fn sweep(&self, now: Instant) {
        let wanted = self.lane.is_wanted();
        self.idle.borrow_mut().retain(|idle| !wanted && self.is_usable(idle, now));
    }

    fn is_usable(&self, idle: &Idle, now: Instant) -> bool {
        now.saturating_duration_since(idle.since) < self.idle_timeout.get() && idle.connection.is_silent()
    }
}

impl Checkout {
    /// Opens a new connection, once the target's budget has room for one.
    pub(crate) async fn connect(mut self, upstream: &Upstream, target: &Target) -> Result<Self, Rejection> {
        let lane = &self.shelf.lane;
        let permit = lane.acquire(upstream.max_connections_wait).await.ok_or(Rejection::PoolExhausted)?;
        self.connection = Some(connect(target, upstream.connect_timeout, lane, permit).await?);
        Ok(self)
    }

    /// Begins an exchange on the connection.
    pub(crate) fn begin(&mut self, head: &RequestHead<'_>, body: RequestBody) {
        if let Some(connection) = self.begun() {
            connection.begin(head, body);
        }
    }

    /// The same with what a dead connection has not sent.
    pub(crate) fn take_over(&mut self, mut dead: Self) {
        if let (Some(connection), Some(dead)) = (self.begun(), &mut dead.connection) {
            connection.take_over(dead);
        }
    }

    fn begun(&mut self) -> Option<&mut Connection> {
        self.shelf.lane.target().requests.fetch_add(1, Ordering::Relaxed);
        self.connection.as_deref_mut()
    }

    /// The connection; none before [`Checkout::connect`] and after [`Checkout::release`].
    pub(crate) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_deref_mut()
    }

    /// The socket after a 101.
    pub(crate) fn take_upgraded(&mut self) -> Option<Upgraded> {
        self.connection.take()?.into_upgraded()
    }

    /// Whether all of the response has come.
    pub(crate) fn has_ended(&self) -> bool {
        self.connection.as_deref().is_none_or(Connection::has_ended)
    }

    /// How much of the response's body is still to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.connection.as_deref().map_or(SizeHint::with_exact(0), Connection::size_hint)
    }

    /// The exchange is over in both directions: back on the shelf, unless it is of no more use.
    pub(crate) fn release(&mut self, now: Instant) {
        if let Some(connection) = self.connection.take()
            && connection.is_reusable()
            && !self.shelf.lane.is_wanted()
        {
            self.shelf.idle.borrow_mut().push(Idle { connection, since: now });
        }
    }

    /// Nobody wants the rest of this response: its connection is of use again if that is short.
    pub(crate) fn discard(mut self, session: &Rc<Session>) {
        if self.has_ended() {
            return self.release(session.now());
        }
        let session = session.clone();
        tokio::task::spawn_local(tokio::time::timeout(DISCARD_PATIENCE, async move {
            let mut left = DISCARD_AT_MOST;
            let connection = self.connection()?;
            while let Some(frame) = poll_fn(|cx| connection.poll_frame(cx, &session)).await {
                let length = frame.ok()?.data_ref().map_or(0, Bytes::len);
                left = left.checked_sub(length)?;
            }
            self.release(Instant::now());
            Some(())
        }));
    }

    /// Counts a request that got no usable answer.
    pub(crate) fn failed(&self) {
        self.shelf.lane.target().failures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        self.shelf.lane.target().in_flight.fetch_sub(1, Ordering::Relaxed);
        if let Some(place) = self.place.take() {
            place.leave();
        }
    }
}

/// An unwanted response longer than this, in bytes or in time, costs its connection.
const DISCARD_AT_MOST: usize = 16 * 1024;
const DISCARD_PATIENCE: Duration = Duration::from_millis(500);

async fn connect(
    target: &Target,
    patience: Duration,
    lane: &Arc<Lane>,
    permit: LanePermit,
) -> Result<Box<Connection>, Rejection> {
    let address = (target.addr.host.as_str(), target.addr.port);
    let outcome = match tokio::time::timeout(patience, dial(address)).await {
        Ok(Ok(stream)) => Ok(Box::new(Connection::new(stream, permit))),
        Ok(Err(error)) => {
            lane.connect_failed(&error);
            Err(Rejection::ConnectFailed)
        }
        Err(_) => {
            lane.connect_failed(&format_args!("no connection within {patience:?}"));
            Err(Rejection::ConnectTimeout)
        }
    };
    match &outcome {
        Ok(_) => lane.connected(),
        Err(rejection) => {
            lane.target().failures.fetch_add(1, Ordering::Relaxed);
            let error = lane.last_error().unwrap_or_default();
            tracing::debug!(target = ?target.addr, reason = rejection.reason(), error, "connect failed");
        }
    }
    outcome
}

async fn dial(address: (&str, u16)) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
