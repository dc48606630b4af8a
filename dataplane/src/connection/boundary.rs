//! Whether the bytes of a head were seen from the first one on.
//!
//! hyper drops `Content-Length` from a head with `Transfer-Encoding`, so a head is also looked at as it came. But hyper
//! reads beyond the end of a message, and then a part of the next head came with it. That cannot be seen directly; it
//! follows from how much was read and where the message had to end. Unless it is certain that nothing came with it, the
//! next head counts as not seen.

use crate::body::ClientBody;
use http_body::Body as _;
use std::cell::Cell;

/// How a request says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    NoBody,
    Length(u64),
    Chunked,
}

impl Extent {
    /// What was made of the head.
    pub(crate) fn of(body: &ClientBody) -> Self {
        match body.size_hint().exact() {
            _ if body.is_end_stream() => Self::NoBody,
            Some(length) => Self::Length(length),
            None => Self::Chunked,
        }
    }
}

/// The end of the current message of a connection, measured in the bytes that hyper was given.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    /// Bytes since the first one of the current head.
    read: Cell<u64>,
    /// The last of them.
    last: Cell<[u8; 4]>,
    end: Cell<End>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// After so many bytes.
    At(u64),
    /// After the blank line behind the last chunk and the trailers.
    AtBlankLine,
    Unknown,
}

impl Default for End {
    fn default() -> Self {
        Self::At(0)
    }
}

impl Boundary {
    /// hyper holds nothing: what comes next is a head.
    pub(super) fn reset(&self) {
        self.read.set(0);
        self.end.set(End::default());
    }

    /// Where the message ends cannot be known any more.
    pub(super) fn lose(&self) {
        self.end.set(End::Unknown);
    }

    /// A head begins with the next bytes: whether hyper has none of it yet.
    pub(super) fn begin_head(&self) -> bool {
        let seen = match self.end.get() {
            End::At(end) => self.read.get() == end,
            End::AtBlankLine => ends_in_blank_line(&self.last.get()),
            End::Unknown => false,
        };
        self.read.set(0);
        seen
    }

    pub(super) fn read(&self, bytes: &[u8]) {
        self.read.set(self.read.get() + bytes.len() as u64);
        let mut last = self.last.get();
        match bytes.last_chunk() {
            Some(four) => last = *four,
            None => {
                last.rotate_left(bytes.len());
                last[4 - bytes.len()..].copy_from_slice(bytes);
            }
        }
        self.last.set(last);
    }

    /// The head is complete within `raw`, which begins with it; without `raw`, it was not seen.
    pub(super) fn end_head(&self, raw: Option<&[u8]>, extent: Extent) {
        self.end.set(match (raw, extent) {
            (None, _) => End::Unknown,
            (Some(raw), Extent::NoBody) if ends_in_blank_line(raw) => End::At(raw.len() as u64),
            (Some(_), Extent::NoBody) => End::Unknown,
            (Some(raw), Extent::Length(body)) => match head_length(raw) {
                Some(head) => End::At(head as u64 + body),
                None => End::Unknown,
            },
            (Some(_), Extent::Chunked) => End::AtBlankLine,
        });
    }
}

fn ends_in_blank_line(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\n\r\n") || bytes.ends_with(b"\n\n")
}

/// Up to the first blank line behind the first line that is none.
fn head_length(raw: &[u8]) -> Option<usize> {
    let blank = raw.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let mut length = blank;
    for line in raw[blank..].split_inclusive(|byte| *byte == b'\n') {
        length += line.len();
        if matches!(line, b"\n" | b"\r\n") {
            return Some(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNKED: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// Whether the next head counts as seen after a message that came in these pieces.
    fn next_is_seen(pieces: &[&[u8]], head_in: usize, extent: Extent) -> bool {
        let boundary = Boundary::default();
        assert!(boundary.begin_head(), "the first of a connection");
        pieces[..head_in].iter().for_each(|piece| boundary.read(piece));
        boundary.end_head(Some(&pieces[..head_in].concat()), extent);
        pieces[head_in..].iter().for_each(|piece| boundary.read(piece));
        boundary.begin_head()
    }

    fn message() -> impl Strategy<Value = (String, Extent)> {
        let body = "[a-z\r\n]{1,30}";
        prop_oneof![
            Just(("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Extent::NoBody)),
            Just(("GET / HTTP/1.1\nHost: a\n\n".to_owned(), Extent::NoBody)),
            body.prop_map(|body| {
                let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
                (head + &body, Extent::Length(body.len() as u64))
            }),
            Just((format!("{CHUNKED}2\r\nab\r\n0\r\n\r\n"), Extent::Chunked)),
            Just((format!("{CHUNKED}0\r\nA: b\r\n\r\n"), Extent::Chunked)),
        ]
    }

    proptest! {
        #[test]
        fn a_head_is_seen_unless_a_part_of_it_came_with_the_message_before(
            (message, extent) in message(),
            more in prop_oneof![Just(""), Just("P"), Just("POST / HTTP/1.1\r\n"), Just("POST / HTTP/1.1\r\nA: b\r\n")],
            piece in 1usize..80,
        ) {
            let bytes = message.clone() + more;
            let head = head_length(message.as_bytes()).expect("a head");
            let pieces: Vec<_> = bytes.as_bytes().chunks(piece).collect();
            let head_in = head.div_ceil(piece);
            prop_assert_eq!(next_is_seen(&pieces, head_in, extent), more.is_empty());
        }
    }

    #[test]
    fn after_a_head_that_was_not_seen_nothing_is_certain() {
        let boundary = Boundary::default();
        boundary.end_head(None, Extent::NoBody);
        assert!(!boundary.begin_head());
    }
}
