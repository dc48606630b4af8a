//! One worker's connections to targets: newest first, never shared with another thread, checked before use.
//!
//! A connection is driven by the request that uses it, inside that request's own task: no task is woken to hand bytes
//! to another. While it is idle nobody drives it; it is looked at when it is taken out, and by a sweep every second.

pub(crate) mod connection;
pub(crate) mod lane;

use crate::body::RequestBody;
use crate::gateway::Gateway;
use bytes::Bytes;
use connection::{Connected, UpstreamConnection};
use http::{Request, Response};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::TrySendError;
use lane::{Lane, LanePermit};
use policy::rejection::Rejection;
use policy::upstream::{Target, TargetState, Upstream};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// The response to a request that was handed to a connection.
pub(crate) trait Sending:
    Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>
{
}

impl<F: Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>> Sending for F {}

/// All connections of one worker.
#[derive(Default)]
pub(crate) struct Pool {
    shelves: RefCell<HashMap<u64, Rc<Shelf>>>,
}

/// The connections to one target.
pub(crate) struct Shelf {
    lane: Arc<Lane>,
    idle: RefCell<Vec<Idle>>,
    idle_timeout: std::cell::Cell<Duration>,
}

struct Idle {
    connection: Box<UpstreamConnection>,
    since: Instant,
}

/// A connection taken out for one request, which counts as in flight while this lives, also while it connects.
///
/// Dropped before [`Checkout::release`] it closes the connection: what is left of an unfinished exchange must never
/// meet the next one.
pub(crate) struct Checkout {
    connection: Option<Box<UpstreamConnection>>,
    shelf: Rc<Shelf>,
    /// Whether it has served a request before.
    pub(crate) reused: bool,
}

impl Pool {
    /// A ready connection to `target`: an idle one, or a new one.
    pub(crate) async fn checkout(
        &self,
        gateway: &Gateway,
        upstream: &Upstream,
        target: &Target,
        now: Instant,
    ) -> Result<Checkout, Rejection> {
        let mut checkout = Checkout::new(self.shelf(gateway, upstream, &target.state));
        checkout.connection = checkout.shelf.take_idle(now);
        checkout.reused = checkout.connection.is_some();
        if !checkout.reused {
            let lane = &checkout.shelf.lane;
            let permit = lane.acquire(upstream.max_connections_wait).await.ok_or(Rejection::PoolExhausted)?;
            checkout.connection = Some(connect(target, upstream.connect_timeout, lane, permit).await?);
        }
        Ok(checkout)
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
    /// The youngest idle connection. Whether its target has closed it meanwhile is seen when the request is sent: it
    /// reads before it writes, and gives the request back whole.
    fn take_idle(&self, now: Instant) -> Option<Box<UpstreamConnection>> {
        let youngest = self.idle.borrow_mut().pop()?;
        let fresh = now.saturating_duration_since(youngest.since) < self.idle_timeout.get();
        // when the youngest has been idle for too long, so have all below it: the sweep closes them
        (fresh && youngest.connection.is_ready()).then_some(youngest.connection)
    }

    fn sweep(&self, now: Instant) {
        let wanted = self.lane.is_wanted();
        self.idle.borrow_mut().retain_mut(|idle| {
            let fresh = now.saturating_duration_since(idle.since) < self.idle_timeout.get();
            fresh && !wanted && idle.connection.poll_ready()
        });
    }
}

impl Checkout {
    fn new(shelf: Rc<Shelf>) -> Self {
        shelf.lane.target().in_flight.fetch_add(1, Ordering::Relaxed);
        Self { connection: None, shelf, reused: false }
    }

    /// Queues a request and makes this task the one that the connection wakes; it is to be driven next.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
        user: Waker,
    ) -> Option<impl Sending + use<>> {
        let connection = self.connection.as_deref_mut()?;
        self.shelf.lane.target().requests.fetch_add(1, Ordering::Relaxed);
        connection.occupy(user);
        Some(connection.send(request))
    }

    /// Drives the connection; whether it has ended.
    pub(crate) fn drive(&mut self) -> bool {
        self.connection.as_mut().is_none_or(|connection| connection.drive().is_ready())
    }

    /// The next frame of the response body, driving the connection for it.
    pub(crate) fn poll_body(&mut self, body: &mut Incoming) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match &mut self.connection {
            Some(connection) => connection.poll_body(body),
            // released with the last byte of data; what is left is the end of the body
            None => Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())),
        }
    }

    /// The exchange is over: back on the shelf if the connection can take another request, else closed.
    pub(crate) fn release(&mut self, now: Instant) {
        if let Some(mut connection) = self.connection.take()
            // with the last byte of a body the connection is mostly ready by itself
            && (connection.is_ready() || connection.poll_ready())
            && !self.shelf.lane.is_wanted()
        {
            connection.vacate();
            self.shelf.idle.borrow_mut().push(Idle { connection, since: now });
        }
    }

    /// The raw socket after a 101, with what was read beyond it.
    pub(crate) fn into_tunnel(mut self) -> Option<(Connected, Checkout)> {
        let connection = self.connection.take()?;
        let connected = connection.into_connected();
        Some((connected, self))
    }

    /// Counts a request that got no usable answer.
    pub(crate) fn failed(&self) {
        self.shelf.lane.target().failures.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        self.shelf.lane.target().in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connect(
    target: &Target,
    patience: Duration,
    lane: &Arc<Lane>,
    permit: LanePermit,
) -> Result<Box<UpstreamConnection>, Rejection> {
    let address = (target.addr.host.as_str(), target.addr.port);
    let outcome = match tokio::time::timeout(patience, dial(address)).await {
        Ok(Ok(stream)) => UpstreamConnection::handshake(stream, permit).await.map_err(|error| {
            lane.connect_failed(&error);
            Rejection::ConnectFailed
        }),
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
