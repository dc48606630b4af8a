//! `mirror` at work: a copy of a request goes to another upstream, in a task of its own. The client never waits for it.
//!
//! The body is copied while it goes to the target, and the copy is sent once all of it has come: a mirror that does not
//! read holds nobody up.

use crate::body::RequestBody;
use crate::clock;
use crate::connection::session::Session;
use crate::dial::Transports;
use crate::exchange::Exchange;
use crate::target::RequestHead;
use crate::worker::TableHandle;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use policy::balance::request_key;
use policy::mirror::{Mirror, Mirrored, Place, Sampled};
use policy::outcome::Outcome;
use policy::table::Route;
use policy::trace::TRACEPARENT;
use policy::upstream::{Target, Upstream};
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::spawn_local;
use tokio::time::timeout;

/// Tells a target that nobody waits for what it does.
const MIRRORED: HeaderName = HeaderName::from_static("x-mirrored");

/// A copy of a request.
pub(crate) struct Copy {
    mirror: Arc<Mirror>,
    head: Head,
    /// What goes to the target is copied here as it comes.
    body: Vec<u8>,
    end: End,
    place: Place,
}

/// What a copy says before its body.
struct Head {
    parts: Parts,
    /// None: the target's own.
    host: Option<HeaderValue>,
    /// Whole lines of the gateway's own.
    lines: Box<[u8]>,
    /// What the mirror's balancer goes by.
    key: Option<u64>,
    /// One of its own: what the client's connection is woken for is not meant for the copy.
    session: Rc<Session>,
}

/// Where the end of a copy is counted, once.
struct End {
    session: Rc<Session>,
    table: Rc<TableHandle>,
    route: usize,
    /// The body is being copied, or the copy is on its way.
    awaited: Cell<bool>,
}

impl Copy {
    /// A copy of a request that is about to be sent to a target, if it is one of those that are copied.
    pub(crate) fn sample(
        exchange: &Exchange,
        route: &Route,
        parts: &Parts,
        client_host: &HeaderValue,
        introduced: bool,
    ) -> Option<Box<Self>> {
        let mirror = route.mirror.as_ref()?;
        let session = exchange.session.clone();
        let end =
            End { session, table: exchange.table.clone()?, route: exchange.route?, awaited: Cell::default() };
        let place = match mirror.sample() {
            Sampled::No => return None,
            Sampled::Full => {
                end.is(Mirrored::Overflow);
                return None;
            }
            Sampled::Yes(place) => place,
        };
        let head = Head::of(exchange, route, parts, client_host, introduced, mirror);
        Some(Box::new(Self { mirror: mirror.clone(), head, body: Vec::new(), end, place }))
    }

    /// The body of the request, of at least so many bytes, is about to be read; `None` when it is too large.
    pub(crate) fn begin(self: Box<Self>, at_least: u64) -> Option<Box<Self>> {
        if at_least > self.mirror.max_body() as u64 {
            self.end.is(Mirrored::TooLarge);
            return None;
        }
        self.end.awaited.set(true);
        Some(self)
    }

    /// Takes over what goes to the target; `None` when all of it is too much.
    pub(crate) fn take(mut self: Box<Self>, data: &[u8]) -> Option<Box<Self>> {
        if self.body.len() + data.len() > self.mirror.max_body() {
            self.end.is(Mirrored::TooLarge);
            return None;
        }
        self.body.extend_from_slice(data);
        Some(self)
    }

    /// All of the request has come.
    pub(crate) fn send(self: Box<Self>) {
        spawn_local(async move {
            let Self { mirror, head, body, end, place } = *self;
            end.awaited.set(true);
            end.is(head.send(&mirror, body.into(), end.table.transports()).await);
            drop(place);
        });
    }
}

impl End {
    fn is(&self, mirrored: Mirrored) {
        self.awaited.set(false);
        self.session.worker.telemetry.mirrored(&self.table, self.route, mirrored);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.awaited.get() {
            self.is(Mirrored::Incomplete);
        }
    }
}

impl Head {
    fn of(
        exchange: &Exchange,
        route: &Route,
        parts: &Parts,
        client_host: &HeaderValue,
        introduced: bool,
        mirror: &Mirror,
    ) -> Self {
        let hash_on = mirror.upstream.balancer.hash_on();
        let key =
            hash_on.and_then(|on| request_key(on, &parts.headers, exchange.client_ip, parts.uri.path()));
        let mut parts = parts.clone();
        let (lines, fields) = exchange.own_lines(introduced, client_host);
        for (name, value) in fields.into_iter().flatten() {
            if let Ok(name) = HeaderName::try_from(name) {
                parts.headers.insert(name, value.clone());
            }
        }
        if let Some(trace) = &exchange.trace {
            parts.headers.insert(TRACEPARENT, trace.server_span());
        }
        // those are not copied
        parts.headers.remove(header::TRAILER);
        parts.headers.insert(MIRRORED, HeaderValue::from_static("true"));
        let host = route.preserve_host.then(|| client_host.clone());
        Self { parts, host, lines: lines.into(), key, session: exchange.session.sibling() }
    }

    /// Sends it once, and tells the mirror's health what came of it.
    async fn send(&self, mirror: &Mirror, body: Bytes, transports: &Transports) -> Mirrored {
        let (upstream, began) = (&mirror.upstream, self.session.tick());
        let Ok(at) = upstream.pick(self.key, clock::at(began), |_| true) else { return Mirrored::Failure };
        let conversing = self.converse_with(&upstream.targets[at], upstream, body, transports);
        let outcome = match timeout(mirror.timeout(), conversing).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return Mirrored::Failure,
            Err(_) => Outcome::Timeout,
        };
        upstream.record(at, outcome, began.elapsed(), clock::now());
        match outcome {
            Outcome::Timeout => Mirrored::Timeout,
            outcome if outcome.is_failure() => Mirrored::Failure,
            _ => Mirrored::Success,
        }
    }

    /// How the target answers; `None` where the gateway did not come so far as to ask it.
    async fn converse_with(
        &self,
        target: &Target,
        upstream: &Upstream,
        body: Bytes,
        transports: &Transports,
    ) -> Option<Outcome> {
        let session = &self.session;
        loop {
            let mut checkout = session.worker.pool.checkout(session, upstream, target, false);
            if !checkout.reused {
                checkout = match checkout.connect(session, upstream, target, transports).await {
                    Ok(connected) => connected,
                    Err(rejection) => return Outcome::of(&rejection),
                };
            }
            let reused = checkout.reused;
            let read = (!body.is_empty()).then(|| body.clone()).into_iter().collect();
            checkout.begin(&self.request(target), RequestBody::Empty.rewound(read));
            let connection = checkout.connection()?;
            let answered = poll_fn(|cx| {
                session.remember_waker(cx.waker());
                connection.poll_head(cx, session, &mut drop)
            });
            match answered.await {
                Ok(head) if (200..600).contains(&head.status.as_u16()) => {
                    connection.send_on();
                    checkout.discard(session);
                    return Some(Outcome::Response(head.status));
                }
                // an idle connection that its target closed at the same moment
                Err(failure) if reused && connection.is_unsent(&failure) => {}
                Ok(_) | Err(_) => {
                    checkout.failed();
                    return Some(Outcome::Reset);
                }
            }
        }
    }

    fn request<'a>(&'a self, target: &'a Target) -> RequestHead<'a> {
        RequestHead {
            method: &self.parts.method,
            target: self.parts.uri.path_and_query().map_or("/", |target| target.as_str()),
            host: self.host.as_ref().unwrap_or(&target.authority),
            headers: &self.parts.headers,
            lines: &self.lines,
            fields: [None, None],
            upgrade: false,
        }
    }
}
