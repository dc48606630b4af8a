//! One client connection from accept to close: by its first bytes it is HTTP/1.1 or HTTP/2, one timer watches it, and
//! while it is idle it is only a socket.

pub(crate) mod arrival;
pub(crate) mod boundary;
pub(crate) mod client;
pub(crate) mod goodbye;
mod head;
mod http1;
pub(crate) mod http2;
pub(crate) mod io;
mod preface;
pub(crate) mod session;
pub(crate) mod stream;
pub(crate) mod tunnel;
mod watchdog;

use crate::listener::{Protocols, TurnedAway};
use bytes::Bytes;
use http1::Ended;
use io::ClientIo;
use policy::config::listener::HttpProtocol;
use preface::Preface;
use session::Session;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use stream::ClientStream;
use watchdog::Watchdog;

/// Serves a connection until it ends; of its first request some may have been read ahead.
pub(crate) async fn serve(stream: ClientStream, read_ahead: Bytes, session: Rc<Session>) {
    let mut watchdog = pin!(Watchdog::new(session.next_check()));
    let mut io = ClientIo::new(stream, session.clone());
    io.put_back(read_ahead);
    loop {
        match parked(&mut io, &session, watchdog.as_mut()).await {
            Arrival::Nothing => return goodbye::close(io.into_stream()).await,
            // in boxes that a parked connection does not have: what a request needs is most of what there is
            Arrival::Http2 => return Box::pin(http2::serve(io, &session, watchdog)).await,
            Arrival::Http1 => {}
        }
        match Box::pin(http1::exchange(io, &session, watchdog.as_mut())).await {
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
                return Box::pin(tunnel::run(stream, read_ahead, tunnel, &session)).await;
            }
        }
    }
}

/// What came of waiting for a client.
enum Arrival {
    Http1,
    Http2,
    /// The connection is to end.
    Nothing,
}

/// What is known of the protocol before the next byte has come.
enum Spoken {
    Http1,
    /// The first bytes will tell.
    Either,
    /// There is nothing to wait for.
    Certainly(Arrival),
}

fn spoken(io: &ClientIo, session: &Session) -> Spoken {
    if !session.is_fresh() {
        return Spoken::Http1;
    }
    let Protocols { h2, http1 } = session.settings.protocols;
    match io.negotiated() {
        Some(HttpProtocol::H2) => Spoken::Certainly(Arrival::Http2),
        Some(HttpProtocol::Http1) => Spoken::Http1,
        // whoever speaks something else will find that it is not understood
        None if !http1 => Spoken::Certainly(Arrival::Http2),
        None if h2 && io.is_plain() => Spoken::Either,
        None => Spoken::Http1,
    }
}

/// Waits, with nothing but the socket, for the client's first or next byte.
async fn parked(io: &mut ClientIo, session: &Session, mut watchdog: Pin<&mut Watchdog>) -> Arrival {
    let mut preface = match spoken(io, session) {
        Spoken::Certainly(arrival) => return arrival,
        Spoken::Http1 if io.has_read_ahead() => return Arrival::Http1,
        Spoken::Http1 => None,
        Spoken::Either => Some(Preface::new(&io.take_read_ahead())),
    };
    poll_fn(|cx| {
        session.remember_waker(cx.waker());
        let now = session.tick();
        if session.is_aborted() {
            return Poll::Ready(Arrival::Nothing);
        }
        let arrived = match &mut preface {
            Some(preface) => preface.poll(io, cx),
            None => {
                io.poll_arrived(cx).map(|arrived| if arrived { Arrival::Http1 } else { Arrival::Nothing })
            }
        };
        match arrived {
            Poll::Ready(arrival) => return Poll::Ready(arrival),
            Poll::Pending if now >= session.due() => {
                // who has begun to send something is owed an answer
                let begun = preface.as_mut().is_some_and(|preface| preface.give_up(io));
                return Poll::Ready(if begun { Arrival::Http1 } else { Arrival::Nothing });
            }
            Poll::Pending => {}
        }
        // nothing but the idle timeout, or that of a head, can be due here: no need to look earlier
        watchdog.as_mut().watch(session.due(), now, cx);
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
