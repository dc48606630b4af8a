//! A request on its way to a target: one attempt, or several where the route retries.

mod admission;
mod answer;
mod timing;

pub(crate) use timing::Timing;

use crate::body::{Body, Replay, RequestBody};
use crate::clock;
use crate::pool::{Checkout, Place};
use crate::proxy::Exchange;
use admission::{Admission, Tried};
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use policy::concurrency::Slot;
use policy::outcome::Outcome;
use policy::rejection::Rejection;
use policy::retry::RetryPolicy;
use policy::table::Route;
use policy::upstream::Target;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// What the proxy has found out about the request before it is sent.
pub(crate) struct Outbound {
    pub(crate) parts: Parts,
    pub(crate) body: Incoming,
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
    timing: Timing<'_>,
) -> Result<Response<Body>, Rejection> {
    let Outbound { parts, body, client_host, key, websocket } = outbound;
    let preserved_host = route.preserve_host.then_some(client_host);
    let mut sending = Sending {
        exchange,
        route,
        key,
        preserved_host,
        websocket,
        timing,
        tried: Tried::default(),
        slot_of_route: None,
    };
    let admission = sending.admit().await?;
    let answered = match &route.guard.retry {
        None => {
            let body = RequestBody::new(body, &exchange.session);
            sending.attempt(admission, Request::from_parts(parts, body)).await
        }
        Some(retry) => {
            let body = Replay::new(body, &exchange.session, retry.running.max_body(&parts.method));
            sending.persist(&retry.running, admission, parts, body).await
        }
    };
    sending.finish(answered)
}

/// A request and everything that its attempts have in common.
struct Sending<'a> {
    exchange: &'a Exchange,
    route: &'a Route,
    key: Option<u64>,
    preserved_host: Option<HeaderValue>,
    websocket: bool,
    timing: Timing<'a>,
    tried: Tried,
    /// Its place among the route's requests in flight, where these are bounded: one for all attempts.
    slot_of_route: Option<Slot>,
}

/// The head of a target's response, and the connection on which its body follows.
struct Answered {
    response: Response<Incoming>,
    checkout: Checkout,
}

impl<'a> Sending<'a> {
    /// Attempts until one is good enough, or no other may be made.
    async fn persist(
        &mut self,
        policy: &RetryPolicy,
        mut admission: Admission<'a>,
        parts: Parts,
        replay: Replay,
    ) -> Result<Answered, Rejection> {
        policy.begin(self.now());
        let mut body = replay.attempt();
        loop {
            let ended = self.attempt(admission, Request::from_parts(parts.clone(), body)).await;
            let another = self.another(policy, &parts.method, &replay, &ended).await;
            let Some((backoff, next)) = another else { return ended };
            // from here on the failed attempt reads no more of the client's body
            body = replay.attempt();
            admission = next;
            if let Ok(answered) = ended {
                answered.discard();
            }
            self.timing.pause(backoff).await?;
        }
    }

    /// After how long, and at which target, to try again; `None` when what there is must do.
    async fn another(
        &mut self,
        policy: &RetryPolicy,
        method: &Method,
        replay: &Replay,
        ended: &Result<Answered, Rejection>,
    ) -> Option<(Duration, Admission<'a>)> {
        let outcome = outcome_of(ended)?;
        if matches!(ended, Err(Rejection::RouteTimeout)) || !replay.can_replay() {
            return None;
        }
        let unsent = outcome == Outcome::ConnectFailure;
        let backoff = policy.next(self.exchange.attempts.get(), outcome, method, unsent, self.now()).ok()?;
        let in_time =
            self.timing.route_deadline.is_none_or(|deadline| self.timing.session.now() + backoff < deadline);
        if !in_time {
            return None;
        }
        let admission = self.admit().await.ok()?;
        // meanwhile the failed attempt may have read on
        replay.can_replay().then_some((backoff, admission))
    }

    /// One attempt, judged: breaker, ejection and concurrency learn how it ended.
    async fn attempt(
        &mut self,
        admission: Admission<'a>,
        request: Request<RequestBody>,
    ) -> Result<Answered, Rejection> {
        self.timing.begin();
        self.exchange.count_attempt();
        let target = &self.route.upstream.targets[admission.at];
        let ended = self.converse_with(target, request).await;
        self.timing.end();
        let place = self.judge(admission, outcome_of(&ended));
        hold(ended, place)
    }

    /// Sends on a connection of the target, and once more on a fresh one if an idle one turns out to be dead.
    async fn converse_with(
        &mut self,
        target: &Target,
        mut request: Request<RequestBody>,
    ) -> Result<Answered, Rejection> {
        let host = self.preserved_host.as_ref().unwrap_or(&target.authority);
        request.headers_mut().insert(header::HOST, host.clone());
        if self.websocket {
            request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        let mut unsent = Some(request);
        while let Some(request) = unsent.take() {
            let mut checkout = self.take_connection(target).await?;
            match self.converse(&mut checkout, request, &mut unsent).await {
                Ok(response) => return Ok(Answered { response, checkout }),
                // an idle connection that its target closed at the same moment; nothing of the request was written
                Err(_) if checkout.reused && unsent.is_some() => {}
                Err(rejection) => return Err(answer::failed(&checkout, rejection)),
            }
        }
        Err(Rejection::Internal)
    }

    /// An idle connection to the target, or a new one within the deadlines.
    async fn take_connection(&self, target: &Target) -> Result<Checkout, Rejection> {
        let (worker, upstream) = (&self.timing.session.worker, &self.route.upstream);
        let checkout = worker.pool.checkout(&worker.gateway, upstream, target, self.timing.session.now());
        if checkout.reused {
            return Ok(checkout);
        }
        self.timing.within(checkout.connect(upstream, target)).await
    }

    /// Sends on a connection and awaits the head of the final response. A request of which not a byte was written comes
    /// back in `unsent`.
    async fn converse(
        &mut self,
        checkout: &mut Checkout,
        request: Request<RequestBody>,
        unsent: &mut Option<Request<RequestBody>>,
    ) -> Result<Response<Incoming>, Rejection> {
        let timing = &mut self.timing;
        let mut answer = pin!(checkout.send(request).ok_or(Rejection::Internal)?);
        let response = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(mut error)) => {
                *unsent = error.take_message();
                Poll::Ready(Err(timing.judge(error.error())))
            }
            Poll::Pending => timing.overdue().map_or(Poll::Pending, |rejection| Poll::Ready(Err(rejection))),
        })
        .await?;
        answer::is_expected(&response, self.websocket).then_some(response).ok_or(Rejection::InvalidResponse)
    }

    fn finish(mut self, ended: Result<Answered, Rejection>) -> Result<Response<Body>, Rejection> {
        let place = self.slot_of_route.take().map(|slot| self.place(slot, outcome_of(&ended)));
        let Answered { response, checkout } = hold(ended, place)?;
        answer::answer(&self.exchange.session, response, checkout, self.timing.route_deadline)
    }

    fn now(&self) -> policy::clock::Now {
        clock::at(self.timing.session.now())
    }
}

/// What the end of an attempt says about its target.
fn outcome_of(ended: &Result<Answered, Rejection>) -> Option<Outcome> {
    match ended {
        Ok(answered) => Some(Outcome::Response(answered.response.status())),
        Err(rejection) => Outcome::of(rejection),
    }
}

/// A place among the requests in flight is held until the response is over; without one it is left at once.
fn hold(ended: Result<Answered, Rejection>, place: Option<Place>) -> Result<Answered, Rejection> {
    let Some(place) = place else { return ended };
    match ended {
        Ok(mut answered) => {
            answered.checkout.place = Some(place);
            Ok(answered)
        }
        Err(rejection) => {
            place.leave();
            Err(rejection)
        }
    }
}

impl Answered {
    /// Nobody wants this response: its connection is of use again if what is left of it is short.
    fn discard(self) {
        let Self { response, mut checkout } = self;
        let mut body = response.into_body();
        if body.is_end_stream() {
            checkout.release(std::time::Instant::now());
            return;
        }
        tokio::task::spawn_local(tokio::time::timeout(DISCARD_PATIENCE, async move {
            let mut left = DISCARD_AT_MOST;
            while let Some(Ok(frame)) = poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
                let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, bytes::Bytes::len)) else {
                    return;
                };
                left = rest;
                if body.is_end_stream() {
                    break;
                }
            }
            if body.is_end_stream() {
                checkout.release(std::time::Instant::now());
            }
        }));
    }
}

/// An unwanted response longer than this, in bytes or in time, costs its connection.
const DISCARD_AT_MOST: usize = 16 * 1024;
const DISCARD_PATIENCE: Duration = Duration::from_millis(500);
