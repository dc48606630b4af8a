//! Which coding a client gets, for which response, and what the response says of it (RFC 9110 §8.4, §12.5.3).

use super::{CompressionConfig, EVENT_STREAM, MediaType};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// A content coding that the gateway can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

/// A `compression` at work.
#[derive(Debug)]
pub struct Compression {
    types: Box<[MediaType]>,
    min_bytes: u64,
}

/// What a body is said to hash to, as it is on the wire: true of what the target has sent.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");

impl Coding {
    /// Where a client does not care: what is quickest for its size.
    const PREFERRED: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// In `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

impl Compression {
    /// Of a checked config.
    pub fn new(CompressionConfig { types, min_bytes }: &CompressionConfig) -> Self {
        Self { types: types.clone().into(), min_bytes: min_bytes.0 }
    }

    /// What the client of a request likes best of what can be made; none if that is the body as it is.
    pub fn negotiate(headers: &HeaderMap) -> Option<Coding> {
        if forbids_transforming(headers) {
            return None;
        }
        let accepted = Accepted::of(headers);
        let best = Coding::PREFERRED.into_iter().rev().max_by_key(|coding| accepted.of_coding(*coding))?;
        let quality = accepted.of_coding(best);
        // what is not said of the body as it is leaves it to us
        (quality > 0 && accepted.identity.is_none_or(|identity| quality >= identity)).then_some(best)
    }

    /// Changes the head of a response: it depends on what clients accept, and whether it is to be compressed by
    /// `coding`, which is what [`Compression::negotiate`] gave. The body is the caller's to compress.
    pub fn prepare(
        &self,
        coding: Option<Coding>,
        status: StatusCode,
        headers: &mut HeaderMap,
    ) -> Option<Coding> {
        if !self.suits(status, headers) {
            return None;
        }
        vary(headers);
        let coding = coding?;
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        headers.remove(header::CONTENT_LENGTH);
        // a part of what was compressed is none of the target's parts
        headers.remove(header::ACCEPT_RANGES);
        weaken_etag(headers);
        Some(coding)
    }

    fn suits(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let has_body = (200..600).contains(&status.as_u16())
            && !matches!(
                status,
                StatusCode::NO_CONTENT
                    | StatusCode::RESET_CONTENT
                    | StatusCode::PARTIAL_CONTENT
                    | StatusCode::NOT_MODIFIED
            );
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        has_body
            && length.is_none_or(|length: u64| length >= self.min_bytes.max(1))
            && !headers.contains_key(header::CONTENT_ENCODING)
            && !headers.contains_key(header::CONTENT_RANGE)
            && !DIGESTS.iter().any(|digest| headers.contains_key(digest))
            && !forbids_transforming(headers)
            && self.covers(headers)
    }

    fn covers(&self, headers: &HeaderMap) -> bool {
        let mut types = headers.get_all(header::CONTENT_TYPE).iter();
        let (Some(only), None) = (types.next().and_then(|value| value.to_str().ok()), types.next()) else {
            return false;
        };
        let essence = only.split(';').next().unwrap_or(only).trim();
        !essence.eq_ignore_ascii_case(EVENT_STREAM) && self.types.iter().any(|one| one.covers(essence))
    }
}

/// Qualities in thousandths.
#[derive(Default)]
struct Accepted {
    codings: [Option<u16>; 3],
    any: Option<u16>,
    identity: Option<u16>,
}

impl Accepted {
    fn of(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for element in values.flat_map(|value| value.split(',')) {
            let (name, parameters) = element.split_once(';').unwrap_or((element, ""));
            let quality = Some(quality(parameters));
            let name = name.trim();
            // RFC 9110 §8.4.1.3: to be taken for gzip
            let name = if name.eq_ignore_ascii_case("x-gzip") { "gzip" } else { name };
            let known = Coding::PREFERRED.iter().position(|one| name.eq_ignore_ascii_case(one.name()));
            match known {
                Some(at) => accepted.codings[at] = quality,
                None if name == "*" => accepted.any = quality,
                None if name.eq_ignore_ascii_case("identity") => accepted.identity = quality,
                None => {}
            }
        }
        accepted
    }

    fn of_coding(&self, coding: Coding) -> u16 {
        let at = Coding::PREFERRED.iter().position(|one| *one == coding);
        at.and_then(|at| self.codings[at]).or(self.any).unwrap_or(0)
    }
}

/// `q=0.5` among the parameters; what is none is as if it were not accepted.
fn quality(parameters: &str) -> u16 {
    let value = parameters.split(';').find_map(|one| {
        let (name, value) = one.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
    });
    match value.map(str::parse::<f32>) {
        None => 1000,
        Some(Ok(quality)) if (0.0..=1.0).contains(&quality) => (quality * 1000.0).round() as u16,
        Some(_) => 0,
    }
}

/// RFC 9111 §5.2.1.6 and §5.2.2.6.
fn forbids_transforming(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case("no-transform"))
}

fn vary(headers: &mut HeaderMap) {
    let values = headers.get_all(header::VARY).iter().filter_map(|value| value.to_str().ok());
    let said = values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|name| name == "*" || name.eq_ignore_ascii_case("accept-encoding"));
    if !said {
        headers.append(header::VARY, ACCEPT_ENCODING);
    }
}

/// The same content in other bytes (RFC 9110 §8.8.1).
fn weaken_etag(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG).map(HeaderValue::as_bytes) else { return };
    if tag.starts_with(b"W/") {
        return;
    }
    match HeaderValue::from_bytes(&[b"W/", tag].concat()) {
        Ok(weak) => drop(headers.insert(header::ETAG, weak)),
        Err(_) => drop(headers.remove(header::ETAG)),
    }
}
