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
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, Method, Request, Response, Version};
use hyper::body::Incoming;
use policy::balance::request_key;
use policy::filter::Caller;
use policy::filter::cors::Cors;
use policy::forwarded::{self, Client};
use policy::headers::{Host, Inbound, parse_host};
use policy::path;
use policy::rejection::{Rejection, Who};
use policy::router::Lookup;
use policy::table::{Edge, Rewrite, RouteTable};
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
        let path = self.check_target(&parts)?;
        let inbound = Inbound::examine(&parts.headers, &parts.method, parts.version)?;
        if inbound.chunked && self.session.may_name_length() {
            return Err(Rejection::InvalidFraming);
        }
        self.check_length(&parts.headers)?;
        if inbound.has_via && passed_before(&parts.headers, self.session.worker.gateway.via()) {
            return Err(Rejection::Loop);
        }

        let host = host_of(&parts)?;
        let peer = self.session.peer.ip();
        let client = forwarded::client_address(peer, &parts.headers, &table.server.trusted_proxies);
        self.remember_origin(&table.unrouted, &parts.headers);
        let at = match route_of(&table, &parts, &host, &path) {
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
        let client_host = host_header(&parts, &host)?;
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

        if let Some(uri) = rewritten(&parts.uri, path, &route.rewrite)? {
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

    /// The one normalised path that routing, filters, logs and the target see.
    fn check_target<'a>(&self, parts: &'a Parts) -> Result<Cow<'a, str>, Rejection> {
        if matches!(parts.method, Method::CONNECT | Method::TRACE) {
            return Err(Rejection::MethodNotServed);
        }
        let uri = &parts.uri;
        let length = uri.path_and_query().map_or(0, |target| target.as_str().len());
        if length > self.session.limits().max_target_bytes {
            return Err(Rejection::TargetTooLong);
        }
        let absolute = uri.scheme().is_some();
        if absolute != uri.authority().is_some() || (absolute && uri.scheme_str() != Some("http")) {
            return Err(Rejection::InvalidTarget);
        }
        path::normalize(uri.path()).map_err(|_| Rejection::InvalidTarget)
    }

    /// Refuses a body that says itself that it is too large, before any of it is read.
    pub(crate) fn check_length(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        let limit = self.session.body_limit();
        if limit == 0 {
            return Ok(());
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        match length.and_then(|digits| digits.parse::<u64>().ok()) {
            Some(length) if length > limit => Err(Rejection::BodyTooLarge),
            _ => Ok(()),
        }
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

/// The position of the route that takes the request. A preflight asks about another one: the route that would take
/// that answers it.
fn route_of(table: &RouteTable, parts: &Parts, host: &Host<'_>, path: &str) -> Result<usize, Rejection> {
    let asked_method = Cors::asked_method(parts);
    let lookup = |method| {
        let (query, headers) = (parts.uri.query(), &parts.headers);
        table.find(&Lookup { host: &host.name, path, query, method, headers })
    };
    if let Some(method) = &asked_method
        && let Ok(at) = lookup(method)
        && table.routes.get(at).is_some_and(|route| route.chain.edge.cors.is_some())
    {
        return Ok(at);
    }
    lookup(&parts.method)
}

/// The host by which the route is found: an absolute-form target must agree with `Host` (RFC 9112 §3.2.2).
fn host_of(parts: &Parts) -> Result<Host<'_>, Rejection> {
    let header = parts.headers.get(header::HOST).map(|value| parse_host(value.as_bytes())).transpose()?;
    match (parts.uri.authority(), header) {
        (None, Some(host)) => Ok(host),
        (None, None) => Err(Rejection::InvalidHost),
        (Some(authority), header) => {
            let host = parse_host(authority.as_str().as_bytes())?;
            if header.is_some_and(|header| header != host) { Err(Rejection::InvalidHost) } else { Ok(host) }
        }
    }
}

/// The `Host` as the client wrote it, for `X-Forwarded-Host` and `preserve_host`.
fn host_header(parts: &Parts, host: &Host<'_>) -> Result<HeaderValue, Rejection> {
    if let Some(value) = parts.headers.get(header::HOST) {
        return Ok(value.clone());
    }
    let text = match host.port {
        Some(port) => format!("{}:{port}", host.name),
        None => host.name.to_string(),
    };
    HeaderValue::try_from(text).map_err(|_| Rejection::InvalidHost)
}

/// Whether our own element stands in `Via`: the request went out from here before.
fn passed_before(headers: &HeaderMap, own: &HeaderValue) -> bool {
    let own = own.as_bytes();
    headers
        .get_all(header::VIA)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|element| element.trim_ascii() == own)
}

/// The target's path where it differs from what the client sent; the query stays as it came.
fn rewritten(uri: &Uri, path: Cow<'_, str>, rule: &Rewrite) -> Result<Option<Uri>, Rejection> {
    let unchanged = matches!(path, Cow::Borrowed(_)) && uri.authority().is_none();
    if unchanged && *rule == Rewrite::Keep {
        return Ok(None);
    }
    let query = uri.query();
    let mut text = String::with_capacity(path.len() + query.map_or(0, |query| query.len() + 1) + 32);
    match rule {
        Rewrite::Keep => text.push_str(&path),
        Rewrite::Prefix { prefix_len, with } => {
            let rest = path.get(*prefix_len..).unwrap_or("");
            text.push_str(with);
            // the remainder of a whole-segment prefix is empty or begins with a slash
            if text.is_empty() && rest.is_empty() {
                text.push('/');
            }
            text.push_str(rest);
        }
    }
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    PathAndQuery::try_from(text).map(|target| Some(Uri::from(target))).map_err(|_| Rejection::InvalidTarget)
}
