//! The client's socket as h2 sees it: what comes is metered on its way, and the socket outlasts h2, so that a connection
//! can end without destroying its last words.

use super::meter::Meter;
use crate::connection::session::Session;
use crate::connection::stream::ClientStream;
use bytes::{Buf as _, Bytes};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The socket of a connection, and what is known of what comes by it.
pub(super) struct Wire {
    stream: RefCell<ClientStream>,
    /// Read before this, to be read again first.
    read_ahead: RefCell<Bytes>,
    pub(super) meter: RefCell<Meter>,
    last_read: Cell<Instant>,
    session: Rc<Session>,
}

/// Its half of it.
pub(super) struct WireIo(Rc<Wire>);

impl Wire {
    pub(super) fn new(stream: ClientStream, read_ahead: Bytes, session: Rc<Session>) -> Rc<Self> {
        let now = session.now();
        Rc::new(Self {
            stream: RefCell::new(stream),
            read_ahead: RefCell::new(read_ahead),
            meter: RefCell::new(Meter::new(now)),
            last_read: Cell::new(now),
            session,
        })
    }

    pub(super) fn io(self: &Rc<Self>) -> WireIo {
        WireIo(self.clone())
    }

    /// When the last byte came.
    pub(super) fn last_read(&self) -> Instant {
        self.last_read.get()
    }

    /// The socket itself, once h2 is done with it.
    pub(super) fn into_stream(self: Rc<Self>) -> Option<ClientStream> {
        Some(Rc::into_inner(self)?.stream.into_inner())
    }
}

impl AsyncRead for WireIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Wire { stream, read_ahead, meter, last_read, session } = &*self.0;
        if meter.borrow().is_over() {
            // nothing of this client is wanted any more; who drives the connection has it end
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let mut read_ahead = read_ahead.borrow_mut();
        let polled = if read_ahead.is_empty() {
            Pin::new(&mut *stream.borrow_mut()).poll_read(cx, buf)
        } else {
            let some = read_ahead.len().min(buf.remaining());
            buf.put_slice(&read_ahead[..some]);
            read_ahead.advance(some);
            Poll::Ready(Ok(()))
        };
        if polled.is_ready() {
            last_read.set(session.now());
            meter.borrow_mut().read(&buf.filled()[before..], session.now());
        }
        polled
    }
}

impl AsyncWrite for WireIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(cx, buf);
        self.0.session.write_blocked(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.0.stream.borrow_mut()).poll_write_vectored(cx, bufs);
        self.0.session.write_blocked(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.0.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(cx);
        self.0.session.write_blocked(polled.is_pending());
        polled
    }

    /// Nothing yet: how a connection ends is decided once h2 is done.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
