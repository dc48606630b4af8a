//! One HTTP/1.1 request from the bytes it stood in on the wire.

use super::Received;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

impl Received {
    /// Of a whole message, as [`super::Wire::request`] reads it; `None` when it is not HTTP.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut head = httparse::Request::new(&mut fields);
        let end = match head.parse(message).ok()? {
            httparse::Status::Complete(end) => end,
            httparse::Status::Partial => return None,
        };
        let headers = header_map(head.headers)?;
        let chunked = headers.contains_key(http::header::TRANSFER_ENCODING);
        let (body, trailers) =
            if chunked { unchunked(&message[end..])? } else { (message[end..].to_vec(), HeaderMap::new()) };
        Some(Self {
            method: Method::from_bytes(head.method?.as_bytes()).ok()?,
            target: head.path?.to_owned(),
            headers,
            body: body.into(),
            trailers,
        })
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

fn header_map(fields: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    fields
        .iter()
        .map(|field| {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(field.value).ok()?))
        })
        .collect()
}

/// The data of all chunks, and the trailers after them.
fn unchunked(mut rest: &[u8]) -> Option<(Vec<u8>, HeaderMap)> {
    let mut body = Vec::new();
    loop {
        let httparse::Status::Complete((start, size)) = httparse::parse_chunk_size(rest).ok()? else {
            return None;
        };
        let size = usize::try_from(size).ok()?;
        rest = &rest[start..];
        if size == 0 {
            break;
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let httparse::Status::Complete((_, trailers)) = httparse::parse_headers(rest, &mut fields).ok()? else {
        return None;
    };
    Some((body, header_map(trailers)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_framings_give_the_same_body() {
        let length = b"POST /a?b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        let chunked = b"POST /a?b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nT: 1\r\n\r\n";
        for message in [&length[..], chunked] {
            let request = Received::parse(message).expect("a request");
            assert_eq!((request.path(), &request.body[..]), ("/a", &b"hello"[..]));
        }
        assert_eq!(Received::parse(chunked).expect("a request").trailers["t"], "1");
        assert!(Received::parse(b"GET / HTTP/1.1\r\n").is_none());
    }
}
