//! What an attempt speaks with a target over, whichever HTTP that is.

mod failure;
mod head;

pub(crate) use failure::{Failure, Invalid};
pub(crate) use head::{Announced, Interim, RequestHead, ResponseHead};

use crate::body::RequestBody;
use crate::connection::session::Session;
use crate::h1::{self, Upgraded};
use crate::h2;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::rc::Rc;
use std::task::{Context, Poll};

/// A connection of HTTP/1.1, or one stream on a connection of HTTP/2.
pub(crate) enum Connection {
    Http1(Box<h1::Connection>),
    Http2(Box<h2::Stream>),
}

impl Connection {
    /// Begins an exchange. The request is written while its response is awaited.
    pub(crate) fn begin(&mut self, head: &RequestHead<'_>, body: RequestBody) {
        match self {
            Self::Http1(connection) => connection.begin(head, body),
            Self::Http2(stream) => stream.begin(head, body),
        }
    }

    /// Nothing of the request has been written, or the target has said that it has not looked at it; nor will it be.
    pub(crate) fn is_unsent(&self, failure: &Failure) -> bool {
        match self {
            Self::Http1(connection) => connection.is_unsent() && failure.is_of_connection(),
            Self::Http2(stream) => stream.is_unsent(failure),
        }
    }

    /// Sends what comes of the request's body after the response has begun.
    pub(crate) fn send_on(&mut self) {
        match self {
            Self::Http1(connection) => connection.send_on(),
            Self::Http2(stream) => stream.send_on(),
        }
    }

    /// The head of the final response, while the request goes out; interim ones are for `hear`.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        session: &Rc<Session>,
        hear: &mut dyn FnMut(ResponseHead),
    ) -> Poll<Result<ResponseHead, Failure>> {
        match self {
            Self::Http1(connection) => connection.poll_head(cx, session, hear),
            Self::Http2(stream) => stream.poll_head(cx, hear),
        }
    }

    /// The next piece of the body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self {
            Self::Http1(connection) => connection.poll_frame(cx, session),
            Self::Http2(stream) => stream.poll_frame(cx),
        }
    }

    /// Whether all of the response has come.
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.has_ended(),
            Self::Http2(stream) => stream.has_ended(),
        }
    }

    /// How much of the response's body is still to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(connection) => connection.size_hint(),
            Self::Http2(stream) => stream.size_hint(),
        }
    }

    /// The socket after a 101; `None` where there can be none.
    pub(crate) fn into_upgraded(self) -> Option<Upgraded> {
        match self {
            Self::Http1(connection) => connection.into_upgraded(),
            Self::Http2(_) => None,
        }
    }
}
