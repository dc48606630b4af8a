//! The answers of the admin HTTP, one function for all of them: they depend on the path and on what runs.

use super::Admin;
use super::profile::{Form, NoProfile};
use crate::clock;
use crate::gateway::Gateway;
use crate::status::{NotReady, Running};
use crate::telemetry::metrics::Format;
use crate::worker::Lags;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, json};
use std::sync::atomic::Ordering;
use std::time::Duration;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

const GZIP: HeaderValue = HeaderValue::from_static("application/octet-stream");
const AS_FILE: HeaderValue = HeaderValue::from_static("attachment; filename=\"profile.pb.gz\"");
const SVG: HeaderValue = HeaderValue::from_static("image/svg+xml");

const WORKERS: &str = "/debug/workers";
/// Where Go has it, so that its tools find it.
const PROFILE: &str = "/debug/pprof/profile";
const FLAME_GRAPH: &str = "/debug/pprof/flamegraph";
const NOT_FOUND: &str = "not found; here are /health, /livez, /readyz, /metrics, /debug/workers, \
                         /debug/pprof/profile and /debug/pprof/flamegraph";

pub(super) async fn answer<B>(request: Request<B>, admin: &Admin) -> Response<Full<Bytes>> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/health" | "/livez" | "/readyz" | "/metrics" | WORKERS | PROFILE | FLAME_GRAPH if !reads => {
            only_reads()
        }
        "/health" => health(&admin.gateway, &admin.board.get()),
        "/livez" => text(StatusCode::OK, "ok"),
        "/readyz" => ready(&admin.board.get()),
        "/metrics" => metrics(request.headers(), admin).await,
        WORKERS => workers(&admin.gateway),
        PROFILE => profile(&request, admin, Form::Pprof).await,
        FLAME_GRAPH => profile(&request, admin, Form::FlameGraph).await,
        _ => text(StatusCode::NOT_FOUND, NOT_FOUND),
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

/// How the workers are, each for itself.
fn workers(gateway: &Gateway) -> Response<Full<Bytes>> {
    let now = clock::now();
    let millis = |time: Duration| time.as_micros() as f64 / 1000.0;
    let told: Vec<_> = gateway
        .workers()
        .iter()
        .enumerate()
        .map(|(at, worker)| {
            let (began, over) = (worker.began.get(), worker.over.get());
            let Lags { last, worst, busy } = worker.lag.told(now);
            json!({
                "worker": at,
                "connections": worker.connections.load(Ordering::Relaxed),
                "requests": worker.requests.get(),
                "active": began.saturating_sub(over),
                "busy": busy as f64 / 1000.0,
                "lag_ms": millis(last),
                "lag_max_ms": millis(worst),
            })
        })
        .collect();
    response(StatusCode::OK, JSON, format!("{}\n", json!({"instance": gateway.instance(), "workers": told})))
}

/// Where the processor's time goes; the answer takes as many seconds as are asked for.
async fn profile<B>(request: &Request<B>, admin: &Admin, form: Form) -> Response<Full<Bytes>> {
    let why = match admin.profiles.take(request.uri().query(), form).await {
        Ok(taken) if form == Form::Pprof => {
            let mut response = response(StatusCode::OK, GZIP, taken);
            response.headers_mut().insert(CONTENT_DISPOSITION, AS_FILE);
            return response;
        }
        Ok(taken) => return response(StatusCode::OK, SVG, taken),
        Err(why) => why,
    };
    let status = match why {
        NoProfile::Seconds(_) => StatusCode::BAD_REQUEST,
        NoProfile::Busy => StatusCode::CONFLICT,
        NoProfile::Idle(_) => StatusCode::SERVICE_UNAVAILABLE,
        NoProfile::NoFramePointers => StatusCode::NOT_IMPLEMENTED,
        NoProfile::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(status, &why.to_string())
}

/// The facts for a person or a dashboard; always 200 while the process answers.
fn health(gateway: &Gateway, running: &Running) -> Response<Full<Bytes>> {
    let listeners = gateway.listeners();
    let broken = listeners.iter().filter_map(|listener| {
        let settings = listener.settings.load();
        Some((settings.name.to_string(), json!(settings.tls.as_ref()?.fault()?)))
    });
    let facts = json!({
        "status": running.readiness().map_or_else(NotReady::word, |()| "ok"),
        "instance": gateway.instance(),
        "version": running.active.as_ref().map_or(0, |identity| identity.version),
        "sha256": running.active.as_ref().map_or("", |identity| &identity.sha256),
        "build": env!("CARGO_PKG_VERSION"),
        "listening": running.listening,
        "not_stored": running.not_stored,
        "orders_revision": running.orders_revision,
        "orders_not_stored": running.orders_not_stored,
        "tls_files_broken": broken.collect::<Map<_, _>>(),
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

fn response(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    // a cached answer about the present is a lie
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
