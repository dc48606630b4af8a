//! What `hash_on` names in a request, as a key for `consistent_hash`.

use super::hash_key;
use crate::config::leaf::HashOn;
use http::HeaderMap;
use http::header;
use std::net::IpAddr;

/// The key of a request; `None` when the request lacks what is hashed, and any target is as good as another.
pub fn request_key(on: &HashOn, headers: &HeaderMap, client: IpAddr, path: &str) -> Option<u64> {
    match on {
        HashOn::Header(name) => headers.get(name).map(|value| hash_key(value.as_bytes())),
        HashOn::Cookie(name) => cookie(headers, name).map(hash_key),
        HashOn::ClientIp => Some(match client.to_canonical() {
            IpAddr::V4(ip) => hash_key(&ip.octets()),
            IpAddr::V6(ip) => hash_key(&ip.octets()),
        }),
        HashOn::Path => Some(hash_key(path.as_bytes())),
    }
}

/// The value of the first cookie of that name (RFC 6265 §5.4).
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| pair.trim_ascii_start().strip_prefix(name.as_bytes()))
        .find_map(|rest| rest.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    #[test]
    fn each_source_gives_its_own_value_and_nothing_gives_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from_static("alice"));
        headers.append(header::COOKIE, HeaderValue::from_static("theme=dark; sid2=no; sid=abc"));
        let ip: IpAddr = "10.0.0.1".parse().expect("address");
        let key = |on: &HashOn| request_key(on, &headers, ip, "/p");
        assert_eq!(key(&HashOn::Header(HeaderName::from_static("x-user"))), Some(hash_key(b"alice")));
        assert_eq!(key(&HashOn::Cookie("sid".into())), Some(hash_key(b"abc")));
        assert_eq!(key(&HashOn::Path), Some(hash_key(b"/p")));
        assert_eq!(
            key(&HashOn::ClientIp),
            request_key(&HashOn::ClientIp, &headers, "::ffff:10.0.0.1".parse().expect("address"), "")
        );
        assert_eq!(key(&HashOn::Cookie("none".into())), None);
        assert_eq!(key(&HashOn::Header(HeaderName::from_static("x-none"))), None);
    }
}
