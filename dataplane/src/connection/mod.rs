//! One client connection from accept to close: hyper serves it, one timer watches it, and while it is idle it is only
//! a socket.

pub(crate) mod arrival;
pub(crate) mod boundary;
pub(crate) mod goodbye;
pub(crate) mod io;
pub(crate) mod session;
pub(crate) mod stream;
pub(crate) mod tunnel;

use crate::listener::TurnedAway;
use crate::proxy;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use io::ClientIo;
use policy::rejection::Rejection;
use session::{Phase, Session};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use stream::ClientStream;
use tokio::time::Sleep;

/// Serves a connection until it ends; of its first request some may have been read ahead.
pub(crate) async fn serve(stream: ClientStream, read_ahead: Bytes, session: Rc<Session>) {
    let mut watchdog = pin!(Watchdog::new(session.next_check()));
    let mut io = ClientIo::new(stream, session.clone());
    io.put_back(read_ahead);
    loop {
        if !parked(&mut io, &session, watchdog.as_mut()).await {
            return goodbye::close(io.into_stream()).await;
        }
        // in a box that a parked connection does not have: what hyper and a request need is most of what there is
        match Box::pin(exchange(io, &session, watchdog.as_mut())).await {
            Ended::Idle(parked) => {
                session.parked();
                io = parked;
            }
            Ended::Closed(stream) if session.lingers() => return goodbye::linger(stream).await,
            Ended::Closed(stream) => return goodbye::close(stream).await,
            Ended::Aborted => return,
            Ended::Refused(mut stream, rejection) => {
                if session.got_tls() {
                    session.listener.turned_away.count(TurnedAway::UnexpectedTls);
                    tracing::debug!(peer = %session.peer, "a handshake of TLS on a port of plain HTTP");
                }
                goodbye::refuse(&mut stream, &rejection, &session).await;
                return goodbye::linger(stream).await;
            }
            Ended::Upgraded(stream, read_ahead, tunnel) => {
                return until_aborted(&session, tunnel::run(stream, read_ahead, tunnel, &session)).await;
            }
        }
    }
}

/// What hyper takes when it is not told otherwise.
const HYPER_MAX_HEADERS: usize = 100;

/// How serving ended.
enum Ended {
    /// Idle for so long that hyper's buffers are better given back; the connection goes on.
    Idle(ClientIo),
    Closed(ClientStream),
    Aborted,
    /// The client is still owed an answer.
    Refused(ClientStream, Rejection),
    Upgraded(ClientStream, Bytes, tunnel::Tunnel),
}

/// Waits, with nothing but the socket, for the client's first or next byte; false when the connection is to end.
async fn parked(io: &mut ClientIo, session: &Session, mut watchdog: Pin<&mut Watchdog>) -> bool {
    if io.has_read_ahead() {
        return true;
    }
    poll_fn(|cx| {
        session.remember_waker(cx.waker());
        let now = session.tick();
        if session.is_aborted() {
            return Poll::Ready(false);
        }
        match io.poll_arrived(cx) {
            Poll::Ready(arrived) => return Poll::Ready(arrived),
            Poll::Pending if now >= session.due() => return Poll::Ready(false),
            Poll::Pending => {}
        }
        // nothing but the idle timeout can be due here: no need to look earlier
        watchdog.as_mut().watch(session.due(), now, cx);
        Poll::Pending
    })
    .await
}

/// Serves requests until the connection ends or has been idle for a while.
async fn exchange(io: ClientIo, session: &Rc<Session>, mut watchdog: Pin<&mut Watchdog>) -> Ended {
    let limits = session.limits();
    let service = service_fn(|request| proxy::serve(session.clone(), request));
    let mut builder = http1::Builder::new();
    if limits.max_headers != HYPER_MAX_HEADERS {
        // also the same number would make hyper prepare its tables anew for each request
        builder.max_headers(limits.max_headers);
    }
    let mut connection = builder
        // head and small body in one buffer: one write instead of a gather of several. Never pipeline_flush: it holds
        // answers back while anything unread lies behind the request, and buffers a response body without bounds
        .writev(false)
        // whether the client is still there is ClientIo's to see
        .half_close(true)
        .max_header_size(limits.max_header_bytes)
        .serve_connection(io, service);
    let mut closing = false;
    let verdict = poll_fn(|cx| {
        session.remember_waker(cx.waker());
        let now = session.tick();
        if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Verdict::of(outcome, session));
        }
        // after the poll: hyper would drop a request that has arrived and that it has not looked at yet
        if session.is_closing() && !closing {
            closing = true;
            Pin::new(&mut connection).graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        if session.is_aborted() || session.write_overdue() {
            return Poll::Ready(Verdict::Abort);
        }
        if now >= session.due() {
            match session.phase() {
                Phase::Idle => return Poll::Ready(Verdict::Close),
                Phase::Head => return Poll::Ready(Verdict::Refuse(Rejection::RequestTimeout)),
                Phase::Exchange if session.body_is_overdue_unanswerably() => {
                    tracing::debug!(peer = %session.peer, "the request body stopped behind its response");
                    let whole = session.response_has_ended() && session.is_flushed();
                    return Poll::Ready(if whole { Verdict::Close } else { Verdict::Abort });
                }
                // the request or the body that is late was just polled and has not ended the exchange: it waits for
                // the socket of the other side, whose own deadline holds
                Phase::Exchange => {}
            }
        } else if watchdog.has_fired(now) && session.idle_for() >= PARK_AFTER && session.is_flushed() {
            return Poll::Ready(Verdict::Park);
        }
        let check = session.next_check().max(now + MIN_CHECK);
        watchdog.as_mut().watch(check, now, cx);
        Poll::Pending
    })
    .await;
    let parts = connection.into_parts();
    let mut io = parts.io;
    match verdict {
        Verdict::Park => {
            io.put_back(parts.read_buf);
            Ended::Idle(io)
        }
        Verdict::Abort => Ended::Aborted,
        Verdict::Refuse(rejection) => Ended::Refused(io.into_stream(), rejection),
        Verdict::Close => match session.take_tunnel() {
            Some(tunnel) => Ended::Upgraded(io.into_stream(), parts.read_buf, tunnel),
            None => Ended::Closed(io.into_stream()),
        },
    }
}

/// A connection that has been idle for this long is asleep more often than not.
const PARK_AFTER: Duration = Duration::from_secs(1);
/// A deadline that has passed without effect is not looked at again before this.
const MIN_CHECK: Duration = Duration::from_millis(50);

enum Verdict {
    Park,
    Close,
    Abort,
    Refuse(Rejection),
}

impl Verdict {
    /// What hyper's last word on the connection means.
    fn of(outcome: hyper::Result<()>, session: &Session) -> Self {
        let Err(error) = outcome else { return Verdict::Close };
        match session.take_swallowed() {
            Some(431) => Verdict::Refuse(Rejection::HeadTooLarge),
            Some(414) => Verdict::Refuse(Rejection::TargetTooLong),
            Some(_) => Verdict::Refuse(Rejection::MalformedRequest),
            // the preface of HTTP/2, to which hyper says nothing at all
            None if error.is_parse() && session.phase() == Phase::Head && session.is_flushed() => {
                Verdict::Refuse(Rejection::MalformedRequest)
            }
            None => {
                tracing::debug!(peer = %session.peer, %error, "connection ended with an error");
                Verdict::Abort
            }
        }
    }
}

/// Runs `work` unless the connection is told to end.
async fn until_aborted(session: &Session, work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    poll_fn(|cx| {
        session.remember_waker(cx.waker());
        if session.is_aborted() { Poll::Ready(()) } else { work.as_mut().poll(cx) }
    })
    .await;
}

/// The connection's one timer. It is set anew only when it has fired or must fire earlier.
struct Watchdog {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
    registered: bool,
}

impl Watchdog {
    fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(at.into())), at, registered: false }
    }

    fn has_fired(&self, now: Instant) -> bool {
        now >= self.at
    }

    /// Makes sure that the task is woken at `check` or before.
    fn watch(mut self: Pin<&mut Self>, check: Instant, now: Instant, cx: &mut Context<'_>) {
        if self.has_fired(now) || check < self.at {
            self.at = check;
            self.sleep.as_mut().reset(check.into());
            self.registered = false;
        }
        if !self.registered {
            self.registered = self.sleep.as_mut().poll(cx).is_pending();
        }
    }
}

#[cfg(test)]
mod tests;
