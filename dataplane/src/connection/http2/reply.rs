//! A response on its way to a stream.

use super::MAX_FRAME;
use super::stream::Ended;
use super::streams::{Served, Streams};
use crate::body::Body;
use crate::connection::session::Session;
use crate::h2::poll_room;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, response};
use http_body::{Body as _, Frame};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A response of which the head was sent.
pub(super) struct Reply {
    stream: SendStream<Bytes>,
    /// None where it has no body.
    body: Option<Sending>,
}

impl Reply {
    /// Sends the head of a response, which is all of one to HEAD; `None` when nobody waits for it any longer.
    pub(super) fn begin(
        response: Response<Body>,
        bodiless: bool,
        session: &Session,
        respond: &mut SendResponse<Bytes>,
    ) -> Option<Self> {
        let (mut head, body) = response.into_parts();
        complete(&mut head, &body, session);
        let ends = bodiless || body.is_end_stream();
        let stream = respond.send_response(Response::from_parts(head, ()), ends).ok()?;
        let body = (!ends).then(|| Sending { body, data: Bytes::new(), last: false });
        Some(Self { stream, body })
    }

    /// Sends the rest of it.
    pub(super) async fn finish(&mut self, served: &Served) -> Ended {
        let Served { streams, session } = served;
        if let Some(sending) = &mut self.body {
            let ended = poll_fn(|cx| sending.poll(cx, &mut self.stream, session, streams)).await;
            if ended != Ended::Answered {
                sending.body.cut_off(sending.data.len());
                return ended;
            }
        }
        // with it the exchange is over, whatever is still to come of the request
        self.body = None;
        request_over(session, &mut self.stream).await;
        Ended::Answered
    }
}

/// What hyper adds in HTTP/1.1: how long the body is, and the date.
fn complete(head: &mut response::Parts, body: &Body, session: &Session) {
    // an answer of our own may want to close a connection of HTTP/1.1
    head.headers.remove(header::CONNECTION);
    if let Some(length) = body.size_hint().exact().filter(|_| !body.is_end_stream()) {
        head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    head.headers.entry(header::DATE).or_insert_with(|| session.worker.date(session.now()));
}

/// The body of a response, as it is taken.
struct Sending {
    body: Body,
    /// Of it, what waits for the client to make room.
    data: Bytes,
    /// Nothing comes behind `data`.
    last: bool,
}

impl Sending {
    /// Never more than the client has room for is handed over, so that what it does not take is seen here.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut SendStream<Bytes>,
        session: &Session,
        streams: &Streams,
    ) -> Poll<Ended> {
        loop {
            if stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Ended::Cancelled);
            }
            if session.body_is_overdue_unanswerably() {
                stream.send_reset(Reason::CANCEL);
                return Poll::Ready(Ended::Broken);
            }
            while !self.data.is_empty() {
                let room = match poll_room(cx, stream, self.data.len()) {
                    Poll::Ready(Some(room)) => room,
                    Poll::Ready(None) => return Poll::Ready(Ended::Cancelled),
                    Poll::Pending => {
                        session.write_blocked(true);
                        if session.write_overdue() {
                            stream.send_reset(Reason::CANCEL);
                            return Poll::Ready(Ended::Broken);
                        }
                        return Poll::Pending;
                    }
                };
                session.write_blocked(false);
                let data = self.data.split_to(room.min(self.data.len()));
                streams.wire.meter.borrow_mut().sent((data.len() as u32).div_ceil(MAX_FRAME));
                if stream.send_data(data, self.last && self.data.is_empty()).is_err() {
                    return Poll::Ready(Ended::Cancelled);
                }
            }
            if self.last {
                return Poll::Ready(Ended::Answered);
            }
            let sent = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => self.take(frame, stream),
                Some(Err(error)) => {
                    tracing::debug!(peer = %session.peer, %error, "the response broke off");
                    stream.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(Ended::Broken);
                }
                None => {
                    self.last = true;
                    stream.send_data(Bytes::new(), true)
                }
            };
            if sent.is_err() {
                return Poll::Ready(Ended::Cancelled);
            }
        }
    }

    /// Takes over the next piece of the body; one without data needs no room.
    fn take(&mut self, frame: Frame<Bytes>, stream: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
        match frame.into_data() {
            Ok(data) => {
                self.last = self.body.is_end_stream();
                self.data = data;
                if self.data.is_empty() && self.last { stream.send_data(Bytes::new(), true) } else { Ok(()) }
            }
            Err(frame) => {
                self.last = true;
                stream.send_trailers(frame.into_trailers().unwrap_or_else(|_| HeaderMap::new()))
            }
        }
    }
}

/// Waits behind a whole response for the rest of the request, as long as somebody reads it and it comes.
async fn request_over(session: &Session, stream: &mut SendStream<Bytes>) {
    poll_fn(|cx| {
        if !session.body_is_held() || stream.poll_reset(cx).is_ready() {
            return Poll::Ready(());
        }
        if session.body_is_overdue_unanswerably() {
            // whoever reads it finds that it ends
            stream.send_reset(Reason::NO_ERROR);
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}
