//! What a client sends behind the head of its request, by either protocol.

use super::BodyError;
use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// The body of a request as it comes from the client.
pub(crate) enum ClientBody {
    Http1(Incoming),
    Http2(StreamBody),
    /// What follows the head is another protocol's.
    None,
}

/// The body of a request on a stream. What is handed out makes room for more, so that a client sends no faster than the
/// target takes.
pub(crate) struct StreamBody {
    stream: RecvStream,
    /// How much is still to come, where the head has said so; h2 sees that it does.
    left: Option<u64>,
    /// Nothing but trailers can follow.
    data_over: bool,
    continuation: Option<Continuation>,
}

/// Whether a client that waits for a word before it sends the body has been waited for in turn (RFC 9110 §10.1.1).
#[derive(Debug, Clone, Default)]
pub(crate) struct Continuation(Rc<Cell<bool>>);

impl Continuation {
    /// True once, when the body is wanted.
    pub(crate) fn take(&self) -> bool {
        self.0.take()
    }
}

impl StreamBody {
    /// `length`: what the head says of it. `continuation`: where the client expects to be told to go on.
    pub(crate) fn new(stream: RecvStream, length: Option<u64>, continuation: Option<Continuation>) -> Self {
        Self { stream, left: length, data_over: false, continuation }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let polled = self.stream.poll_data(cx);
        match &polled {
            Poll::Ready(_) => self.continuation = None,
            Poll::Pending => {
                if let Some(Continuation(wanted)) = self.continuation.take() {
                    wanted.set(true);
                }
            }
        }
        polled
    }
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        while !this.data_over {
            match ready!(this.poll_data(cx)).transpose()? {
                Some(data) => {
                    // an error is the end of the stream, of which the next poll tells
                    let _ = this.stream.flow_control().release_capacity(data.len());
                    if let Some(left) = &mut this.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    if !data.is_empty() || this.stream.is_end_stream() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                None => this.data_over = true,
            }
        }
        let trailers = ready!(this.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            _ if self.stream.is_end_stream() => SizeHint::with_exact(0),
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Http1(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::from),
            Self::Http2(stream) => Pin::new(stream).poll_frame(cx),
            Self::None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http2(stream) => stream.is_end_stream(),
            Self::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(incoming) => incoming.size_hint(),
            Self::Http2(stream) => stream.size_hint(),
            Self::None => SizeHint::with_exact(0),
        }
    }
}
