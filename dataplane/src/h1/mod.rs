//! HTTP/1.1 towards targets: one connection, driven by the request that has it.
//!
//! hyper's client runs a connection in a task of its own, to which a request and its response travel by channels: a
//! third of what a request cost here. This one has no task. The request's own task encodes into the connection, reads
//! the head of the response, and the client's body polls the rest, so that back-pressure is the socket's and nothing is
//! moved or woken in between. Heads are parsed by httparse, as in hyper; what hyper reads leniently is an error here
//! ([`chunked`], [`policy::headers::clean_response`]).

mod chunked;
mod request;
mod response;
mod wire;

pub(crate) use request::write_field;
pub(crate) use wire::Flusher;

use crate::body::RequestBody;
use crate::connection::session::Session;
use crate::dial::{Origin, Stream};
use crate::pool::lane::LanePermit;
use crate::target::{Failure, Interim, Invalid, RequestHead, ResponseHead};
use bytes::{Bytes, BytesMut};
use chunked::{Chunked, Piece};
use http::Method;
use http_body::{Frame, SizeHint};
use request::Upload;
use response::{MAX_HEAD, Received};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;
use tokio::task::spawn_local;
use wire::Reader;

/// From a read of this size on, the rest of a body is read without a copy, into memory of its own.
const LARGE: usize = 16 * 1024;
/// What such a read takes at most.
const LARGE_READ: usize = 128 * 1024;

/// One connection to a target.
pub(crate) struct Connection {
    wire: Reader,
    origin: Option<Origin>,
    upload: Upload,
    /// Of the current exchange.
    method: Method,
    interim: Interim,
    /// Read, and not yet handed on.
    buffer: Bytes,
    /// Of a head that came in more than one read.
    partial: BytesMut,
    download: Download,
    /// Whether the target lets another exchange follow.
    persists: bool,
    reads_large: bool,
}

/// How what is still to come of a response's body is told from what follows.
#[derive(Debug)]
enum Download {
    Over,
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

/// A socket on which another protocol is spoken from now on.
pub(crate) struct Upgraded {
    pub(crate) stream: Stream,
    /// What the target has already said in it.
    pub(crate) read_ahead: Bytes,
    _permit: LanePermit,
}

impl Connection {
    /// On a new socket.
    pub(crate) fn new(stream: Stream, origin: Option<Origin>, permit: LanePermit) -> Self {
        Self {
            wire: Reader::new(stream, permit),
            origin,
            upload: Upload::Done,
            method: Method::GET,
            interim: Interim::default(),
            buffer: Bytes::new(),
            partial: BytesMut::new(),
            download: Download::Over,
            persists: true,
            reads_large: false,
        }
    }

    // ---- the request

    /// Begins an exchange. The request is written while its response is awaited.
    pub(crate) fn begin(&mut self, head: &RequestHead<'_>, body: RequestBody) {
        self.method = head.method.clone();
        self.interim = Interim::default();
        self.wire.begin(|out| head.write(&body, out));
        self.upload = Upload::new(body, head.headers);
    }

    /// Begins the exchange of a connection that turned out to be dead before anything of the request was written.
    pub(crate) fn take_over(&mut self, dead: &mut Self) {
        self.method = dead.method.clone();
        self.interim = Interim::default();
        self.wire.take_over(&dead.wire);
        self.upload = std::mem::replace(&mut dead.upload, Upload::Done);
    }

    /// Nothing of the request has been written, nor will be.
    pub(crate) fn is_unsent(&self) -> bool {
        self.wire.is_unsent()
    }

    /// Sends what comes of the request's body after the response has begun. Until it is over the connection takes no
    /// other exchange.
    pub(crate) fn send_on(&mut self) {
        if self.upload.is_done() {
            return;
        }
        let mut upload = std::mem::replace(&mut self.upload, Upload::Done);
        let wire = Rc::clone(&self.wire);
        wire.begin_upload();
        spawn_local(async move {
            let sent = poll_fn(|cx| {
                let taken = upload.poll(cx, &wire);
                // also what has come so far
                let flushed = wire.poll_flush(cx);
                match taken {
                    Poll::Ready(Ok(())) if flushed.is_ready() => Poll::Ready(Ok(())),
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => wire.poll_unwanted(cx).map(Ok),
                }
            });
            match sent.await {
                Ok(()) => wire.end_upload(),
                Err(error) => tracing::debug!(%error, "the rest of a request did not reach its target"),
            }
        });
    }

    // ---- the response

    /// The head of the final response, while the request goes out; interim ones are for `hear`.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        session: &Rc<Session>,
        hear: &mut dyn FnMut(ResponseHead),
    ) -> Poll<Result<ResponseHead, Failure>> {
        loop {
            if !self.upload.is_done()
                && let Poll::Ready(Err(error)) = self.upload.poll(cx, &self.wire)
            {
                return Poll::Ready(Err(error.into()));
            }
            if self.wire.is_blocked() {
                // what went wrong is told when the target has nothing to say either
                let _ = self.wire.poll_flush(cx);
            } else if self.wire.pending() > 0 && !self.wire.has_failed() {
                session.worker.flusher.push(&self.wire, session);
            }
            if !self.buffer.is_empty()
                && let Some(head) = self.take_head(hear)?
            {
                return Poll::Ready(Ok(head));
            }
            if ready!(self.poll_fill(cx, session, 0))? == 0 {
                return Poll::Ready(Err(self.closed()));
            }
        }
    }

    /// A final head, if there is one in the buffer.
    fn take_head(&mut self, hear: &mut dyn FnMut(ResponseHead)) -> Result<Option<ResponseHead>, Invalid> {
        while !self.buffer.is_empty() {
            let Some(received) = Received::take(&mut self.buffer)? else {
                let partial = std::mem::take(&mut self.buffer).try_into_mut();
                self.partial = partial.unwrap_or_else(|shared| BytesMut::from(&*shared));
                return Ok(None);
            };
            if !received.is_interim() {
                self.receive(&received);
                return Ok(Some(received.head));
            }
            self.interim.came(received.head, hear)?;
        }
        Ok(None)
    }

    /// What follows a head (RFC 9112 §6.3 and §9.3).
    fn receive(&mut self, received: &Received) {
        if self.buffer.is_empty() {
            // nothing of the head is held on to
            self.buffer = Bytes::new();
        }
        let framing = &received.framing;
        self.download = match framing.length {
            _ if received.is_all(&self.method) => Download::Over,
            _ if framing.chunked => Download::Chunked(Chunked::default()),
            Some(0) => Download::Over,
            Some(length) => Download::Length(length),
            None => Download::UntilClose,
        };
        self.persists = !framing.close
            && (received.persists || framing.keep_alive)
            && !matches!(self.download, Download::UntilClose);
    }

    /// The next piece of the body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            let expected = match &mut self.download {
                Download::Over => return Poll::Ready(None),
                Download::Length(left) => *left,
                Download::Chunked(chunked) => match chunked.next(&mut self.buffer)? {
                    Piece::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Piece::Trailers(trailers) => {
                        self.download = Download::Over;
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                    Piece::End => {
                        self.download = Download::Over;
                        return Poll::Ready(None);
                    }
                    Piece::None => u64::MAX,
                },
                Download::UntilClose => u64::MAX,
            };
            if !self.buffer.is_empty() {
                let data = self.take_data(expected);
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if ready!(self.poll_fill(cx, session, expected))? == 0 {
                if let Download::UntilClose = self.download {
                    self.download = Download::Over;
                    return Poll::Ready(None);
                }
                return Poll::Ready(Some(Err(self.closed())));
            }
        }
    }

    /// As much of the buffer as belongs to the body.
    fn take_data(&mut self, expected: u64) -> Bytes {
        let some = usize::try_from(expected).unwrap_or(usize::MAX).min(self.buffer.len());
        if let Download::Length(left) = &mut self.download {
            *left -= some as u64;
            if *left == 0 {
                self.download = Download::Over;
            }
        }
        self.buffer.split_to(some)
    }

    /// Whether all of the response has come.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.download, Download::Over)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.download {
            Download::Over => SizeHint::with_exact(0),
            Download::Length(left) => SizeHint::with_exact(left),
            Download::Chunked(_) | Download::UntilClose => SizeHint::default(),
        }
    }

    /// Reads into the empty buffer, or behind the part of a head that is there; how much came, 0 at the end.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
        expected: u64,
    ) -> Poll<io::Result<usize>> {
        if expected > LARGE as u64 && self.reads_large {
            return self.poll_fill_large(cx, expected);
        }
        // by way of the worker's memory, so that a connection that waits holds none
        let mut scratch = session.worker.scratch.borrow_mut();
        let mut read = ReadBuf::new(&mut scratch);
        ready!(self.wire.poll_read(cx, &mut read))?;
        let read = read.filled();
        self.reads_large = read.len() >= LARGE;
        if self.partial.is_empty() {
            self.buffer = Bytes::copy_from_slice(read);
        } else {
            self.partial.extend_from_slice(read);
            // no head ends without a line's end: one that comes byte by byte is not parsed for each of them
            if read.contains(&b'\n') || self.partial.len() >= MAX_HEAD {
                self.buffer = std::mem::take(&mut self.partial).freeze();
            }
        }
        Poll::Ready(Ok(read.len()))
    }

    fn poll_fill_large(&mut self, cx: &mut Context<'_>, expected: u64) -> Poll<io::Result<usize>> {
        let room = usize::try_from(expected).unwrap_or(LARGE_READ).min(LARGE_READ);
        let mut memory = BytesMut::with_capacity(room);
        let read = ready!(self.wire.poll_read_buf(cx, &mut memory))?;
        self.reads_large = read >= LARGE;
        self.buffer = memory.freeze();
        Poll::Ready(Ok(read))
    }

    fn closed(&self) -> Failure {
        self.wire.take_error().map_or(Failure::Closed, Failure::Io)
    }

    // ---- between exchanges

    /// Whether another exchange may follow: this one is over in both directions, and nothing else was said.
    pub(crate) fn is_reusable(&self) -> bool {
        self.persists
            && self.has_ended()
            && self.upload.is_done()
            && self.buffer.is_empty()
            && self.wire.pending() == 0
            && !self.wire.is_blocked()
            && !self.wire.has_failed()
            && !self.wire.is_uploading()
            && self.leads_there_still()
    }

    /// Whether the target's name, if it has one, still stands for where this connection leads.
    pub(crate) fn leads_there_still(&self) -> bool {
        self.origin.as_ref().is_none_or(Origin::is_current)
    }

    /// Whether the target has said nothing since the last exchange, neither that it closes nor anything unasked.
    pub(crate) fn is_silent(&self) -> bool {
        self.wire.is_silent()
    }

    /// The socket after a 101; `None` while the request is still being written.
    pub(crate) fn into_upgraded(self) -> Option<Upgraded> {
        let Self { wire, buffer, .. } = self;
        let last = Rc::clone(&wire);
        drop(wire);
        let (stream, permit) = last.into_stream()?;
        Some(Upgraded { stream, read_ahead: buffer, _permit: permit })
    }
}

#[cfg(test)]
mod tests;
