//! One stream: its request, from the frames that h2 has read to the last word about it.

use super::reply::Reply;
use super::streams::Served;
use super::tunnel::StreamIo;
use crate::body::{Body, ClientBody, Continuation, StreamBody};
use crate::connection::session::{Phase, Session};
use crate::connection::tunnel::{self, Tunnel};
use crate::proxy;
use crate::target::ResponseHead;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use policy::http2::{Bootstrap, HeadLimits, settle};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client has its answer.
    Answered,
    /// The client has cancelled it, or is gone.
    Cancelled,
    /// The gateway has broken it off.
    Broken,
}

/// Serves a stream until it ends, or is told to.
pub(super) fn serve(
    served: Served,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> impl Future<Output = ()> {
    let asked = Asked::of(request, &served.session);
    run(served, asked, respond)
}

async fn run(served: Served, asked: Asked, respond: SendResponse<Bytes>) {
    let Served { streams, session } = &served;
    let mut conversation = pin!(converse(&served, asked, respond));
    let ended = poll_fn(|cx| {
        session.remember_waker(cx.waker());
        session.tick();
        if let Poll::Ready(ended) = conversation.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        // a tunnel parts in its own way
        if session.is_aborted() && session.phase() != Phase::Tunnel {
            return Poll::Ready(None);
        }
        streams.watch(session.due());
        Poll::Pending
    })
    .await;
    match ended {
        Some(Ended::Answered) => streams.completed(),
        Some(Ended::Cancelled) => streams.cancelled(),
        Some(Ended::Broken) | None => {}
    }
}

/// A request on its way to be answered.
struct Asked {
    /// In a box: it is most of what a stream needs, and what comes behind the head of the answer does not need it.
    answer: Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>,
    bodiless: bool,
    continuation: Option<Continuation>,
    /// What comes from the client, where that is no body.
    client: Option<RecvStream>,
}

impl Asked {
    fn of(request: Request<RecvStream>, session: &Rc<Session>) -> Self {
        let (mut head, incoming) = request.into_parts();
        let protocol = head.extensions.remove::<Protocol>();
        let bodiless = head.method == Method::HEAD;
        let continuation = (!incoming.is_end_stream() && head.headers.contains_key(header::EXPECT))
            .then(Continuation::default);
        let length =
            head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());

        let limits = session.limits();
        let limits = HeadLimits { bytes: limits.max_header_bytes, fields: limits.max_headers };
        let (checked, body, client) = match protocol {
            None => {
                let body = StreamBody::new(incoming, length, continuation.clone());
                (settle(&mut head, None, limits), ClientBody::Http2(body), None)
            }
            Some(protocol) => {
                let key = websocket_key();
                let bootstrap = Bootstrap { protocol: protocol.as_ref(), websocket_key: &key };
                (settle(&mut head, Some(bootstrap), limits), ClientBody::None, Some(incoming))
            }
        };
        let answer = Box::pin(proxy::serve(session.clone(), head, body, checked));
        Self { answer, bodiless, continuation, client }
    }
}

async fn converse(served: &Served, mut asked: Asked, mut respond: SendResponse<Bytes>) -> Ended {
    let session = &served.session;
    let answered = poll_fn(|cx| asked.poll(cx, session, &mut respond)).await;
    let _client = asked.client.take();
    drop(asked);
    match answered {
        None => Ended::Cancelled,
        Some(Answered::Reply(mut reply)) => reply.finish(served).await,
        Some(Answered::Tunnel(client, tunnel)) => {
            // in a box: streams that are no tunnels do not carry the room for one
            Box::pin(tunnel::run(client, Bytes::new(), tunnel, session)).await;
            Ended::Answered
        }
    }
}

/// What a client gets whose request was answered.
enum Answered {
    Reply(Reply),
    Tunnel(StreamIo, Box<Tunnel>),
}

impl Asked {
    /// Waits for the answer, and sends its head; `None` when nobody waits any longer.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
        respond: &mut SendResponse<Bytes>,
    ) -> Poll<Option<Answered>> {
        // first: a body that is cancelled is not one that is malformed
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        let answered = self.answer.as_mut().poll(cx);
        session.take_interims().into_iter().for_each(|interim| tell(interim, respond));
        if let Poll::Ready(answer) = answered {
            return Poll::Ready(answer.ok().and_then(|response| self.begin(response, session, respond)));
        }
        if self.continuation.as_ref().is_some_and(Continuation::take) {
            tell(ResponseHead { status: StatusCode::CONTINUE, headers: HeaderMap::new() }, respond);
        }
        Poll::Pending
    }

    fn begin(
        &mut self,
        response: Response<Body>,
        session: &Session,
        respond: &mut SendResponse<Bytes>,
    ) -> Option<Answered> {
        if let Some(tunnel) = session.take_tunnel()
            && let Some(incoming) = self.client.take()
        {
            let outgoing = open(response, respond)?;
            return Some(Answered::Tunnel(StreamIo::new(incoming, outgoing), tunnel));
        }
        Reply::begin(response, self.bodiless, session, respond).map(Answered::Reply)
    }
}

/// Sends an interim response.
fn tell(ResponseHead { status, headers }: ResponseHead, respond: &mut SendResponse<Bytes>) {
    let mut interim = Response::new(());
    (*interim.status_mut(), *interim.headers_mut()) = (status, headers);
    // an error is the end of the stream, which wakes its task
    let _ = respond.send_informational(interim);
}

/// Tells the client that the tunnel is there; `None` when it is gone.
fn open(response: Response<Body>, respond: &mut SendResponse<Bytes>) -> Option<SendStream<Bytes>> {
    let (head, _) = response.into_parts();
    respond.send_response(Response::from_parts(head, ()), false).ok()
}

/// What a target is to answer in its handshake (RFC 6455 §4.1).
fn websocket_key() -> HeaderValue {
    let nonce = fastrand::u128(..).to_ne_bytes();
    // base64 is a header value
    HeaderValue::try_from(STANDARD.encode(nonce)).unwrap_or_else(|_| HeaderValue::from_static(""))
}
