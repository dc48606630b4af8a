//! Those who wait for a slot, first come first served, and those who have one and do not know it yet.

use std::collections::VecDeque;
use std::task::{Context, Waker};

/// A place in the queue; later ones have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

#[derive(Debug, Default)]
pub(super) struct Queue {
    next: u64,
    waiting: VecDeque<Waiting>,
    granted: Vec<Ticket>,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    waker: Option<Waker>,
}

/// What became of a ticket that is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Returned {
    /// It left the queue.
    Waiting,
    /// It had a slot, which somebody else may have.
    Granted,
}

impl Queue {
    pub(super) fn push(&mut self) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.push_back(Waiting { ticket, waker: None });
        ticket
    }

    /// The first in the queue has a slot now; its waker is to be woken once the queue is unlocked.
    pub(super) fn grant(&mut self) -> Option<Waker> {
        let first = self.waiting.pop_front()?;
        self.granted.push(first.ticket);
        first.waker
    }

    /// Whether the ticket's turn has come; if so it is used up, if not it will be woken.
    pub(super) fn poll(&mut self, ticket: Ticket, cx: &Context<'_>) -> bool {
        if self.take_granted(ticket) {
            return true;
        }
        if let Some(at) = self.position(ticket) {
            match &mut self.waiting[at].waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        false
    }

    pub(super) fn give_back(&mut self, ticket: Ticket) -> Returned {
        if self.take_granted(ticket) {
            return Returned::Granted;
        }
        if let Some(at) = self.position(ticket) {
            self.waiting.remove(at);
        }
        Returned::Waiting
    }

    fn take_granted(&mut self, ticket: Ticket) -> bool {
        let at = self.granted.iter().position(|granted| *granted == ticket);
        at.map(|at| self.granted.swap_remove(at)).is_some()
    }

    /// Numbers rise along the queue.
    fn position(&self, ticket: Ticket) -> Option<usize> {
        self.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()
    }
}
