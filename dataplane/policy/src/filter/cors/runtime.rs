//! What CORS does to a request and its response; everything that does not depend on the request is built once.

use super::{CorsConfig, Origin, Wildcard};
use foldhash::fast::RandomState;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, request};
use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;

/// The prefix of all headers of the protocol.
const PREFIX: &str = "access-control-";

const VARY_ORIGIN: HeaderValue = HeaderValue::from_static("origin");

/// What tells one preflight from another, for caches that keep answers to OPTIONS although they should not.
const VARY_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");

/// A `cors` filter at run time.
#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    /// `Access-Control-Allow-Credentials: true`.
    credentials: bool,
    expose_headers: Option<HeaderValue>,
    /// What every preflight of an allowed origin gets, but for the origin itself.
    preflight: HeaderMap,
}

#[derive(Debug)]
enum Origins {
    Any,
    Listed { exact: HashSet<Box<[u8]>, RandomState>, below: Box<[Wildcard]> },
}

impl Cors {
    /// Builds what is sent once for all requests.
    pub fn new(config: &CorsConfig) -> Arc<Self> {
        let CorsConfig {
            allow_origins,
            allow_methods,
            allow_headers,
            expose_headers,
            allow_credentials,
            max_age,
        } = config;
        let mut preflight = HeaderMap::new();
        preflight.insert(header::VARY, VARY_PREFLIGHT);
        let max_age = max_age.map(|age| HeaderValue::from(age.get().as_secs()));
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, list(allow_methods)),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, list(allow_headers)),
            (header::ACCESS_CONTROL_MAX_AGE, max_age),
        ] {
            if let Some(value) = value {
                preflight.insert(name, value);
            }
        }
        Arc::new(Self {
            origins: Origins::new(allow_origins),
            credentials: *allow_credentials,
            expose_headers: list(expose_headers),
            preflight,
        })
    }

    /// The method that a preflight asks about; `None` if the request is no preflight: an OPTIONS without `Origin` or
    /// `Access-Control-Request-Method` is the target's.
    ///
    /// A preflight belongs to the route of the request that it asks about, which rarely takes OPTIONS. Where that route
    /// has no `cors` filter, the request is one like any other and must find its route by its own method.
    pub fn asked_method(parts: &request::Parts) -> Option<Method> {
        if parts.method != Method::OPTIONS || !parts.headers.contains_key(header::ORIGIN) {
            return None;
        }
        let asked = parts.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        Method::from_bytes(asked.as_bytes()).ok()
    }

    /// The headers of the 204 by which a preflight is answered, complete: [`Cors::decorate`] has no part in it. `None`
    /// if the request is no preflight.
    ///
    /// An origin that is not allowed gets its 204 without permission: the browser then refuses the request itself, and
    /// the console of its page names the missing header. What method and headers are asked for makes no difference: the
    /// answer lists what is allowed, and the browser compares.
    pub fn preflight(&self, parts: &request::Parts) -> Option<HeaderMap> {
        Self::asked_method(parts)?;
        let Some(allowed) = self.allowed(Self::origin(&parts.headers)) else {
            return Some(HeaderMap::from_iter([(header::VARY, VARY_PREFLIGHT)]));
        };
        let mut headers = self.preflight.clone();
        self.allow(allowed, &mut headers);
        Some(headers)
    }

    /// The one origin that a request names: with several there is none to trust.
    pub fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
        let mut values = headers.get_all(header::ORIGIN).iter();
        values.next().filter(|_| values.next().is_none())
    }

    /// Puts the gateway's answer in the place of whatever the target said, on every response, refusals too: a page can
    /// only read why it was refused if the refusal carries these headers.
    pub fn decorate(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        remove_protocol(headers);
        if !self.is_any() {
            vary_by_origin(headers);
        }
        if let Some(allowed) = self.allowed(origin) {
            self.allow(allowed, headers);
            if let Some(names) = &self.expose_headers {
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
            }
        }
    }

    const fn is_any(&self) -> bool {
        matches!(self.origins, Origins::Any)
    }

    /// Whether a page of this origin may read the responses.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.allowed(Some(origin)).is_some()
    }

    /// What `Access-Control-Allow-Origin` says. `*` is said to everyone, so that a response that a cache keeps from a
    /// request without `Origin` will do for one with it (Fetch, "CORS protocol and HTTP caches").
    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed { exact, below } => {
                let origin = origin?;
                let bytes = origin.as_bytes();
                let listed = exact.contains(bytes) || below.iter().any(|wildcard| wildcard.matches(bytes));
                listed.then(|| origin.clone())
            }
        }
    }

    fn allow(&self, origin: HeaderValue, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

impl Origins {
    fn new(origins: &[Origin]) -> Self {
        let mut exact = HashSet::default();
        let mut below = Vec::new();
        for origin in origins {
            match origin {
                // whatever else is listed, everyone is let in
                Origin::Any => return Self::Any,
                Origin::Null => drop(exact.insert(Box::from(b"null".as_slice()))),
                Origin::One(origin) => drop(exact.insert(Box::from(origin.as_bytes()))),
                Origin::Below(wildcard) => below.push(wildcard.clone()),
            }
        }
        Self::Listed { exact, below: below.into() }
    }
}

/// `a, b, c`; nothing for no value. Methods and header names are tokens, so that every list of them is a header value.
fn list(values: &[impl Display]) -> Option<HeaderValue> {
    let text = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(text).ok().filter(|value| !value.is_empty())
}

/// Drops every header of the protocol. The walk costs less than looking for each, and nearly always finds none.
fn remove_protocol(headers: &mut HeaderMap) {
    let of_protocol = |name: &&HeaderName| name.as_str().starts_with(PREFIX);
    if headers.keys().any(|name| of_protocol(&name)) {
        let found: Vec<HeaderName> = headers.keys().filter(of_protocol).cloned().collect();
        for name in found {
            headers.remove(name);
        }
    }
}

/// Adds `Origin` to `Vary`, unless it is there or everything varies.
fn vary_by_origin(headers: &mut HeaderMap) {
    let varies = headers
        .get_all(header::VARY)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"));
    if !varies {
        headers.append(header::VARY, VARY_ORIGIN);
    }
}
