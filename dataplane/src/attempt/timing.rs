//! The deadlines of one exchange and of each attempt in it.

use crate::connection::session::Session;
use crate::target::Failure;
use policy::grpc::Timeout;
use policy::rejection::Rejection;
use policy::table::Route;
use policy::upstream::Upstream;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// When an exchange must be over, and by whose word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    of: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Route,
    /// Its `grpc-timeout`.
    Client,
}

impl Deadline {
    /// What an exchange is refused with, or broken off for, that is not over by then.
    pub(crate) fn missed(self) -> Rejection {
        match self.of {
            Word::Route => Rejection::RouteTimeout,
            Word::Client => Rejection::DeadlineExceeded,
        }
    }
}

/// From the route, its retries and the upstream.
pub(crate) struct Timing<'a> {
    pub(crate) session: &'a Session,
    /// When the exchange must be over.
    pub(super) deadline: Option<Deadline>,
    /// Of the current attempt.
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
            deadline: route.timeout.map(|timeout| Deadline { at: began + timeout, of: Word::Route }),
            response_timeout: Duration::ZERO,
            per_try_timeout: route.guard.retry.as_ref().and_then(|retry| retry.running.per_try_timeout()),
            try_deadline: None,
            began,
            sent: None,
        }
    }

    /// The client of a call waits no longer than this.
    pub(crate) fn narrow(&mut self, timeout: Timeout) {
        let Some(at) = self.began.checked_add(timeout.get()) else { return };
        if self.deadline.is_none_or(|known| at < known.at) {
            self.deadline = Some(Deadline { at, of: Word::Client });
        }
    }

    /// What is left until the exchange must be over; `None` for any time.
    pub(super) fn left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.at.saturating_duration_since(self.session.now()))
    }

    /// An attempt begins, at a target of the upstream.
    pub(super) fn begin(&mut self, upstream: &Upstream) {
        self.response_timeout = upstream.response_timeout;
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
        let deadlines = [self.deadline.map(|deadline| deadline.at), self.try_deadline, response_deadline];
        self.session.set_exchange_deadline(deadlines.into_iter().flatten().min());
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| now >= deadline);
        if let Some(deadline) = self.deadline.filter(|deadline| now >= deadline.at) {
            return Some(deadline.missed());
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
        let deadlines = [self.deadline.map(|deadline| deadline.at), self.try_deadline];
        self.session.set_exchange_deadline(deadlines.into_iter().flatten().min());
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Pending => {
                let now = self.session.now();
                let missed = self.deadline.filter(|deadline| now >= deadline.at).map(Deadline::missed);
                let tried =
                    self.try_deadline.filter(|deadline| now >= *deadline).map(|_| Rejection::TryTimeout);
                missed.or(tried).map_or(Poll::Pending, |rejection| Poll::Ready(Err(rejection)))
            }
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
        // in a box: who need not wait does not carry the room for it
        self.within(Box::pin(async { Ok(tokio::time::timeout(patience, event).await.ok()) })).await
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
        self.session.body_fault().map_or_else(|| failure.rejection(), Rejection::from)
    }
}
