//! One direction of a tunnel.

use super::frames::Frames;
use bytes::{Buf as _, Bytes};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What one read takes at most: whatever the other side does not take at once has to be kept.
const MOST: usize = 16 * 1024;

/// From one side to the other. A tunnel in which nothing waits holds no memory.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Read, and not yet written.
    waiting: Bytes,
    pub(super) frames: Frames,
    /// How much was written.
    pub(super) carried: u64,
    /// The side that is read has ended.
    ended: bool,
    /// So has the other, by our word.
    closed: bool,
}

impl Flow {
    /// `waiting`: read before the tunnel was there.
    pub(super) fn new(waiting: Bytes) -> Self {
        let mut frames = Frames::default();
        frames.pass(&waiting);
        Self { waiting, frames, ..Self::default() }
    }

    /// Whether nothing will come any more.
    pub(super) fn is_over(&self) -> bool {
        self.closed
    }

    /// Moves what there is, and the end; ready when that was all.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        while !self.closed {
            ready!(self.poll_drain(cx, to))?;
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.closed = true;
            } else if self.poll_read(cx, from, to, scratch, MOST)?.is_pending() {
                // what a layer of encryption still holds
                ready!(Pin::new(to).poll_flush(cx))?;
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The same up to the next place between two frames; ready when the flow is there, or has ended.
    pub(super) fn poll_to_boundary(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_drain(cx, to))?;
            let more = self.frames.until_boundary();
            if more == 0 || self.ended {
                return Pin::new(to).poll_flush(cx);
            }
            ready!(self.poll_read(cx, from, to, scratch, more.min(MOST)))?;
        }
    }

    /// Reads once, and writes as much of it as goes at once.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        scratch: &mut [u8],
        most: usize,
    ) -> Poll<io::Result<()>> {
        let mut read = ReadBuf::new(&mut scratch[..most]);
        ready!(Pin::new(from).poll_read(cx, &mut read))?;
        let mut rest = read.filled();
        self.ended = rest.is_empty();
        self.frames.pass(rest);
        while !rest.is_empty() {
            match self.poll_write(cx, to, rest)? {
                Poll::Ready(written) => rest = &rest[written..],
                Poll::Pending => {
                    self.waiting = Bytes::copy_from_slice(rest);
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Some of it, and counts it.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(to).poll_write(cx, bytes))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.carried += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        // taken out: an empty view of a part of the read-ahead would hold all of it
        let mut waiting = std::mem::take(&mut self.waiting);
        while !waiting.is_empty() {
            match self.poll_write(cx, to, &waiting)? {
                Poll::Ready(written) => waiting.advance(written),
                Poll::Pending => {
                    self.waiting = waiting;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}
