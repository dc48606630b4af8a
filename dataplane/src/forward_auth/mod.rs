//! `forward_auth` at work: a service of the operator's is asked about a request, and what it says is done.

use crate::attempt::Timing;
use crate::body::{Content, RequestBody};
use crate::edge;
use crate::exchange::Exchange;
use crate::pool::Checkout;
use crate::target::{Failure, RequestHead, ResponseHead};
use crate::telemetry::TryEnd;
use bytes::Bytes;
use http::Response;
use http::header::HeaderValue;
use http::request::Parts;
use policy::auth::forward::{ForwardAuth, Verdict};
use policy::filter::Caller;
use policy::forwarded::Client;
use policy::headers::Inbound;
use policy::outcome::Outcome;
use policy::rejection::Rejection;
use policy::trace::TRACEPARENT;
use std::future::poll_fn;
use std::sync::Arc;

/// The page that says no, which is held in memory; a larger one is nothing that says no.
const MAX_PAGE: usize = 64 * 1024;

/// What the proxy knows about a request besides its head.
pub(crate) struct Asking<'a> {
    pub(crate) client: &'a Client,
    pub(crate) inbound: &'a Inbound,
    /// The `Host` that the client asked for.
    pub(crate) host: &'a HeaderValue,
    /// Where it is not the one in the head.
    pub(crate) normalised_path: Option<&'a str>,
}

/// What the service has decided.
pub(crate) enum Decided {
    /// The request goes on, and this is who it is from, where that is known.
    Admitted(Option<Arc<Caller>>),
    /// The client gets this.
    Denied(Response<Content>),
}

enum Answer {
    Yes(ResponseHead),
    No(ResponseHead, Bytes),
}

/// There is no head of an answer.
struct Unanswered {
    /// For the span.
    reason: &'static str,
    /// For people.
    why: String,
}

impl Exchange {
    /// Asks the service, and changes the head of the request as it says.
    pub(crate) async fn ask_service(
        &self,
        service: &ForwardAuth,
        parts: &mut Parts,
        asking: Asking<'_>,
        timing: &Timing<'_>,
    ) -> Result<Decided, Rejection> {
        let path = asking.normalised_path.unwrap_or(parts.uri.path());
        if service.excludes(path) {
            service.pass_by(&mut parts.headers, self.caller.as_deref());
            return Ok(Decided::Admitted(self.caller.clone()));
        }
        let question = service.question(parts, path, self.caller.as_deref()).ok_or(Rejection::Internal)?;
        let answer = timing.patiently(service.timeout, self.ask(service, question, &asking)).await;
        let answer =
            answer.inspect_err(|missed| self.service_ended(TryEnd::Failed(missed.reason()), false))?;
        let answer = answer.unwrap_or_else(|| {
            self.service_ended(TryEnd::Failed(Rejection::ResponseTimeout.reason()), false);
            Err(format!("no answer within {:?}", service.timeout))
        });
        let name = &service.service.name;
        let decided = answer.and_then(|answer| match answer {
            Answer::Yes(head) => service
                .admit(&head.headers, &mut parts.headers, self.caller.clone())
                .map(Decided::Admitted)
                .map_err(str::to_owned),
            Answer::No(head, page) => {
                self.note_error(&format_args!("{name} answers with the status {}", head.status.as_u16()));
                Ok(Decided::Denied(self.denied(service, &head, page)))
            }
        });
        decided.map_err(|why| {
            self.note_error(&format_args!("{name} cannot decide: {why}"));
            Rejection::AuthUnavailable
        })
    }

    fn denied(&self, service: &ForwardAuth, head: &ResponseHead, page: Bytes) -> Response<Content> {
        self.sent(page.len() as u64);
        let mut response = Response::new(page);
        *response.status_mut() = head.status;
        *response.headers_mut() = service.refusal(&head.headers);
        edge::denied(&mut response, &self.who());
        edge::local(response, &self.session)
    }

    /// What the service says, or why it says nothing of use.
    async fn ask(
        &self,
        service: &ForwardAuth,
        question: Parts,
        asking: &Asking<'_>,
    ) -> Result<Answer, String> {
        let (head, mut checkout) =
            self.converse_about(service, question, asking).await.map_err(|Unanswered { reason, why }| {
                self.service_ended(TryEnd::Failed(reason), false);
                why
            })?;
        self.service_ended(TryEnd::Status(head.status.as_u16()), checkout.reused);
        match ForwardAuth::verdict(head.status) {
            Verdict::Yes => {
                checkout.discard(&self.session);
                Ok(Answer::Yes(head))
            }
            Verdict::Neither => {
                checkout.failed();
                checkout.discard(&self.session);
                Err(format!("it answers with the status {}", head.status.as_u16()))
            }
            Verdict::No => match self.page(&mut checkout).await {
                Ok(page) => {
                    checkout.release(self.session.now());
                    Ok(Answer::No(head, page))
                }
                Err(why) => {
                    checkout.failed();
                    Err(why)
                }
            },
        }
    }

    /// The head of the answer, and the connection on which the rest comes.
    async fn converse_about(
        &self,
        service: &ForwardAuth,
        mut question: Parts,
        asking: &Asking<'_>,
    ) -> Result<(ResponseHead, Checkout), Unanswered> {
        let (session, upstream, target) = (&self.session, &service.service, service.target());
        let worker = &session.worker;
        let introduced = self.introduce(&mut question.headers, asking.host, asking.client, asking.inbound);
        if let Some(trace) = &self.trace {
            let (span, traceparent) = trace.client_span();
            question.headers.insert(TRACEPARENT, traceparent);
            self.service_asked(span);
        }
        let (lines, fields) = self.own_lines(introduced, asking.host);
        let head = RequestHead {
            method: &question.method,
            target: question.uri.path_and_query().map_or("/", |target| target.as_str()),
            host: &target.authority,
            headers: &question.headers,
            lines,
            fields,
            upgrade: false,
        };
        loop {
            let mut checkout = worker.pool.checkout(session, upstream, target, false);
            if !checkout.reused {
                let transports = self.transports().ok_or_else(|| Unanswered::by(&Rejection::Internal))?;
                let connected = checkout.connect(session, upstream, target, transports).await;
                checkout = connected.map_err(|rejection| {
                    let why = worker.gateway.last_connect_error(target.state.id);
                    let refused = Outcome::of(&rejection) == Some(Outcome::ConnectFailure);
                    let unanswered = Unanswered::by(&rejection);
                    match why.filter(|_| refused) {
                        Some(why) => Unanswered { why, ..unanswered },
                        None => unanswered,
                    }
                })?;
            }
            checkout.begin(&head, RequestBody::Empty);
            let connection = checkout.connection().ok_or_else(|| Unanswered::by(&Rejection::Internal))?;
            match poll_fn(|cx| connection.poll_head(cx, session, &mut drop)).await {
                Ok(head) => return Ok((head, checkout)),
                // most likely an idle connection that the service has closed meanwhile; to ask it again does no harm
                Err(failure) if checkout.reused && failure.is_of_connection() => {}
                Err(failure) => {
                    checkout.failed();
                    return Err(Unanswered::of(&failure));
                }
            }
        }
    }

    /// The body of a refusal.
    async fn page(&self, checkout: &mut Checkout) -> Result<Bytes, String> {
        let mut page = Vec::new();
        let Some(connection) = checkout.connection() else { return Ok(Bytes::new()) };
        while let Some(frame) = poll_fn(|cx| connection.poll_frame(cx, &self.session)).await {
            let frame = frame.map_err(|failure| failure.to_string())?;
            page.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            if page.len() > MAX_PAGE {
                return Err("its answer is larger than 64 KiB".to_owned());
            }
        }
        Ok(page.into())
    }
}

impl Unanswered {
    fn by(rejection: &Rejection) -> Self {
        Self { reason: rejection.reason(), why: rejection.title().to_owned() }
    }

    fn of(failure: &Failure) -> Self {
        Self { reason: failure.rejection().reason(), why: failure.to_string() }
    }
}

#[cfg(test)]
mod tests;
