//! HTTP/2 towards targets: a request is one stream of a connection, and looks from outside like a connection of its own.
//!
//! The protocol is the `h2` crate's, by which a connection has a task ([`link`]) that reads and writes for all its
//! streams. As with HTTP/1.1, the request's own task sends its body and reads the response, as fast as the windows on
//! both sides let it: what a slow client does not take is not asked for.

mod link;
mod request;
mod window;

pub(crate) use link::Link;
pub(crate) use window::poll_room;

use crate::body::RequestBody;
use crate::target::{Failure, Interim, Invalid, RequestHead, ResponseHead};
use ::h2::client::ResponseFuture;
use ::h2::{Error, Reason, RecvStream};
use bytes::Bytes;
use http::header::HeaderMap;
use http::{Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use policy::headers::clean_response;
use request::Upload;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::task::{AbortHandle, spawn_local};

/// One exchange. Dropped before the response is over, it resets the stream.
pub(crate) struct Stream {
    link: Rc<Link>,
    upload: Upload,
    /// Sends what comes of the request's body behind the head of the response.
    sending_on: Option<AbortHandle>,
    download: Download,
    is_head: bool,
    interim: Interim,
    /// What the link had written when the exchange began.
    written_before: u64,
    /// `Content-Length`, less what has come; h2 sees to it that it is true.
    left: Option<u64>,
}

/// How far the response is.
enum Download {
    /// None is expected.
    Idle,
    /// The stream could not be opened.
    Failed(Error),
    Head(ResponseFuture),
    Body(RecvStream),
    Trailers(RecvStream),
    Over,
}

impl Stream {
    /// The next one on a connection that has room for it.
    pub(crate) fn new(link: Rc<Link>) -> Self {
        link.count_in();
        Self {
            link,
            upload: Upload::Done,
            sending_on: None,
            download: Download::Idle,
            is_head: false,
            interim: Interim::default(),
            written_before: 0,
            left: None,
        }
    }

    /// Whether its connection has served a request before.
    pub(crate) fn is_of_used_link(&self) -> bool {
        self.link.has_served()
    }

    // ---- the request

    pub(crate) fn begin(&mut self, head: &RequestHead<'_>, body: RequestBody) {
        self.is_head = *head.method == Method::HEAD;
        self.written_before = self.link.written();
        let ends = body.is_end_stream();
        let opened = head.to_http2(self.link.scheme(), &body).map(|request| self.link.open(request, ends));
        self.download = match opened {
            Some(Ok((response, send))) => {
                self.upload = Upload::new(body, send, head.headers);
                Download::Head(response)
            }
            Some(Err(error)) => {
                self.upload = Upload::unsent(body);
                Download::Failed(error)
            }
            // a `Host` that is none: a target of HTTP/1.1 would have had to say so
            None => Download::Failed(Reason::PROTOCOL_ERROR.into()),
        };
    }

    /// The request's body from its beginning, where it is still there.
    pub(crate) fn take_unsent_body(&mut self) -> Option<RequestBody> {
        std::mem::replace(&mut self.upload, Upload::Done).into_unsent()
    }

    /// The target has said that it did not look at the request, or cannot have seen it; and another connection may do
    /// better.
    pub(crate) fn is_unsent(&self, failure: &Failure) -> bool {
        match failure {
            Failure::GoneAway => true,
            Failure::Closed | Failure::Io(_) => self.link.written() == self.written_before,
            Failure::Refused | Failure::Reset(_) | Failure::Invalid(_) | Failure::Body(_) => false,
        }
    }

    /// Sends what comes of the request's body after the response has begun, until the response is given up.
    pub(crate) fn send_on(&mut self) {
        self.upload.forget();
        if self.upload.is_done() {
            return;
        }
        let mut upload = std::mem::replace(&mut self.upload, Upload::Done);
        let sending = spawn_local(async move {
            if let Err(error) = poll_fn(|cx| upload.poll_or_unwanted(cx)).await {
                tracing::debug!(%error, "the rest of a request did not reach its target");
            }
        });
        self.sending_on = Some(sending.abort_handle());
    }

    // ---- the response

    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        hear: &mut dyn FnMut(ResponseHead),
    ) -> Poll<Result<ResponseHead, Failure>> {
        if let Poll::Ready(Err(error)) = self.upload.poll(cx) {
            return Poll::Ready(Err(error.into()));
        }
        let response = match &mut self.download {
            Download::Head(response) => response,
            Download::Failed(error) => return Poll::Ready(Err(failure(error))),
            Download::Idle | Download::Body(_) | Download::Trailers(_) | Download::Over => {
                return Poll::Ready(Err(Failure::Closed));
            }
        };
        while let Some(interim) = ready!(response.poll_informational(cx)) {
            let (head, ()) = interim.map_err(|error| failure(&error))?.into_parts();
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                // RFC 9113 §8.6
                return Poll::Ready(Err(Invalid("101 in HTTP/2").into()));
            }
            let mut head = ResponseHead { status: head.status, headers: head.headers };
            clean_response(&mut head.headers, false).map_err(|_| Invalid("an ambiguous length"))?;
            self.interim.came(head, hear)?;
        }
        let response = ready!(Pin::new(response).poll(cx)).map_err(|error| failure(&error))?;
        let (parts, body) = response.into_parts();
        Poll::Ready(self.receive(parts.status, parts.headers, body).map_err(Failure::from))
    }

    fn receive(
        &mut self,
        status: StatusCode,
        mut headers: HeaderMap,
        body: RecvStream,
    ) -> Result<ResponseHead, Invalid> {
        let framing = clean_response(&mut headers, false).map_err(|_| Invalid("an ambiguous length"))?;
        let bare = self.is_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.download = match bare || body.is_end_stream() {
            true => Download::Over,
            false => Download::Body(body),
        };
        self.left = framing.length;
        Ok(ResponseHead { status, headers })
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            match std::mem::replace(&mut self.download, Download::Over) {
                Download::Body(mut body) => {
                    let polled = body.poll_data(cx);
                    if let Poll::Ready(Some(Ok(data))) = &polled {
                        // the window opens by what the client's side takes
                        let _ = body.flow_control().release_capacity(data.len());
                        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    }
                    self.download = match &polled {
                        Poll::Ready(Some(Ok(_))) if body.is_end_stream() => Download::Over,
                        Poll::Ready(None) => Download::Trailers(body),
                        Poll::Ready(Some(Err(_))) => Download::Idle,
                        Poll::Pending | Poll::Ready(Some(Ok(_))) => Download::Body(body),
                    };
                    match ready!(polled) {
                        Some(Ok(data)) if data.is_empty() => {}
                        Some(Ok(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Some(Err(error)) => return Poll::Ready(Some(Err(failure(&error)))),
                        None => {}
                    }
                }
                Download::Trailers(mut body) => {
                    let polled = body.poll_trailers(cx);
                    self.download = match &polled {
                        Poll::Ready(Ok(_)) => Download::Over,
                        Poll::Ready(Err(_)) => Download::Idle,
                        Poll::Pending => Download::Trailers(body),
                    };
                    let trailers = ready!(polled).map_err(|error| failure(&error)).transpose();
                    return Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)));
                }
                Download::Over => return Poll::Ready(None),
                other @ (Download::Idle | Download::Failed(_) | Download::Head(_)) => {
                    self.download = other;
                    return Poll::Ready(Some(Err(Failure::Closed)));
                }
            }
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.download, Download::Over)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match (&self.download, self.left) {
            (Download::Over, _) => SizeHint::with_exact(0),
            (_, Some(left)) => SizeHint::with_exact(left),
            (_, None) => SizeHint::default(),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(sending_on) = self.sending_on.take()
            && !self.has_ended()
        {
            sending_on.abort();
        }
        self.link.count_out();
    }
}

/// What became of a stream, in words that decide whether it may be sent again.
fn failure(error: &Error) -> Failure {
    if error.is_go_away() && error.is_remote() {
        return Failure::GoneAway;
    }
    if let Some(error) = error.get_io() {
        return Failure::Io(std::io::Error::new(error.kind(), error.to_string()));
    }
    match error.reason() {
        Some(Reason::REFUSED_STREAM) if error.is_remote() => Failure::Refused,
        Some(reason) if error.is_remote() => Failure::Reset(reason),
        // found out by us
        Some(_) => Failure::Invalid(Invalid("what is no HTTP/2")),
        None => Failure::Closed,
    }
}

#[cfg(test)]
mod tests;
