//! A request's story on one screen: check it, find its route, prepare it, send it, answer.

use crate::attempt::{self, Outbound, Timing};
use crate::body::Body;
use crate::chain::Asked;
use crate::connection::boundary::Extent;
use crate::connection::session::Session;
use crate::edge;
use crate::limit;
use crate::worker::TableHandle;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Request, Response, Version};
use hyper::body::Incoming;
use policy::balance::request_key;
use policy::filter::Caller;
use policy::forwarded::{self, Client};
use policy::headers::Inbound;
use policy::rejection::{Rejection, Who};
use policy::request;
use policy::table::Edge;
use std::borrow::Cow;
use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// Room for the headers that are added, so that the map grows once.
const ADDED_HEADERS: usize = 7;

/// One request and what is known about it on its way.
pub(crate) struct Exchange {
    pub(crate) session: Rc<Session>,
    pub(crate) table: Option<Rc<TableHandle>>,
    pub(crate) request_id: HeaderValue,
    /// How many attempts were made.
    pub(crate) attempts: Cell<u32>,
    /// The position of the route that has taken it.
    pub(crate) route: Option<usize>,
    /// Who it is from, where that is asked.
    pub(crate) caller: Option<Arc<Caller>>,
    /// What its response will need to know of it.
    pub(crate) asked: Asked,
}

/// Answers one request; whatever happens there is an answer.
pub(crate) async fn serve(
    session: Rc<Session>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    session.exchange_began(Extent::of(request.body()));
    session.worker.count_request();
    let (parts, body) = request.into_parts();
    let mut exchange = Exchange::new(session);
    let mut response = match exchange.forward(parts, body).await {
        Ok(response) => response,
        Err(rejection) => exchange.refuse(&rejection),
    };
    exchange.decorate(response.headers_mut());
    exchange.session.response_began();
    Ok(response)
}

impl Exchange {
    fn new(session: Rc<Session>) -> Self {
        let request_id = edge::request_id(&session);
        let table = session.worker.table();
        Self {
            session,
            table,
            request_id,
            attempts: Cell::new(0),
            route: None,
            caller: None,
            asked: Asked::default(),
        }
    }

    async fn forward(&mut self, mut parts: Parts, body: Incoming) -> Result<Response<Body>, Rejection> {
        // without a table nothing listens; a request can only meet this while the process ends
        let table = self.table.clone().ok_or(Rejection::NoRoute)?;
        let max_target = self.session.limits().max_target_bytes;
        let path = request::normalised_path(&parts.method, &parts.uri, max_target)?;
        let inbound = Inbound::examine(&parts.headers, &parts.method, parts.version)?;
        if inbound.chunked && self.session.may_name_length() {
            return Err(Rejection::InvalidFraming);
        }
        self.check_length(&parts.headers)?;
        if inbound.has_via && request::passed_before(&parts.headers, self.session.worker.gateway.via()) {
            return Err(Rejection::Loop);
        }

        let host = request::host_of(&parts)?;
        let peer = self.session.peer.ip();
        let client = forwarded::client_address(peer, &parts.headers, &table.server.trusted_proxies);
        self.remember_origin(&table.unrouted, &parts.headers);
        let at = match table.route_of(&parts, &host, &path) {
            Ok(at) => at,
            Err(refusal) => {
                self.accept_request_id(&table.unrouted, &inbound, &parts.headers, &client);
                return Err(refusal);
            }
        };
        self.route = Some(at);
        let route = table.routes.get(at).ok_or(Rejection::Internal)?;
        self.accept_request_id(&route.chain.edge, &inbound, &parts.headers, &client);
        if let Some(answer) = self.enter(&route.chain, &parts, &client, &host, &path)? {
            return Ok(answer);
        }
        if inbound.websocket && !route.websocket {
            return Err(Rejection::UpgradeRefused);
        }
        let client_host = request::host_header(&parts, &host)?;
        // an owned one outlasts what authentication takes out of the request
        let normalised = match path {
            Cow::Borrowed(_) => None,
            Cow::Owned(path) => Some(path),
        };
        // before authentication says to the target who asks: a client's `Connection` must not name that away
        inbound.strip(&mut parts.headers, client.peer_is_trusted);
        let timing = Timing::new(&self.session, route);
        self.caller = self.authenticate(&route.chain, &mut parts, normalised.as_deref(), &timing).await?;
        limit::pass(route, client.ip, self.caller.as_deref(), &parts.headers, &timing).await?;
        let path = normalised.map_or(Cow::Borrowed(parts.uri.path()), Cow::Owned);
        let hash_on = route.upstream.balancer.hash_on();
        let key = hash_on.and_then(|on| request_key(on, &parts.headers, client.ip, &path));

        if let Some(uri) = route.rewrite.apply(&parts.uri, path)? {
            parts.uri = uri;
        }
        self.add_headers(&mut parts.headers, client_host.clone(), &client, &inbound);
        self.change_request(route, &mut parts.headers);
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        let outbound = Outbound { parts, body, client_host, key, websocket: inbound.websocket };
        attempt::send(self, route, outbound, timing).await
    }

    pub(crate) fn count_attempt(&self) {
        self.attempts.set(self.attempts.get() + 1);
    }

    /// Keeps the id that the request came with, if it is to be believed.
    fn accept_request_id(&mut self, edge: &Edge, inbound: &Inbound, headers: &HeaderMap, client: &Client) {
        if (inbound.has_request_id || edge.request_id.header.0 != edge::REQUEST_ID)
            && let Some(id) = edge.request_id.accepted(headers, client.peer_is_trusted)
        {
            self.request_id = id;
        }
    }

    /// Refuses a body that says itself that it is too large, before any of it is read.
    pub(crate) fn check_length(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        request::check_length(headers, self.session.body_limit())
    }

    /// Tells the target who asks, by which way, and under which id.
    fn add_headers(&self, headers: &mut HeaderMap, host: HeaderValue, client: &Client, inbound: &Inbound) {
        headers.reserve(ADDED_HEADERS);
        let via = self.session.worker.gateway.via();
        if inbound.has_via {
            headers.append(header::VIA, via.clone());
        } else {
            headers.insert(header::VIA, via.clone());
        }
        headers.insert(self.edge().request_id.header.0.clone(), self.request_id.clone());
        let peer = &self.session.peer_header;
        if client.peer_is_trusted {
            self.extend_forwarded(headers, host, client);
            return;
        }
        headers.insert(X_FORWARDED_FOR, peer.clone());
        headers.insert(X_REAL_IP, peer.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
        headers.insert(X_FORWARDED_HOST, host);
    }

    /// A trusted proxy is in front: its word stays and ours is added to it.
    fn extend_forwarded(&self, headers: &mut HeaderMap, host: HeaderValue, client: &Client) {
        headers.append(X_FORWARDED_FOR, self.session.peer_header.clone());
        if let Ok(ip) = HeaderValue::try_from(client.ip.to_string()) {
            headers.insert(X_REAL_IP, ip);
        }
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }

    fn refuse(&self, rejection: &Rejection) -> Response<Body> {
        let version = self.table.as_ref().map_or(0, |table| table.version);
        let request_id = self.request_id.to_str().unwrap_or("");
        let who = Who { instance: self.session.worker.gateway.instance(), version, request_id };
        edge::log_refusal(rejection, &who, &self.session);
        edge::refuse(rejection, &who, &self.session)
    }
}
