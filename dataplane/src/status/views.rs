//! What protects the targets of a table, in the words of the wire.

use crate::clock;
use crate::dial::Transport;
use crate::gateway::Gateway;
use policy::auth::jwt::KeySetView;
use policy::breaker::{self, BreakerView};
use policy::clock::Now;
use policy::concurrency::ConcurrencyView;
use policy::health::{self, HealthView};
use policy::limiter::LimiterView;
use policy::retry::RetryView;
use policy::table::{Limit, Reach, Route, RouteTable};
use policy::upstream::{Target, Upstream};
use proto::v1::{
    BreakerState, BreakerStatus, ConcurrencyStatus, Counter, HealthState, InstanceStatus, IssuerStatus,
    LimiterStatus, RetryStatus, TargetHealth, TargetStatus,
};
use std::sync::atomic::Ordering;

/// The route of what counts for all of them.
const ALL_ROUTES: &str = "*";

/// Adds all that a table has to tell.
pub(super) fn fill(status: &mut InstanceStatus, table: &RouteTable, gateway: &Gateway, now: Now) {
    let serving = gateway.serving();
    let transports = serving.as_ref().map(|serving| &*serving.transports);
    for upstream in &table.upstreams {
        let told = |one| {
            let transport = transports.and_then(|transports| transports.to(one));
            target(upstream, one, transport.map(|transport| &**transport), gateway, now)
        };
        status.targets.extend(upstream.targets.iter().map(told));
    }
    let of_all =
        table.routes.iter().flat_map(|route| &route.guard.limits).find(|one| one.reach == Reach::All);
    status.limiters.extend(of_all.map(|limit| limiter(ALL_ROUTES, limit, now)));
    for route in &table.routes {
        guard(status, route, now);
    }
    status.issuers.extend(table.key_sets.all().iter().map(|set| issuer(set.view())));
}

/// The state of every target, breaker and issuer, a byte each.
pub(super) fn states(table: &RouteTable, now: Now) -> Vec<u8> {
    let targets = table.upstreams.iter().flat_map(|upstream| &upstream.targets);
    let breakers = table.routes.iter().flat_map(|route| route.breakers());
    targets
        .map(|target| target.state.health_state(now) as u8)
        .chain(breakers.map(|(_, breaker)| breaker.state() as u8))
        .chain(table.key_sets.all().iter().map(|set| {
            let (well, loaded) = set.standing();
            u8::from(well) | u8::from(loaded) << 1
        }))
        .collect()
}

fn guard(status: &mut InstanceStatus, route: &Route, now: Now) {
    let own = route.guard.limits.iter().filter(|limit| limit.reach != Reach::All);
    status.limiters.extend(own.map(|limit| limiter(&route.name, limit, now)));
    for (target, breaker) in route.breakers() {
        status.breakers.push(breaker_status(route, target, breaker.view(now), now));
    }
    for (target, limit) in route.concurrency_limits() {
        status.concurrency.push(concurrency(route, target, limit.view()));
    }
    status.retries.extend(route.guard.retry.as_ref().map(|retry| retries(route, retry.running.view(now))));
}

/// The address of a target; empty for what covers all of the route.
fn address(target: Option<&Target>) -> String {
    target.map_or_else(String::new, |one| one.addr.to_string())
}

/// How fast it grows is found out later, by comparing reports.
fn count(total: u64) -> Option<Counter> {
    Some(Counter { total, per_second: 0.0 })
}

fn breaker_status(route: &Route, target: Option<&Target>, view: BreakerView, now: Now) -> BreakerStatus {
    let BreakerView {
        state,
        hold,
        reason,
        since,
        retry_after,
        failures,
        error_rate,
        opened,
        refused,
        would_refuse,
        shadow,
    } = view;
    let state = match state {
        breaker::State::Closed => BreakerState::Closed,
        breaker::State::Open => BreakerState::Open,
        breaker::State::HalfOpen => BreakerState::HalfOpen,
    };
    BreakerStatus {
        route: route.name.to_string(),
        target: address(target),
        state: state.into(),
        held: hold.is_some(),
        reason,
        since_ms: since_ms(since),
        retry_ms: retry_after.map_or(0, |left| clock::unix_ms(now.after(left))),
        failures,
        error_rate,
        opened,
        refused: count(refused),
        would_refuse: count(would_refuse),
        shadow,
    }
}

fn limiter(route: &str, limit: &Limit, now: Now) -> LimiterStatus {
    let LimiterView {
        algorithm,
        key,
        qps,
        burst,
        shadow,
        level,
        keys,
        evicted,
        passed,
        delayed,
        limited,
        would_limit,
    } = limit.running.view(now);
    LimiterStatus {
        route: route.to_owned(),
        algorithm: algorithm.to_owned(),
        key,
        qps,
        burst,
        shadow,
        level,
        keys,
        evicted,
        passed: count(passed),
        delayed: count(delayed),
        limited: count(limited),
        would_limit: count(would_limit),
        global: match limit.reach {
            Reach::All => true,
            Reach::Route { global } => global,
        },
    }
}

fn concurrency(route: &Route, target: Option<&Target>, view: ConcurrencyView) -> ConcurrencyStatus {
    let ConcurrencyView { limit, max, in_flight, queued, queue, waited, refused, adaptive, baseline } = view;
    ConcurrencyStatus {
        route: route.name.to_string(),
        target: address(target),
        limit,
        max,
        in_flight,
        queued,
        adaptive,
        refused: count(refused),
        queue,
        waited: count(waited),
        baseline_ms: baseline.map(|baseline| baseline.as_secs_f64() * 1e3),
    }
}

fn retries(route: &Route, view: RetryView) -> RetryStatus {
    let RetryView { retries, denied_by_budget, budget_left } = view;
    RetryStatus {
        route: route.name.to_string(),
        retries: count(retries),
        denied: count(denied_by_budget),
        budget_left,
    }
}

fn issuer(view: KeySetView) -> IssuerStatus {
    let KeySetView { url, keys, changes, loaded, error, next, fetches, failures } = view;
    let (failed, last_error) = error.unzip();
    IssuerStatus {
        url,
        keys: keys as u64,
        changes,
        loaded_ms: loaded.map_or(0, clock::unix_ms),
        next_ms: next.map_or(0, clock::unix_ms),
        last_error: last_error.unwrap_or_default(),
        failed_ms: failed.map_or(0, clock::unix_ms),
        fetches,
        failures,
    }
}

fn target(
    upstream: &Upstream,
    target: &Target,
    transport: Option<&Transport>,
    gateway: &Gateway,
    now: Now,
) -> TargetStatus {
    let name = transport.and_then(Transport::name);
    let addresses = name.map(|name| name.addresses()).unwrap_or_default();
    TargetStatus {
        upstream: upstream.name.to_string(),
        addr: target.addr.to_string(),
        weight: target.weight,
        in_flight: target.state.in_flight.load(Ordering::Relaxed).into(),
        requests_total: target.state.requests.load(Ordering::Relaxed),
        failures_total: target.state.failures.load(Ordering::Relaxed),
        connections: target.state.connections.load(Ordering::Relaxed).into(),
        last_error: gateway.last_connect_error(target.state.id).unwrap_or_default(),
        health: Some(target_health(target.state.health_view(now))),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        dns_error: name.and_then(|name| name.last_error()).unwrap_or_default(),
        unverified: transport.is_some_and(Transport::is_unverified),
        ..TargetStatus::default()
    }
}

fn target_health(view: HealthView) -> TargetHealth {
    let HealthView { state, reason, since, until, probes, probe_failures, ejections, slow_start_share } =
        view;
    let state = match state {
        health::HealthState::Healthy => HealthState::Healthy,
        health::HealthState::Recovering => HealthState::Recovering,
        health::HealthState::Ejected => HealthState::Ejected,
        health::HealthState::Unhealthy => HealthState::Unhealthy,
        health::HealthState::Drained => HealthState::Drained,
    };
    TargetHealth {
        state: state.into(),
        reason,
        since_ms: since_ms(since),
        until_ms: until.map_or(0, clock::unix_ms),
        probes,
        probe_failures,
        ejections,
        slow_start_share,
    }
}

/// 0 for what has been so from the beginning.
fn since_ms(since: Now) -> i64 {
    if since == Now::default() { 0 } else { clock::unix_ms(since) }
}
