//! Interim responses of targets on their way to the client (RFC 9110 §15.2), which hyper's server cannot send.

use crate::target::ResponseHead;
use std::cell::RefCell;

/// Those of one exchange that the client has not been told yet, the first one first.
#[derive(Default)]
pub(crate) struct Interims(RefCell<Vec<ResponseHead>>);

impl Interims {
    pub(super) fn add(&self, head: ResponseHead) {
        self.0.borrow_mut().push(head);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(super) fn take(&self) -> Vec<ResponseHead> {
        self.0.take()
    }
}

/// As HTTP/1.1 has them.
pub(super) fn encode(heads: &[ResponseHead]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for ResponseHead { status, headers } in heads {
        let phrase = status.canonical_reason().unwrap_or_default();
        bytes.extend_from_slice(format!("HTTP/1.1 {} {phrase}\r\n", status.as_str()).as_bytes());
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
