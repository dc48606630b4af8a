//! Heads of responses in HTTP/1.1, where it is not hyper that writes them: before hyper's own, and instead of them.

use crate::h1::write_field;
use http::{HeaderMap, StatusCode};

/// The status line and the fields, without the empty line behind them.
pub(super) fn write(status: StatusCode, headers: &HeaderMap, out: &mut Vec<u8>) {
    for part in ["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason().unwrap_or_default(), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in headers {
        write_field(name.as_str(), value, out);
    }
}
