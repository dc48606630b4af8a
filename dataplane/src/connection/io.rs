//! The client's connection as hyper sees it: notes when bytes come and when writing stalls, and keeps hyper from answering
//! a broken head with words of its own.

use super::head;
use super::session::Session;
use super::stream::ClientStream;
use crate::target::ResponseHead;
use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use policy::config::listener::HttpProtocol;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

/// Where the status stands in `HTTP/1.1 431 …`.
const STATUS: std::ops::Range<usize> = 9..12;

/// The client's connection.
pub(crate) struct ClientIo {
    stream: TokioIo<ClientStream>,
    /// Read before this, to be read again first.
    read_ahead: Bytes,
    /// Interim responses that are being written.
    interim: Bytes,
    /// hyper holds bytes that belong behind some that are written already: nothing may come between.
    amid: bool,
    session: Rc<Session>,
}

impl ClientIo {
    pub(crate) fn new(stream: ClientStream, session: Rc<Session>) -> Self {
        let (read_ahead, interim) = (Bytes::new(), Bytes::new());
        Self { stream: TokioIo::new(stream), read_ahead, interim, amid: false, session }
    }

    /// Gives bytes back that were read too early.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        // also none would hold on to the buffer that they were read into
        self.read_ahead = if bytes.is_empty() { Bytes::new() } else { bytes };
    }

    pub(crate) fn has_read_ahead(&self) -> bool {
        !self.read_ahead.is_empty()
    }

    /// Whether the client has closed its side. hyper would find that out by reading ahead, for which it allocates a
    /// buffer in every exchange; asking the socket costs nothing while nothing has arrived.
    fn client_is_gone(&mut self, cx: &mut Context<'_>) -> bool {
        self.stream.inner().poll_socket_ready(cx).is_ready() && self.poll_arrived(cx) == Poll::Ready(false)
    }

    /// Ready when the client has sent a byte, or (with `false`) never will.
    pub(crate) fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.stream.inner_mut().poll_arrived(cx)
    }

    /// Looks at what has arrived of plain text; how much that is, and 0 when nothing ever will.
    pub(super) fn poll_peek(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<usize> {
        self.stream.inner().poll_peek(cx, bytes)
    }

    /// Takes what has arrived, to give it back later; how much that is, and 0 when nothing ever will.
    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<usize> {
        let mut read = ReadBuf::new(bytes);
        let polled = Pin::new(self.stream.inner_mut()).poll_read(cx, &mut read);
        polled.map(|outcome| outcome.map_or(0, |()| read.filled().len()))
    }

    /// What was read too early.
    pub(super) fn take_read_ahead(&mut self) -> Bytes {
        std::mem::take(&mut self.read_ahead)
    }

    /// What the handshake of TLS has agreed on.
    pub(super) fn negotiated(&self) -> Option<HttpProtocol> {
        self.stream.inner().negotiated()
    }

    pub(super) fn is_plain(&self) -> bool {
        self.stream.inner().tls().is_none()
    }

    /// A head may have begun, though none of it was read.
    pub(super) fn head_begins(&self) {
        self.session.head_begins();
    }

    /// The connection, and what was read of it too early.
    pub(super) fn into_parts(self) -> (ClientStream, Bytes) {
        (self.stream.into_inner(), self.read_ahead)
    }

    pub(crate) fn into_stream(self) -> ClientStream {
        self.stream.into_inner()
    }

    /// Writes what the target has said before its final response. `between`: it may be said here, between two messages
    /// of hyper's. Where there was no such place before the final response, nobody needs it any more.
    fn poll_interims(&mut self, cx: &mut Context<'_>, between: bool) -> Poll<io::Result<()>> {
        loop {
            while !self.interim.is_empty() {
                let polled = Pin::new(&mut self.stream).poll_write(cx, &self.interim);
                self.session.write_blocked(polled.is_pending());
                match ready!(polled)? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => self.interim.advance(written),
                }
            }
            if !self.session.has_interims() {
                return Poll::Ready(Ok(()));
            }
            if between {
                self.interim = encode(&self.session.take_interims());
            } else if self.session.awaits_response() {
                return Poll::Ready(Ok(()));
            } else {
                drop(self.session.take_interims());
            }
        }
    }
}

fn encode(heads: &[ResponseHead]) -> Bytes {
    let mut bytes = Vec::new();
    for ResponseHead { status, headers } in heads {
        head::write(*status, headers, &mut bytes);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.into()
}

impl Read for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.read_ahead.is_empty() {
            let some = this.read_ahead.len().min(buf.remaining());
            this.session.bytes_read(&this.read_ahead[..some]);
            buf.put_slice(&this.read_ahead[..some]);
            this.read_ahead.advance(some);
            return Poll::Ready(Ok(()));
        }
        // by way of the worker's buffer, because hyper's cannot be looked into
        let mut scratch = this.session.worker.scratch.borrow_mut();
        let room = scratch.len().min(buf.remaining());
        let mut arrived = ReadBuf::new(&mut scratch[..room]);
        let polled = Pin::new(this.stream.inner_mut()).poll_read(cx, &mut arrived);
        if polled.is_ready() {
            this.session.bytes_read(arrived.filled());
            buf.put_slice(arrived.filled());
        }
        polled
    }
}

impl Write for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.session.is_foreign_write() {
            let status = buf.get(STATUS).and_then(|digits| std::str::from_utf8(digits).ok());
            this.session.swallow(status.and_then(|digits| digits.parse().ok()).unwrap_or(400));
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(this.poll_interims(cx, !this.amid))?;
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.session.write_blocked(polled.is_pending());
        this.amid = !matches!(polled, Poll::Ready(Ok(written)) if written == buf.len());
        polled
    }

    /// Called by hyper whenever it has nothing left to write, so also while an answer is awaited: the moment to see
    /// whether anybody still waits for it.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.amid = false;
        ready!(this.poll_interims(cx, this.session.awaits_response()))?;
        let flushed = Pin::new(this.stream.inner_mut()).poll_flush(cx);
        this.session.write_blocked(flushed.is_pending());
        ready!(flushed)?;
        this.session.flushed();
        if this.session.awaits_answer() && this.client_is_gone(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing yet: how a connection ends is decided once hyper has given the socket back.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
