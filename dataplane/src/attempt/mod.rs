//! A request on its way to a target: one attempt, or several where the route retries.

mod admission;
mod answer;
mod timing;

pub(crate) use timing::Timing;

use crate::body::{Content, Replay, RequestBody};
use crate::clock;
use crate::exchange::Exchange;
use crate::pool::{Checkout, Place};
use crate::telemetry::TryEnd;
use admission::{Admission, Tried};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use policy::concurrency::Slot;
use policy::outcome::Outcome;
use policy::rejection::Rejection;
use policy::retry::{NoRetry, RetryPolicy};
use policy::table::Route;
use policy::trace::TRACEPARENT;
use policy::upstream::Target;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

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
) -> Result<Response<Content>, Rejection> {
    let Outbound { parts, body, client_host, key, websocket } = outbound;
    let mut sending = Sending {
        exchange,
        route,
        key,
        preserved_host: route.preserve_host.then_some(client_host),
        websocket,
        timing,
        tried: Tried::default(),
        slot_of_route: None,
        request: None,
        checkout: None,
        response: None,
    };
    let admission = sending.admit().await?;
    let ended = match &route.guard.retry {
        None => {
            let body = RequestBody::new(body, &exchange.session);
            sending.request = Some(Request::from_parts(parts, body));
            sending.attempt(admission).await
        }
        Some(retry) => {
            let body = Replay::new(body, &exchange.session, retry.running.max_body(&parts.method));
            sending.persist(&retry.running, admission, parts, body).await
        }
    };
    sending.finish(ended)
}

/// A request and everything that its attempts have in common. What is large stays here and is not handed from function
/// to function: each would copy it.
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
    /// What the next attempt sends, or the last one could not.
    request: Option<Request<RequestBody>>,
    /// The connection of the current attempt.
    checkout: Option<Checkout>,
    /// The head of the response to the last attempt, if there was one.
    response: Option<Response<Incoming>>,
}

impl<'a> Sending<'a> {
    /// Attempts until one is good enough, or no other may be made.
    async fn persist(
        &mut self,
        policy: &RetryPolicy,
        mut admission: Admission<'a>,
        parts: Parts,
        replay: Replay,
    ) -> Result<(), Rejection> {
        policy.begin(self.now());
        let mut body = replay.attempt();
        loop {
            self.request = Some(Request::from_parts(parts.clone(), body));
            let ended = self.attempt(admission).await;
            let another = self.another(policy, &parts.method, &replay, &ended).await;
            let Some((backoff, next)) = another else { return ended };
            // from here on the failed attempt reads no more of the client's body
            body = replay.attempt();
            admission = next;
            self.discard();
            self.timing.pause(backoff).await?;
        }
    }

    /// After how long, and at which target, to try again; `None` when what there is must do.
    async fn another(
        &mut self,
        policy: &RetryPolicy,
        method: &Method,
        replay: &Replay,
        ended: &Result<(), Rejection>,
    ) -> Option<(Duration, Admission<'a>)> {
        let outcome = self.outcome(ended)?;
        if matches!(ended, Err(Rejection::RouteTimeout)) || !replay.can_replay() {
            return None;
        }
        let unsent = outcome == Outcome::ConnectFailure;
        let next = policy.next(self.exchange.attempts(), outcome, method, unsent, self.now());
        if next == Err(NoRetry::Budget) {
            self.exchange.retry_was_denied();
        }
        let backoff = next.ok()?;
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
    async fn attempt(&mut self, admission: Admission<'a>) -> Result<(), Rejection> {
        self.timing.begin();
        let span = self.begin_span();
        self.exchange.try_began(admission.at, span);
        let target = &self.route.upstream.targets[admission.at];
        let ended = self.converse_with(target).await;
        self.timing.end();
        self.note(&ended);
        let place = self.judge(admission, self.outcome(&ended));
        self.hold(place);
        ended
    }

    /// Tells the target of which span its own is a part.
    fn begin_span(&mut self) -> u64 {
        let (Some(trace), Some(request)) = (&self.exchange.trace, &mut self.request) else { return 0 };
        let (span, traceparent) = trace.client_span();
        request.headers_mut().insert(TRACEPARENT, traceparent);
        span
    }

    /// Sends on a connection of the target, and once more on a fresh one if an idle one turns out to be dead.
    async fn converse_with(&mut self, target: &Target) -> Result<(), Rejection> {
        if let Some(request) = &mut self.request {
            let host = self.preserved_host.as_ref().unwrap_or(&target.authority);
            request.headers_mut().insert(header::HOST, host.clone());
            if self.websocket {
                request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            }
        }
        while self.request.is_some() {
            self.checkout = Some(self.take_connection(target).await?);
            let Err(rejection) = self.converse().await else { return Ok(()) };
            let Some(checkout) = self.checkout.take() else { break };
            // an idle connection that its target closed at the same moment; nothing of the request was written
            if !checkout.reused || self.request.is_none() {
                return Err(answer::failed(&checkout, rejection));
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

    /// Sends on the connection and awaits the head of the final response. A request of which not a byte was written is
    /// there again afterwards.
    async fn converse(&mut self) -> Result<(), Rejection> {
        let Self { timing, request, response, checkout, .. } = self;
        let (Some(sent), Some(checkout)) = (request.take(), checkout) else {
            return Err(Rejection::Internal);
        };
        let mut answer = pin!(checkout.send(sent).ok_or(Rejection::Internal)?);
        poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(Ok(head)) => {
                *response = Some(head);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(mut error)) => {
                *request = error.take_message();
                Poll::Ready(Err(timing.judge(error.error())))
            }
            Poll::Pending => timing.overdue().map_or(Poll::Pending, |rejection| Poll::Ready(Err(rejection))),
        })
        .await?;
        if !response.as_ref().is_some_and(|head| answer::is_expected(head, self.websocket)) {
            *response = None;
            return Err(Rejection::InvalidResponse);
        }
        Ok(())
    }

    /// For whoever tells of the exchange.
    fn note(&self, ended: &Result<(), Rejection>) {
        let ended = match (ended, &self.response) {
            (Ok(()), Some(response)) => TryEnd::Status(response.status().as_u16()),
            (Ok(()), None) => TryEnd::Abandoned,
            (Err(rejection), _) => TryEnd::Failed(rejection.reason()),
        };
        let reused = self.checkout.as_ref().is_some_and(|checkout| checkout.reused);
        self.exchange.try_ended(ended, self.timing.elapsed(), reused);
    }

    /// What the end of an attempt says about its target.
    fn outcome(&self, ended: &Result<(), Rejection>) -> Option<Outcome> {
        match ended {
            Ok(()) => self.response.as_ref().map(|response| Outcome::Response(response.status())),
            Err(rejection) => Outcome::of(rejection),
        }
    }

    /// A place among the requests in flight is held until the response is over; without one it is left at once.
    fn hold(&mut self, place: Option<Place>) {
        match (&mut self.checkout, place) {
            (Some(checkout), Some(place)) => checkout.place = Some(place),
            (None, Some(place)) => place.leave(),
            (_, None) => {}
        }
    }

    fn finish(&mut self, ended: Result<(), Rejection>) -> Result<Response<Content>, Rejection> {
        if let Some(slot) = self.slot_of_route.take() {
            let place = self.place(slot, self.outcome(&ended));
            self.hold(Some(place));
        }
        ended?;
        match (self.response.take(), self.checkout.take()) {
            (Some(response), Some(checkout)) => {
                answer::answer(&self.exchange.session, response, checkout, self.timing.route_deadline)
            }
            _ => Err(Rejection::Internal),
        }
    }

    /// Nobody wants this response: its connection is of use again if what is left of it is short.
    fn discard(&mut self) {
        let (Some(response), Some(mut checkout)) = (self.response.take(), self.checkout.take()) else {
            return;
        };
        let mut body = response.into_body();
        if body.is_end_stream() {
            checkout.release(self.timing.session.now());
            return;
        }
        tokio::task::spawn_local(tokio::time::timeout(DISCARD_PATIENCE, async move {
            let mut left = DISCARD_AT_MOST;
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                let length = frame.ok()?.data_ref().map_or(0, Bytes::len);
                left = left.checked_sub(length)?;
            }
            checkout.release(Instant::now());
            Some(())
        }));
    }

    fn now(&self) -> policy::clock::Now {
        clock::at(self.timing.session.now())
    }
}

/// An unwanted response longer than this, in bytes or in time, costs its connection.
const DISCARD_AT_MOST: usize = 16 * 1024;
const DISCARD_PATIENCE: Duration = Duration::from_millis(500);
