//! A connection taken out for one request.

use super::Shelf;
use super::lane::{Lane, LanePermit};
use super::stock::{Next, Stock};
use crate::body::RequestBody;
use crate::clock;
use crate::connection::session::Session;
use crate::dial::{Dialled, Offer, OnBehalf, Transport, Transports};
use crate::h1::{self, Upgraded};
use crate::h2::Link;
use crate::target::{Connection, RequestHead};
use bytes::Bytes;
use http_body::SizeHint;
use policy::concurrency::Slot;
use policy::outcome::Outcome;
use policy::rejection::Rejection;
use policy::upstream::{Target, Upstream};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A connection taken out for one request, which counts as in flight while this lives, also while it connects.
///
/// Dropped before [`Checkout::release`] it closes the connection: what is left of an unfinished exchange must never
/// meet the next one.
pub(crate) struct Checkout {
    connection: Option<Connection>,
    shelf: Rc<Shelf>,
    /// Where the connection belongs.
    stock: Rc<Stock>,
    upgrade: bool,
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

impl Checkout {
    pub(super) fn new(
        shelf: Rc<Shelf>,
        stock: Rc<Stock>,
        connection: Option<Connection>,
        upgrade: bool,
    ) -> Self {
        Self { reused: connection.is_some(), connection, shelf, stock, upgrade, place: None }
    }

    /// Opens a new connection, once the target's budget has room for one. Where it can be shared, one that another
    /// request opens will do.
    pub(crate) async fn connect(
        mut self,
        session: &Session,
        upstream: &Upstream,
        target: &Target,
        transports: &Transports,
    ) -> Result<Self, Rejection> {
        let transport = transports.to(target).ok_or(Rejection::Internal)?;
        let way = Way { session, upstream, target, transport };
        let connection = match transport.offer(self.upgrade).ok_or(Rejection::UpgradeRefused)? {
            Offer::Http1 => {
                let lane = &self.shelf.lane;
                let permit = lane.acquire(upstream.max_connections_wait).await;
                let permit = permit.ok_or(Rejection::PoolExhausted)?;
                self.open(&way, Offer::Http1, permit).await?
            }
            offer => self.share(&way, offer).await?,
        };
        self.reused = matches!(&connection, Connection::Http2(stream) if stream.is_of_used_link());
        self.connection = Some(connection);
        Ok(self)
    }

    /// A stream on a connection that somebody opens: whoever comes first.
    async fn share(&self, way: &Way<'_>, offer: Offer) -> Result<Connection, Rejection> {
        let opener = match self.stock.next().await? {
            Next::Take(connection) => return Ok(connection),
            Next::Open(opener) => opener,
        };
        let permit = tokio::select! {
            biased;
            permit = self.shelf.lane.acquire(way.upstream.max_connections_wait) => permit,
            stream = self.stock.stream() => return Ok(stream),
        };
        let opened = match permit {
            Some(permit) => self.open(way, offer, permit).await,
            None => Err(Rejection::PoolExhausted),
        };
        if let Err(rejection) = &opened {
            opener.refused(rejection);
        }
        opened
    }

    async fn open(&self, way: &Way<'_>, offer: Offer, permit: LanePermit) -> Result<Connection, Rejection> {
        let opened = way.go(offer, permit, &self.stock).await;
        tell(way.target, &self.shelf.lane, &opened);
        opened.map_err(|(rejection, _)| rejection)
    }

    /// Begins an exchange on the connection.
    pub(crate) fn begin(&mut self, head: &RequestHead<'_>, body: RequestBody) {
        if let Some(connection) = self.begun() {
            connection.begin(head, body);
        }
    }

    /// Begins the exchange that a dead connection has not sent, without its head having to be written again; false when
    /// that cannot be.
    pub(crate) fn take_over(&mut self, dead: &mut Self) -> bool {
        match (&mut self.connection, &mut dead.connection) {
            (Some(Connection::Http1(connection)), Some(Connection::Http1(dead))) => {
                connection.take_over(dead);
                self.begun();
                true
            }
            _ => false,
        }
    }

    /// The body of the request, where it is untouched.
    pub(crate) fn take_unsent_body(&mut self) -> Option<RequestBody> {
        match &mut self.connection {
            Some(Connection::Http2(stream)) => stream.take_unsent_body(),
            Some(Connection::Http1(_)) | None => None,
        }
    }

    fn begun(&mut self) -> Option<&mut Connection> {
        self.shelf.lane.target().requests.fetch_add(1, Ordering::Relaxed);
        self.connection.as_mut()
    }

    /// The connection; none before [`Checkout::connect`] and after [`Checkout::release`].
    pub(crate) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// The socket after a 101.
    pub(crate) fn take_upgraded(&mut self) -> Option<Upgraded> {
        self.connection.take()?.into_upgraded()
    }

    /// Whether all of the response has come.
    pub(crate) fn has_ended(&self) -> bool {
        self.connection.as_ref().is_none_or(Connection::has_ended)
    }

    /// How much of the response's body is still to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.connection.as_ref().map_or(SizeHint::with_exact(0), Connection::size_hint)
    }

    /// The exchange is over in both directions: back on the shelf, unless it is of no more use.
    pub(crate) fn release(&mut self, now: Instant) {
        // a stream is for one exchange; its connection has never left the shelf
        if let Some(Connection::Http1(connection)) = self.connection.take()
            && connection.is_reusable()
            && !self.shelf.lane.is_wanted()
        {
            self.stock.put_back(connection, now);
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

    /// The head of a response came after so long.
    pub(crate) fn answered(&self, took: Duration) {
        self.shelf.latencies.observe(took);
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

/// What the client is told, and what the log.
type NotOpened = (Rejection, String);

/// How, and for whom, a connection is opened.
struct Way<'a> {
    session: &'a Session,
    upstream: &'a Upstream,
    target: &'a Target,
    transport: &'a Transport,
}

impl Way<'_> {
    async fn go(&self, offer: Offer, permit: LanePermit, stock: &Stock) -> Result<Connection, NotOpened> {
        let patience = self.upstream.connect_timeout;
        let opening = self.connect(offer, permit, stock);
        let timeout = || (Rejection::ConnectTimeout, format!("no connection within {patience:?}"));
        tokio::time::timeout(patience, opening).await.unwrap_or_else(|_| Err(timeout()))
    }

    async fn connect(
        &self,
        offer: Offer,
        permit: LanePermit,
        stock: &Stock,
    ) -> Result<Connection, NotOpened> {
        let on_behalf = OnBehalf::Client { from: self.session.peer, to: self.session.local };
        let dialled = self.transport.dial(on_behalf, offer, self.upstream.connect_timeout).await;
        let Dialled { stream, http2, origin } =
            dialled.map_err(|error| (error.rejection(), error.to_string()))?;
        if http2 {
            let (scheme, changed) = (self.target.addr.scheme(), stock.changed());
            let link = Link::establish(stream, origin, scheme, permit, changed).await;
            let link = link.map_err(|error| (Rejection::ConnectFailed, error.to_string()))?;
            return Ok(stock.share(link));
        }
        if offer == Offer::Either {
            stock.is_unshared();
        }
        Ok(Connection::Http1(Box::new(h1::Connection::new(stream, origin, permit))))
    }
}

/// For whoever looks at the target.
fn tell(target: &Target, lane: &Arc<Lane>, opened: &Result<Connection, NotOpened>) {
    match opened {
        Ok(_) => lane.connected(),
        Err((rejection, error)) => {
            lane.connect_failed(error);
            lane.target().failures.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(target = ?target.addr, reason = rejection.reason(), error, "connect failed");
        }
    }
}
