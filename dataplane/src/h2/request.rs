//! A request as it goes to a target in HTTP/2: its head as fields, and its body as the target's window lets it.

use super::poll_room;
use crate::body::{BodyError, RequestBody};
use crate::target::{Announced, RequestHead};
use ::h2::{Reason, SendStream};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Request, Uri};
use http_body::{Body as _, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Of a body, as much is asked to be let through at a time.
const AHEAD: usize = 64 * 1024;

/// Room for the fields that the gateway adds, so that the map does not grow.
const ADDED_FIELDS: usize = 8;

impl RequestHead<'_> {
    /// The head of a request with this body, in HTTP/2; `None` where `Host` is none.
    pub(super) fn to_http2(&self, scheme: &'static str, body: &RequestBody) -> Option<Request<()>> {
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(Authority::try_from(self.host.as_bytes()).ok()?)
            .path_and_query(PathAndQuery::try_from(self.target).ok()?)
            .build()
            .ok()?;
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.fields_of_http2(body);
        Some(request)
    }

    fn fields_of_http2(&self, body: &RequestBody) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(self.headers.len() + ADDED_FIELDS);
        let mut sized = false;
        for (name, value) in self.headers {
            match *name {
                header::CONTENT_LENGTH => sized = true,
                header::TE if !value.as_bytes().eq_ignore_ascii_case(b"trailers") => {}
                _ if is_of_http1(name) => {}
                _ => drop(fields.append(name.clone(), value.clone())),
            }
        }
        for (name, value) in self.lines.split(|byte| *byte == b'\n').filter_map(field) {
            fields.append(name, value);
        }
        for (name, value) in self.fields.into_iter().flatten() {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                fields.append(name, value.clone());
            }
        }
        if let Some(length) = body.size_hint().exact().filter(|length| *length > 0 || sized) {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        fields
    }
}

/// What is said in HTTP/2 by other means, or must not be said at all (RFC 9113 §8.2.2, §8.3.1).
fn is_of_http1(name: &HeaderName) -> bool {
    matches!(*name, header::HOST | header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// A line of the gateway's own.
fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let line = line.strip_suffix(b"\r")?;
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    Some((name, value))
}

/// What is still to come of a request's body.
pub(super) enum Upload {
    Done,
    /// The stream was not opened.
    Unsent(RequestBody),
    Going(Box<Going>),
    /// All of it was sent, and may have to be sent again.
    Sent(Box<Going>),
}

pub(super) struct Going {
    body: RequestBody,
    send: SendStream<Bytes>,
    /// Read from the client, and not yet let through by the target.
    waiting: Bytes,
    /// What was read of the body, to be sent again should the target not look at it; `None` when that was too much.
    kept: Option<Vec<Bytes>>,
    /// How much that is.
    kept_bytes: usize,
    announced: Announced,
}

/// How far a step of an upload has come.
enum Step {
    More,
    Over,
}

impl Upload {
    pub(super) fn new(body: RequestBody, send: SendStream<Bytes>, headers: &HeaderMap) -> Self {
        if body.is_end_stream() {
            return Self::Done;
        }
        let announced = Announced::of(headers);
        let (waiting, kept, kept_bytes) = (Bytes::new(), Some(Vec::new()), 0);
        Self::Going(Box::new(Going { body, send, waiting, kept, kept_bytes, announced }))
    }

    pub(super) fn unsent(body: RequestBody) -> Self {
        Self::Unsent(body)
    }

    pub(super) fn is_done(&self) -> bool {
        !matches!(self, Self::Going(_))
    }

    /// The whole body, where it is still there.
    pub(super) fn into_unsent(self) -> Option<RequestBody> {
        match self {
            Self::Done => Some(RequestBody::Empty),
            Self::Unsent(body) => Some(body),
            Self::Going(going) | Self::Sent(going) => {
                let Going { body, kept, .. } = *going;
                Some(body.rewound(kept?))
            }
        }
    }

    /// The response has begun: nothing is sent again.
    pub(super) fn forget(&mut self) {
        match self {
            Self::Going(going) => going.kept = None,
            Self::Sent(_) => *self = Self::Done,
            Self::Done | Self::Unsent(_) => {}
        }
    }

    /// Takes what comes from the client to the target; ready when that was all, or the target wants no more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while let Self::Going(going) = self {
            match ready!(going.step(cx)) {
                Ok(Step::More) => {}
                Ok(Step::Over) => {
                    if let Self::Going(going) = std::mem::replace(self, Self::Done) {
                        *self = Self::Sent(going);
                    }
                }
                Err(error) => {
                    going.send.send_reset(Reason::CANCEL);
                    *self = Self::Done;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The same when nobody else would notice that the target has reset the stream.
    pub(super) fn poll_or_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let taken = self.poll(cx);
        match self {
            Self::Going(going) if taken.is_pending() => going.send.poll_reset(cx).map(|_| Ok(())),
            _ => taken,
        }
    }
}

impl Going {
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, BodyError>> {
        if !self.waiting.is_empty() {
            let wanted = self.waiting.len().min(AHEAD);
            let Some(room) = ready!(poll_room(cx, &mut self.send, wanted)) else {
                return Poll::Ready(Ok(Step::Over));
            };
            let piece = self.waiting.split_to(room.min(self.waiting.len()));
            let last = self.waiting.is_empty() && self.body.is_end_stream();
            return Poll::Ready(Ok(after(self.send.send_data(piece, last), last)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?;
        match frame.map(Frame::into_data) {
            Some(Ok(data)) if data.is_empty() && !self.body.is_end_stream() => Poll::Ready(Ok(Step::More)),
            Some(Ok(data)) if data.is_empty() => Poll::Ready(Ok(self.end(None))),
            Some(Ok(data)) => {
                self.keep(&data);
                self.waiting = data;
                Poll::Ready(Ok(Step::More))
            }
            Some(Err(frame)) => {
                self.kept = None;
                let trailers = frame.into_trailers().unwrap_or_default();
                let kept = self.announced.among(&trailers);
                let kept: HeaderMap = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
                Poll::Ready(Ok(self.end(Some(kept).filter(|kept| !kept.is_empty()))))
            }
            None => Poll::Ready(Ok(self.end(None))),
        }
    }

    fn keep(&mut self, data: &Bytes) {
        self.kept_bytes += data.len();
        match &mut self.kept {
            Some(kept) if self.kept_bytes <= AHEAD => kept.push(data.clone()),
            kept => *kept = None,
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Step {
        let ended = match trailers {
            Some(trailers) => self.send.send_trailers(trailers),
            None => self.send.send_data(Bytes::new(), true),
        };
        after(ended, true)
    }
}

/// A stream that is no longer open is one whose response says why.
fn after(sent: Result<(), ::h2::Error>, last: bool) -> Step {
    if last || sent.is_err() { Step::Over } else { Step::More }
}
