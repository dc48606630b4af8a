//! A target's socket as hyper sees it: a target that sends interim responses without end is cut off.
//!
//! hyper reads over every 1xx and tells of none, so a target could keep it busy, and its client waiting, for ever. Its
//! hook for them costs three allocations for each request and cannot end the exchange. So what comes before a final
//! response is looked at here: 12 bytes of the usual one.

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;

/// Interim responses before one final response. A target has use for a few: 100, 103, and 102 now and then.
const MAX_INTERIM: u8 = 16;

/// The most that is read while a final response is awaited: as much as hyper's first read.
const LOOKED_AT: usize = 8 * 1024;

/// What hyper is told in place of another one.
#[derive(Debug, thiserror::Error)]
#[error("more than {MAX_INTERIM} interim responses")]
struct TooManyInterim;

/// Whether an exchange failed because the target sent too many interim responses.
pub(crate) fn is_flood(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.and_then(io::Error::get_ref).is_some_and(|cause| cause.is::<TooManyInterim>())
}

/// The target's socket.
pub(crate) struct TargetIo {
    stream: TokioIo<TcpStream>,
    awaits_response: AwaitsResponse,
    interim: Interim,
}

/// Set when a request is sent, until the status of its final response has come. hyper wants its socket to be `Send`, so
/// this is an atomic, though both sides of it are on one thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct AwaitsResponse(Arc<AtomicBool>);

impl AwaitsResponse {
    pub(crate) fn set(&self, awaits: bool) {
        self.0.store(awaits, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl TargetIo {
    pub(crate) fn new(stream: TcpStream, awaits_response: AwaitsResponse) -> Self {
        Self { stream: TokioIo::new(stream), awaits_response, interim: Interim::default() }
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream.into_inner()
    }
}

impl Read for TargetIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.awaits_response.get() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        // by way of the stack, because hyper's buffer cannot be looked into
        let mut room = [MaybeUninit::uninit(); LOOKED_AT];
        let room = &mut room[..LOOKED_AT.min(buf.remaining())];
        let mut arrived = ReadBuf::uninit(room);
        ready!(Pin::new(this.stream.inner_mut()).poll_read(cx, &mut arrived))?;
        if this.interim.is_over_with(arrived.filled())? {
            this.interim = Interim::default();
            this.awaits_response.set(false);
        }
        buf.put_slice(arrived.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for TargetIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The interim responses so far, and where in the next head the bytes end. It only counts: what is no HTTP is hyper's to
/// refuse.
#[derive(Debug, Default)]
struct Interim {
    count: u8,
    at: At,
}

#[derive(Debug)]
enum At {
    /// In a status line, after so many bytes; the digits of its status so far.
    Status { seen: usize, status: u16 },
    /// In the rest of an interim head; whether the line is empty so far.
    Fields { line_is_empty: bool },
}

impl Default for At {
    fn default() -> Self {
        Self::Status { seen: 0, status: 0 }
    }
}

/// `HTTP/1.1 `
const BEFORE_STATUS: usize = 9;
const WITH_STATUS: usize = BEFORE_STATUS + 3;

impl Interim {
    /// Whether the final response has begun within these bytes, which follow on those before; an error when there were
    /// too many others.
    fn is_over_with(&mut self, bytes: &[u8]) -> io::Result<bool> {
        // the usual one, at one glance
        if let ([b'H', b'T', b'T', b'P', b'/', ..], Some(b'2'..=b'5'), At::Status { seen: 0, .. }) =
            (bytes, bytes.get(BEFORE_STATUS).filter(|_| bytes.len() >= WITH_STATUS), &self.at)
        {
            return Ok(true);
        }
        for byte in bytes {
            match &mut self.at {
                // hyper reads over empty lines before a head
                At::Status { seen: 0, .. } if matches!(byte, b'\r' | b'\n') => {}
                At::Status { seen, status } => {
                    if *seen >= BEFORE_STATUS {
                        *status = *status * 10 + u16::from(byte.wrapping_sub(b'0'));
                    }
                    *seen += 1;
                    if *seen == WITH_STATUS {
                        if !is_interim(*status) {
                            return Ok(true);
                        }
                        self.another()?;
                    }
                }
                At::Fields { line_is_empty: true } if *byte == b'\n' => self.at = At::default(),
                At::Fields { line_is_empty } => match byte {
                    b'\n' => *line_is_empty = true,
                    b'\r' => {}
                    _ => *line_is_empty = false,
                },
            }
        }
        Ok(false)
    }

    fn another(&mut self) -> io::Result<()> {
        self.count += 1;
        self.at = At::Fields { line_is_empty: false };
        if self.count > MAX_INTERIM { Err(io::Error::other(TooManyInterim)) } else { Ok(()) }
    }
}

/// 101 is final: the protocol changes with it.
fn is_interim(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";

    /// What is known after all of these reads.
    fn after<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> Option<bool> {
        let mut interim = Interim::default();
        let mut over = false;
        for read in reads {
            assert!(!over, "nothing is looked at behind the final status");
            over = interim.is_over_with(read).ok()?;
        }
        Some(over)
    }

    proptest! {
        #[test]
        fn heads_are_counted_however_they_are_cut(
            count in 0usize..20,
            piece in 1usize..60,
            head in prop_oneof![
                Just(HINTS),
                Just("HTTP/1.0 100 \r\n\r\n"),
                Just("\r\n\nHTTP/1.1 199 x\nA: b\r\n\n"),
            ],
        ) {
            let flood = head.repeat(count);
            let expected = (count <= MAX_INTERIM.into()).then_some(false);
            prop_assert_eq!(after(flood.as_bytes().chunks(piece)), expected);

            let answered = format!("{flood}HTTP/1.1 200");
            let last = answered.len() - 1;
            let reads = answered.as_bytes()[..last].chunks(piece).chain([&answered.as_bytes()[last..]]);
            prop_assert_eq!(after(reads), expected.map(|_| true));
        }
    }

    #[test]
    fn what_ends_an_exchange_is_no_interim_response() {
        for status in ["101 Switching Protocols", "200 OK", "404 Not Found", "600 x", "xyz", "///"] {
            assert_eq!(after([format!("HTTP/1.1 {status}\r\n").as_bytes()]), Some(true), "{status}");
        }
        assert_eq!(after([b"HTTP/1.1 1".as_slice(), b"00"]), Some(false));
    }
}
