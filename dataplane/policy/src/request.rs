//! What a request asks for, before any filter has a say: one path, one host, and what is wrong with either.

use crate::headers::{Host, parse_host};
use crate::path;
use crate::rejection::Rejection;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Uri, Version};
use std::borrow::Cow;

/// The one normalised path that routing, filters, logs and the target see; borrowed only when it is the path of `uri`
/// itself, so that who finds a borrowed one may go on with `uri`.
///
/// # Errors
/// The refusal of a target that is too long, of a wrong form or ambiguous, and of a method that is never served.
pub fn normalised_path<'a>(
    method: &Method,
    uri: &'a Uri,
    max_target_bytes: usize,
) -> Result<Cow<'a, str>, Rejection> {
    if matches!(*method, Method::CONNECT | Method::TRACE) {
        return Err(Rejection::MethodNotServed);
    }
    let length = uri.path_and_query().map_or(0, |target| target.as_str().len());
    if length > max_target_bytes {
        return Err(Rejection::TargetTooLong);
    }
    let absolute = uri.scheme().is_some();
    if absolute != uri.authority().is_some() || (absolute && uri.scheme_str() != Some("http")) {
        return Err(Rejection::InvalidTarget);
    }
    match path::normalize(uri.path()) {
        // `/public/..` begins with its normal form, and yet is another path
        Ok(Cow::Borrowed(normal)) if normal.len() < uri.path().len() => Ok(Cow::Owned(normal.to_owned())),
        Ok(normal) => Ok(normal),
        Err(_) => Err(Rejection::InvalidTarget),
    }
}

/// Refuses a body that says itself that it is too large, before any of it is read; 0 is no limit.
///
/// # Errors
/// [`Rejection::BodyTooLarge`].
pub fn check_length(headers: &HeaderMap, limit: u64) -> Result<(), Rejection> {
    if limit == 0 {
        return Ok(());
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.and_then(|digits| digits.parse::<u64>().ok()) {
        Some(length) if length > limit => Err(Rejection::BodyTooLarge),
        _ => Ok(()),
    }
}

/// The host by which the route is found: an absolute-form target must agree with `Host` (RFC 9112 §3.2.2), and only
/// HTTP/1.0 may leave `Host` out beside one (§3.2).
///
/// # Errors
/// [`Rejection::InvalidHost`] when there is none, or two that differ, or one that is none.
pub fn host_of(parts: &Parts) -> Result<Host<'_>, Rejection> {
    let header = parts.headers.get(header::HOST).map(|value| parse_host(value.as_bytes())).transpose()?;
    match (parts.uri.authority(), header) {
        (None, Some(host)) => Ok(host),
        (None, None) => Err(Rejection::InvalidHost),
        (Some(_), None) if parts.version == Version::HTTP_11 => Err(Rejection::InvalidHost),
        (Some(authority), header) => {
            let host = parse_host(authority.as_str().as_bytes())?;
            if header.is_some_and(|header| header != host) { Err(Rejection::InvalidHost) } else { Ok(host) }
        }
    }
}

/// The `Host` as the client wrote it, for `X-Forwarded-Host` and `preserve_host`.
///
/// # Errors
/// [`Rejection::InvalidHost`] for a host that is no header value; no parsed one is.
pub fn host_header(parts: &Parts, host: &Host<'_>) -> Result<HeaderValue, Rejection> {
    if let Some(value) = parts.headers.get(header::HOST) {
        return Ok(value.clone());
    }
    let text = match host.port {
        Some(port) => format!("{}:{port}", host.name),
        None => host.name.to_string(),
    };
    HeaderValue::try_from(text).map_err(|_| Rejection::InvalidHost)
}

/// Whether our own element stands in `Via`: the request went out from here before.
pub fn passed_before(headers: &HeaderMap, own: &HeaderValue) -> bool {
    let own = own.as_bytes();
    headers
        .get_all(header::VIA)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|element| element.trim_ascii() == own)
}
