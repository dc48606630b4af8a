//! gRPC-Web to gRPC and back, as far as a proxy has to do it: heads, and bodies piece by piece.
//!
//! A page cannot read trailers, so gRPC-Web has them as the last message of the body, marked by the highest bit of its
//! first byte. The text form has the whole body in base64; each piece of it may end with padding.

use super::{Call, GRPC_MESSAGE, GRPC_STATUS};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// The first byte of a message that is trailers.
const TRAILERS: u8 = 0x80;
const PLAIN: &str = "application/grpc";

/// The fields by which a page learns how a call ended whose response has no body: it must be let read them.
pub const EXPOSED: [HeaderName; 3] =
    [GRPC_STATUS, GRPC_MESSAGE, HeaderName::from_static("grpc-status-details-bin")];

/// Makes the head of a gRPC request from that of a call of this kind.
pub fn translate_request(call: Call, headers: &mut HeaderMap) {
    let Some(kind) = translated(headers, prefix(call), PLAIN) else { return };
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if call == Call::WebText {
        headers.remove(header::CONTENT_LENGTH);
    }
}

/// Makes the head of a response to a call of this kind from that of a gRPC response. False: it is none, and its body is
/// to be left alone.
pub fn translate_response(call: Call, headers: &mut HeaderMap) -> bool {
    let Some(kind) = translated(headers, PLAIN, prefix(call)) else { return false };
    headers.insert(header::CONTENT_TYPE, kind);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRAILER);
    true
}

const fn prefix(call: Call) -> &'static str {
    match call {
        Call::Grpc => PLAIN,
        Call::Web => "application/grpc-web",
        Call::WebText => "application/grpc-web-text",
    }
}

/// The content type with another begin: `application/grpc-web+proto` as `application/grpc+proto`.
fn translated(headers: &HeaderMap, from: &str, to: &str) -> Option<HeaderValue> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (start, rest) = kind.split_at_checked(from.len())?;
    let is_whole = rest.is_empty() || rest.starts_with(['+', ';', ' ']);
    if !start.eq_ignore_ascii_case(from) || !is_whole {
        return None;
    }
    HeaderValue::try_from(format!("{to}{rest}")).ok()
}

/// What is not base64, or breaks off in the middle of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not base64")]
pub struct NotBase64;

/// Reads the text form, piece by piece.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The begin of a group of four.
    rest: Vec<u8>,
}

impl Decoder {
    /// What the next piece says.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn decode(&mut self, piece: &[u8]) -> Result<Bytes, NotBase64> {
        self.rest.extend_from_slice(piece);
        let whole = self.rest.len() / 4 * 4;
        let mut decoded = Vec::with_capacity(whole / 4 * 3);
        // a group with padding ends what was encoded at once
        for groups in self.rest[..whole].chunks(4).collect::<Vec<_>>().chunk_by(|before, _| before[3] != b'=')
        {
            BASE64.decode_vec(groups.concat(), &mut decoded).map_err(|_| NotBase64)?;
        }
        self.rest.drain(..whole);
        Ok(decoded.into())
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// When something is missing.
    pub fn finish(&self) -> Result<(), NotBase64> {
        if self.rest.is_empty() { Ok(()) } else { Err(NotBase64) }
    }
}

/// A piece of the body of a response to a call of this kind.
pub fn encode(call: Call, piece: Bytes) -> Bytes {
    match call {
        Call::WebText => BASE64.encode(piece).into(),
        Call::Web | Call::Grpc => piece,
    }
}

/// Trailers as the last message of a body.
pub fn encode_trailers(call: Call, trailers: &HeaderMap) -> Bytes {
    let mut text = Vec::new();
    for (name, value) in trailers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    let mut message = BytesMut::with_capacity(5 + text.len());
    message.put_u8(TRAILERS);
    // a head is far from 4 GiB
    message.put_u32(text.len() as u32);
    message.put_slice(&text);
    encode(call, message.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(kind: &'static str) -> HeaderMap {
        [(header::CONTENT_TYPE, HeaderValue::from_static(kind))].into_iter().collect()
    }

    #[test]
    fn a_head_becomes_that_of_the_other_protocol() {
        for (call, web, grpc) in [
            (Call::Web, "application/grpc-web", "application/grpc"),
            (Call::Web, "application/grpc-web+proto", "application/grpc+proto"),
            (Call::WebText, "application/grpc-web-text+proto", "application/grpc+proto"),
            (Call::WebText, "application/grpc-web-text; charset=utf-8", "application/grpc; charset=utf-8"),
        ] {
            let mut request = typed(web);
            request.insert(header::CONTENT_LENGTH, HeaderValue::from_static("8"));
            translate_request(call, &mut request);
            assert_eq!(
                (&request[header::CONTENT_TYPE], &request[header::TE]),
                (&HeaderValue::from_static(grpc), &HeaderValue::from_static("trailers"))
            );
            assert_eq!(
                request.contains_key(header::CONTENT_LENGTH),
                call == Call::Web,
                "of base64 it is another"
            );
            let mut response = typed(grpc);
            assert!(translate_response(call, &mut response));
            assert_eq!(response[header::CONTENT_TYPE], web);
        }
        for other in ["text/html", "application/grpcx", "application/grpc-web"] {
            let mut response = typed(other);
            assert!(!translate_response(Call::Web, &mut response));
            assert_eq!(response, typed(other));
        }
    }

    #[test]
    fn trailers_are_the_last_message() {
        let trailers = super::super::end(super::super::GrpcStatus::NotFound, "no 7");
        let text = b"grpc-status: 5\r\ngrpc-message: no 7\r\n";
        let mut message = vec![0x80, 0, 0, 0, text.len() as u8];
        message.extend_from_slice(text);
        assert_eq!(encode_trailers(Call::Web, &trailers), message);
        assert_eq!(BASE64.decode(encode_trailers(Call::WebText, &trailers)).unwrap(), message);
    }

    #[test]
    fn what_is_no_base64_is_an_error_and_so_is_a_part_of_a_group() {
        assert_eq!(Decoder::default().decode(b"####"), Err(NotBase64));
        assert_eq!(Decoder::default().decode(b"a==="), Err(NotBase64));
        assert_eq!(Decoder::default().decode(b"=aaa"), Err(NotBase64));
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(b"AAE"), Ok(Bytes::new()));
        assert_eq!(decoder.finish(), Err(NotBase64));
        assert_eq!(decoder.decode(b"C"), Ok(Bytes::from_static(&[0, 1, 2])));
        assert_eq!(decoder.finish(), Ok(()));
    }

    proptest! {
        #[test]
        fn text_comes_back_however_it_is_cut(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8),
            cut in 1usize..9,
        ) {
            let text: Vec<u8> = pieces.iter().flat_map(|piece| encode(Call::WebText, piece.clone().into())).collect();
            let mut decoder = Decoder::default();
            let mut decoded = Vec::new();
            for part in text.chunks(cut) {
                decoded.extend(decoder.decode(part).expect("base64"));
            }
            prop_assert_eq!(decoder.finish(), Ok(()));
            prop_assert_eq!(decoded, pieces.concat());
        }

        #[test]
        fn no_bytes_panic_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Decoder::default().decode(&bytes);
        }
    }
}
