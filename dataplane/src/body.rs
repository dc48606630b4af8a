//! The bodies of both directions: streamed frame by frame, nothing buffered, deadlines and limits checked on the way.

use crate::connection::session::{BodyFault, Session};
use crate::pool::Checkout;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// Why a body ended early; the cause that a client may learn is kept in the session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the request body was refused: {0:?}")]
    Refused(BodyFault),
    #[error("the exchange took longer than the route allows")]
    RouteTimeout,
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
}

/// What is sent to a target.
pub(crate) enum RequestBody {
    /// No body at all.
    Empty,
    /// The client's, as it arrives.
    Streamed(Streamed),
}

pub(crate) struct Streamed {
    incoming: Incoming,
    session: Rc<Session>,
    /// `max_body_bytes`; 0 for no limit.
    limit: u64,
    seen: u64,
}

impl RequestBody {
    /// The client's body, held to the listener's limits.
    pub(crate) fn new(incoming: Incoming, session: &Rc<Session>) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        Self::Streamed(Streamed {
            incoming,
            session: session.clone(),
            limit: session.limits().max_body_bytes,
            seen: 0,
        })
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streamed(streamed) => streamed.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(streamed) => streamed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed(streamed) => streamed.incoming.size_hint(),
        }
    }
}

impl Streamed {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.seen += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.limit > 0 && self.seen > self.limit {
                    return self.refuse(BodyFault::TooLarge);
                }
                if self.incoming.is_end_stream() {
                    self.session.body_done();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.session.set_body_fault(BodyFault::Broken);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.session.body_done();
                Poll::Ready(None)
            }
            Poll::Pending if self.session.read_deadline_passed() => self.refuse(BodyFault::Timeout),
            Poll::Pending => Poll::Pending,
        }
    }

    fn refuse(&self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.session.set_body_fault(fault);
        Poll::Ready(Some(Err(BodyError::Refused(fault))))
    }
}

/// What is sent to the client. The exchange ends when this is dropped.
pub(crate) struct Body {
    content: Content,
    session: Rc<Session>,
}

enum Content {
    Empty,
    Local(Option<Bytes>),
    Upstream(Box<FromUpstream>),
}

struct FromUpstream {
    incoming: Incoming,
    checkout: Checkout,
    deadline: Option<Instant>,
}

impl Body {
    /// No body: HEAD, 204, 304, 101, or nothing to say.
    pub(crate) fn empty(session: &Rc<Session>) -> Self {
        Self { content: Content::Empty, session: session.clone() }
    }

    /// The gateway's own words.
    pub(crate) fn local(bytes: Bytes, session: &Rc<Session>) -> Self {
        Self { content: Content::Local(Some(bytes)), session: session.clone() }
    }

    /// The target's, as it arrives.
    pub(crate) fn upstream(
        incoming: Incoming,
        checkout: Checkout,
        deadline: Option<Instant>,
        session: &Rc<Session>,
    ) -> Self {
        let content = Content::Upstream(Box::new(FromUpstream { incoming, checkout, deadline }));
        Self { content, session: session.clone() }
    }
}

impl FromUpstream {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(None) => {
                self.ended(session);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                if self.incoming.is_end_stream() {
                    self.ended(session);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.checkout.failed();
                tracing::debug!(%error, "response body broken off by the target");
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending if self.deadline.is_some_and(|deadline| session.now() >= deadline) => {
                Poll::Ready(Some(Err(BodyError::RouteTimeout)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl FromUpstream {
    fn ended(&mut self, session: &Session) {
        // a target that answered before it had the whole request: the rest of it may still be on its way
        if !session.body_pending() {
            self.checkout.release(session.now());
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match &mut this.content {
            Content::Empty => Poll::Ready(None),
            Content::Local(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Upstream(upstream) => upstream.poll_frame(cx, &this.session),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Local(bytes) => bytes.is_none(),
            Content::Upstream(upstream) => upstream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Local(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Upstream(upstream) => upstream.incoming.size_hint(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.session.exchange_ended();
    }
}
