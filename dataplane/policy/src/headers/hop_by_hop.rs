//! Fields that are for the next hop only (RFC 9110 §7.6.1).

use http::header::{self, HeaderMap, HeaderName};

/// Fields for the next hop only; `Expect` and `Trailer` too say how a message comes, not what it means.
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    name == "trailer" || FIELDS.iter().any(|field| field == name)
}

/// Those that are dropped.
static FIELDS: [HeaderName; 11] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy"),
    HeaderName::from_static("proxy-connection"),
];

/// Which of [`FIELDS`] a walk over a head has met and wants dropped: to look for all of them in every head that has one
/// would cost more than the walk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct HopByHop(u16);

impl HopByHop {
    /// This field is there; of others than [`FIELDS`] nothing is noted.
    pub(super) fn meet(&mut self, name: &HeaderName) {
        if let Some(at) = FIELDS.iter().position(|field| field == name) {
            self.0 |= 1 << at;
        }
    }

    /// Drops what was met.
    pub(super) fn remove(self, headers: &mut HeaderMap) {
        for (at, field) in FIELDS.iter().enumerate() {
            if self.0 & 1 << at != 0 {
                headers.remove(field);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_was_met_is_dropped_and_nothing_else() {
        for met in &FIELDS {
            let mut headers: HeaderMap =
                FIELDS.iter().map(|field| (field.clone(), HeaderValue::from_static("x"))).collect();
            let mut seen = HopByHop::default();
            seen.meet(met);
            seen.meet(&header::HOST);
            seen.remove(&mut headers);
            let left: Vec<_> = FIELDS.iter().filter(|field| *field != met).collect();
            assert_eq!(FIELDS.iter().filter(|field| headers.contains_key(*field)).collect::<Vec<_>>(), left);
        }
    }
}
