//! The head of an HTTP/2 request in the form that one of HTTP/1.1 has (RFC 9113 §8.3.1), so that whatever looks at a
//! request looks at one form of it.
//!
//! The h2 crate refuses what is malformed by the framing alone: pseudo-header fields that are missing, repeated or
//! unknown, names in upper case, fields that are for one connection only, `TE` other than `trailers`.

use crate::headers::parse_host;
use crate::rejection::Rejection;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};

/// What a field counts beside its name and its value (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// What a head may be.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes of a header list, as `SETTINGS_MAX_HEADER_LIST_SIZE` counts them.
    pub bytes: usize,
    /// Fields, without those whose names begin with a colon.
    pub fields: usize,
}

/// Another protocol that is to be spoken on the stream: the extended CONNECT of RFC 8441.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap<'a> {
    /// `:protocol`.
    pub protocol: &'a [u8],
    /// What a target of HTTP/1.1 is to answer in its handshake; 16 random bytes in base64.
    pub websocket_key: &'a HeaderValue,
}

/// Brings the head into the form of HTTP/1.1: the target in origin-form, one `Host`, one `Cookie`, and the extended
/// CONNECT of a WebSocket as the handshake of RFC 6455. The version stays what it is.
///
/// # Errors
/// The refusal that the head has earned; what is left of it then is good for the log alone.
pub fn settle(
    parts: &mut Parts,
    bootstrap: Option<Bootstrap<'_>>,
    limits: HeadLimits,
) -> Result<(), Rejection> {
    let size = list_size(parts);
    let scheme = parts.uri.scheme_str().map(|scheme| matches!(scheme, "http" | "https"));
    let authority = if parts.method == Method::CONNECT && bootstrap.is_none() {
        // its authority is its target
        Ok(())
    } else {
        settle_authority(parts)
    };
    if size > limits.bytes || parts.headers.len() > limits.fields {
        return Err(Rejection::HeadTooLarge);
    }
    authority?;
    if scheme == Some(false) {
        return Err(Rejection::InvalidTarget);
    }
    if parts.headers.values().any(is_padded) {
        return Err(Rejection::InvalidHeader);
    }
    join_cookies(&mut parts.headers);
    match bootstrap {
        Some(bootstrap) => open_websocket(parts, bootstrap),
        None => Ok(()),
    }
}

/// The size of the header list that the head came as.
fn list_size(parts: &Parts) -> usize {
    let uri = &parts.uri;
    let pseudo = [
        Some((":method", parts.method.as_str())),
        uri.scheme_str().map(|scheme| (":scheme", scheme)),
        uri.authority().map(|authority| (":authority", authority.as_str())),
        uri.path_and_query().map(|path| (":path", path.as_str())),
    ];
    let pseudo: usize =
        pseudo.into_iter().flatten().map(|(name, value)| name.len() + value.len() + FIELD_OVERHEAD).sum();
    let fields: usize =
        parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD).sum();
    pseudo + fields
}

/// `:authority` becomes `Host`; where both are there they must agree.
fn settle_authority(parts: &mut Parts) -> Result<(), Rejection> {
    let uri = std::mem::take(&mut parts.uri).into_parts();
    parts.uri = Uri::from(uri.path_and_query.unwrap_or(PathAndQuery::from_static("/")));
    let Some(authority) = uri.authority else { return Ok(()) };
    let authority = authority.as_str();
    match parts.headers.get(header::HOST) {
        Some(host) => {
            if parse_host(host.as_bytes())? != parse_host(authority.as_bytes())? {
                return Err(Rejection::InvalidHost);
            }
        }
        None => {
            let host = HeaderValue::from_str(authority).map_err(|_| Rejection::InvalidHost)?;
            parts.headers.insert(header::HOST, host);
        }
    }
    Ok(())
}

/// A value must not begin or end with white space (RFC 9113 §8.2.1): in HTTP/1.1 nobody would see it.
fn is_padded(value: &HeaderValue) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = value.as_bytes();
    blank(bytes.first()) || blank(bytes.last())
}

/// Clients of HTTP/2 may send each cookie in a field of its own, HTTP/1.1 knows one field (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let joined = [first, second].into_iter().chain(crumbs).map(HeaderValue::as_bytes);
    let joined = joined.collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

/// RFC 8441 §5: the handshake without its key, which only HTTP/1.1 has a use for.
fn open_websocket(parts: &mut Parts, bootstrap: Bootstrap<'_>) -> Result<(), Rejection> {
    if bootstrap.protocol != b"websocket" {
        return Err(Rejection::MethodNotServed);
    }
    let headers = &mut parts.headers;
    if headers.contains_key(header::CONTENT_LENGTH) {
        return Err(Rejection::InvalidHeader);
    }
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_KEY, bootstrap.websocket_key.clone());
    parts.method = Method::GET;
    Ok(())
}

/// A target's 101 to such a handshake, as a stream tells of it (RFC 8441 §5).
pub fn accept_websocket(status: &mut StatusCode, headers: &mut HeaderMap) {
    *status = StatusCode::OK;
    for name in [header::UPGRADE, header::CONNECTION, header::SEC_WEBSOCKET_ACCEPT] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Version};

    const ROOMY: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: 100 };
    static KEY: HeaderValue = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");

    fn head(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> Parts {
        let mut builder = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a head").into_parts().0
    }

    fn settled(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> Result<Parts, Rejection> {
        let mut parts = head(method, uri, fields);
        settle(&mut parts, None, ROOMY).map(|()| parts)
    }

    #[test]
    fn the_authority_is_the_host_and_the_target_has_its_origin_form() {
        for (uri, fields, host) in [
            ("http://a.example:8080/x?y=1", &[][..], "a.example:8080"),
            ("https://a.example/x?y=1", &[], "a.example"),
            ("http://a.example/x?y=1", &[("host", "A.example")], "A.example"),
            ("/x?y=1", &[("host", "b.example")], "b.example"),
        ] {
            let parts = settled("GET", uri, fields).expect("a good head");
            assert_eq!(
                (parts.uri.to_string().as_str(), &parts.headers["host"]),
                ("/x?y=1", &host.parse().unwrap())
            );
            assert_eq!((parts.headers.len(), parts.version), (1, Version::HTTP_2));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (uri, field, refusal) in [
            ("http://a.example/", ("host", "b.example"), Rejection::InvalidHost),
            ("http://a.example/", ("host", "a.example:81"), Rejection::InvalidHost),
            ("http://u@a.example/", ("host", "a.example"), Rejection::InvalidHost),
            ("ftp://a.example/", ("accept", "*/*"), Rejection::InvalidTarget),
            ("http://a.example/", ("x-a", " b"), Rejection::InvalidHeader),
            ("http://a.example/", ("x-a", "b\t"), Rejection::InvalidHeader),
        ] {
            assert_eq!(settled("GET", uri, &[field]).map(drop), Err(refusal), "{uri} {field:?}");
        }
    }

    #[test]
    fn a_head_is_measured_as_the_settings_do_it() {
        // 42 + 43 + 51 + 38 + 42: method, scheme, authority, path, one field
        let parts = || head("GET", "http://a.example/", &[("x-abc", "12345")]);
        let settle = |bytes, fields| settle(&mut parts(), None, HeadLimits { bytes, fields });
        assert_eq!(settle(216, 100), Ok(()));
        assert_eq!(settle(215, 100), Err(Rejection::HeadTooLarge));
        let two = || head("GET", "http://a.example/", &[("x-abc", "1"), ("x-abc", "2")]);
        let limits = HeadLimits { bytes: 1000, fields: 2 };
        assert_eq!(
            super::settle(&mut two(), None, limits),
            Err(Rejection::HeadTooLarge),
            "with `Host` they are three"
        );
    }

    #[test]
    fn crumbs_of_cookies_are_joined_in_their_order() {
        let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3"), ("cookie", "d=4")];
        let parts = settled("GET", "http://a.example/", &crumbs).expect("a good head");
        let cookies: Vec<_> = parts.headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=4"]);
    }

    #[test]
    fn an_extended_connect_becomes_the_handshake_of_a_websocket() {
        let bootstrap = |protocol| Some(Bootstrap { protocol, websocket_key: &KEY });
        let version = ("sec-websocket-version", "13");
        let mut parts = head("CONNECT", "http://a.example/chat", &[version]);
        settle(&mut parts, bootstrap(b"websocket"), ROOMY).expect("a good head");
        let field = |name| parts.headers[name].to_str().unwrap();
        assert_eq!((&parts.method, parts.uri.path(), field("host")), (&Method::GET, "/chat", "a.example"));
        assert_eq!((field("upgrade"), field("connection")), ("websocket", "upgrade"));
        assert_eq!(field("sec-websocket-key"), KEY);

        let mut other = head("CONNECT", "http://a.example/chat", &[version]);
        assert_eq!(settle(&mut other, bootstrap(b"connect-udp"), ROOMY), Err(Rejection::MethodNotServed));
        let mut sized = head("CONNECT", "http://a.example/chat", &[version, ("content-length", "5")]);
        assert_eq!(settle(&mut sized, bootstrap(b"websocket"), ROOMY), Err(Rejection::InvalidHeader));
    }

    #[test]
    fn a_connect_to_anywhere_keeps_its_target() {
        let parts = settled("CONNECT", "a.example:443", &[]).expect("refused elsewhere");
        assert_eq!((parts.method, parts.uri.to_string().as_str()), (Method::CONNECT, "a.example:443"));
    }
}
