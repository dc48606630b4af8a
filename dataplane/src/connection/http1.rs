//! HTTP/1.1 with a client: hyper reads heads and writes responses.

use super::io::ClientIo;
use super::session::{Phase, Session};
use super::stream::ClientStream;
use super::tunnel::Tunnel;
use super::watchdog::{MIN_CHECK, Watchdog};
use crate::body::ClientBody;
use crate::proxy;
use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use policy::rejection::Rejection;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// What hyper takes when it is not told otherwise.
const HYPER_MAX_HEADERS: usize = 100;

/// How serving ended.
pub(super) enum Ended {
    /// Idle for so long that hyper's buffers are better given back; the connection goes on.
    Idle(ClientIo),
    Closed(ClientStream),
    Aborted,
    /// The client is still owed an answer.
    Refused(ClientStream, Rejection),
    Upgraded(ClientStream, Bytes, Box<Tunnel>),
}

/// Serves requests until the connection ends or has been idle for a while.
pub(super) async fn exchange(io: ClientIo, session: &Rc<Session>, mut watchdog: Pin<&mut Watchdog>) -> Ended {
    let limits = session.limits();
    let service = service_fn(|request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        proxy::serve(session.clone(), head, ClientBody::Http1(body), Ok(()))
    });
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
    let verdict = poll_fn(|cx| {
        session.remember_waker(cx.waker());
        let now = session.tick();
        if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(Verdict::of(outcome, session));
        }
        // a connection that is to close does so behind a response that says so, or when none is asked for any more; hyper's
        // own graceful_shutdown would also close behind one that has not said so, and drop the request that follows
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
                Phase::Exchange | Phase::Tunnel => {}
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
