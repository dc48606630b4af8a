//! `forward_auth` without its I/O: what the service is asked, and what its answer means.

use super::Proven;
use super::identity::{CONSUMER_NAME, is_consumer_header};
use crate::config::leaf::PathPrefix;
use crate::filter::forward_auth::ForwardAuthConfig;
use crate::filter::{Caller, Scheme};
use crate::headers::{Reserved, alike, withhold};
use crate::upstream::{Target, Upstream};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, StatusCode, Uri};
use std::sync::Arc;
use std::time::Duration;

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// What a trusted proxy in front has said and is told on, to the service as to the target.
static FORWARDED: [HeaderName; 4] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
];

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A `forward_auth` of a route.
#[derive(Debug)]
pub struct ForwardAuth {
    /// Its one target is the service. All routes that ask at the same address share it.
    pub service: Arc<Upstream>,
    /// For the whole exchange with it.
    pub timeout: Duration,
    uri: Uri,
    request_headers: Box<[HeaderName]>,
    response_headers: Box<[HeaderName]>,
    consumer_header: Option<HeaderName>,
    exclude_paths: Box<[PathPrefix]>,
}

/// What an answer of the service means, by its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The request may go on.
    Yes,
    /// It may not, and the client is to get this answer.
    No,
    /// The service does not know: nobody is let in.
    Neither,
}

impl ForwardAuth {
    /// Why a request ended that the service did not let in: in the access log, in metrics and in `Proxy-Status`.
    pub const REASON: &'static str = "denied_by_service";
    /// Of the question.
    pub const METHOD: Method = Method::GET;

    /// `service` is the upstream of the config's address.
    pub(crate) fn new(config: &ForwardAuthConfig, service: Arc<Upstream>) -> Self {
        let ForwardAuthConfig {
            url,
            timeout,
            request_headers,
            response_headers,
            consumer_header,
            exclude_paths,
        } = config;
        let names =
            |names: &[crate::config::leaf::HeaderName]| names.iter().map(|name| name.0.clone()).collect();
        Self {
            service,
            timeout: timeout.get(),
            uri: Uri::from(url.path.0.clone()),
            request_headers: names(request_headers),
            response_headers: names(response_headers),
            consumer_header: consumer_header.as_ref().map(|name| name.0.clone()),
            exclude_paths: exclude_paths.iter().cloned().collect(),
        }
    }

    /// Where it is asked.
    pub fn target(&self) -> &Target {
        // an upstream of one target was built for it
        &self.service.targets[0]
    }

    /// Whether it says who a request is from.
    pub(crate) fn names_callers(&self) -> bool {
        self.consumer_header.is_some()
    }

    /// Whether requests for this normalised path go on without its word.
    pub fn excludes(&self, path: &str) -> bool {
        self.exclude_paths.iter().any(|excluded| excluded.covers(path))
    }

    /// It is not asked about this request: the target gets nothing of what only its answer may say.
    pub fn pass_by(&self, headers: &mut HeaderMap, known: Option<&Caller>) {
        withhold(headers, |name| {
            (known.is_none() && is_consumer_header(name))
                || self.response_headers.iter().any(|ours| alike(name, ours.as_str()))
        });
    }

    /// What the service is asked about a request of which `path` is the normalised path. What tells the target who the
    /// client is belongs into it besides. None if the request cannot be told of.
    pub fn question(&self, parts: &Parts, path: &str, caller: Option<&Caller>) -> Option<Parts> {
        let (mut question, ()) = Request::new(()).into_parts();
        question.method = Self::METHOD;
        question.uri = self.uri.clone();
        let headers = &mut question.headers;
        headers.insert(header::HOST, self.target().authority.clone());
        for name in self.request_headers.iter().chain(&FORWARDED) {
            copy(&parts.headers, name, headers);
        }
        if caller.is_some() {
            copy(&parts.headers, &CONSUMER_NAME, headers);
        }
        headers.insert(X_FORWARDED_METHOD, HeaderValue::from_str(parts.method.as_str()).ok()?);
        let uri = match parts.uri.query() {
            Some(query) => HeaderValue::try_from(format!("{path}?{query}")),
            None => HeaderValue::from_str(path),
        };
        headers.insert(X_FORWARDED_URI, uri.ok()?);
        Some(question)
    }

    /// What a status means. That of a failure is no decision, and 304 answers what nobody has asked.
    pub fn verdict(status: StatusCode) -> Verdict {
        match status.as_u16() {
            200..=299 => Verdict::Yes,
            300..=303 | 305..=499 => Verdict::No,
            _ => Verdict::Neither,
        }
    }

    /// The service has said yes: the target is told what it says of the caller, and nothing that the client has said
    /// under the same names. `known` is the caller whom an `auth` filter has found; it stays.
    ///
    /// # Errors
    /// When the answer can be read in more than one way.
    pub fn admit(
        &self,
        answer: &HeaderMap,
        headers: &mut HeaderMap,
        known: Option<Arc<Caller>>,
    ) -> Result<Option<Arc<Caller>>, &'static str> {
        let named = match known {
            Some(_) => None,
            None => self.consumer(answer)?,
        };
        self.pass_by(headers, known.as_deref());
        for name in &self.response_headers {
            copy(answer, name, headers);
        }
        let Some(proven) = named else { return Ok(known) };
        for (name, value) in &proven.headers {
            headers.insert(name, value.clone());
        }
        Ok(Some(proven.caller))
    }

    fn consumer(&self, answer: &HeaderMap) -> Result<Option<Proven>, &'static str> {
        let mut names = self.consumer_header.iter().flat_map(|header| answer.get_all(header));
        let Some(name) = names.next() else { return Ok(None) };
        if names.next().is_some() {
            return Err("it names several callers");
        }
        let name = str::from_utf8(name.as_bytes()).map_err(|_| "the caller's name is not UTF-8")?;
        if name.is_empty() {
            return Ok(None);
        }
        let caller = Caller { name: name.into(), scheme: Scheme::Forward, claims: None, metadata: None };
        Proven::new(Arc::new(caller), std::iter::empty()).map(Some).ok_or("the caller's name is not a text")
    }

    /// The service has said no: what of its headers the client gets. All of them, but for those that are for one
    /// connection or for the target, and those by which the gateway says who asks.
    pub fn refusal(&self, answer: &HeaderMap) -> HeaderMap {
        let is_told = |name: &&HeaderName| {
            let for_the_target =
                self.response_headers.iter().chain(&self.consumer_header).any(|ours| ours == *name);
            !for_the_target && matches!(Reserved::of(name), None | Some(Reserved::Cors))
        };
        let mut told = HeaderMap::new();
        for name in answer.keys().filter(is_told) {
            copy(answer, name, &mut told);
        }
        // the next request may have proved itself
        told.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
        told
    }
}

fn copy(from: &HeaderMap, name: &HeaderName, to: &mut HeaderMap) {
    for value in from.get_all(name) {
        to.append(name, value.clone());
    }
}

#[cfg(test)]
mod tests;
