//! Clients: exact bytes or frames over a socket, and plain HTTP for the normal case.

pub mod frames;
pub mod hpack;
pub mod http;
pub mod raw;

pub use frames::{Frame, FrameClient};
pub use http::{Reply, get, send};
pub use raw::{RawClient, RawResponse};
