//! What protects the targets of a table, in the words of the wire.

use crate::clock;
use crate::gateway::Gateway;
use policy::clock::Now;
use policy::health::{self, HealthView};
use policy::table::RouteTable;
use policy::upstream::{Target, Upstream};
use proto::v1::{HealthState, InstanceStatus, TargetHealth, TargetStatus};
use std::sync::atomic::Ordering;

/// Adds all that a table has to tell.
pub(super) fn fill(status: &mut InstanceStatus, table: &RouteTable, gateway: &Gateway, now: Now) {
    for upstream in &table.upstreams {
        status.targets.extend(upstream.targets.iter().map(|one| target(upstream, one, gateway, now)));
    }
}

fn target(upstream: &Upstream, target: &Target, gateway: &Gateway, now: Now) -> TargetStatus {
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
