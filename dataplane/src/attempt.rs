//! One try of a request: pick a target, take a connection, send, wait for the head, judge it.

use crate::body::{Body, RequestBody};
use crate::connection::session::Session;
use crate::connection::tunnel::Tunnel;
use crate::pool::Checkout;
use crate::pool::socket::is_flood;
use crate::proxy::Exchange;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use policy::headers::clean_response;
use policy::rejection::Rejection;
use policy::table::Route;
use policy::upstream::Target;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;
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
    let mut unsent = Some(Request::from_parts(parts, body));
    while let Some(request) = unsent.take() {
        let mut checkout = take_connection(&timing, route, target).await?;
        match converse(&mut checkout, request, &mut timing, &mut unsent).await {
            Ok(response) => return answer(exchange, response, checkout, websocket, &timing),
            // an idle connection that its target closed at the same moment; nothing of the request was written
            Err(_) if checkout.reused && unsent.is_some() => {}
            Err(rejection) => return Err(failed(&checkout, rejection)),
        }
    }
    Err(Rejection::Internal)
}

/// An idle connection to the target, or a new one within the exchange's deadline.
async fn take_connection(timing: &Timing<'_>, route: &Route, target: &Target) -> Result<Checkout, Rejection> {
    let worker = &timing.session.worker;
    let checkout = worker.pool.checkout(&worker.gateway, &route.upstream, target, timing.session.now());
    if checkout.reused {
        return Ok(checkout);
    }
    timing.within(checkout.connect(&route.upstream, target)).await
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

/// Sends on a connection and awaits the head of the final response. A request of which not a byte was written comes
/// back in `unsent`.
async fn converse(
    checkout: &mut Checkout,
    request: Request<RequestBody>,
    timing: &mut Timing<'_>,
    unsent: &mut Option<Request<RequestBody>>,
) -> Result<Response<Incoming>, Rejection> {
    let mut answer = pin!(checkout.send(request).ok_or(Rejection::Internal)?);
    poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
        Poll::Ready(Err(mut error)) => {
            *unsent = error.take_message();
            Poll::Ready(Err(timing.judge(error.error())))
        }
        Poll::Pending => timing.overdue().map_or(Poll::Pending, |rejection| Poll::Ready(Err(rejection))),
    })
    .await
}

/// Makes the client's response from the target's.
fn answer(
    exchange: &Exchange,
    response: Response<Incoming>,
    mut checkout: Checkout,
    websocket: bool,
    timing: &Timing<'_>,
) -> Result<Response<Body>, Rejection> {
    let (mut parts, incoming) = response.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    parts.extensions.clear();
    let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let expected = if switching { websocket && is_websocket(&parts.headers) } else { is_final(parts.status) };
    if !expected {
        return Err(failed(&checkout, Rejection::InvalidResponse));
    }
    clean_response(&mut parts.headers, switching).map_err(|rejection| failed(&checkout, rejection))?;

    let session = &exchange.session;
    if switching {
        // joined with the client's socket once the 101 is written
        let target = upgrade.ok_or(Rejection::Internal)?;
        session.set_tunnel(Tunnel { target, checkout });
        return Ok(Response::from_parts(parts, Body::empty(session)));
    }
    session.set_exchange_deadline(timing.route_deadline);
    if incoming.is_end_stream() {
        if !session.body_pending() {
            checkout.release(session.now());
        }
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
        // the body is read in the task of the target's connection, which no timer wakes
        if self.session.body_pending() && self.session.read_deadline_passed() {
            return Some(Rejection::RequestTimeout);
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
            None if error.is_parse() || is_flood(error) => Rejection::InvalidResponse,
            None => Rejection::UpstreamReset,
        }
    }
}
