//! One hostile message: what it is, its bytes, and what must become of it.

use std::borrow::Cow;

/// A message and its fate.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: &'static str,
    pub bytes: Cow<'static, [u8]>,
    pub want: Want,
}

/// What must become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Refused with this status and reason, the connection closed, and not a byte at a target.
    Refused(u16, &'static str),
    /// Forwarded as one message that no server can read in two ways, with this target in its request line.
    Sent(&'static str),
    /// The head may have been sent on, the end of the message never; the client is told so, or cut off.
    Cut,
}

pub const MALFORMED: Want = Want::Refused(400, "malformed_request");
pub const FRAMING: Want = Want::Refused(400, "invalid_framing");
pub const CODING: Want = Want::Refused(501, "unsupported_transfer_encoding");
pub const HOST: Want = Want::Refused(400, "invalid_host");
pub const TARGET: Want = Want::Refused(400, "invalid_target");
pub const HEADER: Want = Want::Refused(400, "invalid_header");
pub const METHOD: Want = Want::Refused(501, "method_not_served");
pub const EXPECTATION: Want = Want::Refused(417, "expectation_failed");
pub const TOO_LARGE: Want = Want::Refused(413, "body_too_large");
pub const TOO_LONG: Want = Want::Refused(414, "target_too_long");
pub const HEAD_TOO_LARGE: Want = Want::Refused(431, "head_too_large");
pub const SENT: Want = Want::Sent("/h");

/// A row of a table: the name, the part that is hostile, the fate.
pub type Row = (&'static str, &'static [u8], Want);

impl Case {
    /// Whole messages.
    pub fn raw(rows: &[Row]) -> Vec<Self> {
        Self::between(b"", rows, b"")
    }

    /// What stands between two parts that nothing is wrong with.
    pub fn between(before: &[u8], rows: &[Row], after: &[u8]) -> Vec<Self> {
        let case = |(name, part, want): &Row| Self {
            name,
            bytes: [before, part, after].concat().into(),
            want: *want,
        };
        rows.iter().map(case).collect()
    }

    /// Further lines in the head of `GET /h`.
    pub fn lines(rows: &[Row]) -> Vec<Self> {
        Self::between(b"GET /h HTTP/1.1\r\nHost: a.test\r\n", rows, b"\r\n\r\n")
    }

    /// Bodies of `POST /h` with `Transfer-Encoding: chunked`.
    pub fn chunked(rows: &[Row]) -> Vec<Self> {
        let head = b"POST /h HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        Self::between(head, rows, b"")
    }

    /// Targets of `GET`.
    pub fn targets(rows: &[Row]) -> Vec<Self> {
        Self::between(b"GET ", rows, b" HTTP/1.1\r\nHost: a.test\r\n\r\n")
    }

    /// One message of a size that is better made than written.
    pub fn made(name: &'static str, bytes: impl Into<Vec<u8>>, want: Want) -> Self {
        Self { name, bytes: Cow::Owned(bytes.into()), want }
    }
}
