//! One request and what is known about it on its way, until it is over and is told of.

use crate::body::{Body, Content};
use crate::chain::Asked;
use crate::connection::session::Session;
use crate::dial::Transports;
use crate::edge;
use crate::telemetry::traces::Trace;
use crate::telemetry::{Exchanged, Try, TryEnd};
use crate::worker::TableHandle;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version, header};
use policy::filter::Caller;
use policy::filter::logging::WhenFull;
use policy::grpc::{Call, GrpcStatus};
use policy::rejection::{Rejection, Who};
use policy::table::{Edge, Route};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// What is logged in place of a status when the client left before a response began (nginx's number).
const CLIENT_CLOSED: u16 = 499;

/// One request and what is known about it on its way. It is told of once, when this is dropped: whatever ends it.
pub(crate) struct Exchange {
    pub(crate) session: Rc<Session>,
    pub(crate) table: Option<Rc<TableHandle>>,
    pub(crate) request_id: HeaderValue,
    /// The position of the route that has taken it.
    pub(crate) route: Option<usize>,
    /// Which of its backends the request is for.
    pub(crate) backend: usize,
    /// It is a gRPC call.
    pub(crate) call: Option<Call>,
    /// Who it is from, where that is asked.
    pub(crate) caller: Option<Arc<Caller>>,
    /// What its response will need to know of it.
    pub(crate) asked: Asked,
    /// The peer, or whom a trusted proxy names.
    pub(crate) client_ip: IpAddr,
    /// Where the request is traced.
    pub(crate) trace: Option<Trace>,
    /// A rate limit would have refused it, but for its shadow mode.
    pub(crate) would_limit: Cell<bool>,
    /// When its first byte came.
    began: Instant,
    /// None when no head could be read.
    head: Option<Head>,
    tries: RefCell<SmallVec<[Try; 1]>>,
    /// What was asked of the service of a `forward_auth`, where that is traced.
    service: RefCell<Option<Box<Try>>>,
    retry_denied: Cell<bool>,
    /// Of the response, once there is one.
    status: Option<StatusCode>,
    /// How the call ended, as far as that is known.
    grpc_status: Cell<Option<GrpcStatus>>,
    /// The gateway made the response.
    local: bool,
    reason: Cell<Option<&'static str>>,
    error: RefCell<Option<String>>,
    /// Of bodies: from the client in a tunnel alone, elsewhere the session counts it; and to the client.
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
}

/// As the client sent it.
struct Head {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    version: Version,
}

impl Exchange {
    /// A request of which the head has come.
    pub(crate) fn begin(session: Rc<Session>, parts: &Parts) -> Box<Self> {
        let mut exchange = Self::headless(session);
        exchange.call = Call::of(parts);
        exchange.head = Some(Head {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            host: parts.headers.get(header::HOST).cloned(),
            user_agent: parts.headers.get(header::USER_AGENT).cloned(),
            version: parts.version,
        });
        exchange
    }

    /// What is answered though no head could be read.
    pub(crate) fn headless(session: Rc<Session>) -> Box<Self> {
        let request_id = edge::request_id(&session);
        let table = session.worker.table();
        let client_ip = session.peer.ip().to_canonical();
        let began = session.since();
        session.worker.telemetry.exchange_began();
        Box::new(Self {
            session,
            table,
            request_id,
            route: None,
            backend: 0,
            call: None,
            caller: None,
            asked: Asked::default(),
            client_ip,
            trace: None,
            would_limit: Cell::new(false),
            began,
            head: None,
            tries: RefCell::default(),
            service: RefCell::default(),
            retry_denied: Cell::new(false),
            status: None,
            grpc_status: Cell::new(None),
            local: false,
            reason: Cell::new(None),
            error: RefCell::default(),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
        })
    }

    /// The route that has taken the request.
    pub(crate) fn route(&self) -> Option<&Route> {
        self.table.as_ref()?.routes.get(self.route?)
    }

    /// How the targets of its table are reached.
    pub(crate) fn transports(&self) -> Option<&Transports> {
        self.table.as_ref().map(|table| table.transports())
    }

    /// What holds for every response to this request: its route's, or that of requests that no route takes.
    pub(crate) fn edge(&self) -> &Edge {
        static NONE: LazyLock<Edge> = LazyLock::new(Edge::default);
        match (self.route(), &self.table) {
            (Some(route), _) => &route.chain.edge,
            (None, Some(table)) => &table.unrouted,
            (None, None) => &NONE,
        }
    }

    /// Until there is room for its line, where requests shall rather wait than be without one.
    pub(crate) async fn log_has_room(&self) {
        let (Some(logging), Some(table)) = (&self.edge().logging, &self.table) else { return };
        if logging.config.when_full == WhenFull::Block {
            for sink in logging.outputs.iter().filter_map(|at| table.sinks.get(*at)) {
                sink.room().await;
            }
        }
    }

    // ---- attempts

    /// How many attempts were made.
    pub(crate) fn attempts(&self) -> u32 {
        self.tries.borrow().len() as u32
    }

    pub(crate) fn try_began(&self, target: usize, span: u64) {
        let began = self.session.now();
        let ended = TryEnd::Abandoned;
        self.tries.borrow_mut().push(Try { target, began, took: Duration::ZERO, ended, reused: false, span });
    }

    pub(crate) fn try_ended(&self, ended: TryEnd, took: Duration, reused: bool) {
        if let Some(last) = self.tries.borrow_mut().last_mut() {
            *last = Try { ended, took, reused, ..*last };
        }
    }

    /// The service of a `forward_auth` is asked, in a span of its own.
    pub(crate) fn service_asked(&self, span: u64) {
        let (began, ended) = (self.session.now(), TryEnd::Abandoned);
        let asked = Try { target: 0, began, took: Duration::ZERO, ended, reused: false, span };
        *self.service.borrow_mut() = Some(Box::new(asked));
    }

    /// It has answered, or will not; what is said first holds.
    pub(crate) fn service_ended(&self, ended: TryEnd, reused: bool) {
        if let Some(asked) =
            self.service.borrow_mut().as_mut().filter(|asked| asked.ended == TryEnd::Abandoned)
        {
            let took = self.session.now().saturating_duration_since(asked.began);
            **asked = Try { ended, took, reused, ..**asked };
        }
    }

    /// Another attempt was wanted, but the budget of retries did not allow it.
    pub(crate) fn retry_was_denied(&self) {
        self.retry_denied.set(true);
    }

    /// What went wrong, for people; it counts when the exchange fails of it.
    pub(crate) fn note_error(&self, error: &dyn fmt::Display) {
        *self.error.borrow_mut() = Some(error.to_string());
    }

    // ---- the response

    /// The answer to a refused request, without the headers that frame it.
    pub(crate) fn refuse(&mut self, rejection: &Rejection) -> Response<String> {
        self.local = true;
        self.reason.set(Some(rejection.reason()));
        let error = self.error.get_mut();
        match rejection {
            // what the target or the system said is more than we know
            Rejection::NameUnresolved
            | Rejection::ConnectFailed
            | Rejection::ConnectTimeout
            | Rejection::TlsFailed
            | Rejection::TlsCertificate
            | Rejection::UpstreamReset
            | Rejection::InvalidResponse
            | Rejection::StreamRefused
            | Rejection::AuthUnavailable
                if error.is_some() => {}
            Rejection::Unauthenticated { cause, .. } => *error = Some(cause.as_str().to_owned()),
            other => *error = Some(other.title().to_owned()),
        }
        let response = edge::refusal(rejection, &self.who(), self.call);
        self.call_ended(response.headers());
        self.status = Some(response.status());
        self.bytes_out.set(response.body().len() as u64);
        response
    }

    pub(crate) fn who(&self) -> Who<'_> {
        Who {
            instance: self.session.worker.gateway.instance(),
            version: self.table.as_ref().map_or(0, |table| table.version),
            request_id: self.request_id.to_str().unwrap_or(""),
        }
    }

    /// The gateway answers, and nothing is wrong.
    pub(crate) fn answers_itself(&mut self, reason: &'static str) {
        self.local = true;
        self.reason.set(Some(reason));
    }

    /// Hands the response to hyper; the exchange is over with its body, or with its tunnel.
    pub(crate) fn answer(mut self: Box<Self>, response: Response<Content>) -> Response<Body> {
        self.status = Some(response.status());
        let session = self.session.clone();
        session.response_began();
        let exchange = session.join_tunnel(self);
        response.map(|content| Body::new(content, session, exchange))
    }

    /// What a head or trailers say about how a call ended.
    pub(crate) fn call_ended(&self, fields: &HeaderMap) {
        if self.call.is_some()
            && let Some(status) = GrpcStatus::of(fields)
        {
            self.grpc_status.set(Some(status));
        }
    }

    /// Whether a call of which the response has begun can be told how it ended: behind a body of HTTP/1.1 that breaks
    /// off, trailers would make it look whole.
    pub(crate) fn can_end_call(&self) -> bool {
        self.call.is_some() && self.head.as_ref().is_some_and(|head| head.version == Version::HTTP_2)
    }

    /// So many bytes of a body went to the client.
    pub(crate) fn sent(&self, bytes: u64) {
        self.bytes_out.set(self.bytes_out.get() + bytes);
    }

    /// So many of them did not after all.
    pub(crate) fn unsent(&self, bytes: u64) {
        self.bytes_out.set(self.bytes_out.get().saturating_sub(bytes));
    }

    /// A tunnel has carried so much.
    pub(crate) fn carried(&self, from_client: u64, from_target: u64) {
        self.bytes_in.set(from_client);
        self.bytes_out.set(from_target);
    }

    /// The response that has begun does not come to its end, or not as a whole.
    pub(crate) fn broke_off(&self, reason: &'static str) {
        if self.reason.get().is_none() {
            self.reason.set(Some(reason));
        }
    }

    /// The same, where nothing but the client's connection can say why.
    pub(crate) fn cut_off(&self) {
        self.broke_off(self.session.cut_off_by());
    }

    // ---- the end

    /// How a call ended, by what was said of it or else by what became of it.
    fn call_status(&self) -> Option<GrpcStatus> {
        let call = self.call?;
        let unsaid = || match (self.status, self.reason.get()) {
            (None, _) | (_, Some("client_closed")) => Some(GrpcStatus::Cancelled),
            (Some(StatusCode::OK), Some(_)) => Some(GrpcStatus::Unavailable),
            // the body of a page's call has it, which is not read here unless it is translated
            (Some(StatusCode::OK), None) if call != Call::Grpc => None,
            (Some(status), _) => Some(GrpcStatus::of_http(status)),
        };
        self.grpc_status.get().or_else(unsaid)
    }

    fn tell(&self) {
        let session = &self.session;
        if self.status.is_none() {
            self.cut_off();
        }
        let (tries, service, error) = (self.tries.borrow(), self.service.borrow(), self.error.borrow());
        let reason = self.reason.get();
        let head = self.head.as_ref();
        let exchanged = Exchanged {
            began: self.began,
            unix_nanos: session.worker.unix_nanos(self.began),
            duration: session.now().saturating_duration_since(self.began),
            method: head.map_or("", |head| head.method.as_str()),
            path: head.map_or("", |head| head.uri.path()),
            query: head.and_then(|head| head.uri.query()),
            host: head.and_then(|head| head.host.as_ref()),
            user_agent: head.and_then(|head| head.user_agent.as_ref()),
            version: head.map_or(Version::HTTP_11, |head| head.version),
            scheme: session.settings.scheme(),
            peer: session.peer,
            client_ip: self.client_ip,
            request_id: self.request_id.to_str().unwrap_or(""),
            client_certificate: session.client_certificate.as_ref(),
            consumer: self.caller.as_ref().map(|caller| &*caller.name),
            table: self.table.as_deref(),
            route_at: self.route,
            route: self.route(),
            backend: self.backend,
            upstream: self.route().map(|route| &*route.backends[self.backend].upstream),
            tries: &tries,
            service: service
                .as_deref()
                .zip(self.route().and_then(|route| route.chain.forward_auth.as_deref())),
            retry_denied: self.retry_denied.get(),
            would_limit: self.would_limit.get(),
            status: self.status.map_or(CLIENT_CLOSED, |status| status.as_u16()),
            reason,
            grpc_status: self.call_status(),
            error: error.as_deref().filter(|_| reason.is_some()),
            local: self.local,
            bytes_in: session.bytes_in() + self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            trace: self.trace.as_ref(),
        };
        session.worker.telemetry.tell(self.edge(), &exchanged);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.tell();
    }
}
