//! Connections to one target that are as good as each other: idle ones of HTTP/1.1, and shared ones of HTTP/2.

use crate::h1;
use crate::h2::{self, Link};
use crate::target::Connection;
use policy::rejection::Rejection;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The connections that some requests may use.
#[derive(Default)]
pub(super) struct Stock {
    idle: RefCell<Vec<Idle>>,
    links: RefCell<Vec<Rc<Link>>>,
    /// A connection is being made on which others may want streams too.
    opening: RefCell<Option<Rc<Opening>>>,
    /// The target prefers HTTP/1.1: nobody can share what another opens.
    unshared: Cell<bool>,
    /// A stream was given back, or a connection was made or not.
    changed: Rc<Notify>,
}

struct Idle {
    connection: Box<h1::Connection>,
    since: Instant,
}

/// A connection that is being made. Those who wait for it learn what became of it.
#[derive(Default)]
struct Opening {
    refusal: RefCell<Option<Rejection>>,
}

/// Who makes the connection; whatever ends that, the others are told.
pub(super) struct Opener<'a> {
    stock: &'a Stock,
    opening: Rc<Opening>,
}

/// What somebody does who found no connection.
pub(super) enum Next<'a> {
    /// Somebody else's has room.
    Take(Connection),
    Open(Opener<'a>),
}

impl Stock {
    /// A connection that can take a request now. Those that cannot are closed.
    pub(super) fn take(&self, now: Instant, timeout: Duration, upgrade: bool) -> Option<Connection> {
        if !upgrade && let Some(stream) = self.take_stream() {
            return Some(stream);
        }
        self.take_idle(now, timeout).map(Connection::Http1)
    }

    /// The youngest: the older ones are for when there is more to do, and else fall idle.
    fn take_idle(&self, now: Instant, timeout: Duration) -> Option<Box<h1::Connection>> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let youngest = idle.pop()?;
            if youngest.is_usable(now, timeout) {
                return Some(youngest.connection);
            }
        }
    }

    /// On the connection with the fewest streams.
    fn take_stream(&self) -> Option<Connection> {
        if self.links.borrow().is_empty() {
            return None;
        }
        let mut links = self.links.borrow_mut();
        links.retain(|link| !link.is_closing());
        let with_room = links.iter().filter(|link| link.has_room());
        let least = with_room.min_by_key(|link| link.streams())?;
        Some(Connection::Http2(Box::new(h2::Stream::new(least.clone()))))
    }

    pub(super) fn put_back(&self, connection: Box<h1::Connection>, now: Instant) {
        self.idle.borrow_mut().push(Idle { connection, since: now });
    }

    /// A stream on a connection that others may use as well.
    pub(super) fn share(&self, link: Rc<Link>) -> Connection {
        self.unshared.set(false);
        self.links.borrow_mut().push(link.clone());
        Connection::Http2(Box::new(h2::Stream::new(link)))
    }

    /// The target speaks HTTP/1.1 where it could have spoken HTTP/2.
    pub(super) fn is_unshared(&self) {
        self.unshared.set(true);
    }

    /// What streams of its connections tell when they are given back.
    pub(super) fn changed(&self) -> Rc<Notify> {
        self.changed.clone()
    }

    /// Waits as long as somebody else makes a connection that could be shared.
    ///
    /// # Errors
    /// Why it was not made.
    pub(super) async fn next(&self) -> Result<Next<'_>, Rejection> {
        loop {
            let changed = self.changed.notified();
            if let Some(stream) = self.take_stream() {
                return Ok(Next::Take(stream));
            }
            let opening = self.opening.borrow().clone().filter(|_| !self.unshared.get());
            let Some(opening) = opening else {
                let opening = Rc::<Opening>::default();
                *self.opening.borrow_mut() = Some(opening.clone());
                return Ok(Next::Open(Opener { stock: self, opening }));
            };
            changed.await;
            if let Some(refusal) = &*opening.refusal.borrow() {
                return Err(refusal.clone());
            }
        }
    }

    /// A stream as soon as one is given back.
    pub(super) async fn stream(&self) -> Connection {
        loop {
            let changed = self.changed.notified();
            match self.take_stream() {
                Some(stream) => return stream,
                None => changed.await,
            }
        }
    }

    pub(super) fn sweep(&self, wanted: bool, now: Instant, timeout: Duration) {
        self.idle.borrow_mut().retain(|idle| !wanted && idle.is_usable(now, timeout));
        self.links.borrow_mut().retain(|link| {
            let idle = link.idle_since().map(|since| now.saturating_duration_since(since));
            !link.is_closing() && idle.is_none_or(|idle| !wanted && idle < timeout)
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.links.borrow().is_empty()
    }
}

impl Idle {
    fn is_usable(&self, now: Instant, timeout: Duration) -> bool {
        now.saturating_duration_since(self.since) < timeout
            && self.connection.leads_there_still()
            && self.connection.is_silent()
    }
}

impl Opener<'_> {
    /// Nor can those who wait have one.
    pub(super) fn refused(self, rejection: &Rejection) {
        *self.opening.refusal.borrow_mut() = Some(rejection.clone());
    }
}

impl Drop for Opener<'_> {
    fn drop(&mut self) {
        self.stock.opening.borrow_mut().take_if(|opening| Rc::ptr_eq(opening, &self.opening));
        self.stock.changed.notify_waiters();
    }
}
