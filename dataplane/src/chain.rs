//! The filters of a route at work: on a request before any attempt, and on the way back on whatever answers it.

use crate::attempt::Timing;
use crate::body::Content;
use crate::clock;
use crate::edge;
use crate::exchange::Exchange;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use policy::auth::jwt::KeyWait;
use policy::auth::{AuthContext, Authenticator, Decision, PasswordCheck, SlowCheck};
use policy::filter::Caller;
use policy::filter::compression::{Coding, Compression};
use policy::filter::cors::Cors;
use policy::filter::headers::Vars;
use policy::forwarded::Client;
use policy::grpc::Call;
use policy::grpc::web::{self, Decoder};
use policy::headers::Host;
use policy::rejection::Rejection;
use policy::table::{Answer, Chain, Edge, Route};
use std::net::IpAddr;
use std::sync::Arc;

/// What the filters of a response need to know of its request, as far as the chain has such filters.
#[derive(Default)]
pub(crate) struct Asked {
    origin: Option<HeaderValue>,
    /// It was a preflight and is answered.
    preflight: bool,
    /// In which coding its client would like the response.
    coding: Option<Coding>,
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
    /// Also a refusal that comes before there is a route must tell a page of the origin that it may read it.
    pub(crate) fn remember_origin(&mut self, edge: &Edge, headers: &HeaderMap) {
        if edge.cors.is_some() && self.asked.origin.is_none() {
            self.asked.origin = Cors::origin(headers).cloned();
        }
    }

    fn remember_names(&mut self, parts: &Parts, client: &Client, host: &Host<'_>, path: &str) {
        let (host, path, method) = (host.name.to_string(), path.to_owned(), parts.method.clone());
        self.asked.named = Some(Box::new(Named { client: client.ip, host, method, path }));
    }

    /// What a listener says that sends every request to https.
    pub(crate) fn send_to_https(
        &mut self,
        parts: &Parts,
        client: &Client,
        host: &Host<'_>,
        path: &str,
    ) -> Result<Response<Content>, Rejection> {
        let settings = Arc::clone(&self.session.settings);
        let answer = settings.rules.redirect(client, &parts.headers).ok_or(Rejection::Internal)?;
        self.remember_names(parts, client, host, path);
        self.answer_without_target(answer, path, parts.uri.query())
    }

    /// Whatever the filters have to say before the request may cost anything; an answer ends it here.
    pub(crate) fn enter(
        &mut self,
        route: &Route,
        parts: &Parts,
        client: &Client,
        host: &Host<'_>,
        path: &str,
    ) -> Result<Option<Response<Content>>, Rejection> {
        let chain = &route.chain;
        // messages of calls are compressed by those who send them
        if chain.compression.is_some() && self.call.is_none() {
            self.asked.coding = Compression::negotiate(&parts.headers);
        }
        if chain.headers.is_some() || route.answer.is_some() {
            self.remember_names(parts, client, host, path);
        }
        self.remember_origin(&chain.edge, &parts.headers);
        if let Some(headers) = chain.edge.cors.as_ref().and_then(|cors| cors.preflight(parts)) {
            self.asked.preflight = true;
            self.answers_itself("preflight");
            return Ok(Some(Self::answer_preflight(headers)));
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

    /// Whether the caller, as far as it is known, may do this.
    pub(crate) fn authorize(&self, chain: &Chain) -> Result<(), Rejection> {
        match &chain.authorize {
            Some(rules) if !rules.allows(self.caller.as_deref()) => Err(Rejection::Forbidden),
            _ => Ok(()),
        }
    }

    /// Finds out who asks; `path` is the normalised one where it is not the one in `parts`.
    pub(crate) async fn authenticate(
        &self,
        auth: &Authenticator,
        parts: &mut Parts,
        path: Option<&str>,
        timing: &Timing<'_>,
    ) -> Result<Option<Arc<Caller>>, Rejection> {
        let asked = parts.uri.clone();
        let path = path.unwrap_or(asked.path());
        let decision = match auth.check(parts, path, &self.moment()) {
            Decision::Slow(SlowCheck::Keys(fetched)) => {
                // in vain or not: what is there now decides
                timing.patiently(KeyWait::AT_MOST, fetched).await?;
                auth.resume(parts, path, &self.moment())
            }
            Decision::Slow(SlowCheck::Password(check)) => {
                self.have_checked(check, timing).await?;
                auth.resume(parts, path, &self.moment())
            }
            decision => decision,
        };
        match decision {
            Decision::Pass(caller) => Ok(caller),
            Decision::Refuse(rejection) => Err(rejection),
            Decision::Slow(_) => Err(Rejection::Internal),
        }
    }

    async fn have_checked(&self, check: PasswordCheck, timing: &Timing<'_>) -> Result<(), Rejection> {
        let (checked, job) = check.begin();
        if let Some(job) = job {
            let passwords = self.session.worker.gateway.passwords();
            passwords.check(job, self.client_ip).map_err(|full| {
                self.note_error(&full);
                Rejection::AuthUnavailable
            })?;
        }
        let in_time = timing.patiently(PasswordCheck::AT_MOST, checked).await?;
        if in_time.is_none() {
            self.note_error(&"the password was not checked in time");
        }
        Ok(())
    }

    fn moment(&self) -> AuthContext {
        let now = self.session.now();
        AuthContext { now: clock::at(now), unix_seconds: self.session.worker.unix_millis(now) / 1000 }
    }

    fn answer_preflight(headers: HeaderMap) -> Response<Content> {
        let mut response = Response::new(Content::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.headers_mut() = headers;
        response
    }

    /// What the gateway says in place of a target; `path` is the one that a target would get.
    pub(crate) fn answer_without_target(
        &mut self,
        answer: &Answer,
        path: &str,
        query: Option<&str>,
    ) -> Result<Response<Content>, Rejection> {
        self.answers_itself(answer.reason());
        let named = self.asked.named.as_ref().ok_or(Rejection::Internal)?;
        let response = answer.response(&Vars { path, ..self.vars(named) }, query);
        self.sent(response.body().len() as u64);
        Ok(edge::local(response, &self.session))
    }

    /// What the route adds to, sets in and removes from a request that goes on.
    pub(crate) fn change_request(&self, route: &Route, headers: &mut HeaderMap) {
        if let (Some(rules), Some(named)) = (&route.chain.headers, &self.asked.named) {
            rules.request(headers, &self.vars(named));
        }
    }

    /// Makes gRPC of gRPC-Web, where the route says so; what the body then needs.
    pub(crate) fn translate_call(&self, route: &Route, headers: &mut HeaderMap) -> Option<Box<Decoder>> {
        let call = self.web_call(route)?;
        web::translate_request(call, headers);
        (call == Call::WebText).then(Box::default)
    }

    /// And back.
    pub(crate) fn translate_back(&self, route: &Route, response: Response<Content>) -> Response<Content> {
        let Some(call) = self.web_call(route) else { return response };
        let (mut head, content) = response.into_parts();
        let content =
            if web::translate_response(call, &mut head.headers) { content.translate(call) } else { content };
        Response::from_parts(head, content)
    }

    /// A call of a page that is translated.
    fn web_call(&self, route: &Route) -> Option<Call> {
        self.call.filter(|call| route.chain.grpc_web && *call != Call::Grpc)
    }

    /// A target's response in fewer bytes, where the route says so and the client likes it.
    pub(crate) fn compress(&self, response: Response<Content>) -> Result<Response<Content>, Rejection> {
        let Some(compression) = self.route().and_then(|route| route.chain.compression.as_ref()) else {
            return Ok(response);
        };
        let (mut head, content) = response.into_parts();
        let content = match compression.prepare(self.asked.coding, head.status, &mut head.headers) {
            Some(coding) => content.compress(coding).map_err(|error| {
                self.note_error(&error);
                Rejection::Internal
            })?,
            None => content,
        };
        Ok(Response::from_parts(head, content))
    }

    /// Every response, the gateway's own too: in the reverse order of the request.
    pub(crate) fn decorate(&self, headers: &mut HeaderMap) {
        let rules = self.route().and_then(|route| route.chain.headers.as_ref());
        if let (Some(rules), Some(named)) = (rules, &self.asked.named) {
            rules.response(headers, &self.vars(named));
        }
        let edge = self.edge();
        if let Some(cors) = edge.cors.as_ref().filter(|_| !self.asked.preflight) {
            cors.decorate(self.asked.origin.as_ref(), headers);
            if self.call.is_some() && headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
                for name in web::EXPOSED {
                    headers.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, name.into());
                }
            }
        }
        headers.insert(edge.request_id.header.0.clone(), self.request_id.clone());
    }

    fn vars<'a>(&'a self, named: &'a Named) -> Vars<'a> {
        Vars {
            client_certificate: self.session.client_certificate.as_ref(),
            client_ip: named.client,
            consumer: self.caller.as_ref().map(|caller| &*caller.name),
            host: &named.host,
            method: named.method.as_str(),
            path: &named.path,
            request_id: self.request_id.to_str().unwrap_or(""),
            route: self.route().map_or("", |route| &route.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::test_support::{Target, serve};
    use serde_json::json;

    #[test]
    fn a_client_cannot_name_away_what_the_target_is_told_of_it() {
        let target = Target::new();
        let auth = json!([{"auth": {"type": "apikey", "keys": [{"name": "bob", "key": "k3y"}]}}]);
        let served = serve(&[&target], json!({}), auth);
        let _client = served.client(
            "GET / HTTP/1.1\r\nhost: a\r\nx-api-key: k3y\r\nconnection: x-consumer-name, x-other\r\nx-other: 1\r\n\r\n",
        );
        let head = target.accept().until("\r\n\r\n").to_ascii_lowercase();
        assert!(head.contains("\r\nx-consumer-name: bob\r\n"), "{head}");
        assert!(!head.contains("x-other"), "{head}");
    }

    #[test]
    fn a_path_that_only_loses_its_end_is_normal_for_everybody() {
        let target = Target::new();
        let auth = json!([{"auth": {"type": "apikey", "exclude_paths": ["/public"], "keys": [{"name": "bob", "key": "k3y"}]}}]);
        let served = serve(&[&target], json!({}), auth);
        let mut client = served.client("GET /public/.. HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = client.until("\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        let _client = served.client("GET /a/b/.. HTTP/1.1\r\nhost: a\r\nx-api-key: k3y\r\n\r\n");
        let head = target.accept().until("\r\n\r\n");
        assert!(head.starts_with("GET /a/ HTTP/1.1"), "{head}");
    }
}
