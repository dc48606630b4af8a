//! What would become of a request, and why: the decisions of the data path, asked in their order without taking part.
//!
//! Nothing is changed by asking: no token of a limit is taken, no breaker tried, no turn of a balancer used up, no
//! cache filled, no key fetched. Every answer comes from the same functions that traffic goes through; a property test
//! of the data plane compares explanations with what then happens.

mod destination;
mod filters;
mod rivals;
mod wire;

#[cfg(test)]
mod tests;

use crate::auth::AuthContext;
use crate::filter::{Caller, FilterKind};
use crate::forwarded::{self, Client};
use crate::headers::{Host, Inbound};
use crate::path;
use crate::rejection::Rejection;
use crate::request;
use crate::table::{Route, RouteTable};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;

/// A request that nobody sends.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its head, as a client would send it.
    pub parts: Parts,
    /// From where.
    pub peer: IpAddr,
    /// By which listener.
    pub listener: String,
}

/// What would become of it, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Of the table that was asked.
    pub version: u64,
    /// Of the table that was asked.
    pub sha256: String,
    /// As the gateway reads it.
    pub request: Seen,
    /// What would become of it.
    pub verdict: Verdict,
    /// The route that takes it.
    pub route: Option<String>,
    /// Other routes that it comes near, in the order in which they are asked.
    pub rivals: Vec<Rival>,
    /// Every check and filter, in the order in which they run.
    pub steps: Vec<Step>,
    /// Where the route goes.
    pub destination: Option<Destination>,
}

/// A request as the gateway reads it; empty where it could not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// As it was sent.
    pub method: String,
    /// The host by which the route is found.
    pub host: String,
    /// The normalised path.
    pub path: String,
    /// Who asks, as `trusted_proxies` let it be known.
    pub client: String,
    /// What the peer says in `X-Forwarded-*` is believed.
    pub peer_is_trusted: bool,
}

/// What would become of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum Verdict {
    /// It goes to a target of the upstream.
    Forward {
        /// Whose targets.
        upstream: String,
        /// What cannot be known without asking somebody else, and is taken for a yes.
        provided: Vec<String>,
    },
    /// The gateway answers itself.
    Answer {
        /// The status.
        status: u16,
        /// The reason that header, body, log and metrics carry.
        reason: String,
        /// What the client is told.
        title: String,
        /// Something is wrong with the request or the service; else the answer is what the config wants.
        refused: bool,
        /// What the client is told to do instead: `Allow`, `Retry-After`, `WWW-Authenticate`, `Location`.
        advice: Vec<(String, String)>,
    },
}

impl Verdict {
    /// Whether something is wrong with the request or the service.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Answer { refused: true, .. })
    }
}

/// A route that does not take the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rival {
    /// Its name.
    pub route: String,
    /// Its path, `/*` behind a prefix.
    pub pattern: String,
    /// Whether it would take the request if it were asked first.
    pub fits: bool,
    /// Why it does not.
    pub why: String,
}

/// One check or filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// `target`, `host`, or the filter's key in the config.
    pub name: String,
    /// What it says.
    pub says: Says,
    /// Why, in words.
    pub detail: String,
}

/// What a check or filter says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// The request goes on.
    Pass,
    /// It would go on after a wait.
    Wait,
    /// It depends on somebody who is not asked.
    Ask,
    /// It ends here with an answer.
    Answer,
    /// It ends here with a refusal.
    Refuse,
    /// It does not come so far.
    NotReached,
}

/// Where a route goes, and under which conditions.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// The upstream.
    pub upstream: String,
    /// The algorithm, as in the config.
    pub balancer: String,
    /// In the order of the config.
    pub targets: Vec<TargetSeen>,
    /// The target that this request goes to, where that does not depend on others.
    pub pick: Option<String>,
    /// The target of the request line that is sent.
    pub target: String,
    /// The `Host` that is sent; empty where it is that of the target.
    pub host: String,
    /// Of the whole exchange; 0 for none.
    pub timeout_ms: u64,
    /// Of one attempt; 0 for none.
    pub per_try_timeout_ms: u64,
    /// Of the TCP connect.
    pub connect_timeout_ms: u64,
    /// Until the head of the response.
    pub response_timeout_ms: u64,
    /// When it is tried again; empty for never.
    pub retries: String,
}

/// A target as an attempt would find it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetSeen {
    /// As in the config.
    pub addr: String,
    /// As in the config.
    pub weight: u32,
    /// Its health.
    pub state: String,
    /// Why it would not be taken, or what is special about it; empty for nothing.
    pub note: String,
    /// The first attempt may go to it.
    pub candidate: bool,
}

/// What would become of a request at this moment. `via` is this instance's own element of `Via`.
pub fn explain(
    table: &RouteTable,
    asked: &Question,
    via: Option<&HeaderValue>,
    moment: &AuthContext,
) -> Explanation {
    let mut telling = Telling {
        table,
        asked,
        via,
        moment,
        seen: Seen { method: asked.parts.method.to_string(), ..Seen::default() },
        route: None,
        rivals: Vec::new(),
        steps: Vec::new(),
        provided: Vec::new(),
        destination: None,
    };
    let verdict = telling.tell();
    let Telling { seen, route, rivals, mut steps, destination, .. } = telling;
    if let Some(route) = route {
        not_reached(route, &mut steps);
    }
    Explanation {
        version: table.version,
        sha256: table.sha256.clone(),
        request: seen,
        verdict,
        route: route.map(|route| route.name.to_string()),
        rivals,
        steps,
        destination,
    }
}

/// An explanation on its way.
struct Telling<'a> {
    table: &'a RouteTable,
    asked: &'a Question,
    via: Option<&'a HeaderValue>,
    moment: &'a AuthContext,
    seen: Seen,
    route: Option<&'a Route>,
    rivals: Vec<Rival>,
    steps: Vec<Step>,
    provided: Vec<String>,
    destination: Option<Destination>,
}

/// Why it goes no further.
enum End {
    Refused(Rejection),
    /// The gateway answers, and nothing is wrong.
    Answered {
        status: StatusCode,
        reason: &'static str,
        title: &'static str,
        advice: Box<HeaderMap>,
    },
}

/// What is known of a request once its route is.
struct Routed<'a> {
    parts: Parts,
    inbound: Inbound,
    client: Client,
    host: Host<'a>,
    path: &'a str,
    caller: Who,
}

/// Who asks, as far as that can be said here.
enum Who {
    Known(Option<Arc<Caller>>),
    /// Only somebody else can say.
    Unknown,
}

impl Who {
    fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Known(caller) => caller.as_deref(),
            Self::Unknown => None,
        }
    }
}

impl<'a> Telling<'a> {
    fn tell(&mut self) -> Verdict {
        match self.forward() {
            Ok(upstream) => Verdict::Forward { upstream, provided: std::mem::take(&mut self.provided) },
            Err(End::Answered { status, reason, title, advice }) => Verdict::Answer {
                status: status.as_u16(),
                reason: reason.to_owned(),
                title: title.to_owned(),
                refused: false,
                advice: advice.iter().map(|(name, value)| shown(name, value)).collect(),
            },
            Err(End::Refused(rejection)) => Verdict::Answer {
                status: rejection.status().as_u16(),
                reason: rejection.reason().to_owned(),
                title: rejection.title().to_owned(),
                refused: true,
                advice: rejection.advice().iter().map(|(name, value)| shown(name, value)).collect(),
            },
        }
    }

    /// The way of a request, as the data plane's proxy goes it; the name of the upstream that it reaches.
    fn forward(&mut self) -> Result<String, End> {
        let Question { parts, peer, listener } = self.asked;
        let path = self.path()?;
        let inbound = Inbound::examine(&parts.headers, &parts.method, parts.version);
        let inbound =
            self.check("framing", inbound, |_| "length, connection and expectations are sound".to_owned())?;
        let most = self.table.server.max_body_bytes.0;
        self.check_quietly("body", request::check_length(&parts.headers, most))?;
        if inbound.has_via && self.via.is_some_and(|via| request::passed_before(&parts.headers, via)) {
            return Err(self.refuse(
                "via",
                "this instance stands in Via already".to_owned(),
                Rejection::Loop,
            ));
        }
        let host = self.check("host", request::host_of(parts), |host| host.name.to_string())?;
        self.seen.host = host.name.to_string();
        let client = forwarded::client_address(*peer, &parts.headers, &self.table.server.trusted_proxies);
        self.seen.client = client.ip.to_string();
        self.seen.peer_is_trusted = client.peer_is_trusted;
        let listener = self.table.listeners.iter().find(|one| one.config.name == *listener);
        if let Some(answer) = listener.and_then(|listener| listener.redirect(&client, &parts.headers)) {
            return Err(self.redirected(answer, &client, &host, &path));
        }
        let route = self.find(&host, &path)?;
        let mut routed =
            Routed { parts: parts.clone(), inbound, client, host, path: &path, caller: Who::Known(None) };
        self.filters(route, &mut routed)?;
        self.destination(route, &routed)
    }

    fn path(&mut self) -> Result<String, End> {
        let Parts { method, uri, .. } = &self.asked.parts;
        let most = usize::try_from(self.table.server.max_target_bytes.0).unwrap_or(usize::MAX);
        match request::normalised_path(method, uri, most) {
            Ok(path) => {
                let detail = if path == uri.path() {
                    format!("{path} is normal as it is")
                } else {
                    format!("{} is read as {path}", uri.path())
                };
                self.seen.path = path.clone().into_owned();
                self.step("target", Says::Pass, detail);
                Ok(path.into_owned())
            }
            Err(rejection) => {
                let why = match (&rejection, path::normalize(uri.path())) {
                    (Rejection::InvalidTarget, Err(error)) => error.to_string(),
                    (Rejection::TargetTooLong, _) => format!("it is longer than max_target_bytes ({most})"),
                    _ => rejection.title().to_owned(),
                };
                Err(self.refuse("target", why, rejection))
            }
        }
    }

    fn step(&mut self, name: &str, says: Says, detail: String) {
        self.steps.push(Step { name: name.to_owned(), says, detail });
    }

    fn filter(&mut self, kind: FilterKind, says: Says, detail: String) {
        self.step(kind.name(), says, detail);
    }

    fn refuse(&mut self, name: &str, detail: String, rejection: Rejection) -> End {
        self.step(name, Says::Refuse, detail);
        End::Refused(rejection)
    }

    /// Tells a check that has been made; a refusal in the words that the client is told.
    fn check<T>(
        &mut self,
        name: &str,
        checked: Result<T, Rejection>,
        tell: impl FnOnce(&T) -> String,
    ) -> Result<T, End> {
        match checked {
            Ok(found) => {
                self.step(name, Says::Pass, tell(&found));
                Ok(found)
            }
            Err(rejection) => Err(self.refuse(name, rejection.title().to_owned(), rejection)),
        }
    }

    /// The same for what is not worth a line unless it refuses.
    fn check_quietly<T>(&mut self, name: &str, checked: Result<T, Rejection>) -> Result<T, End> {
        checked.map_err(|rejection| self.refuse(name, rejection.title().to_owned(), rejection))
    }
}

fn shown(name: &HeaderName, value: &HeaderValue) -> (String, String) {
    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The filters of the route that the request does not come to.
fn not_reached(route: &Route, steps: &mut Vec<Step>) {
    let told = |kind: FilterKind, steps: &[Step]| steps.iter().any(|step| step.name == kind.name());
    for kind in filters::configured(route) {
        if !told(kind, steps) {
            steps.push(Step { name: kind.name().to_owned(), says: Says::NotReached, detail: String::new() });
        }
    }
}
