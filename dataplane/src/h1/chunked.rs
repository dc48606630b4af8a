//! Chunked bodies of responses (RFC 9112 §7.1), read strictly: what two readers could read in two ways is an error.

use crate::target::Invalid;
use bytes::{Buf as _, Bytes};
use http::header::{HeaderMap, HeaderName, HeaderValue};

/// What all chunk extensions of a body may take together; nobody reads them.
const MAX_EXTENSIONS: u32 = 16 * 1024;
/// What the trailer section may take.
const MAX_TRAILERS: usize = 16 * 1024;
/// Trailer fields.
const MAX_TRAILER_FIELDS: usize = 64;
/// Hexadecimal digits of a chunk's size: sixteen are a `u64`.
const MAX_DIGITS: u8 = 16;

/// Where in a chunked body its reader stands.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    at: At,
    extensions: u32,
}

#[derive(Debug)]
enum At {
    Size {
        value: u64,
        digits: u8,
    },
    /// White space behind the size, which only an extension or the line's end may follow.
    BehindSize(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// The trailer section so far, the line end behind the last chunk before it left out.
    Trailers(Vec<u8>),
    End,
}

impl Default for At {
    fn default() -> Self {
        Self::Size { value: 0, digits: 0 }
    }
}

/// What the bytes at hand give.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// Nothing without more of them.
    None,
    Data(Bytes),
    /// The last, if there are any.
    Trailers(HeaderMap),
    End,
}

impl Chunked {
    /// Takes the next piece from the front of `buffer`.
    pub(super) fn next(&mut self, buffer: &mut Bytes) -> Result<Piece, Invalid> {
        loop {
            match &mut self.at {
                At::Data(left) => {
                    if buffer.is_empty() {
                        return Ok(Piece::None);
                    }
                    let some = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    *left -= some as u64;
                    if *left == 0 {
                        self.at = At::DataCr;
                    }
                    return Ok(Piece::Data(buffer.split_to(some)));
                }
                At::End => return Ok(Piece::End),
                _ => {
                    let Some(byte) = buffer.first().copied() else { return Ok(Piece::None) };
                    buffer.advance(1);
                    if let Some(trailers) = self.step(byte)? {
                        self.at = At::End;
                        return Ok(if trailers.is_empty() { Piece::End } else { Piece::Trailers(trailers) });
                    }
                }
            }
        }
    }

    /// One byte of what is not data; the trailers once they are over.
    fn step(&mut self, byte: u8) -> Result<Option<HeaderMap>, Invalid> {
        const INVALID: Invalid = Invalid("a chunk that is none");
        self.at = match (&mut self.at, byte) {
            (At::Size { value, digits }, byte) if byte.is_ascii_hexdigit() && *digits < MAX_DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                At::Size { value: *value << 4 | u64::from(digit), digits: *digits + 1 }
            }
            (At::Size { digits: 0, .. }, _) => return Err(INVALID),
            (At::Size { value, .. }, b'\r') => At::SizeLf(*value),
            (At::Size { value, .. } | At::BehindSize(value), b';') => At::Extension(*value),
            (At::Size { value, .. } | At::BehindSize(value), b' ' | b'\t') => {
                let value = *value;
                self.count_extension()?;
                At::BehindSize(value)
            }
            (At::BehindSize(value), b'\r') => At::SizeLf(*value),
            (At::Extension(value), b'\r') => At::SizeLf(*value),
            (At::Extension(value), byte) if byte == b'\t' || !byte.is_ascii_control() => {
                let value = *value;
                self.count_extension()?;
                At::Extension(value)
            }
            (At::SizeLf(0), b'\n') => At::Trailers(Vec::new()),
            (At::SizeLf(value), b'\n') => At::Data(*value),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::default(),
            (At::Trailers(section), byte) => {
                section.push(byte);
                if section.len() > MAX_TRAILERS {
                    return Err(Invalid("trailers without end"));
                }
                if matches!(&section[..], b"\r\n") || section.ends_with(b"\r\n\r\n") {
                    return trailers(section).map(Some);
                }
                return Ok(None);
            }
            _ => return Err(INVALID),
        };
        Ok(None)
    }

    fn count_extension(&mut self) -> Result<(), Invalid> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS { Err(Invalid("chunk extensions without end")) } else { Ok(()) }
    }
}

fn trailers(section: &[u8]) -> Result<HeaderMap, Invalid> {
    const INVALID: Invalid = Invalid("trailers that are none");
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let parsed = httparse::parse_headers(section, &mut fields).map_err(|_| INVALID)?;
    let httparse::Status::Complete((_, fields)) = parsed else { return Err(INVALID) };
    let field = |field: &httparse::Header<'_>| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| INVALID)?;
        Ok((name, HeaderValue::from_bytes(field.value).map_err(|_| INVALID)?))
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    for parsed in fields.iter().map(field) {
        let (name, value) = parsed?;
        map.append(name, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// The data and the trailers of a body that comes in pieces of `step` bytes; `None` before its end.
    fn read(body: &[u8], step: usize) -> Result<Option<(Vec<u8>, HeaderMap)>, Invalid> {
        let (mut chunked, mut data, mut trailers) = (Chunked::default(), Vec::new(), HeaderMap::new());
        for piece in body.chunks(step) {
            let mut buffer = Bytes::copy_from_slice(piece);
            loop {
                match chunked.next(&mut buffer)? {
                    Piece::None => break,
                    Piece::Data(bytes) => data.extend_from_slice(&bytes),
                    Piece::Trailers(map) => trailers = map,
                    Piece::End => return Ok(Some((data, trailers))),
                }
            }
        }
        Ok(None)
    }

    proptest! {
        #[test]
        fn data_is_the_same_however_it_comes(chunks in vec(vec(any::<u8>(), 1..50), 0..6), step in 1usize..40) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:X};a=\"b\"\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\nT: 1\r\n\r\n");
            let (data, trailers) = read(&body, step).expect("well formed").expect("whole");
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(&trailers["t"], "1");
            prop_assert_eq!(read(&body[..body.len() - 1], step), Ok(None));
        }

        #[test]
        fn no_bytes_panic(body in vec(any::<u8>(), 0..200), step in 1usize..40) {
            let _ = read(&body, step);
        }
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_an_error() {
        let bad: [&[u8]; 16] = [
            b"\r\n",
            b" 5\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"5 5\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\rhello\r\n",
            b"5;a\nb\r\nhello",
            b"-1\r\n",
            b"g\r\n",
            b"10000000000000000\r\n",
            b"00000000000000000\r\n",
            b"0\r\nbad trailer\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
        ];
        for body in bad {
            assert!(read(body, 64).is_err(), "{:?}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn extensions_and_trailers_end_somewhere() {
        let extension = format!("1;{}\r\nx\r\n", "e".repeat(9000));
        assert_eq!(read(extension.as_bytes(), 512), Ok(None));
        assert!(read(extension.repeat(2).as_bytes(), 512).is_err());
        let endless = format!("0\r\n{}", "a: b\r\n".repeat(4000));
        assert!(read(endless.as_bytes(), 512).is_err());
    }
}
