//! A request as it goes to a target: its head, written straight from what is known, and its body as it arrives.

use super::wire::Wire;
use crate::body::{BodyError, RequestBody};
use crate::target::{Announced, RequestHead};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as _, Frame};
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Of a body, as much is taken from the client before the target has taken what came before.
const AHEAD: usize = 64 * 1024;

impl RequestHead<'_> {
    /// Writes the head of a request with this body, in HTTP/1.1.
    pub(super) fn write(&self, body: &RequestBody, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        out.extend_from_slice(self.host.as_bytes());
        out.extend_from_slice(b"\r\n");
        let mut sized = false;
        for (name, value) in self.headers {
            if *name == header::HOST || *name == header::TRANSFER_ENCODING {
                continue;
            }
            if *name == header::CONTENT_LENGTH {
                sized = true;
                continue;
            }
            write_field(name.as_str(), value, out);
        }
        out.extend_from_slice(self.lines);
        for (name, value) in self.fields.into_iter().flatten() {
            write_field(name, value, out);
        }
        if self.upgrade {
            out.extend_from_slice(b"connection: upgrade\r\n");
        }
        match body.size_hint().exact() {
            Some(0) if body.is_end_stream() && !sized => {}
            Some(length) => {
                // writing to memory
                let _ = write!(Text(out), "content-length: {length}\r\n");
            }
            None => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// One line of a head.
pub(crate) fn write_field(name: &str, value: &HeaderValue, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

struct Text<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// What is still to come of a request's body.
pub(super) enum Upload {
    Done,
    Going {
        body: RequestBody,
        chunked: bool,
        /// Behind a chunked body.
        announced: Announced,
    },
}

impl Upload {
    pub(super) fn new(body: RequestBody, headers: &HeaderMap) -> Self {
        if body.is_end_stream() {
            return Self::Done;
        }
        let chunked = body.size_hint().exact().is_none();
        let announced = Announced::of(headers);
        Self::Going { body, chunked, announced }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Takes what comes from the client to the wire; ready when that was all.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, wire: &Wire) -> Poll<Result<(), BodyError>> {
        while let Self::Going { body, chunked, announced } = self {
            if wire.pending() >= AHEAD {
                ready!(wire.poll_flush(cx));
            }
            if wire.has_failed() {
                // what the target has said before it closed is all that is left to hear
                return Poll::Pending;
            }
            let frame = ready!(Pin::new(&mut *body).poll_frame(cx)).transpose()?;
            let chunked = *chunked;
            let more = match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    wire.append(|out| write_data(&data, chunked, out));
                    chunked || !body.is_end_stream()
                }
                Some(Err(frame)) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    wire.append(|out| write_end(announced.among(&trailers), chunked, out));
                    false
                }
                None => {
                    wire.append(|out| write_end([], chunked, out));
                    false
                }
            };
            if !more {
                *self = Self::Done;
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn write_data(data: &[u8], chunked: bool, out: &mut Vec<u8>) {
    // an empty chunk would be the last
    if chunked && !data.is_empty() {
        // writing to memory
        let _ = write!(Text(out), "{:x}\r\n", data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(data);
    }
}

/// Only a chunked body has an end to write, and room for trailers.
fn write_end<'a>(
    trailers: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    chunked: bool,
    out: &mut Vec<u8>,
) {
    if !chunked {
        return;
    }
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        write_field(name.as_str(), value, out);
    }
    out.extend_from_slice(b"\r\n");
}
