//! What is sent to a target.

use super::replay::Replayed;
use super::{BodyError, ClientBody};
use crate::connection::session::{BodyFault, ExchangeId, Session};
use crate::mirror::Copy;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use policy::grpc::web::{Decoder, NotBase64};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The body of a request on its way to a target.
pub(crate) enum RequestBody {
    /// No body at all.
    Empty,
    /// The client's, as it arrives.
    Streamed(Streamed),
    /// The client's for one of several attempts.
    Replayed(Replayed),
    /// One that has begun to go to a target that did not look at it.
    Rewound(Box<Rewound>),
}

/// A body of which some was read.
pub(crate) struct Rewound {
    /// What was.
    read: VecDeque<Bytes>,
    rest: RequestBody,
}

/// The client's body as it arrives.
pub(crate) struct Streamed {
    incoming: ClientBody,
    session: Rc<Session>,
    exchange: ExchangeId,
    /// 0 for no limit.
    limit: u64,
    seen: u64,
    with: Handling,
}

/// What is done with the body of a request on its way.
#[derive(Default)]
pub(crate) struct Handling {
    /// It is gRPC-Web in base64.
    pub(crate) decoder: Option<Box<Decoder>>,
    /// For a mirror.
    pub(crate) copy: Option<Box<Copy>>,
}

impl RequestBody {
    /// The client's body, held to the listener's limits.
    pub(crate) fn new(incoming: ClientBody, session: &Rc<Session>, with: Handling) -> Self {
        Streamed::new(incoming, session, with).map_or(Self::Empty, Self::Streamed)
    }

    /// The same body from its beginning, when this was read of it.
    pub(crate) fn rewound(self, read: Vec<Bytes>) -> Self {
        match read.is_empty() {
            true => self,
            false => Self::Rewound(Box::new(Rewound { read: read.into(), rest: self })),
        }
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
            Self::Streamed(streamed) => Pin::new(streamed).poll_frame(cx),
            Self::Replayed(replayed) => Pin::new(replayed).poll_frame(cx),
            Self::Rewound(rewound) => match rewound.read.pop_front() {
                Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                None => Pin::new(&mut rewound.rest).poll_frame(cx),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(streamed) => streamed.is_end_stream(),
            Self::Replayed(replayed) => replayed.is_end_stream(),
            Self::Rewound(rewound) => rewound.read.is_empty() && rewound.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed(streamed) => streamed.size_hint(),
            Self::Replayed(replayed) => replayed.size_hint(),
            Self::Rewound(rewound) => match rewound.rest.size_hint().exact() {
                Some(rest) => {
                    let read: u64 = rewound.read.iter().map(|data| data.len() as u64).sum();
                    SizeHint::with_exact(read + rest)
                }
                None => SizeHint::default(),
            },
        }
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.seen += length;
                self.session.count_body(self.exchange, length);
                if self.limit > 0 && self.seen > self.limit {
                    return self.refuse(BodyFault::TooLarge);
                }
                if let Some(decoder) = &mut self.with.decoder
                    && let Some(data) = frame.data_ref()
                {
                    match decoder.decode(data) {
                        Ok(decoded) => frame = Frame::data(decoded),
                        Err(NotBase64) => return self.refuse(BodyFault::Broken),
                    }
                }
                if self.with.copy.is_some()
                    && let Some(data) = frame.data_ref()
                {
                    self.with.copy = self.with.copy.take().and_then(|copy| copy.take(data));
                }
                // behind trailers nobody asks for more
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    if !self.is_whole() {
                        return self.refuse(BodyFault::Broken);
                    }
                    self.done();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.session.set_body_fault(self.exchange, BodyFault::Broken);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) if !self.is_whole() => self.refuse(BodyFault::Broken),
            Poll::Ready(None) => {
                self.done();
                Poll::Ready(None)
            }
            Poll::Pending if self.session.read_deadline_passed() => self.refuse(BodyFault::Timeout),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.with.decoder.is_some() { SizeHint::default() } else { self.incoming.size_hint() }
    }
}

impl Streamed {
    /// The client's body, held to the listener's limits; `None` when there is none.
    pub(super) fn new(incoming: ClientBody, session: &Rc<Session>, mut with: Handling) -> Option<Self> {
        if incoming.is_end_stream() {
            if let Some(copy) = with.copy {
                copy.send();
            }
            return None;
        }
        with.copy = with.copy.and_then(|copy| copy.begin(incoming.size_hint().lower()));
        let (exchange, limit) = (session.hold_body(), session.body_limit());
        Some(Self { incoming, session: session.clone(), exchange, limit, seen: 0, with })
    }

    /// Nothing is missing at its end.
    fn is_whole(&self) -> bool {
        self.with.decoder.as_ref().is_none_or(|decoder| decoder.finish().is_ok())
    }

    /// The last of it has come.
    fn done(&mut self) {
        self.session.body_done(self.exchange);
        if let Some(copy) = self.with.copy.take() {
            copy.send();
        }
    }

    fn refuse(&self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.session.set_body_fault(self.exchange, fault);
        Poll::Ready(Some(Err(BodyError::Refused(fault))))
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.session.release_body(self.exchange);
    }
}
