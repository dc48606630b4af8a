//! What is sent to the client.

use super::BodyError;
use crate::connection::session::Session;
use crate::pool::Checkout;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

/// The body of a response. The exchange ends when this is dropped.
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
        self.session.response_ended();
    }
}
