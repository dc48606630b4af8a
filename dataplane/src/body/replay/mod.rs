//! A request body for several attempts: what one was handed is kept, within bounds, and the next begins with it.
//!
//! An attempt that has failed may live on for a while in the task of its connection. From the moment the next one is
//! made, its body gives an error: it can take no frame from the client that the next one needs, and it can never pass
//! for complete.

use super::request::{Handling, RequestBody, Streamed};
use super::{BodyError, ClientBody};
use crate::connection::session::Session;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The client's body, from which each attempt gets its own. Dropped when there will be no other: what is kept is then
/// given back.
pub(crate) struct Replay<S = Streamed> {
    /// `None` when there is no body.
    shared: Option<Rc<RefCell<Shared<S>>>>,
}

/// The body of one attempt.
pub(crate) struct Replayed<S = Streamed> {
    shared: Rc<RefCell<Shared<S>>>,
    number: u32,
}

/// The number of no attempt.
const NONE: u32 = 0;

struct Shared<S> {
    source: S,
    /// The source has said that nothing more comes.
    ended: bool,
    /// All that was handed out is kept, and to be kept on.
    whole: bool,
    /// What the attempts before were handed.
    kept: Vec<Bytes>,
    /// What the current attempt was handed beyond that. It is copied: a frame is a view into the client connection's
    /// read buffer, of which a view of one byte holds hundreds of kilobytes.
    fresh: Vec<u8>,
    /// How much more may be kept.
    room: usize,
    trailers: Option<HeaderMap>,
    /// The current attempt; those before it are dead.
    number: u32,
    /// How much of `kept` the current attempt was handed.
    handed: usize,
    trailers_handed: bool,
    /// Whom to wake when the current attempt is none any more.
    waker: Option<Waker>,
}

impl Replay {
    /// The client's body; up to `max` bytes of it are kept.
    pub(crate) fn new(incoming: ClientBody, session: &Rc<Session>, max: usize, with: Handling) -> Self {
        match Streamed::new(incoming, session, with) {
            Some(source) => Self::of(source, max),
            None => Self { shared: None },
        }
    }

    /// The body for the next attempt, and the end of those before. It is best made before any pause: until then an
    /// attempt that has failed may go on reading.
    pub(crate) fn attempt(&self) -> RequestBody {
        self.next().map_or(RequestBody::Empty, RequestBody::Replayed)
    }
}

impl<S: HttpBody<Data = Bytes, Error = BodyError> + Unpin> Replay<S> {
    fn of(source: S, max: usize) -> Self {
        let shared = Shared {
            source,
            ended: false,
            whole: true,
            kept: Vec::new(),
            fresh: Vec::new(),
            room: max,
            trailers: None,
            number: NONE,
            handed: 0,
            trailers_handed: false,
            waker: None,
        };
        Self { shared: Some(Rc::new(RefCell::new(shared))) }
    }

    /// Whether the next attempt would send what the client sent; if not, its body is an error.
    pub(crate) fn can_replay(&self) -> bool {
        self.shared.as_ref().is_none_or(|shared| shared.borrow().whole)
    }

    fn next(&self) -> Option<Replayed<S>> {
        let shared = self.shared.as_ref()?;
        let number = shared.borrow_mut().rewind();
        Some(Replayed { shared: shared.clone(), number })
    }
}

impl<S> Drop for Replay<S> {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.borrow_mut().keep_no_more();
        }
    }
}

impl<S> Shared<S> {
    /// Starts over for the next attempt, whose number it gives.
    fn rewind(&mut self) -> u32 {
        self.number += 1;
        // its connection waits for the client, of whom the next attempt will hear instead
        if let Some(superseded) = self.waker.take() {
            superseded.wake();
        }
        if !self.fresh.is_empty() {
            self.kept.push(Bytes::from(std::mem::take(&mut self.fresh)));
        }
        self.handed = 0;
        self.trailers_handed = false;
        if self.whole { self.number } else { NONE }
    }

    /// What the current attempt is to be handed again.
    fn next_kept(&mut self) -> Option<Frame<Bytes>> {
        if let Some(bytes) = self.kept.get_mut(self.handed) {
            self.handed += 1;
            let bytes = if self.whole { bytes.clone() } else { std::mem::take(bytes) };
            return Some(Frame::data(bytes));
        }
        let trailers = self.trailers.as_ref().filter(|_| !self.trailers_handed)?;
        self.trailers_handed = true;
        Some(Frame::trailers(trailers.clone()))
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        if !self.whole {
            return;
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
            self.trailers_handed = true;
        }
        let Some(data) = frame.data_ref() else { return };
        match self.room.checked_sub(data.len()) {
            Some(room) => {
                self.room = room;
                self.grow(data.len());
                self.fresh.extend_from_slice(data);
            }
            None => self.keep_no_more(),
        }
    }

    /// Makes place for so much more, by doubling, but never for more than may be kept.
    fn grow(&mut self, more: usize) {
        let needed = self.fresh.len() + more;
        if needed > self.fresh.capacity() {
            let capacity = (2 * self.fresh.capacity()).clamp(needed, needed + self.room);
            self.fresh.reserve_exact(capacity - self.fresh.len());
        }
    }

    /// Gives back everything but what the current attempt has still to be handed.
    fn keep_no_more(&mut self) {
        self.whole = false;
        self.fresh = Vec::new();
        for handed in self.kept.iter_mut().take(self.handed) {
            *handed = Bytes::new();
        }
    }

    fn remember(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }
}

impl<S: HttpBody<Data = Bytes, Error = BodyError> + Unpin> HttpBody for Replayed<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let shared = &mut *self.shared.borrow_mut();
        if shared.number != self.number {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(frame) = shared.next_kept() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut shared.source).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => shared.keep(frame),
            Poll::Ready(Some(Err(_))) => shared.keep_no_more(),
            Poll::Ready(None) => shared.ended = true,
            Poll::Pending => shared.remember(cx.waker()),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.borrow();
        shared.number == self.number
            && shared.handed == shared.kept.len()
            && (shared.trailers.is_none() || shared.trailers_handed)
            && (shared.ended || shared.source.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.borrow();
        if shared.number != self.number {
            return SizeHint::default();
        }
        let kept: usize = shared.kept[shared.handed..].iter().map(Bytes::len).sum();
        let (kept, rest) = (kept as u64, shared.source.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(kept + upper);
        }
        hint.set_lower(kept + rest.lower());
        hint
    }
}

#[cfg(test)]
mod tests;
