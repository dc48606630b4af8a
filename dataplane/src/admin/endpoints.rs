//! The answers of the admin HTTP, one function for all of them: they depend on the path and on what runs.

use super::Admin;
use crate::status::{NotReady, Running};
use crate::telemetry::metrics::Format;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) async fn answer<B>(request: Request<B>, admin: &Admin) -> Response<Full<Bytes>> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/health" | "/livez" | "/readyz" | "/metrics" if !reads => only_reads(),
        "/health" => health(&admin.instance, &admin.board.get()),
        "/livez" => text(StatusCode::OK, "ok"),
        "/readyz" => ready(&admin.board.get()),
        "/metrics" => metrics(request.headers(), admin).await,
        _ => text(StatusCode::NOT_FOUND, "not found; here are /health, /livez, /readyz and /metrics"),
    }
}

fn only_reads() -> Response<Full<Bytes>> {
    let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    refusal
}

/// What Prometheus scrapes.
async fn metrics(headers: &HeaderMap, admin: &Admin) -> Response<Full<Bytes>> {
    let format = Format::of(headers);
    match admin.metrics(format).await {
        Ok(page) => response(StatusCode::OK, format.content_type(), page),
        Err(panicked) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("no metrics: {panicked}")),
    }
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
