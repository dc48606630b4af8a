//! `ExportTraceServiceRequest` around spans that are encoded already.

use super::wire::Message;
use bytes::Bytes;

/// `ScopeSpans.spans`
pub(super) const SPANS: u32 = 2;

const SCOPE: &str = "mini-gateway";

/// Who sends the spans: the `Resource` of all of them, encoded once.
pub(super) fn resource(attributes: &[(String, String)]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut resource = Message::new(&mut encoded);
    for (key, value) in attributes {
        resource.text_attribute(1, key, value);
    }
    encoded
}

/// The request that carries `spans`, which are fields of `ScopeSpans`.
pub(super) fn request(resource: &[u8], spans: &[u8]) -> Bytes {
    let mut encoded = Vec::with_capacity(resource.len() + spans.len() + 128);
    Message::new(&mut encoded).nested(1, |resource_spans| {
        resource_spans.bytes(1, resource);
        resource_spans.nested(2, |scope_spans| {
            scope_spans.nested(1, |scope| {
                scope.bytes(1, SCOPE.as_bytes());
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            scope_spans.encoded(spans);
        });
    });
    encoded.into()
}
