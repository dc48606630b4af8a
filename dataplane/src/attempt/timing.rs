//! The deadlines of one exchange and of each attempt in it.

use crate::connection::session::Session;
use crate::target::Failure;
use policy::rejection::Rejection;
use policy::table::Route;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// From the route, its upstream and its retries.
pub(crate) struct Timing<'a> {
    pub(crate) session: &'a Session,
    pub(super) route_deadline: Option<Instant>,
    response_timeout: Duration,
    per_try_timeout: Option<Duration>,
    try_deadline: Option<Instant>,
    /// When the current attempt began.
    began: Instant,
    /// When the last byte of the request was taken over: from then on the response is awaited.
    sent: Option<Instant>,
}

impl<'a> Timing<'a> {
    pub(crate) fn new(session: &'a Session, route: &Route) -> Self {
        let began = session.now();
        Self {
            session,
            route_deadline: route.timeout.map(|timeout| began + timeout),
            response_timeout: route.upstream.response_timeout,
            per_try_timeout: route.guard.retry.as_ref().and_then(|retry| retry.running.per_try_timeout()),
            try_deadline: None,
            began,
            sent: None,
        }
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self) {
        self.began = self.session.now();
        self.sent = None;
        self.try_deadline = self.per_try_timeout.map(|timeout| self.began + timeout);
    }

    /// An attempt is over: until the next one begins only the route's deadline holds.
    pub(super) fn end(&mut self) {
        self.try_deadline = None;
    }

    /// How long the attempt has taken.
    pub(super) fn elapsed(&self) -> Duration {
        self.session.now().saturating_duration_since(self.began)
    }

    /// The refusal that is due, or none; sees to a wake-up when one will be.
    pub(super) fn overdue(&mut self) -> Option<Rejection> {
        let now = self.session.now();
        if self.sent.is_none() && !self.session.body_pending() {
            self.sent = Some(now);
        }
        let response_deadline = self.sent.map(|sent| sent + self.response_timeout);
        let deadlines = [self.route_deadline, self.try_deadline, response_deadline];
        self.session.set_exchange_deadline(deadlines.into_iter().flatten().min());
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| now >= deadline);
        if passed(self.route_deadline) {
            return Some(Rejection::RouteTimeout);
        }
        // the body is read in the task of the target's connection, which no timer wakes
        if self.session.body_pending() && self.session.read_deadline_passed() {
            return Some(Rejection::RequestTimeout);
        }
        if passed(self.try_deadline) {
            return Some(Rejection::TryTimeout);
        }
        passed(response_deadline).then_some(Rejection::ResponseTimeout)
    }

    /// Awaits `work`, which has deadlines of its own, but no longer than the route and the attempt allow.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Rejection>>,
    ) -> Result<T, Rejection> {
        let mut work = pin!(work);
        let deadlines = [self.route_deadline, self.try_deadline];
        self.session.set_exchange_deadline(deadlines.into_iter().flatten().min());
        let passed =
            |deadline: Option<Instant>| deadline.is_some_and(|deadline| self.session.now() >= deadline);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Pending if passed(self.route_deadline) => Poll::Ready(Err(Rejection::RouteTimeout)),
            Poll::Pending if passed(self.try_deadline) => Poll::Ready(Err(Rejection::TryTimeout)),
            polled => polled,
        })
        .await
    }

    /// Waits for `event`, but no longer than `patience`, which gives `None`, or than the route allows.
    pub(crate) async fn patiently<T>(
        &self,
        patience: Duration,
        event: impl Future<Output = T>,
    ) -> Result<Option<T>, Rejection> {
        self.within(async { Ok(tokio::time::timeout(patience, event).await.ok()) }).await
    }

    /// Waits for so long, but no longer than the route allows.
    pub(crate) async fn pause(&self, duration: Duration) -> Result<(), Rejection> {
        if duration.is_zero() {
            return Ok(());
        }
        self.patiently(duration, pending::<()>()).await.map(drop)
    }

    /// Whose fault it is that there is no response.
    pub(super) fn judge(&self, failure: &Failure) -> Rejection {
        tracing::debug!(%failure, "exchange with a target failed");
        match (self.session.body_fault(), failure) {
            (Some(fault), _) => fault.into(),
            (None, Failure::Invalid(_)) => Rejection::InvalidResponse,
            (None, Failure::Refused | Failure::GoneAway) => Rejection::StreamRefused,
            (None, Failure::Closed | Failure::Io(_) | Failure::Reset(_) | Failure::Body(_)) => {
                Rejection::UpstreamReset
            }
        }
    }
}
