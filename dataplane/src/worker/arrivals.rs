//! Connections on their way to HTTP: each in a list of its own, so that they are few and end with their worker.

use super::Worker;
use super::thread::Open;
use crate::connection::arrival::{Arrival, Arrived, Turned};
use crate::connection::client::{Client, Limits};
use crate::connection::session::Session;
use crate::connection::stream::ClientStream;
use crate::connection::{self, goodbye};
use crate::listener::{ListenerId, ListenerSettings, ListenerState, TurnedAway};
use crate::tls;
use policy::rejection::Rejection;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

/// Of one worker, at the same time.
const MOST: usize = 1024;

/// Those of one worker, the oldest first.
#[derive(Default)]
pub(crate) struct Arrivals(RefCell<BTreeMap<u64, Rc<Arrival>>>);

impl Arrivals {
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// When they are too many, the oldest has to go: whoever only connects and says nothing shall not keep others out.
    fn add(&self, id: u64, arrival: Rc<Arrival>) {
        let mut all = self.0.borrow_mut();
        if all.len() >= MOST
            && let Some((_, oldest)) = all.pop_first()
        {
            oldest.abort();
        }
        all.insert(id, arrival);
    }

    /// Their listener closes.
    pub(super) fn close(&self, listener: ListenerId) {
        let all = self.0.borrow();
        let of_listener = all.values().filter(|arrival| arrival.listener == listener);
        of_listener.for_each(|arrival| arrival.close());
    }

    /// All of them end now.
    pub(super) fn abort(&self) {
        self.0.borrow().values().for_each(|arrival| arrival.abort());
    }
}

/// What belongs to a connection that was accepted.
pub(super) struct Accepted {
    pub(super) open: Open,
    pub(super) settings: Arc<ListenerSettings>,
    pub(super) limits: Rc<Limits>,
    /// The listener holds more than it may.
    pub(super) over: bool,
}

impl Worker {
    /// Serves a connection that HTTP is not the first thing on.
    pub(super) fn expect(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, accepted: Accepted) {
        let listener = &accepted.open.listener;
        if accepted.over {
            return turn_away(listener, peer, TurnedAway::TooMany, "the listener is full");
        }
        let arrival = Rc::new(Arrival::new(listener.id));
        let expected = Expected { id: self.next_id(), worker: self.clone() };
        self.arrivals.add(expected.id, arrival.clone());
        spawn_local(self.clone().arrive(stream, peer, arrival, expected, accepted));
    }

    async fn arrive(
        self: Rc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        arrival: Rc<Arrival>,
        expected: Expected,
        accepted: Accepted,
    ) {
        let Accepted { open, settings, limits, over: _ } = accepted;
        let received = arrival.receive(stream, peer, &settings, limits.header_timeout).await;
        let client = |peer| Client::new(self.clone(), open.listener.clone(), settings, peer, limits);
        match received {
            Ok(Arrived { stream, peer, read_ahead }) => {
                let (address, protocol) = (open.listener.address, stream.negotiated());
                tracing::debug!(%address, %peer, ?protocol, "a client has arrived");
                let certificate = stream.tls().and_then(|tls| {
                    open.listener.handshakes.count(tls);
                    tls::client_certificate(tls)
                });
                let client = Rc::new(client(peer).arrived_by(&stream).with_certificate(certificate));
                let session = Rc::new(Session::new(client));
                let _registered = self.register(&session, open);
                drop(expected);
                if arrival.is_closing() {
                    session.close();
                }
                connection::serve(stream, read_ahead, session).await;
            }
            Err(Turned { why, detail, plain }) => {
                turn_away(&open.listener, peer, why, &detail);
                if let Some(stream) = plain {
                    let mut stream = ClientStream::Plain(stream);
                    let session = Rc::new(Session::new(Rc::new(client(peer))));
                    goodbye::refuse(&mut stream, &Rejection::PlainText, &session).await;
                    goodbye::linger(stream).await;
                }
            }
        }
    }
}

/// A connection in its worker's list of arrivals, also when its task panics.
struct Expected {
    id: u64,
    worker: Rc<Worker>,
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.worker.arrivals.0.borrow_mut().remove(&self.id);
        self.worker.client_ended.notify_waiters();
    }
}

/// A connection ends before it could ask for anything.
fn turn_away(listener: &ListenerState, peer: SocketAddr, why: TurnedAway, detail: &str) {
    listener.turned_away.count(why);
    tracing::debug!(address = %listener.address, %peer, reason = why.reason(), detail, "connection turned away");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn where_too_many_say_nothing_the_oldest_has_to_go() {
        let arrivals = Arrivals::default();
        let all: Vec<_> = (0..=MOST as u64).map(|_| Rc::new(Arrival::new(ListenerId::next()))).collect();
        for (id, arrival) in (0..).zip(&all) {
            arrivals.add(id, arrival.clone());
        }
        assert_eq!(arrivals.len(), MOST);
        all[0].aborted().await;
        let others = tokio::time::timeout(Duration::ZERO, all[1].aborted()).await;
        assert!(others.is_err(), "nobody else");
    }
}
