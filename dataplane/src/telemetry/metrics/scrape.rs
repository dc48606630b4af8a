//! The page of a scrape: the sums of what the workers have counted, and how everything is at this moment.

use super::count::{Exemplars, Sum};
use super::page::{Family, Format, Kind, Labels, Page};
use super::pairs::OTHER;
use super::series::{OfRoute, RETRY_OUTCOMES, RouteSeries, TableSeries, UpstreamSeries};
use super::{APPLIED, Metrics, listeners, process};
use crate::connection::http2::Offence;
use crate::gateway::{Gateway, Serving, WorkerCounters};
use crate::telemetry::access_log::LineCounts;
use http::StatusCode;
use policy::breaker::State;
use policy::clock::Now;
use policy::grpc::GrpcStatus;
use policy::health::HealthState;
use policy::mirror::Mirrored;
use policy::upstream::{Target, Upstream};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The target of a breaker that covers all targets of its route.
const ALL_TARGETS: &str = "*";

/// Everything, as text. Takes a while with many routes: not for a thread that has other things to do.
pub(crate) fn scrape(gateway: &Gateway, format: Format, now: Now) -> String {
    let mut page = Page::new(format);
    let metrics = gateway.metrics();
    let serving = gateway.serving();
    let workers = gateway.workers();
    if let Some(serving) = &serving {
        if serving.series.counts_any() {
            requests(&mut page, metrics, &workers, now);
        }
        upstreams(&mut page, metrics, now);
        breakers(&mut page, serving);
        targets(&mut page, serving, now);
        pools(&mut page, gateway, serving);
    }
    connections(&mut page, &workers);
    listeners::write(&mut page, &gateway.listeners());
    config(&mut page, metrics, serving.as_deref());
    telemetry(&mut page, gateway);
    let build = [("version", env!("CARGO_PKG_VERSION")), ("gateway", gateway.instance())];
    page.family(Kind::Info, "gateway_build_info", "What runs here, and under which name.")
        .sample(&build, 1u64);
    process::write(&mut page);
    page.finish()
}

/// What is counted by route.
fn requests(page: &mut Page, metrics: &Metrics, workers: &[Arc<WorkerCounters>], now: Now) {
    let routes = {
        let mut registry = metrics.registry.lock();
        registry.forget(now);
        registry.routes.all()
    };
    // a route that nobody has asked for yet has nothing to tell
    let routes: Vec<_> =
        routes.into_iter().filter(|(_, series)| series.workers.all().next().is_some()).collect();

    let help =
        "Exchanges that are over, by route, method and status; 499: the client left before a response began.";
    let mut family = page.family(Kind::Counter, "gateway_requests_total", help);
    for (name, series) in &routes {
        write_pairs(&mut family, name, series);
    }
    let help = "gRPC calls that are over, by how they ended.";
    let mut family = page.family(Kind::Counter, "gateway_grpc_requests_total", help);
    for (name, series) in &routes {
        for status in GrpcStatus::ALL {
            let count: u64 = series.workers.all().map(|one| one.calls.get(status)).sum();
            if count > 0 {
                family.sample(&[("route", name), ("grpc_status", status.name())], count);
            }
        }
    }
    let help = "From the first byte of a request to the end of its response, a WebSocket to its end.";
    let mut family = page.family(Kind::Histogram, "gateway_request_duration_seconds", help);
    for (name, series) in &routes {
        let sum = Sum::of(series.workers.all().map(|one| &one.duration));
        let exemplars = Exemplars::newest(series.workers.all().map(|one| &one.exemplars));
        family.histogram(&[("route", name)], &sum, &exemplars);
    }
    let help = "Requests that rate limits refused.";
    limits(page, &routes, "gateway_rate_limit_hits_total", help, |one| one.limited.get());
    let help = "Requests that rate limits in shadow mode would have refused.";
    limits(page, &routes, "gateway_rate_limit_shadow_hits_total", help, |one| one.would_limit.get());
    let help =
        "Attempts after the first, by what came of them; denied: there was none, for the budget was spent.";
    let mut family = page.family(Kind::Counter, "gateway_retries_total", help);
    for (name, series) in &routes {
        let count = |at: usize| series.workers.all().map(|one| one.retries[at].get()).sum();
        let counts: [u64; RETRY_OUTCOMES.len()] = std::array::from_fn(count);
        if series.has_retries() || counts.iter().any(|count| *count > 0) {
            for (outcome, count) in RETRY_OUTCOMES.iter().zip(counts) {
                family.sample(&[("route", name), ("outcome", outcome)], count);
            }
        }
    }
    mirrored(page, &routes);

    let active = |worker: &Arc<WorkerCounters>| worker.began.get().saturating_sub(worker.over.get());
    page.family(Kind::Gauge, "gateway_active_requests", "Exchanges that are not over.")
        .sample(&[], workers.iter().map(active).sum::<u64>());
    let help = "Responses that the gateway made itself, by reason.";
    let mut family = page.family(Kind::Counter, "gateway_local_responses_total", help);
    for (reason, count) in metrics.reasons.all(workers.iter().map(|worker| &worker.reasons)) {
        family.sample(&[("reason", reason)], count);
    }
}

fn mirrored(page: &mut Page, routes: &[(Arc<str>, Arc<RouteSeries>)]) {
    let help = "Copies of requests to a mirror, by what became of them.";
    let mut family = page.family(Kind::Counter, "gateway_mirrored_requests_total", help);
    for (name, series) in routes {
        let count = |at: usize| series.workers.all().map(|one| one.mirrored[at].get()).sum();
        let counts: [u64; Mirrored::ALL.len()] = std::array::from_fn(count);
        if series.has_mirror() || counts.iter().any(|count| *count > 0) {
            for ((_, outcome), count) in Mirrored::ALL.iter().zip(counts) {
                family.sample(&[("route", name), ("outcome", outcome)], count);
            }
        }
    }
}

fn write_pairs(family: &mut Family<'_>, route: &str, series: &RouteSeries) {
    for (at, (method, status)) in series.pairs.all().enumerate() {
        let count: u64 = series.workers.all().map(|one| one.pairs.get(at)).sum();
        let status = StatusCode::from_u16(status);
        let status = status.as_ref().map_or(OTHER, StatusCode::as_str);
        family.sample(&[("route", route), ("method", method), ("status", status)], count);
    }
    let beyond: u64 = series.workers.all().map(|one| one.pairs.beyond()).sum();
    if beyond > 0 {
        family.sample(&[("route", route), ("method", OTHER), ("status", OTHER)], beyond);
    }
}

/// A family of what limits did, with the routes that have limits, or had.
fn limits(
    page: &mut Page,
    routes: &[(Arc<str>, Arc<RouteSeries>)],
    name: &'static str,
    help: &'static str,
    count: impl Fn(&OfRoute) -> u64,
) {
    let mut family = page.family(Kind::Counter, name, help);
    for (route, series) in routes {
        let count: u64 = series.workers.all().map(&count).sum();
        if series.has_limits() || count > 0 {
            family.sample(&[("route", route)], count);
        }
    }
}

fn upstreams(page: &mut Page, metrics: &Metrics, now: Now) {
    let upstreams: Vec<(Arc<str>, Arc<UpstreamSeries>)> = {
        let mut registry = metrics.registry.lock();
        registry.forget(now);
        registry.upstreams.all()
    };
    let help = "Attempts at targets, from their beginning to the head of the response or to the failure.";
    let mut family = page.family(Kind::Histogram, "gateway_upstream_duration_seconds", help);
    for (name, series) in &upstreams {
        let sum = Sum::of(series.all());
        if sum.count() > 0 {
            family.histogram(&[("upstream", name)], &sum, &[]);
        }
    }
}

fn breakers(page: &mut Page, serving: &Serving) {
    let help = "Circuit breakers: 0 closed, 1 open, 2 half-open.";
    let mut family = page.family(Kind::Gauge, "gateway_circuit_breaker_state", help);
    let counted = |(at, _): &(usize, _)| serving.series.counts_route(*at);
    for (_, route) in serving.table.routes.iter().enumerate().filter(counted) {
        for (target, breaker) in route.breakers() {
            let target = target.map(|one| one.addr.to_string());
            let state: u64 = match breaker.state() {
                State::Closed => 0,
                State::Open => 1,
                State::HalfOpen => 2,
            };
            let target = target.as_deref().unwrap_or(ALL_TARGETS);
            family.sample(&[("route", &route.name), ("target", target)], state);
        }
    }
}

/// The upstreams of the table that are shown.
fn shown<'s>(series: &'s TableSeries, upstreams: &'s [Arc<Upstream>]) -> impl Iterator<Item = &'s Upstream> {
    let shown = |(at, _): &(usize, _)| series.shows_upstream(*at);
    upstreams.iter().enumerate().filter(shown).map(|(_, upstream)| &**upstream)
}

fn targets(page: &mut Page, serving: &Serving, now: Now) {
    let targets: Vec<(&str, String, &Target)> = shown(&serving.series, &serving.table.upstreams)
        .flat_map(|upstream| upstream.targets.iter().map(|one| (&*upstream.name, one.addr.to_string(), one)))
        .collect();
    let mut write = |kind, name, help, value: &dyn Fn(&Target) -> u64| {
        let mut family = page.family(kind, name, help);
        for (upstream, addr, target) in &targets {
            let labels: &Labels<'_> = &[("upstream", upstream), ("target", addr)];
            family.sample(labels, value(target));
        }
    };
    let help = "Whether a target takes requests: 1; 0 when it is unhealthy, ejected or drained.";
    write(Kind::Gauge, "gateway_target_health", help, &|target| {
        let state = target.state.health_state(now);
        u64::from(matches!(state, HealthState::Healthy | HealthState::Recovering))
    });
    let help = "Whether an operator has taken the target out of service.";
    write(Kind::Gauge, "gateway_target_drained", help, &|target| u64::from(target.state.is_drained()));
    let help = "Requests sent to a target, every attempt counted.";
    write(Kind::Counter, "gateway_target_requests_total", help, &|target| {
        target.state.requests.load(Ordering::Relaxed)
    });
    let help = "Attempts that got no response from a target.";
    write(Kind::Counter, "gateway_target_failures_total", help, &|target| {
        target.state.failures.load(Ordering::Relaxed)
    });
}

fn pools(page: &mut Page, gateway: &Gateway, serving: &Serving) {
    let help = "Connections to the targets of an upstream: active, with a request or being opened, or idle.";
    let mut family = page.family(Kind::Gauge, "gateway_pool_connections", help);
    for upstream in shown(&serving.series, &serving.table.upstreams) {
        let (mut active, mut idle) = (0, 0);
        for target in &upstream.targets {
            let waiting = gateway.lane(target.state.id).map_or(0, |lane| lane.waiting());
            let connections = target.state.connections.load(Ordering::Relaxed);
            let in_use =
                target.state.in_flight.load(Ordering::Relaxed).saturating_sub(waiting).min(connections);
            active += u64::from(in_use);
            idle += u64::from(connections - in_use);
        }
        family.sample(&[("upstream", &upstream.name), ("state", "active")], active);
        family.sample(&[("upstream", &upstream.name), ("state", "idle")], idle);
    }
}

fn connections(page: &mut Page, workers: &[Arc<WorkerCounters>]) {
    let help = "Client connections that a worker holds.";
    let mut family = page.family(Kind::Gauge, "gateway_worker_connections", help);
    for (at, worker) in workers.iter().enumerate() {
        family.sample(&[("worker", &at.to_string())], worker.connections.load(Ordering::Relaxed));
    }
    let open = |worker: &Arc<WorkerCounters>| {
        worker.websockets_opened.get().saturating_sub(worker.websockets_closed.get())
    };
    page.family(Kind::Gauge, "gateway_websockets_active", "WebSockets that are open.")
        .sample(&[], workers.iter().map(open).sum::<u64>());
    let help = "Connections of HTTP/2 that were closed for what their client did, by reason.";
    let mut family = page.family(Kind::Counter, "gateway_http2_connections_closed_total", help);
    for offence in Offence::ALL {
        let count = workers.iter().map(|worker| worker.offences.get(offence)).sum::<u64>();
        family.sample(&[("reason", offence.reason())], count);
    }
}

fn config(page: &mut Page, metrics: &Metrics, serving: Option<&Serving>) {
    page.family(Kind::Gauge, "gateway_config_version", "The version that serves; 0: none yet.")
        .sample(&[], serving.map_or(0, |serving| serving.table.version));
    let help = "Configs that came here, by what became of them.";
    let mut family = page.family(Kind::Counter, "gateway_config_applies_total", help);
    for ((_, result), count) in APPLIED.iter().zip(&metrics.applied) {
        family.sample(&[("result", result)], count.get());
    }
    let help = "How long configs took here: to prepare, and from the order to commit to the swap.";
    let mut family = page.family(Kind::Histogram, "gateway_config_apply_duration_seconds", help);
    for (phase, histogram) in [("prepare", &metrics.prepares), ("commit", &metrics.commits)] {
        family.histogram(&[("phase", phase)], &Sum::of(std::iter::once(histogram)), &[]);
    }
    page.family(
        Kind::Gauge,
        "gateway_control_plane_connected",
        "Whether this instance has joined one: 1, or 0.",
    )
    .sample(&[], u64::from(metrics.connected.load(Ordering::Relaxed)));
}

fn telemetry(page: &mut Page, gateway: &Gateway) {
    let traces = gateway.traces();
    page.family(Kind::Counter, "gateway_spans_exported_total", "Spans that a collector has taken.")
        .sample(&[], traces.exported());
    page.family(Kind::Counter, "gateway_spans_dropped_total", "Spans that no collector has got.")
        .sample(&[], traces.dropped());
    let help = "Lines of access logs that were written, and that were dropped or failed.";
    let mut family = page.family(Kind::Counter, "gateway_access_log_lines_total", help);
    for LineCounts { output, written, dropped } in gateway.access_log().counts() {
        family.sample(&[("output", &output), ("result", "written")], written);
        family.sample(&[("output", &output), ("result", "dropped")], dropped);
    }
}
