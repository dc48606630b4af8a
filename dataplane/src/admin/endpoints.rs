//! The answers of the admin HTTP, one function for all of them: they depend on the path and on what runs.

use crate::status::{NotReady, Running};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) fn answer<B>(request: &Request<B>, instance: &str, running: &Running) -> Response<Full<Bytes>> {
    let endpoint: fn(&str, &Running) -> Response<Full<Bytes>> = match request.uri().path() {
        "/health" => health,
        "/livez" => |_, _| text(StatusCode::OK, "ok"),
        "/readyz" => |_, running| ready(running),
        _ => return text(StatusCode::NOT_FOUND, "not found; here are /health, /livez and /readyz"),
    };
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return endpoint(instance, running);
    }
    let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    refusal
}

/// The facts for a person or a dashboard; always 200 while the process answers.
fn health(instance: &str, running: &Running) -> Response<Full<Bytes>> {
    let facts = json!({
        "status": running.readiness().map_or_else(NotReady::word, |()| "ok"),
        "instance": instance,
        "version": running.active.as_ref().map_or(0, |identity| identity.version),
        "sha256": running.active.as_ref().map_or("", |identity| &identity.sha256),
        "build": env!("CARGO_PKG_VERSION"),
        "listening": running.listening,
        "not_stored": running.not_stored,
        "orders_revision": running.orders_revision,
        "orders_not_stored": running.orders_not_stored,
    });
    response(StatusCode::OK, JSON, format!("{facts}\n"))
}

/// What a load balancer asks: may traffic come here?
fn ready(running: &Running) -> Response<Full<Bytes>> {
    match running.readiness() {
        Ok(()) => text(StatusCode::OK, "ready"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why.sentence()),
    }
}

impl NotReady {
    fn word(self) -> &'static str {
        match self {
            NotReady::NoConfig => "starting",
            NotReady::NoListener => "not_listening",
            NotReady::Draining => "draining",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            NotReady::NoConfig => "not ready: no config yet, neither from the control plane nor on disk",
            NotReady::NoListener => "not ready: no listener could be opened, the log says why",
            NotReady::Draining => "not ready: draining",
        }
    }
}

fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    response(status, TEXT, format!("{line}\n"))
}

fn response(status: StatusCode, content_type: HeaderValue, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    // a cached answer about the present is a lie
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
