//! Whether a failed attempt is made again, and after how long: what was asked for, as far as the budget goes.

mod backoff;
mod budget;

use crate::clock::Now;
use crate::filter::retry::{RetryConfig, RetryOn};
use crate::grpc::GrpcStatus;
use crate::outcome::Outcome;
use backoff::Backoff;
pub use backoff::ceiling;
use budget::Budget;
use http::Method;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The retries of one route; shared by all workers.
#[derive(Debug)]
pub struct RetryPolicy {
    max_retries: u32,
    retry_on: Box<[RetryOn]>,
    methods: Box<[Method]>,
    per_try_timeout: Option<Duration>,
    max_body: usize,
    backoff: Backoff,
    budget: Budget,
    retries: AtomicU64,
    denied_by_budget: AtomicU64,
}

/// Why there is no other attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRetry {
    /// The outcome is a success, or a failure that is not in `retry_on`.
    NotWanted,
    /// The target may have acted on the request, and its method is not in `methods`.
    Method,
    /// There have been `max_retries` already.
    Exhausted,
    /// Too many requests are being retried at the moment.
    Budget,
}

/// What retries have done, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryView {
    /// Retries granted.
    pub retries: u64,
    /// Retries that the budget did not allow.
    pub denied_by_budget: u64,
    /// Retries that could be made at this moment.
    pub budget_left: u64,
}

impl RetryPolicy {
    /// The policy of a config, with its budget unspent.
    pub fn new(config: &RetryConfig) -> Arc<Self> {
        let RetryConfig { max_retries, retry_on, per_try_timeout, backoff, budget, methods, max_body } =
            config;
        Arc::new(Self {
            max_retries: *max_retries,
            retry_on: retry_on.as_slice().into(),
            methods: methods.iter().map(|method| method.0.clone()).collect(),
            per_try_timeout: per_try_timeout.map(crate::config::leaf::Duration::get),
            max_body: usize::try_from(max_body.0).unwrap_or(usize::MAX),
            backoff: Backoff::new(backoff),
            budget: Budget::new(*budget),
            retries: AtomicU64::new(0),
            denied_by_budget: AtomicU64::new(0),
        })
    }

    /// A first attempt is made: it feeds the budget.
    pub fn begin(&self, now: Now) {
        self.budget.deposit(now);
    }

    /// After how long to try again, if at all; the retry is then paid for.
    ///
    /// `unsent`: nothing of the request has reached a target, so that a second time is the first one for it.
    ///
    /// # Errors
    /// Why there must not be another attempt.
    pub fn next(
        &self,
        attempts_made: u32,
        outcome: Outcome,
        method: &Method,
        unsent: bool,
        now: Now,
    ) -> Result<Duration, NoRetry> {
        if !self.retry_on.iter().any(|on| covers(*on, outcome)) {
            return Err(NoRetry::NotWanted);
        }
        // every call is a POST: whoever names a status of calls means that they may be made again
        let repeats = matches!(outcome, Outcome::Call(_)) || self.repeats(method);
        if !unsent && !repeats {
            return Err(NoRetry::Method);
        }
        if attempts_made > self.max_retries {
            return Err(NoRetry::Exhausted);
        }
        if !self.budget.withdraw(now) {
            self.denied_by_budget.fetch_add(1, Ordering::Relaxed);
            return Err(NoRetry::Budget);
        }
        self.retries.fetch_add(1, Ordering::Relaxed);
        Ok(self.backoff.draw(attempts_made.saturating_sub(1)))
    }

    /// How long one attempt may take.
    pub fn per_try_timeout(&self) -> Option<Duration> {
        self.per_try_timeout
    }

    /// How much of a body of such a request to keep; nothing of one that is never sent twice. `call`: it is a gRPC call.
    pub fn max_body(&self, method: &Method, call: bool) -> usize {
        let repeats_calls = || self.retry_on.iter().any(|on| matches!(on, RetryOn::Call(_)));
        if self.repeats(method) || (call && repeats_calls()) { self.max_body } else { 0 }
    }

    /// What there is to see.
    pub fn view(&self, now: Now) -> RetryView {
        RetryView {
            retries: self.retries.load(Ordering::Relaxed),
            denied_by_budget: self.denied_by_budget.load(Ordering::Relaxed),
            budget_left: self.budget.left(now),
        }
    }

    fn repeats(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }
}

/// Whether an outcome is what an entry of `retry_on` means. A status also stands for the failures that the gateway
/// itself would answer so.
fn covers(on: RetryOn, outcome: Outcome) -> bool {
    use GrpcStatus as G;
    match outcome {
        Outcome::Response(status) => on == RetryOn::Status(status.as_u16()),
        Outcome::Call(status) => on == RetryOn::Call(status),
        // 504 where the connecting timed out
        Outcome::ConnectFailure => {
            matches!(on, RetryOn::ConnectFailure | RetryOn::Status(502..=504) | RetryOn::Call(G::Unavailable))
        }
        Outcome::Reset => matches!(on, RetryOn::Reset | RetryOn::Status(502) | RetryOn::Call(G::Unavailable)),
        Outcome::RefusedStream => {
            matches!(on, RetryOn::RefusedStream | RetryOn::Status(503) | RetryOn::Call(G::Unavailable))
        }
        Outcome::Timeout => {
            matches!(on, RetryOn::Timeout | RetryOn::Status(504) | RetryOn::Call(G::DeadlineExceeded))
        }
    }
}

#[cfg(test)]
mod tests;
