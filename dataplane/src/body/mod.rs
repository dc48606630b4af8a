//! The bodies of both directions: streamed frame by frame, deadlines and limits checked on the way. Nothing is kept, but
//! of a request that may be sent again.

mod compressed;
mod inbound;
mod replay;
mod request;
mod response;
mod web;

pub(crate) use inbound::{ClientBody, Continuation, StreamBody};
pub(crate) use replay::Replay;
pub(crate) use request::{Handling, RequestBody};
pub(crate) use response::{Body, Content};

use crate::connection::session::BodyFault;

/// Why a request body ended early; the cause that a client may learn is kept in the session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the request body was refused: {0:?}")]
    Refused(BodyFault),
    #[error("another attempt has taken over")]
    Superseded,
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    #[error(transparent)]
    Http2(#[from] h2::Error),
}

#[cfg(test)]
mod tests;
