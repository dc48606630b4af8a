//! The streams of a connection that are being served.

use super::wire::Wire;
use crate::connection::session::Session;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

/// How often a client may cancel a request before it has its answer, beyond as many that it has waited for. It may at any
/// time close a page that has all its streams open.
const PATIENCE: u32 = 256;

/// The streams of a connection that are being served, and what they want of it.
pub(super) struct Streams {
    pub(super) wire: Rc<Wire>,
    /// Of the connection.
    session: Rc<Session>,
    /// Of the streams. There are few, so that to search them costs less than to keep an order.
    sessions: RefCell<Vec<Rc<Session>>>,
    /// Since when there is none.
    idle_since: Cell<Instant>,
    /// When one has something overdue, as far as that was told since the timer fired last.
    due: Cell<Option<Instant>>,
    patience: Cell<u32>,
    provoked: Cell<bool>,
}

/// A stream that is being served, until this is dropped.
pub(super) struct Served {
    pub(super) streams: Rc<Streams>,
    /// Of the stream.
    pub(super) session: Rc<Session>,
}

impl Streams {
    pub(super) fn new(wire: Rc<Wire>, session: Rc<Session>) -> Rc<Self> {
        let idle_since = Cell::new(session.now());
        let (sessions, due) = (RefCell::default(), Cell::new(None));
        let (patience, provoked) = (Cell::new(PATIENCE), Cell::new(false));
        Rc::new(Self { wire, session, sessions, idle_since, due, patience, provoked })
    }

    /// Another stream begins.
    pub(super) fn enter(self: &Rc<Self>) -> Served {
        let session = self.session.sibling();
        self.sessions.borrow_mut().push(session.clone());
        Served { streams: self.clone(), session }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.borrow().is_empty()
    }

    /// Since when there is no stream, if so.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.is_empty().then(|| self.idle_since.get())
    }

    /// All are to end now.
    pub(super) fn abort(&self) {
        self.sessions.borrow().iter().for_each(|session| session.abort());
    }

    /// Waits for the last one.
    pub(super) async fn until_over(&self) {
        poll_fn(|cx| {
            self.session.remember_waker(cx.waker());
            if self.session.is_aborted() {
                self.abort();
            }
            if self.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    // ---- deadlines

    /// A stream has something overdue at `due`, and is to be woken then.
    pub(super) fn watch(&self, due: Instant) {
        if self.due.get().is_none_or(|known| due < known) {
            self.due.set(Some(due));
            self.session.wake();
        }
    }

    /// When the first of them has something overdue. Where the timer has `fired`, those that have it now are woken, and
    /// tell anew.
    pub(super) fn next_check(&self, now: Instant, fired: bool) -> Option<Instant> {
        if fired {
            let mut next = None;
            for session in &*self.sessions.borrow() {
                let due = session.due();
                if due <= now {
                    session.wake();
                } else if next.is_none_or(|next| due < next) {
                    next = Some(due);
                }
            }
            self.due.set(next);
        }
        self.due.get()
    }

    // ---- cancelled streams

    /// A client has waited for its answer.
    pub(super) fn completed(&self) {
        let patience = self.patience.get();
        if patience < PATIENCE {
            self.patience.set(patience + 1);
        }
    }

    /// A client has cancelled a request that was being served (CVE-2023-44487).
    pub(super) fn cancelled(&self) {
        let patience = self.patience.get();
        if patience > 0 {
            self.patience.set(patience - 1);
        } else {
            self.provoked.set(true);
            self.session.wake();
        }
    }

    /// It has done so more often than is borne.
    pub(super) fn cancelled_too_often(&self) -> bool {
        self.provoked.get()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // it may hold an exchange, which holds the session
        drop(self.session.take_tunnel());
        let streams = &self.streams;
        let mut sessions = streams.sessions.borrow_mut();
        if let Some(at) = sessions.iter().position(|session| Rc::ptr_eq(session, &self.session)) {
            sessions.swap_remove(at);
        }
        if sessions.is_empty() {
            // the connection's time may be an old one, this task's is not
            streams.idle_since.set(self.session.now());
            streams.session.wake();
        }
    }
}
