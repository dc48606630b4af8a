//! Why there is no response, or no more of it.

use crate::body::BodyError;
use policy::rejection::Rejection;
use std::io;

/// Why there is no response, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the target closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Of HTTP/2; the target may have acted on the request.
    #[error("the target reset the stream: {0}")]
    Reset(::h2::Reason),
    /// Of HTTP/2; the target has not looked at the request (RFC 9113 §8.7).
    #[error("the target refused the stream")]
    Refused,
    /// Of HTTP/2; the same by closing the connection, so that other streams of it are no better.
    #[error("the target closes the connection, and has not looked at the stream")]
    GoneAway,
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl Failure {
    /// What a request is refused with that got no better answer, unless its own body is at fault.
    pub(crate) fn rejection(&self) -> Rejection {
        match self {
            Self::Invalid(_) => Rejection::InvalidResponse,
            Self::Refused | Self::GoneAway => Rejection::StreamRefused,
            Self::Closed | Self::Io(_) | Self::Reset(_) | Self::Body(_) => Rejection::UpstreamReset,
        }
    }

    /// The target has said nothing, neither has the client: the connection was of no use.
    pub(crate) fn is_of_connection(&self) -> bool {
        match self {
            Self::Closed | Self::Io(_) | Self::GoneAway => true,
            Self::Reset(_) | Self::Refused | Self::Invalid(_) | Self::Body(_) => false,
        }
    }
}

/// What a target sent is no HTTP, or may be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the target sent {0}")]
pub(crate) struct Invalid(pub(crate) &'static str);
