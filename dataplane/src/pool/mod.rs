//! One worker's connections to targets: newest first, never shared with another thread, ready when they are handed out.
//!
//! A connection that announces a client (`send_proxy_protocol`) speaks for this client alone: it goes back to a stock of
//! its own, from which only requests of the same client connection are served.

mod checkout;
pub(crate) mod lane;
mod stock;

pub(crate) use checkout::{Checkout, Place};

use crate::connection::session::Session;
use crate::telemetry::metrics::Histogram;
use foldhash::fast::RandomState;
use lane::Lane;
use policy::config::transport::SendProxyProtocol;
use policy::upstream::{Target, TargetState, Upstream};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use stock::Stock;

/// All connections of one worker.
#[derive(Default)]
pub(crate) struct Pool {
    shelves: RefCell<HashMap<u64, Rc<Shelf>, RandomState>>,
}

/// The connections to one target.
struct Shelf {
    lane: Arc<Lane>,
    stock: Rc<Stock>,
    /// By the client that they announce; none in `stock` where each announces one.
    announced: RefCell<HashMap<SocketAddr, Rc<Stock>, RandomState>>,
    announces: bool,
    /// How long the heads of responses took.
    latencies: Arc<Histogram>,
    idle_timeout: Cell<Duration>,
}

impl Pool {
    /// Takes out a connection to `target` that has room for a request, or the place of one that [`Checkout::connect`] is to fill.
    ///
    /// `upgrade`: the request asks for another protocol, which there is in HTTP/1.1 only.
    pub(crate) fn checkout(
        &self,
        session: &Session,
        upstream: &Upstream,
        target: &Target,
        upgrade: bool,
    ) -> Checkout {
        let shelf = self.shelf(session, upstream, &target.state);
        shelf.lane.target().in_flight.fetch_add(1, Ordering::Relaxed);
        let stock = shelf.stock_for(session);
        let connection = stock.take(session.now(), shelf.idle_timeout.get(), upgrade);
        Checkout::new(shelf, stock, connection, upgrade)
    }

    fn shelf(&self, session: &Session, upstream: &Upstream, state: &Arc<TargetState>) -> Rc<Shelf> {
        if let Some(shelf) = self.shelves.borrow().get(&state.id) {
            shelf.idle_timeout.set(upstream.idle_timeout);
            return shelf.clone();
        }
        // a request of an old table may come here after its target left the current one: it gets a lane of its own
        let lane = session.worker.gateway.lane(state.id);
        let lane = lane.unwrap_or_else(|| Lane::new(state.clone(), upstream.max_connections));
        let shelf = Rc::new(Shelf {
            latencies: lane.latencies_of_worker(),
            lane,
            stock: Rc::default(),
            announced: RefCell::default(),
            announces: upstream.config().send_proxy_protocol != SendProxyProtocol::Off,
            idle_timeout: upstream.idle_timeout.into(),
        });
        self.shelves.borrow_mut().insert(state.id, shelf.clone());
        shelf
    }

    /// Closes what is dead, idle for too long, wanted elsewhere, or belongs to a target that is gone.
    pub(crate) fn sweep(&self, lane_of: impl Fn(u64) -> Option<Arc<Lane>>, now: Instant) {
        self.shelves.borrow_mut().retain(|id, shelf| {
            shelf.sweep(now);
            lane_of(*id).is_some_and(|lane| Arc::ptr_eq(&lane, &shelf.lane))
        });
    }
}

impl Shelf {
    /// The connections that the client of a session may use.
    fn stock_for(&self, session: &Session) -> Rc<Stock> {
        match self.announces {
            false => self.stock.clone(),
            true => self.announced.borrow_mut().entry(session.peer).or_default().clone(),
        }
    }

    fn sweep(&self, now: Instant) {
        let (wanted, timeout) = (self.lane.is_wanted(), self.idle_timeout.get());
        self.stock.sweep(wanted, now, timeout);
        self.announced.borrow_mut().retain(|_, stock| {
            stock.sweep(wanted, now, timeout);
            !stock.is_empty() || Rc::strong_count(stock) > 1
        });
    }
}
