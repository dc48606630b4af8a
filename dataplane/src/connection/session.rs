//! Where the current request of a client stands, and which deadline that means.
//!
//! A connection of HTTP/1.1 and its requests run in one task, and so does a stream of HTTP/2; so this is plain cells.
//! There is one timer per connection, and it is not touched per request: a request only notes what it waits for and since
//! when; the timer fires at the earliest moment at which any of that could be overdue and is then set anew.

use crate::connection::boundary::{Boundary, Extent};
use crate::connection::client::Client;
use crate::connection::tunnel::Tunnel;
use crate::exchange::Exchange;
use crate::target::ResponseHead;
use policy::headers::is_plainly_chunked;
use policy::rejection::Rejection;
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// How long a connection whose listener closes is still read from once it is idle. A client that was not told so by a
/// response does not know that it should not send on it: a close would lose the request that it is just sending.
const LAST_REQUEST: Duration = Duration::from_millis(250);

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between requests.
    Idle,
    /// Some of a request's head has arrived.
    Head,
    /// A request is being served: it is not over before its response is, nor while its body may still be read.
    Exchange,
    /// Another protocol is spoken, which has deadlines of its own.
    Tunnel,
}

/// How far the response of the current exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Response {
    Awaited,
    /// Its head was handed to hyper.
    Begun,
    /// It was wholly handed to hyper, or given up.
    Ended,
}

/// Which exchange of a connection a body belongs to: what is left of an earlier one has no say in the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExchangeId(u64);

/// Why the client's body cannot be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    TooLarge,
    Timeout,
    /// The client broke it off or broke its framing.
    Broken,
}

impl From<BodyFault> for Rejection {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge => Rejection::BodyTooLarge,
            BodyFault::Timeout => Rejection::RequestTimeout,
            BodyFault::Broken => Rejection::MalformedRequest,
        }
    }
}

/// A connection of HTTP/1.1, or one stream of HTTP/2: what serves one request at a time. Shared by its task, its current
/// request and, where it is a connection, its worker.
pub(crate) struct Session {
    client: Rc<Client>,
    now: Cell<Instant>,
    phase: Cell<Phase>,
    /// Since when it is idle, or when the current request's first byte came.
    since: Cell<Instant>,
    /// The bytes of the current head as they came, and with them whatever came behind it; hyper bounds a head.
    raw_head: RefCell<Vec<u8>>,
    boundary: Boundary,
    /// `raw_head` is the current head from its first byte on: no part of it came in one read with the message before.
    head_seen: Cell<bool>,
    exchange: Cell<ExchangeId>,
    response: Cell<Response>,
    /// The request body has not wholly arrived.
    body_pending: Cell<bool>,
    /// Somebody may still read the request body.
    body_held: Cell<bool>,
    body_fault: Cell<Option<BodyFault>>,
    /// What holds for the body of the current request; 0 for no limit.
    body_limit: Cell<u64>,
    /// How much of the body of the current request was taken over.
    bytes_in: Cell<u64>,
    /// When the exchange must be over, as it stands now.
    exchange_deadline: Cell<Option<Instant>>,
    write_blocked_since: Cell<Option<Instant>>,
    /// hyper holds bytes of a response of ours that are not yet in the socket.
    unflushed: Cell<bool>,
    /// The status of an answer that hyper made up by itself and that was kept from the client.
    swallowed: Cell<Option<u16>>,
    /// The connection must not be drained lazily: it ends after a refusal with bytes unread.
    linger: Cell<bool>,
    /// What the target has said before its final response, and the client has not been told yet; the first one first.
    interims: RefCell<Vec<ResponseHead>>,
    tunnel: RefCell<Option<Box<Tunnel>>>,
    /// Since when.
    closing: Cell<Option<Instant>>,
    /// No request has come yet.
    fresh: Cell<bool>,
    aborted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Session {
    /// Of a new connection.
    pub(crate) fn new(client: Rc<Client>) -> Self {
        Self::begun(client, Instant::now())
    }

    fn begun(client: Rc<Client>, now: Instant) -> Self {
        Self {
            client,
            now: Cell::new(now),
            phase: Cell::new(Phase::Idle),
            since: Cell::new(now),
            raw_head: RefCell::default(),
            boundary: Boundary::default(),
            head_seen: Cell::new(false),
            exchange: Cell::new(ExchangeId(0)),
            response: Cell::new(Response::Ended),
            body_pending: Cell::new(false),
            body_held: Cell::new(false),
            body_fault: Cell::new(None),
            body_limit: Cell::new(0),
            bytes_in: Cell::new(0),
            exchange_deadline: Cell::new(None),
            write_blocked_since: Cell::new(None),
            unflushed: Cell::new(false),
            swallowed: Cell::new(None),
            linger: Cell::new(false),
            interims: RefCell::default(),
            tunnel: RefCell::new(None),
            closing: Cell::new(None),
            fresh: Cell::new(true),
            aborted: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// One for what goes on beside it for its client's sake, in a task of its own; it begins now.
    pub(crate) fn sibling(&self) -> Rc<Self> {
        Rc::new(Self::begun(self.client.clone(), self.now()))
    }

    /// The time of the current wake-up of its task.
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    pub(crate) fn tick(&self) -> Instant {
        let now = Instant::now();
        self.now.set(now);
        now
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// How long nothing has been asked; zero while something is.
    pub(crate) fn idle_for(&self) -> Duration {
        match self.phase.get() {
            Phase::Idle => self.now().saturating_duration_since(self.since.get()),
            Phase::Head | Phase::Exchange | Phase::Tunnel => Duration::ZERO,
        }
    }

    // ---- the life of a request, in order

    /// Bytes came from the client; empty at the end.
    pub(crate) fn bytes_read(&self, bytes: &[u8]) {
        if self.phase.get() == Phase::Idle {
            self.head_begins();
        }
        if self.phase.get() == Phase::Head {
            self.raw_head.borrow_mut().extend_from_slice(bytes);
        }
        self.boundary.read(bytes);
    }

    /// A head begins to arrive.
    pub(super) fn head_begins(&self) {
        self.phase.set(Phase::Head);
        self.since.set(self.now());
        self.head_seen.set(self.boundary.begin_head());
        self.raw_head.borrow_mut().clear();
    }

    /// Whether a chunked request's head is beyond doubt as it came. Of a head that was not seen nothing is known.
    pub(crate) fn is_plainly_chunked(&self) -> bool {
        self.head_seen.get() && is_plainly_chunked(&self.raw_head.borrow())
    }

    /// Whether what came in place of a head is a record of a TLS handshake (RFC 8446 §5.1).
    pub(crate) fn got_tls(&self) -> bool {
        self.raw_head.borrow().starts_with(&[0x16, 0x03])
    }

    /// Gives back what an idle connection does not need. What hyper has read too early is read again.
    pub(crate) fn parked(&self) {
        self.raw_head.take();
        self.boundary.reset();
    }

    /// A head is complete and a request is handed to the proxy.
    pub(crate) fn exchange_began(&self, extent: Extent) {
        if self.phase.get() != Phase::Head {
            // pipelined: its bytes were read with those of the last request
            self.head_seen.set(false);
            self.since.set(self.now());
        }
        let raw = self.raw_head.borrow();
        self.boundary.end_head(self.head_seen.get().then_some(&raw), extent);
        self.fresh.set(false);
        self.phase.set(Phase::Exchange);
        self.exchange.set(ExchangeId(self.exchange.get().0 + 1));
        self.response.set(Response::Awaited);
        self.body_pending.set(extent != Extent::NoBody);
        self.body_held.set(false);
        self.body_fault.set(None);
        self.body_limit.set(self.limits().max_body_bytes);
        self.bytes_in.set(0);
    }

    /// When the first byte of the current request came, or since when the connection is idle.
    pub(crate) fn since(&self) -> Instant {
        self.since.get()
    }

    /// The most that the body of the current request may have; 0 for no limit.
    pub(crate) fn body_limit(&self) -> u64 {
        self.body_limit.get()
    }

    /// The route allows no more than this; the listener may allow less.
    pub(crate) fn narrow_body_limit(&self, limit: u64) {
        match self.body_limit.get() {
            0 => self.body_limit.set(limit),
            known => self.body_limit.set(known.min(limit)),
        }
    }

    /// Somebody is going to read the body of the current request.
    pub(crate) fn hold_body(&self) -> ExchangeId {
        self.body_held.set(true);
        self.exchange.get()
    }

    /// The last byte of the request body was taken over.
    pub(crate) fn body_done(&self, exchange: ExchangeId) {
        if exchange == self.exchange.get() {
            self.body_pending.set(false);
            self.release_body(exchange);
        }
    }

    /// So much more of the request body was taken over.
    pub(crate) fn count_body(&self, exchange: ExchangeId, bytes: u64) {
        if exchange == self.exchange.get() {
            self.bytes_in.set(self.bytes_in.get() + bytes);
        }
    }

    /// How much of the body of the current request was taken over.
    pub(crate) fn bytes_in(&self) -> u64 {
        self.bytes_in.get()
    }

    /// Nobody reads the request body any more: what is left of it is hyper's to drain, or the connection's end.
    pub(crate) fn release_body(&self, exchange: ExchangeId) {
        if exchange == self.exchange.get() && self.body_held.replace(false) {
            // in another task than its own, so its time may be an old one
            self.settle(self.tick());
            if self.response.get() == Response::Ended {
                // a stream is over with this
                self.wake();
            }
        }
    }

    /// Whether somebody may still read the request body.
    pub(super) fn body_is_held(&self) -> bool {
        self.body_held.get()
    }

    pub(crate) fn body_pending(&self) -> bool {
        self.body_pending.get()
    }

    /// Whether a whole request is being served: the client has nothing more to say, only to wait.
    pub(crate) fn awaits_answer(&self) -> bool {
        self.phase.get() == Phase::Exchange && !self.body_pending.get()
    }

    pub(crate) fn set_body_fault(&self, exchange: ExchangeId, fault: BodyFault) {
        if exchange == self.exchange.get() {
            self.body_fault.set(Some(fault));
        }
    }

    pub(crate) fn body_fault(&self) -> Option<BodyFault> {
        self.body_fault.get()
    }

    pub(crate) fn read_deadline_passed(&self) -> bool {
        self.now() >= self.since.get() + self.limits().read_timeout
    }

    /// Whether the rest of the request body is still of use: until the head of the response it decides about that, and
    /// later as long as somebody reads it.
    fn body_is_awaited(&self) -> bool {
        self.body_pending.get() && (self.response.get() == Response::Awaited || self.body_held.get())
    }

    /// Whether the client has stopped sending behind a response that has begun, when no refusal can tell it any more.
    pub(crate) fn body_is_overdue_unanswerably(&self) -> bool {
        self.response.get() != Response::Awaited && self.body_is_awaited() && self.read_deadline_passed()
    }

    /// By when the exchange must have come further; the connection's timer sees to a wake-up.
    pub(crate) fn set_exchange_deadline(&self, deadline: Option<Instant>) {
        self.exchange_deadline.set(deadline);
    }

    /// The target has said something before its final response, which the client is to hear.
    pub(crate) fn interim_came(&self, head: ResponseHead) {
        self.interims.borrow_mut().push(head);
    }

    pub(super) fn has_interims(&self) -> bool {
        !self.interims.borrow().is_empty()
    }

    pub(super) fn take_interims(&self) -> Vec<ResponseHead> {
        self.interims.take()
    }

    /// Whether the head of the final response is still to come.
    pub(super) fn awaits_response(&self) -> bool {
        self.response.get() == Response::Awaited
    }

    /// A response was handed to hyper.
    pub(crate) fn response_began(&self) {
        self.response.set(Response::Begun);
        self.unflushed.set(true);
    }

    /// The response was wholly handed to hyper, or given up.
    pub(crate) fn response_ended(&self) {
        self.response.set(Response::Ended);
        self.exchange_deadline.set(None);
        self.unflushed.set(true);
        self.settle(self.now());
    }

    /// Why an exchange ends before its time, when it is none of the target's doing.
    pub(crate) fn cut_off_by(&self) -> &'static str {
        if self.is_aborted() {
            "drained"
        } else if self.write_overdue() {
            "write_timeout"
        } else if self.body_is_overdue_unanswerably() {
            Rejection::RequestTimeout.reason()
        } else {
            "client_closed"
        }
    }

    pub(crate) fn response_has_ended(&self) -> bool {
        self.response.get() == Response::Ended
    }

    /// Between requests, once the exchange is over in both directions. As long as the body is read, what comes from the
    /// client is a part of it, and must not be taken for the head of a request.
    fn settle(&self, now: Instant) {
        if self.response.get() == Response::Ended && !self.body_held.get() {
            self.phase.set(Phase::Idle);
            self.since.set(now);
            if self.body_pending.get() {
                // hyper may drain what is left, and the next head with it
                self.boundary.lose();
            }
        }
    }

    // ---- writing

    /// Whether bytes that hyper writes now are its own idea: an answer to a head that it could not parse.
    pub(crate) fn is_foreign_write(&self) -> bool {
        self.phase.get() != Phase::Exchange && !self.unflushed.get()
    }

    pub(crate) fn swallow(&self, status: u16) {
        if self.swallowed.get().is_none() {
            self.swallowed.set(Some(status));
        }
    }

    pub(crate) fn take_swallowed(&self) -> Option<u16> {
        self.swallowed.take()
    }

    pub(crate) fn write_blocked(&self, blocked: bool) {
        match (blocked, self.write_blocked_since.get()) {
            (true, None) => self.write_blocked_since.set(Some(self.now())),
            (false, Some(_)) => self.write_blocked_since.set(None),
            _ => {}
        }
    }

    pub(crate) fn write_overdue(&self) -> bool {
        self.write_blocked_since.get().is_some_and(|since| self.now() >= since + self.limits().write_timeout)
    }

    pub(crate) fn flushed(&self) {
        if self.unflushed.replace(false) && self.phase.get() == Phase::Idle {
            // nothing was asked because the client was still reading
            self.since.set(self.now());
        }
    }

    pub(crate) fn is_flushed(&self) -> bool {
        !self.unflushed.get()
    }

    // ---- deadlines

    /// When something is overdue if nothing happens until then.
    pub(crate) fn due(&self) -> Instant {
        let since = self.since.get();
        let waiting_for = match self.phase.get() {
            // the client still takes in the response; how long it may pause is write_timeout's to say
            Phase::Idle if self.unflushed.get() => self.now() + self.limits().shortest(),
            // its next request may be on its way
            Phase::Idle if let Some(closing) = self.closing.get() => since.max(closing) + LAST_REQUEST,
            Phase::Idle => since + self.limits().idle_timeout,
            Phase::Head => since + self.limits().header_timeout,
            Phase::Tunnel => self.now() + self.limits().idle_timeout,
            Phase::Exchange => {
                let read = self.body_is_awaited().then(|| since + self.limits().read_timeout);
                match (read, self.exchange_deadline.get()) {
                    (Some(read), Some(exchange)) => read.min(exchange),
                    (Some(one), None) | (None, Some(one)) => one,
                    (None, None) => self.now() + self.limits().shortest(),
                }
            }
        };
        match self.write_blocked_since.get() {
            Some(blocked) => waiting_for.min(blocked + self.limits().write_timeout),
            None => waiting_for,
        }
    }

    /// When the timer must fire at the latest: what begins in the meantime cannot be overdue before.
    pub(crate) fn next_check(&self) -> Instant {
        self.due().min(self.now() + self.limits().shortest())
    }

    // ---- the end of the connection

    pub(crate) fn set_tunnel(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(Box::new(tunnel));
    }

    /// An exchange that ends with its tunnel and not before; given back when there is none.
    pub(crate) fn join_tunnel(&self, exchange: Box<Exchange>) -> Option<Box<Exchange>> {
        match &mut *self.tunnel.borrow_mut() {
            Some(tunnel) => {
                tunnel.exchange = Some(exchange);
                None
            }
            None => Some(exchange),
        }
    }

    /// From now on only the tunnel's own deadlines hold.
    pub(super) fn tunnel_begins(&self) {
        self.phase.set(Phase::Tunnel);
    }

    pub(crate) fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.borrow_mut().take()
    }

    /// The connection closes after this response though the client may still be sending: the socket must take in what
    /// comes for a moment, or the client would see a reset instead of the answer.
    pub(crate) fn linger(&self) {
        self.linger.set(true);
    }

    pub(crate) fn lingers(&self) -> bool {
        self.linger.get() || self.body_pending.get()
    }

    /// Its listener closes: finish the current request, take no other.
    pub(crate) fn close(&self) {
        if self.closing.get().is_none() {
            self.closing.set(Some(Instant::now()));
        }
        self.wake();
    }

    /// No request has come yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh.get()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get().is_some()
    }

    /// End now, whatever is going on.
    pub(crate) fn abort(&self) {
        self.aborted.set(true);
        self.wake();
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.get()
    }

    pub(crate) fn remember_waker(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        match &mut *known {
            Some(known) => known.clone_from(waker),
            None => *known = Some(waker.clone()),
        }
    }

    /// Has the connection's task look at everything again.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
