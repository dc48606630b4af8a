//! Clients: exact bytes over a socket, and plain HTTP for the normal case.

pub mod http;
pub mod raw;

pub use http::{Reply, get, send};
pub use raw::{RawClient, RawResponse};
