//! What is sent to the client.

use super::compressed::Compressed;
use super::web::Translated;
use crate::attempt::{Deadline, Unjudged};
use crate::clock;
use crate::connection::session::Session;
use crate::exchange::Exchange;
use crate::pool::Checkout;
use crate::target::Failure;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use policy::clock::Now;
use policy::filter::compression::Coding;
use policy::grpc::{self, Call, GrpcStatus};
use policy::outcome::Outcome;
use policy::rejection::Rejection;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// How a call went that has ended without saying so.
const WITHOUT_STATUS: Outcome = Outcome::Response(StatusCode::OK);

/// The target has broken off a response that had begun.
const UPSTREAM_ABORTED: &str = "upstream_aborted";

/// The body of a response. The exchange is over when this is dropped.
pub(crate) struct Body {
    content: Content,
    session: Rc<Session>,
    /// None of a response that begins a tunnel.
    exchange: Option<Box<Exchange>>,
}

/// Why the body of a response ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResponseError {
    #[error("{}", .0.title())]
    Late(Rejection),
    #[error("the response could not be compressed: {0}")]
    Compression(io::Error),
    #[error(transparent)]
    Target(#[from] Failure),
}

impl ResponseError {
    /// As a call is told of it.
    pub(super) fn end_of_call(&self) -> HeaderMap {
        let missed = match self {
            Self::Late(missed) => missed,
            Self::Compression(_) => &Rejection::Internal,
            Self::Target(_) => &Rejection::UpstreamReset,
        };
        grpc::end(missed.grpc_status(), missed.title())
    }
}

/// What a body is made of.
pub(crate) enum Content {
    /// No body: HEAD, 204, 304, 101, or nothing to say.
    Empty,
    /// The gateway's own words, until they are taken.
    Local(Option<Bytes>),
    /// The target's, as it arrives.
    Upstream(Box<FromUpstream>),
    /// The same in fewer bytes.
    Compressed(Box<Compressed>),
    /// The same for a page.
    Translated(Box<Translated>),
}

/// A body on its way from a target.
pub(crate) struct FromUpstream {
    checkout: Checkout,
    deadline: Option<Deadline>,
    /// All of it came.
    whole: bool,
    /// The attempt that it comes from, where its end says how that went.
    unjudged: Option<Box<Unjudged>>,
}

impl Body {
    pub(crate) fn new(content: Content, session: Rc<Session>, exchange: Option<Box<Exchange>>) -> Self {
        Self { content, session, exchange }
    }

    /// The client does not get all of it: of what was handed out, it misses so much.
    pub(crate) fn cut_off(&self, unsent: usize) {
        if let Some(exchange) = &self.exchange {
            exchange.unsent(unsent as u64);
            exchange.cut_off();
        }
    }
}

impl Content {
    pub(crate) fn upstream(checkout: Checkout, deadline: Option<Deadline>) -> Self {
        Self::Upstream(Box::new(FromUpstream { checkout, deadline, whole: false, unjudged: None }))
    }

    /// Breaker and upstream shall learn from its end how the attempt went.
    pub(crate) fn judge_at_its_end(&mut self, unjudged: Box<Unjudged>, now: Now) {
        match self {
            Self::Upstream(upstream) => upstream.unjudged = Some(unjudged),
            _ => unjudged.judge(WITHOUT_STATUS, now),
        }
    }

    /// The gateway's own words are few: whoever has their head has them.
    fn is_whole(&self) -> bool {
        match self {
            Self::Empty | Self::Local(_) => true,
            Self::Upstream(upstream) => upstream.whole,
            Self::Compressed(compressed) => compressed.is_whole(),
            Self::Translated(translated) => translated.has_ended(),
        }
    }

    /// The body of a gRPC response for a call of this kind; one that is not there stays so.
    pub(crate) fn translate(self, call: Call) -> Self {
        match self {
            Self::Upstream(upstream) => Self::Translated(Box::new(Translated::new(upstream, call))),
            other => other,
        }
    }

    /// A body in a coding; one that is not there stays so.
    pub(crate) fn compress(self, coding: Coding) -> io::Result<Self> {
        match self {
            Self::Upstream(upstream) => Ok(Self::Compressed(Box::new(Compressed::new(upstream, coding)?))),
            other => Ok(other),
        }
    }
}

impl FromUpstream {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
        exchange: Option<&Exchange>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        let Some(connection) = self.checkout.connection() else { return Poll::Ready(None) };
        match connection.poll_frame(cx, session) {
            Poll::Ready(None) => {
                self.ended(session);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(status) = frame.trailers_ref().and_then(GrpcStatus::of) {
                    self.judge(Outcome::Call(status), session);
                }
                if self.checkout.has_ended() {
                    self.ended(session);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.checkout.failed();
                // what the client did to its own request is no fault of the target
                if session.body_fault().is_none() {
                    self.judge(Outcome::Reset, session);
                }
                if let Some(exchange) = exchange {
                    exchange.note_error(&error);
                    exchange.broke_off(UPSTREAM_ABORTED);
                }
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => {
                let missed = self.deadline.filter(|deadline| session.now() >= deadline.at);
                missed.map_or(Poll::Pending, |deadline| {
                    let missed = deadline.missed();
                    if let Some(exchange) = exchange {
                        exchange.broke_off(missed.reason());
                    }
                    Poll::Ready(Some(Err(ResponseError::Late(missed))))
                })
            }
        }
    }

    /// Says how the attempt went, unless that is known.
    fn judge(&mut self, outcome: Outcome, session: &Session) {
        if let Some(unjudged) = self.unjudged.take() {
            unjudged.judge(outcome, clock::at(session.now()));
        }
    }

    fn ended(&mut self, session: &Session) {
        self.whole = true;
        self.judge(WITHOUT_STATUS, session);
        // a target that answered before it had the whole request: the rest of it may still be on its way
        if !session.body_pending() {
            self.checkout.release(session.now());
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = ResponseError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        let this = self.get_mut();
        let exchange = this.exchange.as_deref();
        let polled = match &mut this.content {
            Content::Empty => return Poll::Ready(None),
            Content::Local(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Upstream(upstream) => upstream.poll_frame(cx, &this.session, exchange),
            Content::Compressed(compressed) => compressed.poll_frame(cx, &this.session, exchange),
            Content::Translated(translated) => translated.poll_frame(cx, &this.session, exchange),
        };
        match (polled, exchange) {
            (Poll::Ready(Some(Ok(frame))), Some(exchange)) => {
                if let Some(data) = frame.data_ref() {
                    exchange.sent(data.len() as u64);
                } else if let Some(trailers) = frame.trailers_ref() {
                    exchange.call_ended(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            // told in the words of calls, a failure is more than a stream that breaks off
            (Poll::Ready(Some(Err(error))), Some(exchange)) if exchange.can_end_call() => {
                let end = error.end_of_call();
                exchange.call_ended(&end);
                this.content = Content::Empty;
                Poll::Ready(Some(Ok(Frame::trailers(end))))
            }
            (polled, _) => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            // a refused call of gRPC ends with its head (Trailers-Only): grpcio takes an empty frame behind it for an error
            Content::Local(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Content::Upstream(upstream) => upstream.checkout.has_ended(),
            Content::Compressed(compressed) => compressed.is_whole(),
            Content::Translated(translated) => translated.has_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Local(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Upstream(upstream) => upstream.checkout.size_hint(),
            Content::Compressed(_) | Content::Translated(_) => SizeHint::default(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.take()
            && !self.content.is_whole()
        {
            exchange.cut_off();
        }
        self.session.response_ended();
    }
}
