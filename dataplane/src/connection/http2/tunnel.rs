//! A stream as a tunnel: bytes both ways (RFC 8441 §5).

use crate::h2::poll_room;
use bytes::{Buf as _, Bytes};
use h2::{Reason, RecvStream, SendStream};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The client's side of a tunnel.
pub(super) struct StreamIo {
    incoming: RecvStream,
    outgoing: SendStream<Bytes>,
    /// Came, and was not yet read.
    arrived: Bytes,
    /// Our end of it was closed.
    closed: bool,
}

impl StreamIo {
    pub(super) fn new(incoming: RecvStream, outgoing: SendStream<Bytes>) -> Self {
        Self { incoming, outgoing, arrived: Bytes::new(), closed: false }
    }
}

impl AsyncRead for StreamIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.arrived.is_empty() {
            match ready!(this.incoming.poll_data(cx)) {
                Some(Ok(data)) => this.arrived = data,
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let some = this.arrived.len().min(buf.remaining());
        buf.put_slice(&this.arrived[..some]);
        this.arrived.advance(some);
        // an error is the end of the stream, of which the next read tells
        let _ = this.incoming.flow_control().release_capacity(some);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Poll::Ready(reset) = this.outgoing.poll_reset(cx) {
            return Poll::Ready(Err(reset.map_or_else(io_error, |reason| io_error(reason.into()))));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Some(room) = ready!(poll_room(cx, &mut this.outgoing, buf.len())) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let some = room.min(buf.len());
        this.outgoing.send_data(Bytes::copy_from_slice(&buf[..some]), false).map_err(io_error)?;
        Poll::Ready(Ok(some))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.closed, true) {
            self.outgoing.send_data(Bytes::new(), true).map_err(io_error)?;
        }
        Poll::Ready(Ok(()))
    }
}

/// A stream that was cancelled is a connection that was reset (RFC 8441 §5).
fn io_error(error: h2::Error) -> io::Error {
    match error.reason() {
        Some(Reason::CANCEL | Reason::NO_ERROR) => io::ErrorKind::ConnectionReset.into(),
        _ if error.is_io() => error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        _ => io::Error::other(error),
    }
}
