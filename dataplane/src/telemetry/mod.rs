//! What is told of the traffic: every exchange, once it is over, to whoever counts, logs, traces or remembers it.

#[expect(dead_code, reason = "the proxy fills it once it has consumers")]
mod exchanged;

#[expect(unused_imports, reason = "the proxy fills it once it has consumers")]
pub(crate) use exchanged::{Exchanged, Try, TryEnd};
