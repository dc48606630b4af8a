//! A request's story on one screen: check it, find its route, prepare it, send it, answer.

use crate::attempt::{self, Outbound, Timing};
use crate::body::{Body, ClientBody, Content, Handling};
use crate::connection::boundary::Extent;
use crate::connection::session::Session;
use crate::edge;
use crate::exchange::Exchange;
use crate::forward_auth::{Asking, Decided};
use crate::limit;
use crate::mirror::Copy;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Response};
use policy::auth::forward::ForwardAuth;
use policy::balance::request_key;
use policy::forwarded::{self, Client};
use policy::grpc::Timeout;
use policy::headers::{Inbound, unrepeated};
use policy::rejection::Rejection;
use policy::request;
use policy::table::Edge;
use std::borrow::Cow;
use std::convert::Infallible;
use std::rc::Rc;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What the gateway adds to a head: whole lines, and fields.
type OwnLines<'a> = (&'a [u8], [Option<(&'a str, &'a HeaderValue)>; 2]);

/// Answers one request; whatever happens there is an answer. `checked`: what its protocol has to say against the head.
///
/// What is large stays where it is first put, and is not handed from future to future: each would have room for it.
pub(crate) fn serve(
    session: Rc<Session>,
    mut parts: Parts,
    body: ClientBody,
    checked: Result<(), Rejection>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> {
    session.exchange_began(Extent::of(&body));
    session.worker.count_request();
    let mut exchange = Exchange::begin(session, &parts);
    async move {
        let forwarded = match checked {
            Ok(()) => exchange.forward(&mut parts, body).await,
            Err(rejection) => Err(rejection),
        };
        let mut response = match forwarded {
            Ok(response) => response,
            Err(rejection) => {
                exchange.log_has_room().await;
                edge::framed(&rejection, exchange.refuse(&rejection), &exchange.session)
            }
        };
        exchange.decorate(response.headers_mut());
        if exchange.session.is_closing() {
            edge::last(&mut response);
        }
        Ok(exchange.answer(response))
    }
}

impl Exchange {
    async fn forward(&mut self, parts: &mut Parts, body: ClientBody) -> Result<Response<Content>, Rejection> {
        // without a table nothing listens; a request can only meet this while the process ends
        let table = self.table.clone().ok_or(Rejection::NoRoute)?;
        let max_target = self.session.limits().max_target_bytes;
        let path = request::normalised_path(&parts.method, &parts.uri, max_target)?;
        let inbound = Inbound::examine(&parts.headers, &parts.method, parts.version)?;
        if inbound.chunked && !self.session.is_plainly_chunked() {
            return Err(Rejection::InvalidFraming);
        }
        self.check_length(&parts.headers)?;
        if inbound.has_via && request::passed_before(&parts.headers, self.session.worker.gateway.via()) {
            return Err(Rejection::Loop);
        }

        let host = request::host_of(parts)?;
        let peer = self.session.peer.ip();
        let client = forwarded::client_address(peer, &parts.headers, &table.server.trusted_proxies);
        self.client_ip = client.ip;
        self.remember_origin(&table.unrouted, &parts.headers);
        if self.session.settings.rules.redirect(&client, &parts.headers).is_some() {
            self.accept_request_id(&table.unrouted, &inbound, &parts.headers, &client);
            self.begin_trace(&table.unrouted, &parts.headers, &client);
            return self.send_to_https(parts, &client, &host, &path);
        }
        let at = match table.route_of(parts, &self.session.settings.name, &host, &path) {
            Ok(at) => at,
            Err(refusal) => {
                self.accept_request_id(&table.unrouted, &inbound, &parts.headers, &client);
                self.begin_trace(&table.unrouted, &parts.headers, &client);
                return Err(refusal);
            }
        };
        self.route = Some(at);
        let route = table.routes.get(at).ok_or(Rejection::Internal)?;
        self.accept_request_id(&route.chain.edge, &inbound, &parts.headers, &client);
        self.begin_trace(&route.chain.edge, &parts.headers, &client);
        self.log_has_room().await;
        if let Some(answer) = self.enter(route, parts, &client, &host, &path)? {
            return Ok(answer);
        }
        if inbound.websocket && !route.websocket {
            return Err(Rejection::UpgradeRefused);
        }
        let client_host = request::host_header(parts, &host)?;
        // an owned one outlasts what authentication takes out of the request
        let normalised = match path {
            Cow::Borrowed(_) => None,
            Cow::Owned(path) => Some(path),
        };
        // before authentication says to the target who asks: a client's `Connection` must not name that away
        inbound.strip(&mut parts.headers, client.peer_is_trusted);
        let mut timing = Timing::new(&self.session, route);
        if self.call.is_some()
            && let Some(timeout) = Timeout::of(&parts.headers)
        {
            timing.narrow(timeout);
        }
        if let Some(auth) = &route.chain.auth {
            self.caller = self.authenticate(auth, parts, normalised.as_deref(), &timing).await?;
        }
        if let Some(service) = &route.chain.forward_auth {
            let normalised_path = normalised.as_deref();
            let asking = Asking { client: &client, inbound: &inbound, host: &client_host, normalised_path };
            // in a box: routes that ask nobody do not carry the room for it
            match Box::pin(self.ask_service(service, parts, asking, &timing)).await? {
                Decided::Admitted(caller) => self.caller = caller,
                Decided::Denied(answer) => {
                    self.answers_itself(ForwardAuth::REASON);
                    return Ok(answer);
                }
            }
        }
        self.authorize(&route.chain)?;
        let would_limit = &self.would_limit;
        limit::pass(route, client.ip, self.caller.as_deref(), &parts.headers, &timing, would_limit).await?;
        let path = normalised.map_or(Cow::Borrowed(parts.uri.path()), Cow::Owned);
        self.backend = route.choose(&parts.headers, client.ip, &path);
        let hash_on = route.backends[self.backend].upstream.balancer.hash_on();
        let key = hash_on.and_then(|on| request_key(on, &parts.headers, client.ip, &path));

        if let Some(uri) = route.rewrite.apply(&parts.uri, path)? {
            parts.uri = uri;
        }
        if let Some(answer) = &route.answer {
            return self.answer_without_target(answer, parts.uri.path(), parts.uri.query());
        }
        let introduced = self.introduce(&mut parts.headers, &client_host, &client, &inbound);
        self.change_request(route, &mut parts.headers);
        let decoder = self.translate_call(route, &mut parts.headers);
        let websocket = inbound.websocket;
        let copy = match &route.mirror {
            Some(_) if !websocket => Copy::sample(self, route, parts, &client_host, introduced),
            Some(_) | None => None,
        };
        let outbound = Outbound {
            parts,
            body,
            client_host,
            introduced,
            key,
            websocket,
            with: Handling { decoder, copy },
        };
        let response = attempt::send(self, route, outbound, timing).await?;
        self.compress(self.translate_back(route, response))
    }

    /// Keeps the id that the request came with, if it is to be believed.
    fn accept_request_id(&mut self, edge: &Edge, inbound: &Inbound, headers: &HeaderMap, client: &Client) {
        if (inbound.has_request_id || edge.request_id.header.0 != edge::REQUEST_ID)
            && let Some(id) = edge.request_id.accepted(headers, client.peer_is_trusted)
        {
            self.request_id = unrepeated(id);
        }
    }

    /// Refuses a body that says itself that it is too large, before any of it is read.
    pub(crate) fn check_length(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        request::check_length(headers, self.session.body_limit())
    }

    /// Finds out of which trace the request is a part, and whether that is recorded.
    fn begin_trace(&mut self, edge: &Edge, headers: &HeaderMap, client: &Client) {
        let traces = self.session.worker.gateway.traces();
        self.trace =
            edge.tracing.as_ref().map(|tracing| traces.begin(tracing, headers, client.peer_is_trusted));
    }

    /// Tells the target who asks and by which way. True where nobody before us has said anything: then
    /// [`crate::connection::client::Client::introduction`] says it all, and no header is touched.
    pub(crate) fn introduce(
        &self,
        headers: &mut HeaderMap,
        host: &HeaderValue,
        client: &Client,
        inbound: &Inbound,
    ) -> bool {
        if let Some(trace) = &self.trace {
            trace.clean(headers);
        }
        let id = &self.edge().request_id.header.0;
        if *id != edge::REQUEST_ID {
            headers.insert(id.clone(), self.request_id.clone());
        } else if inbound.has_request_id {
            headers.remove(id);
        }
        if !client.peer_is_trusted && !inbound.has_via {
            return true;
        }
        headers.append(header::VIA, self.session.worker.gateway.via().clone());
        let scheme = HeaderValue::from_static(self.session.settings.scheme());
        if client.peer_is_trusted {
            // its word stays and ours is added to it
            headers.append(X_FORWARDED_FOR, self.session.peer_header.clone());
            if let Ok(ip) = HeaderValue::try_from(client.ip.to_string()) {
                headers.insert(X_REAL_IP, ip);
            }
            headers.entry(X_FORWARDED_PROTO).or_insert(scheme);
            headers.entry(X_FORWARDED_HOST).or_insert(host.clone());
        } else {
            headers.insert(X_FORWARDED_FOR, self.session.peer_header.clone());
            headers.insert(X_REAL_IP, self.session.peer_header.clone());
            headers.insert(X_FORWARDED_PROTO, scheme);
            headers.insert(X_FORWARDED_HOST, host.clone());
        }
        false
    }

    /// What a head says of the client besides its headers, after [`Exchange::introduce`].
    pub(crate) fn own_lines<'a>(&'a self, introduced: bool, host: &'a HeaderValue) -> OwnLines<'a> {
        let lines: &[u8] = if introduced { &self.session.introduction } else { &[] };
        // under another name the headers have it, which filters may change
        let id = Some(&self.edge().request_id.header.0).filter(|id| **id == edge::REQUEST_ID);
        let fields =
            [introduced.then_some(("x-forwarded-host", host)), id.map(|id| (id.as_str(), &self.request_id))];
        (lines, fields)
    }
}
