//! The socket to a target and what is still to be written to it; and who writes it, at the end of each turn.
//!
//! When many requests are ready at once, all of them are read before the first is written: a request only leaves its
//! bytes here, and one task a worker writes them once every connection that was ready has had its turn. So a target is
//! woken for a batch and not for each request, which saves more than the writes themselves cost.

use crate::connection::session::Session;
use crate::dial::Stream;
use crate::pool::lane::LanePermit;
use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::ops::Deref;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

/// Room for a head that an idle connection keeps.
const SPARE: usize = 2 * 1024;

/// A socket to a target. It is given back to the target's budget when the last who holds this is done.
pub(crate) struct Wire {
    stream: RefCell<Stream>,
    outgoing: RefCell<Outgoing>,
    /// It stands in a [`Flusher`]'s queue.
    queued: Cell<bool>,
    uploading: RefCell<Uploading>,
    permit: LanePermit,
}

/// Whether a task of its own sends the rest of a request.
#[derive(Default)]
enum Uploading {
    #[default]
    No,
    /// While the response goes to the client.
    Beside(Option<Waker>),
    /// The response is over: nobody else would see that the target has closed.
    Alone,
}

/// Who reads from a wire.
pub(super) struct Reader(Rc<Wire>);

impl Reader {
    /// Of a new socket.
    pub(super) fn new(stream: Stream, permit: LanePermit) -> Self {
        Self(Rc::new(Wire {
            stream: RefCell::new(stream),
            outgoing: RefCell::default(),
            queued: Cell::new(false),
            uploading: RefCell::default(),
            permit,
        }))
    }
}

impl Deref for Reader {
    type Target = Rc<Wire>;

    fn deref(&self) -> &Rc<Wire> {
        &self.0
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let uploading = &mut *self.0.uploading.borrow_mut();
        if let Uploading::Beside(waker) = uploading {
            let waker = waker.take();
            *uploading = Uploading::Alone;
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

/// What is to be written.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    /// How much of them is.
    written: usize,
    /// The socket took no more; whoever awaits the response goes on with it.
    blocked: bool,
    /// Some of the current message is on its way: it can no longer go elsewhere.
    begun: bool,
    error: Option<io::Error>,
}

impl Wire {
    /// The socket itself, for whatever speaks on it from now on; `None` while anybody else holds it.
    pub(super) fn into_stream(self: Rc<Self>) -> Option<(Stream, LanePermit)> {
        let Self { stream, permit, .. } = Rc::into_inner(self)?;
        Some((stream.into_inner(), permit))
    }

    // ---- reading

    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buffer)
    }

    pub(super) fn poll_read_buf(
        &self,
        cx: &mut Context<'_>,
        memory: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        tokio_util::io::poll_read_buf(Pin::new(&mut *self.stream.borrow_mut()), cx, memory)
    }

    /// Whether nothing has come since the last read, not even the end; costs no system call.
    pub(super) fn is_silent(&self) -> bool {
        self.stream.borrow_mut().is_silent()
    }

    // ---- writing

    /// Another message begins, after `write` has put down its head.
    pub(super) fn begin(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.begun = false;
        write(&mut outgoing.bytes);
    }

    /// Goes on with a message of which another connection has written nothing.
    pub(super) fn take_over(&self, other: &Self) {
        *self.outgoing.borrow_mut() =
            Outgoing { bytes: std::mem::take(&mut other.outgoing.borrow_mut().bytes), ..Outgoing::default() };
    }

    /// More of the current message.
    pub(super) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.outgoing.borrow_mut().bytes);
    }

    /// How much waits to be written.
    pub(super) fn pending(&self) -> usize {
        let outgoing = self.outgoing.borrow();
        outgoing.bytes.len() - outgoing.written
    }

    /// Nothing of the current message was written, nor will be.
    pub(super) fn is_unsent(&self) -> bool {
        !self.outgoing.borrow().begun
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.outgoing.borrow().blocked
    }

    // ---- the rest of a request behind the head of its response

    pub(super) fn begin_upload(&self) {
        *self.uploading.borrow_mut() = Uploading::Beside(None);
    }

    pub(super) fn is_uploading(&self) -> bool {
        !matches!(&*self.uploading.borrow(), Uploading::No)
    }

    pub(super) fn end_upload(&self) {
        *self.uploading.borrow_mut() = Uploading::No;
    }

    /// Ready when the rest need not be sent: the target has closed, or has said what nobody asked for.
    pub(super) fn poll_unwanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_failed() {
            return Poll::Ready(());
        }
        match &mut *self.uploading.borrow_mut() {
            Uploading::No => Poll::Pending,
            Uploading::Beside(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Uploading::Alone => self.poll_read(cx, &mut ReadBuf::new(&mut [0])).map(drop),
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.outgoing.borrow().error.is_some()
    }

    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.outgoing.borrow_mut().error.take()
    }

    /// Writes what there is, for whoever waits in `cx`. An error is kept: the target may have answered before it closed.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<()> {
        let stream = &mut *self.stream.borrow_mut();
        let mut outgoing = self.outgoing.borrow_mut();
        ready!(outgoing.write(|bytes| Pin::new(&mut *stream).poll_write(cx, bytes)));
        outgoing.flushed(Pin::new(stream).poll_flush(cx))
    }

    /// The same at once; false when the socket takes no more and somebody has to wait for it, or knows no more.
    fn flush(&self) -> bool {
        let stream = &mut *self.stream.borrow_mut();
        let mut outgoing = self.outgoing.borrow_mut();
        let mut flushed = outgoing.write(|bytes| stream.try_write(bytes));
        if flushed.is_ready() {
            flushed = outgoing.flushed(stream.try_flush());
        }
        flushed.is_ready() && outgoing.error.is_none()
    }
}

impl Outgoing {
    fn write(&mut self, mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>) -> Poll<()> {
        self.blocked = true;
        while self.error.is_none() && self.written < self.bytes.len() {
            match ready!(write(&self.bytes[self.written..])) {
                Ok(0) => self.error = Some(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.begun = true;
                    self.written += written;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.error = Some(error),
            }
        }
        self.blocked = false;
        if self.error.is_none() {
            self.written = 0;
            self.bytes.clear();
            self.bytes.shrink_to(SPARE);
        }
        Poll::Ready(())
    }

    /// What the stream itself had kept back, as TLS does, is out too.
    fn flushed(&mut self, flushed: Poll<io::Result<()>>) -> Poll<()> {
        self.blocked = flushed.is_pending();
        if let Err(error) = ready!(flushed) {
            self.error.get_or_insert(error);
        }
        Poll::Ready(())
    }
}

/// Writes what a worker's connections have to say.
#[derive(Default)]
pub(crate) struct Flusher {
    queue: RefCell<Vec<(Rc<Wire>, Rc<Session>)>>,
    waker: RefCell<Option<Waker>>,
}

impl Flusher {
    /// What waits in `wire` is written soon; should that not be possible at once, `session`'s task goes on with it.
    pub(super) fn push(&self, wire: &Rc<Wire>, session: &Rc<Session>) {
        if wire.queued.replace(true) {
            return;
        }
        let mut queue = self.queue.borrow_mut();
        queue.push((wire.clone(), session.clone()));
        if queue.len() == 1
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Writes for ever.
    pub(crate) async fn run(&self) {
        let mut turn = Vec::new();
        poll_fn(|cx| {
            let mut waker = self.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            std::mem::swap(&mut turn, &mut *self.queue.borrow_mut());
            for (wire, session) in turn.drain(..) {
                wire.queued.set(false);
                if !wire.flush() {
                    session.wake();
                }
            }
            Poll::<()>::Pending
        })
        .await;
    }
}
