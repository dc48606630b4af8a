//! The head of a target's response.

use crate::target::{Invalid, ResponseHead};
use bytes::{Buf as _, Bytes};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use policy::headers::{Framing, clean_response};
use std::mem::MaybeUninit;

/// The head of a response; larger ones are refused with 502.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// The fields of a head; more are refused with 502.
const MAX_FIELDS: usize = 100;

/// The head of a response, and what it says of the message and the connection.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) head: ResponseHead,
    pub(super) framing: Framing,
    /// HTTP/1.1, and not 1.0.
    pub(super) persists: bool,
}

impl Received {
    /// Takes a head from the front of `buffer`; `None` when it is not all there.
    pub(super) fn take(buffer: &mut Bytes) -> Result<Option<Self>, Invalid> {
        let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let complete = config
            .parse_response_with_uninit_headers(&mut parsed, buffer, &mut fields)
            .map_err(|_| Invalid("a head that is none"))?;
        let httparse::Status::Complete(length) = complete else {
            return if buffer.len() < MAX_HEAD { Ok(None) } else { Err(TOO_LARGE) };
        };
        if length > MAX_HEAD {
            return Err(TOO_LARGE);
        }
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Invalid("a status that is none"))?;
        let mut headers = HeaderMap::with_capacity(parsed.headers.len() + ADDED_FIELDS);
        for field in &*parsed.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_maybe_shared(buffer.slice_ref(field.value));
            match (name, value) {
                (Ok(name), Ok(value)) => drop(headers.append(name, value)),
                _ => return Err(Invalid("a field that is none")),
            }
        }
        let persists = parsed.version == Some(1);
        let switching = status == StatusCode::SWITCHING_PROTOCOLS;
        let framing = clean_response(&mut headers, switching).map_err(|_| Invalid("ambiguous framing"))?;
        if framing.chunked && !persists {
            return Err(Invalid("Transfer-Encoding in HTTP/1.0"));
        }
        buffer.advance(length);
        Ok(Some(Self { head: ResponseHead { status, headers }, framing, persists }))
    }

    /// Whether another head follows for the same request.
    pub(super) fn is_interim(&self) -> bool {
        let status = self.head.status;
        status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// Whether no body follows whatever the head says (RFC 9112 §6.3).
    pub(super) fn is_all(&self, method: &Method) -> bool {
        *method == Method::HEAD
            || matches!(
                self.head.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS
            )
    }
}

const TOO_LARGE: Invalid = Invalid("a head that is too large");

/// Room for the fields that the gateway adds, so that the map does not grow.
const ADDED_FIELDS: usize = 4;
