//! A request on its way to a target: one attempt, or several where the route retries.

mod admission;
mod answer;
mod timing;

pub(crate) use admission::Unjudged;
pub(crate) use timing::{Deadline, Timing};

use crate::body::{ClientBody, Content, Handling, Replay, RequestBody};
use crate::clock;
use crate::exchange::Exchange;
use crate::pool::{Checkout, Place};
use crate::target::{RequestHead, ResponseHead};
use crate::telemetry::TryEnd;
use admission::{Admission, Tried};
use http::header::HeaderValue;
use http::request::Parts;
use http::{Response, Version};
use policy::concurrency::Slot;
use policy::grpc::{GRPC_TIMEOUT, GrpcStatus, Timeout};
use policy::outcome::Outcome;
use policy::rejection::Rejection;
use policy::retry::{NoRetry, RetryPolicy};
use policy::table::{Backend, Route};
use policy::trace::TRACEPARENT;
use policy::upstream::Target;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// What the proxy has found out about the request before it is sent.
pub(crate) struct Outbound<'a> {
    pub(crate) parts: &'a mut Parts,
    pub(crate) body: ClientBody,
    /// The `Host` that the client asked for.
    pub(crate) client_host: HeaderValue,
    /// The client is introduced to the target by us; otherwise `parts` has what is to be said.
    pub(crate) introduced: bool,
    /// What `consistent_hash` goes by.
    pub(crate) key: Option<u64>,
    /// A WebSocket handshake that the route lets pass.
    pub(crate) websocket: bool,
    /// What is done with the body on its way.
    pub(crate) with: Handling,
}

/// Sends the request to a target of the route and returns its answer.
pub(crate) fn send<'a>(
    exchange: &'a Exchange,
    route: &'a Route,
    outbound: Outbound<'a>,
    timing: Timing<'a>,
) -> impl Future<Output = Result<Response<Content>, Rejection>> {
    let Outbound { parts, body, client_host, introduced, key, websocket, with } = outbound;
    let mut sending = Sending {
        exchange,
        route,
        backend: &route.backends[exchange.backend],
        key,
        parts,
        client_host,
        introduced,
        websocket,
        timing,
        tried: Tried::default(),
        slot_of_route: None,
        body: None,
        checkout: None,
        response: None,
        unjudged: None,
    };
    async move {
        let admission = sending.admit().await?;
        let ended = match &route.guard.retry {
            None => {
                sending.body = Some(RequestBody::new(body, &exchange.session, with));
                sending.attempt(admission).await
            }
            Some(retry) => {
                let max_body = retry.running.max_body(&sending.parts.method, exchange.call.is_some());
                let body = Replay::new(body, &exchange.session, max_body, with);
                sending.persist(&retry.running, admission, body).await
            }
        };
        sending.finish(ended)
    }
}

/// A request and everything that its attempts have in common. What is large stays here and is not handed from function
/// to function: each would copy it.
struct Sending<'a> {
    exchange: &'a Exchange,
    route: &'a Route,
    /// The one of the route's backends that it goes to; a retry, too.
    backend: &'a Backend,
    key: Option<u64>,
    parts: &'a mut Parts,
    client_host: HeaderValue,
    introduced: bool,
    websocket: bool,
    timing: Timing<'a>,
    tried: Tried,
    /// Its place among the route's requests in flight, where these are bounded: one for all attempts.
    slot_of_route: Option<Slot>,
    /// What the next attempt sends.
    body: Option<RequestBody>,
    /// The connection of the current attempt.
    checkout: Option<Checkout>,
    /// The head of the response to the last attempt, if there was one.
    response: Option<ResponseHead>,
    /// The same attempt, where its response is a call's that has only begun.
    unjudged: Option<Box<Unjudged>>,
}

impl<'a> Sending<'a> {
    /// Attempts until one is good enough, or no other may be made.
    async fn persist(
        &mut self,
        policy: &RetryPolicy,
        mut admission: Admission<'a>,
        replay: Replay,
    ) -> Result<(), Rejection> {
        policy.begin(self.now());
        loop {
            // from here on the failed attempt reads no more of the client's body
            self.body = Some(replay.attempt());
            let ended = self.attempt(admission).await;
            let another = self.another(policy, &replay, &ended).await;
            let Some((backoff, next)) = another else { return ended };
            admission = next;
            self.discard();
            self.timing.pause(backoff).await?;
        }
    }

    /// After how long, and at which target, to try again; `None` when what there is must do.
    async fn another(
        &mut self,
        policy: &RetryPolicy,
        replay: &Replay,
        ended: &Result<(), Rejection>,
    ) -> Option<(Duration, Admission<'a>)> {
        let outcome = self.outcome(ended)?;
        if matches!(ended, Err(Rejection::RouteTimeout | Rejection::DeadlineExceeded)) || !replay.can_replay()
        {
            return None;
        }
        let unsent = matches!(outcome, Outcome::ConnectFailure | Outcome::RefusedStream);
        let method = &self.parts.method;
        let next = policy.next(self.exchange.attempts(), outcome, method, unsent, self.now());
        if next == Err(NoRetry::Budget) {
            self.exchange.retry_was_denied();
        }
        let backoff = next.ok()?;
        if self.timing.left().is_some_and(|left| left <= backoff) {
            return None;
        }
        let admission = self.admit().await.ok()?;
        // meanwhile the failed attempt may have read on
        replay.can_replay().then_some((backoff, admission))
    }

    /// One attempt, judged: breaker, ejection and concurrency learn how it ended.
    async fn attempt(&mut self, admission: Admission<'a>) -> Result<(), Rejection> {
        self.timing.begin(&self.backend.upstream);
        self.tell_time_left();
        let span = self.begin_span();
        self.exchange.try_began(admission.at, span);
        let target = &self.backend.upstream.targets[admission.at];
        let ended = self.converse_with(target).await;
        self.timing.end();
        self.note(&ended);
        let outcome = self.outcome(&ended);
        let place = self.judge(admission, outcome);
        self.hold(place);
        ended
    }

    /// Tells the target of a call how long there is somebody who waits for its answer.
    fn tell_time_left(&mut self) {
        if self.exchange.call.is_some()
            && let Some(left) = self.timing.left()
        {
            self.parts.headers.insert(GRPC_TIMEOUT, Timeout::header_value(left));
        }
    }

    /// Tells the target of which span its own is a part.
    fn begin_span(&mut self) -> u64 {
        let Some(trace) = &self.exchange.trace else { return 0 };
        let (span, traceparent) = trace.client_span();
        self.parts.headers.insert(TRACEPARENT, traceparent);
        span
    }

    /// Sends on a connection of the target, and once more on a fresh one if an idle one turns out to be dead.
    async fn converse_with(&mut self, target: &Target) -> Result<(), Rejection> {
        let mut checkout = self.take_connection(target).await?;
        self.write(&mut checkout, target);
        loop {
            self.checkout = Some(checkout);
            let Err(unanswered) = self.converse().await else { return Ok(()) };
            let Some(mut dead) = self.checkout.take() else { return Err(Rejection::Internal) };
            match unanswered {
                // an idle connection that its target closed at the same moment
                Unanswered::Unsent(rejection) if dead.reused => {
                    let again = self.begin_again(&mut dead, target).await?;
                    checkout = again.ok_or_else(|| answer::failed(&dead, rejection))?;
                }
                Unanswered::Unsent(rejection) | Unanswered::For(rejection) => {
                    return Err(answer::failed(&dead, rejection));
                }
            }
        }
    }

    /// The same exchange on another connection; `None` where some of the body went with the dead one.
    async fn begin_again(
        &mut self,
        dead: &mut Checkout,
        target: &Target,
    ) -> Result<Option<Checkout>, Rejection> {
        let mut checkout = self.take_connection(target).await?;
        if !checkout.take_over(dead) {
            let Some(body) = dead.take_unsent_body() else { return Ok(None) };
            self.body = Some(body);
            self.write(&mut checkout, target);
        }
        Ok(Some(checkout))
    }

    /// Hands the request to the connection.
    fn write(&mut self, checkout: &mut Checkout, target: &Target) {
        let (exchange, introduced) = (self.exchange, self.introduced);
        let (lines, fields) = exchange.own_lines(introduced, &self.client_host);
        let head = RequestHead {
            method: &self.parts.method,
            target: self.parts.uri.path_and_query().map_or("/", |target| target.as_str()),
            host: if self.route.preserve_host { &self.client_host } else { &target.authority },
            headers: &self.parts.headers,
            lines,
            fields,
            upgrade: self.websocket,
        };
        checkout.begin(&head, self.body.take().unwrap_or(RequestBody::Empty));
    }

    /// An idle connection to the target, or a new one within the deadlines.
    async fn take_connection(&self, target: &Target) -> Result<Checkout, Rejection> {
        let (session, upstream) = (self.timing.session, &self.backend.upstream);
        let checkout = session.worker.pool.checkout(session, upstream, target, self.websocket);
        if checkout.reused {
            return Ok(checkout);
        }
        let transports = self.exchange.transports().ok_or(Rejection::Internal)?;
        let connected = {
            // in a box: most requests find a connection, and do not carry the room for making one
            let connecting = Box::pin(checkout.connect(session, upstream, target, transports));
            self.timing.within(connecting).await
        };
        if let Err(rejection) = &connected
            && Outcome::of(rejection) == Some(Outcome::ConnectFailure)
            && let Some(why) = session.worker.gateway.last_connect_error(target.state.id)
        {
            self.exchange.note_error(&why);
        }
        connected
    }

    /// Awaits the head of the final response, while the request goes out.
    async fn converse(&mut self) -> Result<(), Unanswered> {
        let Self { exchange, timing, response, checkout, parts, .. } = self;
        let connection = checkout.as_mut().and_then(Checkout::connection);
        let connection = connection.ok_or(Unanswered::For(Rejection::Internal))?;
        // clients of HTTP/1.0 know of none (RFC 9110 §15.2)
        let passes_interims = parts.version != Version::HTTP_10;
        let mut hear = |head| {
            if passes_interims {
                exchange.session.interim_came(head);
            }
        };
        let head = poll_fn(|cx| match connection.poll_head(cx, &exchange.session, &mut hear) {
            Poll::Ready(Ok(head)) => Poll::Ready(Ok(head)),
            Poll::Ready(Err(failure)) => {
                exchange.note_error(&failure);
                let rejection = timing.judge(&failure);
                let unsent = connection.is_unsent(&failure);
                Poll::Ready(Err(if unsent {
                    Unanswered::Unsent(rejection)
                } else {
                    Unanswered::For(rejection)
                }))
            }
            Poll::Pending => timing
                .overdue()
                .map_or(Poll::Pending, |rejection| Poll::Ready(Err(Unanswered::For(rejection)))),
        })
        .await?;
        if !answer::is_expected(&head, self.websocket, self.parts) {
            return Err(Unanswered::For(Rejection::InvalidResponse));
        }
        *response = Some(head);
        Ok(())
    }

    /// For whoever tells of the exchange.
    fn note(&self, ended: &Result<(), Rejection>) {
        let end = match (ended, &self.response) {
            (Ok(()), Some(response)) => TryEnd::Status(response.status.as_u16()),
            (Ok(()), None) => TryEnd::Abandoned,
            (Err(rejection), _) => TryEnd::Failed(rejection.reason()),
        };
        if let (Ok(()), Some(checkout)) = (ended, &self.checkout) {
            checkout.answered(self.timing.elapsed());
        }
        let reused = self.checkout.as_ref().is_some_and(|checkout| checkout.reused);
        self.exchange.try_ended(end, self.timing.elapsed(), reused);
    }

    /// What the end of an attempt says about its target.
    fn outcome(&self, ended: &Result<(), Rejection>) -> Option<Outcome> {
        match ended {
            Ok(()) => self.response.as_ref().map(|response| match self.call_ended(response) {
                Some(status) => Outcome::Call(status),
                None => Outcome::Response(response.status),
            }),
            Err(rejection) => Outcome::of(rejection),
        }
    }

    /// How a call ended, where the head of the response says that.
    fn call_ended(&self, response: &ResponseHead) -> Option<GrpcStatus> {
        self.exchange.call.and_then(|_| GrpcStatus::of(&response.headers))
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
                self.exchange.call_ended(&response.headers);
                let (session, deadline) = (&self.exchange.session, self.timing.deadline);
                let mut response =
                    answer::answer(session, self.route, response, checkout, deadline, self.parts.version)?;
                if let Some(unjudged) = self.unjudged.take() {
                    response.body_mut().judge_at_its_end(unjudged, self.now());
                }
                Ok(response)
            }
            _ => Err(Rejection::Internal),
        }
    }

    /// Nobody wants this response.
    fn discard(&mut self) {
        if let (Some(_), Some(checkout)) = (self.response.take(), self.checkout.take()) {
            checkout.discard(&self.exchange.session);
        }
    }

    fn now(&self) -> policy::clock::Now {
        clock::at(self.timing.session.now())
    }
}

/// Why an attempt ended without a response.
enum Unanswered {
    /// The connection failed before any of the request was written.
    Unsent(Rejection),
    For(Rejection),
}

#[cfg(test)]
mod tests;
