//! A target's body in fewer bytes: streamed, flushed whenever the target pauses, with bounded memory.

use super::response::{FromUpstream, ResponseError};
use crate::connection::session::Session;
use crate::exchange::Exchange;
use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http_body::Frame;
use policy::filter::compression::Coding;
use std::io::{self, Write as _};
use std::task::{Context, Poll};
use zstd::stream::write::Encoder as ZstdEncoder;

/// Levels at which a core makes some 50 to 150 MB a second of text; windows that keep a response at a megabyte or two.
const GZIP_LEVEL: u32 = 5;
const BROTLI_QUALITY: u32 = 4;
const BROTLI_WINDOW: u32 = 18;
const BROTLI_BUFFER: usize = 4096;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW: u32 = 19;

/// A body on its way from a target, compressed here.
pub(crate) struct Compressed {
    upstream: Box<FromUpstream>,
    /// None once all of it is out.
    encoder: Option<Encoder>,
    /// The target has sent something that the client cannot read yet.
    unflushed: bool,
    trailers: Option<HeaderMap>,
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
}

impl Compressed {
    pub(super) fn new(upstream: Box<FromUpstream>, coding: Coding) -> io::Result<Self> {
        let encoder = Some(Encoder::new(coding)?);
        Ok(Self { upstream, encoder, unflushed: false, trailers: None })
    }

    pub(super) fn is_whole(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
        exchange: Option<&Exchange>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        while let Some(encoder) = &mut self.encoder {
            let made = match self.upstream.poll_frame(cx, session, exchange) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.unflushed |= !data.is_empty();
                        encoder.write(&data)
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        Ok(Vec::new())
                    }
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => self.encoder.take().map_or_else(|| Ok(Vec::new()), Encoder::finish),
                Poll::Pending if self.unflushed => {
                    self.unflushed = false;
                    match encoder.flush() {
                        Ok(made) if made.is_empty() => return Poll::Pending,
                        made => made,
                    }
                }
                Poll::Pending => return Poll::Pending,
            };
            match made {
                Ok(made) if made.is_empty() => {}
                Ok(made) => return Poll::Ready(Some(Ok(Frame::data(made.into())))),
                Err(error) => return Poll::Ready(Some(Err(ResponseError::Compression(error)))),
            }
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Level::new(GZIP_LEVEL))),
            Coding::Brotli => {
                let writer = CompressorWriter::new(Vec::new(), BROTLI_BUFFER, BROTLI_QUALITY, BROTLI_WINDOW);
                Self::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// What has become ready so far.
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        })
    }

    fn write(&mut self, data: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(data)?,
            Self::Brotli(encoder) => encoder.write_all(data)?,
            Self::Zstd(encoder) => encoder.write_all(data)?,
        }
        Ok(self.take())
    }

    /// Everything that was written can be read afterwards.
    fn flush(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.flush()?,
            Self::Brotli(encoder) => encoder.flush()?,
            Self::Zstd(encoder) => encoder.flush()?,
        }
        Ok(self.take())
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Target, serve};
    use serde_json::json;
    use std::io::Read;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text),
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut text),
        }
        .unwrap();
        text
    }

    /// What a decoder makes of the bytes so far, though there are more to come.
    fn readable(coding: Coding, bytes: &[u8], length: usize) -> Vec<u8> {
        let mut text = vec![0; length];
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_exact(&mut text),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_exact(&mut text),
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_exact(&mut text),
        }
        .unwrap();
        text
    }

    #[test]
    fn what_is_flushed_can_be_read_and_all_of_it_in_the_end() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let mut encoder = Encoder::new(coding).unwrap();
            let (mut sent, mut wire) = (Vec::new(), Vec::new());
            for turn in 0..50_usize {
                let piece = format!("{{\"turn\": {turn}}}\n").repeat(turn * 40 + 1);
                sent.extend_from_slice(piece.as_bytes());
                wire.extend(encoder.write(piece.as_bytes()).unwrap());
                wire.extend(encoder.flush().unwrap());
                assert_eq!(readable(coding, &wire, sent.len()), sent, "{coding:?} {turn}");
            }
            wire.extend(encoder.finish().unwrap());
            assert_eq!(decoded(coding, &wire), sent, "{coding:?}");
            assert!(wire.len() < sent.len() / 10, "{coding:?}: {} of {}", wire.len(), sent.len());
        }
    }

    #[test]
    fn nothing_at_all_is_still_a_message() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let wire = Encoder::new(coding).unwrap().finish().unwrap();
            assert_eq!(decoded(coding, &wire), b"", "{coding:?}");
        }
    }

    /// What a client of HTTP/1.0, which needs no chunks, gets of a target's answer: the head, and the body as it came.
    fn exchanged(request: &str, answer: &str) -> (String, Vec<u8>) {
        let target = Target::new();
        let filters = json!([{"compression": {"types": ["text/*"], "min_bytes": "10"}}]);
        let served = serve(&[&target], json!({}), filters);
        let client = served.client(request);
        let mut peer = target.accept();
        peer.until("\r\n\r\n");
        peer.send(answer);
        drop(peer);
        let bytes = client.into_bytes();
        // a body that ends too early may take its head with it
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
        (String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase(), bytes[end..].to_vec())
    }

    fn get(accepted: &str) -> String {
        format!("GET / HTTP/1.0\r\nhost: a\r\naccept-encoding: {accepted}\r\n\r\n")
    }

    const TEXT: &str = "so much text, and so little in it; ";

    fn text() -> String {
        TEXT.repeat(500)
    }

    fn answer(headers: &str) -> String {
        let text = text();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n{headers}content-length: {}\r\n\r\n{text}",
            text.len()
        )
    }

    #[test]
    fn a_client_gets_the_coding_that_it_asks_for_and_can_read_it() {
        for (accepted, coding) in
            [("gzip", Coding::Gzip), ("br", Coding::Brotli), ("zstd, gzip", Coding::Zstd)]
        {
            let (head, body) = exchanged(&get(accepted), &answer("etag: \"1\"\r\n"));
            assert!(head.contains(&format!("\r\ncontent-encoding: {}\r\n", coding.name())), "{head}");
            assert!(head.contains("\r\nvary: accept-encoding\r\n"), "{head}");
            assert!(head.contains("\r\netag: w/\"1\"\r\n") && !head.contains("content-length"), "{head}");
            assert_eq!(decoded(coding, &body), text().as_bytes(), "{accepted}");
            assert!(body.len() < text().len() / 10, "{accepted}: {}", body.len());
        }
    }

    #[test]
    fn who_cannot_read_it_or_has_it_already_gets_it_as_it_is() {
        let (head, body) = exchanged(&get("identity"), &answer(""));
        assert!(
            head.contains("\r\nvary: accept-encoding\r\n") && !head.contains("content-encoding"),
            "{head}"
        );
        assert_eq!(body, text().as_bytes());
        let (head, body) = exchanged(&get("gzip"), &answer("content-encoding: x-mine\r\n"));
        assert!(head.contains("content-encoding: x-mine") && !head.contains("gzip"), "{head}");
        assert_eq!(body, text().as_bytes());
        let (head, _) = exchanged(&get("gzip"), &answer("cache-control: no-transform\r\n"));
        assert!(!head.contains("content-encoding") && head.contains("content-length"), "{head}");
    }

    #[test]
    fn the_answer_to_head_says_what_get_would_and_has_no_body() {
        let request = get("gzip").replace("GET", "HEAD");
        let bare = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 17500\r\n\r\n";
        let (head, body) = exchanged(&request, bare);
        assert!(
            head.contains("\r\ncontent-encoding: gzip\r\n") && !head.contains("content-length"),
            "{head}"
        );
        assert_eq!(body, b"");
    }

    #[test]
    fn what_a_target_has_sent_does_not_wait_for_what_it_will_send() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let target = Target::new();
            let served = serve(&[&target], json!({}), json!([{"compression": {}}]));
            let mut client = served.client(&get(coding.name()));
            let mut peer = target.accept();
            peer.until("\r\n\r\n");
            peer.send("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
            let body = |bytes: &[u8]| {
                let at =
                    bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
                bytes[at..].to_vec()
            };
            let reads_first = |bytes: &[u8]| {
                let mut text = [0; 5];
                let body = body(bytes);
                let read = match coding {
                    Coding::Gzip => flate2::read::GzDecoder::new(&body[..]).read_exact(&mut text),
                    Coding::Brotli => brotli::Decompressor::new(&body[..], 4096).read_exact(&mut text),
                    Coding::Zstd => {
                        zstd::stream::read::Decoder::new(&body[..]).unwrap().read_exact(&mut text)
                    }
                };
                read.is_ok() && &text == b"first"
            };
            client.until_bytes(reads_first);
            peer.send("6\r\nsecond\r\n0\r\n\r\n");
            assert_eq!(decoded(coding, &body(&client.into_bytes())), b"firstsecond", "{coding:?}");
        }
    }

    #[test]
    fn a_body_that_breaks_off_is_not_made_whole() {
        let (_, body) =
            exchanged(&get("gzip"), &answer("").replace("content-length: 17500", "content-length: 99999"));
        let mut text = Vec::new();
        assert!(
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut text).is_err(),
            "{} bytes",
            text.len()
        );
    }
}
