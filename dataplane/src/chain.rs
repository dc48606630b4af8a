//! The filters of a route at work: on a request before any attempt, and on the way back on whatever answers it.

use crate::body::Body;
use crate::proxy::Exchange;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use policy::filter::cors::Cors;
use policy::filter::headers::Vars;
use policy::forwarded::Client;
use policy::headers::Host;
use policy::rejection::Rejection;
use policy::table::{Chain, Route};
use std::net::IpAddr;

/// What the filters of a response need to know of its request, as far as the chain has such filters.
#[derive(Default)]
pub(crate) struct Asked {
    origin: Option<HeaderValue>,
    /// It was a preflight and is answered.
    preflight: bool,
    named: Option<Box<Named>>,
}

/// What headers with variables may name.
struct Named {
    client: IpAddr,
    host: String,
    method: Method,
    path: String,
}

impl Exchange {
    /// The filters that hold for this request: its route's, or those of requests that no route takes.
    pub(crate) fn chain(&self) -> &Chain {
        static NONE: std::sync::LazyLock<Chain> = std::sync::LazyLock::new(Chain::default);
        let Some(table) = &self.table else { return &NONE };
        self.route.and_then(|at| table.routes.get(at)).map_or(&table.unrouted, |route| &route.chain)
    }

    /// Also a refusal that comes before there is a route must tell a page of the origin that it may read it.
    pub(crate) fn remember_origin(&mut self, chain: &Chain, headers: &HeaderMap) {
        if chain.cors.is_some() && self.asked.origin.is_none() {
            self.asked.origin = Cors::origin(headers).cloned();
        }
    }

    /// Whatever the filters have to say before the request may cost anything; an answer ends it here.
    pub(crate) fn enter(
        &mut self,
        chain: &Chain,
        parts: &Parts,
        client: &Client,
        host: &Host<'_>,
        path: &str,
    ) -> Result<Option<Response<Body>>, Rejection> {
        if chain.headers.is_some() {
            let (host, path, method) = (host.name.to_string(), path.to_owned(), parts.method.clone());
            self.asked.named = Some(Box::new(Named { client: client.ip, host, method, path }));
        }
        self.remember_origin(chain, &parts.headers);
        if let Some(headers) = chain.cors.as_ref().and_then(|cors| cors.preflight(parts)) {
            self.asked.preflight = true;
            return Ok(Some(self.answer_preflight(headers)));
        }
        if chain.ip.as_ref().is_some_and(|rules| !rules.allows(client.ip)) {
            return Err(Rejection::AddressDenied);
        }
        if let Some(limit) = chain.body_limit {
            self.session.narrow_body_limit(limit);
            self.check_length(&parts.headers)?;
        }
        Ok(None)
    }

    fn answer_preflight(&self, headers: HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty(&self.session));
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.headers_mut() = headers;
        response
    }

    /// What the route adds to, sets in and removes from a request that goes on.
    pub(crate) fn change_request(&self, route: &Route, headers: &mut HeaderMap) {
        if let (Some(rules), Some(named)) = (&route.chain.headers, &self.asked.named) {
            rules.request(headers, &self.vars(named));
        }
    }

    /// Every response, the gateway's own too: in the reverse order of the request.
    pub(crate) fn decorate(&self, headers: &mut HeaderMap) {
        let chain = self.chain();
        if let (Some(rules), Some(named)) = (&chain.headers, &self.asked.named) {
            rules.response(headers, &self.vars(named));
        }
        if let Some(cors) = chain.cors.as_ref().filter(|_| !self.asked.preflight) {
            cors.decorate(self.asked.origin.as_ref(), headers);
        }
        headers.insert(chain.request_id.header.0.clone(), self.request_id.clone());
    }

    fn vars<'a>(&'a self, named: &'a Named) -> Vars<'a> {
        let route = self.route.and_then(|at| self.table.as_ref()?.routes.get(at));
        Vars {
            client_ip: named.client,
            consumer: None,
            host: &named.host,
            method: named.method.as_str(),
            path: &named.path,
            request_id: self.request_id.to_str().unwrap_or(""),
            route: route.map_or("", |route| &route.name),
        }
    }
}
