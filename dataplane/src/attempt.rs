//! One try of a request: pick a target, take a connection, send, wait for the head, judge it.

use crate::body::{Body, RequestBody};
use crate::connection::session::Session;
use crate::connection::tunnel::Tunnel;
use crate::pool::Checkout;
use crate::proxy::Exchange;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use policy::headers::clean_response;
use policy::rejection::Rejection;
use policy::table::Route;
use policy::upstream::Target;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What the proxy has found out about the request before it is sent.
pub(crate) struct Outbound {
    pub(crate) parts: Parts,
    pub(crate) body: RequestBody,
    /// The `Host` that the client asked for.
    pub(crate) client_host: HeaderValue,
    /// What `consistent_hash` goes by.
    pub(crate) key: Option<u64>,
    /// A WebSocket handshake that the route lets pass.
    pub(crate) websocket: bool,
}

/// Sends the request to a target of the route and returns its answer.
pub(crate) async fn send(
    exchange: &Exchange,
    route: &Route,
    outbound: Outbound,
) -> Result<Response<Body>, Rejection> {
    let Outbound { mut parts, body, client_host, key, websocket } = outbound;
    let target = pick(route, key)?;
    let host = if route.preserve_host { client_host } else { target.authority.clone() };
    parts.headers.insert(header::HOST, host);
    if websocket {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }

    let session = &*exchange.session;
    let mut timing = Timing::new(session, route);
    let mut request = Request::from_parts(parts, body);
    loop {
        let pool = &session.worker.pool;
        let taking = pool.checkout(&session.worker.gateway, &route.upstream, target, session.now());
        let mut checkout = timing.within(taking).await?;
        match converse(&mut checkout, request, &mut timing).await {
            Ok(response) => return answer(exchange, response, checkout, websocket, timing).await,
            // an idle connection that its target closed at the same moment; nothing of the request was written
            Err(Failure::Unwritten(unsent)) if checkout.reused => request = *unsent,
            Err(Failure::Unwritten(_)) => return Err(failed(&checkout, Rejection::UpstreamReset)),
            Err(Failure::Rejected(rejection)) => return Err(failed(&checkout, rejection)),
        }
    }
}

fn failed(checkout: &Checkout, rejection: Rejection) -> Rejection {
    checkout.failed();
    rejection
}

fn pick(route: &Route, key: Option<u64>) -> Result<&Target, Rejection> {
    let targets = &route.upstream.targets;
    let in_flight = |at: usize| targets[at].state.in_flight.load(Ordering::Relaxed);
    let at = route.upstream.balancer.pick(key, in_flight, |_| true).ok_or(Rejection::NoTarget)?;
    Ok(&targets[at])
}

/// Why there is no response.
enum Failure {
    /// Not a byte was written: the request is whole.
    Unwritten(Box<Request<RequestBody>>),
    Rejected(Rejection),
}

/// Sends on a connection, driving it, until the head of the final response is there.
async fn converse(
    checkout: &mut Checkout,
    request: Request<RequestBody>,
    timing: &mut Timing<'_>,
) -> Result<Response<Incoming>, Failure> {
    let user = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let Some(answer) = checkout.send(request, user) else {
        return Err(Failure::Rejected(Rejection::Internal));
    };
    let mut answer = pin!(answer);
    poll_fn(|_| {
        let ended = checkout.drive();
        // the answer comes by driving alone, so nothing needs to wake its reader
        match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                Some(unsent) => Failure::Unwritten(Box::new(unsent)),
                None => Failure::Rejected(timing.judge(error.error())),
            })),
            Poll::Pending if ended => Poll::Ready(Err(Failure::Rejected(Rejection::UpstreamReset))),
            Poll::Pending => match timing.overdue() {
                Some(rejection) => Poll::Ready(Err(Failure::Rejected(rejection))),
                None => Poll::Pending,
            },
        }
    })
    .await
}

/// Makes the client's response from the target's.
async fn answer(
    exchange: &Exchange,
    response: Response<Incoming>,
    mut checkout: Checkout,
    websocket: bool,
    timing: Timing<'_>,
) -> Result<Response<Body>, Rejection> {
    let (mut parts, incoming) = response.into_parts();
    parts.extensions.clear();
    let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let expected = if switching { websocket && is_websocket(&parts.headers) } else { is_final(parts.status) };
    if !expected {
        return Err(failed(&checkout, Rejection::InvalidResponse));
    }
    clean_response(&mut parts.headers, switching).map_err(|rejection| failed(&checkout, rejection))?;

    let session = &exchange.session;
    if switching {
        open_tunnel(session, checkout).await?;
        return Ok(Response::from_parts(parts, Body::empty(session)));
    }
    session.set_exchange_deadline(timing.route_deadline);
    if incoming.is_end_stream() {
        drop(incoming);
        checkout.release(session.now());
        return Ok(Response::from_parts(parts, Body::empty(session)));
    }
    let body = Body::upstream(incoming, checkout, timing.route_deadline, session);
    Ok(Response::from_parts(parts, body))
}

/// A status that ends an exchange; 600 and more are not HTTP (RFC 9110 §15).
fn is_final(status: StatusCode) -> bool {
    (200..600).contains(&status.as_u16())
}

fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers.contains_key(header::SEC_WEBSOCKET_ACCEPT)
}

/// Leaves the target's socket in the session; it is joined with the client's once the 101 is written.
async fn open_tunnel(session: &Session, mut checkout: Checkout) -> Result<(), Rejection> {
    poll_fn(|_| if checkout.drive() { Poll::Ready(()) } else { Poll::Pending }).await;
    let (target, checkout) = checkout.into_tunnel().ok_or(Rejection::Internal)?;
    session.set_tunnel(Tunnel { target, checkout });
    Ok(())
}

/// The deadlines of one exchange, from the route and its upstream.
struct Timing<'a> {
    session: &'a Session,
    route_deadline: Option<Instant>,
    response_timeout: Duration,
    /// When the last byte of the request was taken over: from then on the response is awaited.
    sent: Option<Instant>,
}

impl<'a> Timing<'a> {
    fn new(session: &'a Session, route: &Route) -> Self {
        let route_deadline = route.timeout.map(|timeout| session.now() + timeout);
        Self { session, route_deadline, response_timeout: route.upstream.response_timeout, sent: None }
    }

    /// The refusal that is due, or none; sees to a wake-up when one will be.
    fn overdue(&mut self) -> Option<Rejection> {
        let now = self.session.now();
        if self.sent.is_none() && !self.session.body_pending() {
            self.sent = Some(now);
        }
        let response_deadline = self.sent.map(|sent| sent + self.response_timeout);
        let next = [self.route_deadline, response_deadline].into_iter().flatten().min();
        self.session.set_exchange_deadline(next);
        if self.route_deadline.is_some_and(|deadline| now >= deadline) {
            return Some(Rejection::RouteTimeout);
        }
        response_deadline.is_some_and(|deadline| now >= deadline).then_some(Rejection::ResponseTimeout)
    }

    /// Awaits `work`, which has deadlines of its own, but no longer than the route allows.
    async fn within<T>(&self, work: impl Future<Output = Result<T, Rejection>>) -> Result<T, Rejection> {
        self.session.set_exchange_deadline(self.route_deadline);
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Pending if self.route_deadline.is_some_and(|deadline| self.session.now() >= deadline) => {
                Poll::Ready(Err(Rejection::RouteTimeout))
            }
            polled => polled,
        })
        .await
    }

    /// Whose fault an error of hyper's client is.
    fn judge(&self, error: &hyper::Error) -> Rejection {
        tracing::debug!(%error, cause = ?std::error::Error::source(error), "exchange with a target failed");
        match self.session.body_fault() {
            Some(fault) => fault.into(),
            None if error.is_parse() => Rejection::InvalidResponse,
            None => Rejection::UpstreamReset,
        }
    }
}
