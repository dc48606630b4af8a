//! The timer of a connection.

use std::future::Future as _;
use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};
use tokio::time::Sleep;

/// The connection's one timer. It is set anew only when it has fired or must fire earlier.
pub(super) struct Watchdog {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
    registered: bool,
}

/// A deadline that has passed without effect is not looked at again before this.
pub(super) const MIN_CHECK: Duration = Duration::from_millis(50);

impl Watchdog {
    pub(super) fn new(at: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(at.into())), at, registered: false }
    }

    pub(super) fn has_fired(&self, now: Instant) -> bool {
        now >= self.at
    }

    /// Makes sure that the task is woken at `check` or before.
    pub(super) fn watch(mut self: Pin<&mut Self>, check: Instant, now: Instant, cx: &mut Context<'_>) {
        if self.has_fired(now) || check < self.at {
            self.at = check;
            self.sleep.as_mut().reset(check.into());
            self.registered = false;
        }
        if !self.registered {
            self.registered = self.sleep.as_mut().poll(cx).is_pending();
        }
    }
}
