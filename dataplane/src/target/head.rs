//! The heads of messages to and from targets, whichever HTTP they are spoken in.

use super::failure::Invalid;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
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

/// What may come behind the body of a request: what `Trailer` announces, of which the rest was taken out.
pub(crate) struct Announced(Vec<HeaderName>);

impl Announced {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::TRAILER).iter().filter_map(|value| value.to_str().ok());
        let names = values.flat_map(|text| text.split(','));
        Self(names.filter_map(|name| name.trim().parse().ok()).collect())
    }

    /// Those of the trailers that may come.
    pub(crate) fn among<'a>(
        &'a self,
        trailers: &'a HeaderMap,
    ) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        trailers.iter().filter(|(name, _)| self.0.contains(name))
    }
}

/// Interim responses before a final one.
#[derive(Debug, Default)]
pub(crate) struct Interim(u8);

impl Interim {
    /// One more, which the client hears unless it is 100: that the client has from us, if it has asked. A target has use
    /// for a few: 103, and 102 now and then.
    ///
    /// # Errors
    /// It is the seventeenth.
    pub(crate) fn came(
        &mut self,
        mut head: ResponseHead,
        hear: &mut dyn FnMut(ResponseHead),
    ) -> Result<(), Invalid> {
        self.0 += 1;
        if self.0 > 16 {
            return Err(Invalid("more than 16 interim responses"));
        }
        if head.status != StatusCode::CONTINUE {
            // there is no content (RFC 9110 §8.6)
            head.headers.remove(header::CONTENT_LENGTH);
            hear(head);
        }
        Ok(())
    }
}

/// The head of a response, without what is for one connection only.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}
