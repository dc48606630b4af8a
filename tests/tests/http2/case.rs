//! One thing a client may do, and what must come of it.

use tests::client::Frame;
use tests::client::frames::{code, flag, kind, request};

/// What a client sends behind the preface, and what it must get.
pub struct Case {
    /// The section of RFC 9113, or of RFC 7541, and what is done.
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub want: Want,
}

/// What must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// The request on stream 1 is answered so.
    Answer(&'static str),
    /// Nothing is wrong.
    Fine,
    /// A PING is answered by its own content.
    Pong,
    /// This stream is refused, and may be tried again.
    RefusedOn(u32),
    /// The stream, or all of the connection, ends with this code.
    StreamError(u32),
    /// The connection ends with this code.
    ConnectionError(u32),
    /// The connection ends, whatever the code.
    Closed,
}

pub const OK: Want = Want::Answer("200");
pub const PROTOCOL: Want = Want::ConnectionError(code::PROTOCOL_ERROR);
pub const MALFORMED: Want = Want::StreamError(code::PROTOCOL_ERROR);
pub const SIZE: Want = Want::ConnectionError(code::FRAME_SIZE_ERROR);

/// A case of frames.
pub fn frames(name: &'static str, frames: &[Frame], want: Want) -> Case {
    Case { name, bytes: frames.iter().flat_map(Frame::bytes).collect(), want }
}

/// A whole request with these fields, on stream 1.
pub fn head(name: &'static str, fields: &[(&str, &str)], want: Want) -> Case {
    frames(name, &[Frame::headers(1, flag::END_STREAM, fields)], want)
}

/// A GET with further fields.
pub fn fields(name: &'static str, more: &[(&str, &str)], want: Want) -> Case {
    head(name, &[&request("GET", "/h")[..], more].concat(), want)
}

/// A request on stream 1 that a body is to follow.
pub fn post(more: &[(&str, &str)]) -> Frame {
    Frame::headers(1, 0, &[&request("POST", "/h")[..], more].concat())
}

/// A header block, cut into a frame of HEADERS and frames of CONTINUATION.
pub fn pieces(stream: u32, flags: u8, block: &[u8], cuts: usize) -> Vec<Frame> {
    let size = block.len().div_ceil(cuts);
    let mut pieces: Vec<_> =
        block.chunks(size).map(|piece| Frame::new(kind::CONTINUATION, 0, stream, piece)).collect();
    pieces[0].kind = kind::HEADERS;
    pieces[0].flags = flags;
    if let Some(last) = pieces.last_mut() {
        last.flags |= flag::END_HEADERS;
    }
    pieces
}
