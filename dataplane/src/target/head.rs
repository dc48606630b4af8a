//! The heads of messages to and from targets, whichever HTTP they are spoken in.

use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode};

/// What the head of a request is written from.
pub(crate) struct RequestHead<'a> {
    pub(crate) method: &'a Method,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) host: &'a HeaderValue,
    /// The client's, without what is for one connection only. What they say of host and framing is left out.
    pub(crate) headers: &'a HeaderMap,
    /// Whole lines of the gateway's own.
    pub(crate) lines: &'a [u8],
    /// Fields of the gateway's own.
    pub(crate) fields: [Option<(&'a str, &'a HeaderValue)>; 2],
    /// It asks for the protocol that `Upgrade` names.
    pub(crate) upgrade: bool,
}

/// The head of a response, without what is for one connection only.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}
