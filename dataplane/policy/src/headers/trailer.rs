//! Trailers: fields that come behind a body, when everything has been decided by the fields before it.
//!
//! hyper passes on those that `Trailer` announces, and some servers merge them into the header. So `Trailer` is what is
//! cleaned: a name that is not announced is dropped with its field.

use super::{is_hop_by_hop, is_ours};
use http::HeaderValue;
use http::header::{self, HeaderMap, HeaderName};

/// Takes the names out of `Trailer` for which `is_forbidden`; it is asked with `-` in the place of `_`, which many
/// servers read alike.
pub(crate) fn forbid(headers: &mut HeaderMap, is_forbidden: impl Fn(&str) -> bool) {
    // what is no name announces nothing, and a lenient reader may yet find one in it: `Host:`
    let kept = |name: &&str| {
        HeaderName::try_from(*name).is_ok() && !is_forbidden(&name.to_ascii_lowercase().replace('_', "-"))
    };
    let announced: Vec<&HeaderValue> = headers.get_all(header::TRAILER).iter().collect();
    if announced.is_empty() {
        return;
    }
    let names = announced.iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    let names = names.map(str::trim).filter(kept).collect::<Vec<_>>().join(", ");
    match HeaderValue::try_from(names) {
        Ok(names) if !names.is_empty() => drop(headers.insert(header::TRAILER, names)),
        _ => drop(headers.remove(header::TRAILER)),
    }
}

/// What no client may say behind a body, whatever the route: how a message is framed and routed, who asks and by which
/// way (RFC 9110 §6.5.1).
pub(super) fn is_never_trailing(name: &str) -> bool {
    is_ours(name)
        || is_hop_by_hop(name)
        || name.starts_with("x-consumer-")
        || name.starts_with("content-") && !matches!(name, "content-digest" | "content-md5")
        || matches!(name, "set-cookie" | "traceparent" | "tracestate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_client_may_say_is_announced() {
        for (announced, kept) in [
            (&["X-Sum"][..], Some("X-Sum")),
            (&["X-Sum, Content-MD5", "Digest"], Some("X-Sum, Content-MD5, Digest")),
            (&["Host, X-Sum, x_forwarded_for"], Some("X-Sum")),
            (&["X-Consumer-Name", "X_Real-IP, Cookie, TE, traceparent"], None),
            (&["Content-Length,Content-Type, Transfer_Encoding"], None),
            (&[", ,", "Host:, Ho st"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in announced {
                headers.append(header::TRAILER, HeaderValue::from_static(value));
            }
            forbid(&mut headers, is_never_trailing);
            let left = headers.get(header::TRAILER).and_then(|value| value.to_str().ok());
            assert_eq!(left, kept, "{announced:?}");
        }
    }
}
