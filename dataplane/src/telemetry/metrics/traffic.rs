//! What went through each route lately: the difference of two looks at the metrics, for the status.

use super::count::{BOUNDS, BUCKETS, Sum};
use super::series::RouteSeries;
use crate::gateway::Gateway;
use policy::clock::Now;
use proto::v1::{InstanceStatus, RouteTraffic, Traffic};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// More than anybody looks at; the busiest are told.
const MOST: usize = 500;

/// Remembers the last look.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    last: Option<Look>,
    told: Traffic,
    latencies: HashMap<u64, Buckets>,
}

#[derive(Debug)]
struct Look {
    at: Now,
    routes: HashMap<Arc<str>, Totals>,
    /// By the target's id.
    targets: HashMap<u64, Buckets>,
}

type Buckets = [u64; BUCKETS];

/// Of a route, ever.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    failures: u64,
    buckets: Buckets,
}

impl Meter {
    /// Tells what there was since the last call.
    pub(crate) fn tick(&mut self, status: &mut InstanceStatus, gateway: &Gateway, now: Now) {
        let routes = gateway.metrics().routes().into_iter();
        let routes: HashMap<Arc<str>, Totals> =
            routes.map(|(name, series)| (name, Totals::of(&series))).collect();
        let targets = latencies(gateway);
        if let Some(last) = &self.last {
            let new = |(name, totals): (&Arc<str>, &Totals)| {
                totals.since(&last.routes.get(name).copied().unwrap_or_default()).named(name)
            };
            let mut told: Vec<RouteTraffic> = routes.iter().filter_map(new).collect();
            told.sort_by_cached_key(|route| (Reverse(requests(route)), route.route.clone()));
            told.truncate(MOST);
            let seconds = now.since(last.at).as_secs_f64();
            self.told = Traffic { seconds, bounds: BOUNDS.to_vec(), routes: told };
            let before = |id: &u64| last.targets.get(id).copied().unwrap_or_default();
            self.latencies = targets.iter().map(|(id, buckets)| (*id, grown(buckets, &before(id)))).collect();
        }
        self.last = Some(Look { at: now, routes, targets });
        self.carry_over(status, gateway);
    }

    /// The same as at the last tick.
    pub(crate) fn carry_over(&self, status: &mut InstanceStatus, gateway: &Gateway) {
        status.traffic = Some(self.told.clone());
        let Some(table) = gateway.table() else { return };
        let targets = table.upstreams.iter().flat_map(|upstream| &upstream.targets);
        // the report has them in the order of the table that it was made from
        for (target, told) in targets.zip(&mut status.targets) {
            if let Some(buckets) = self.latencies.get(&target.state.id)
                && told.addr == target.addr.to_string()
                && buckets.iter().any(|count| *count > 0)
            {
                told.latencies = buckets.to_vec();
            }
        }
    }
}

/// How long heads of responses took, ever, by the target's id.
fn latencies(gateway: &Gateway) -> HashMap<u64, Buckets> {
    let Some(table) = gateway.table() else { return HashMap::new() };
    let targets = table.upstreams.iter().flat_map(|upstream| &upstream.targets);
    let of_all_workers = |id| {
        let lane = gateway.lane(id)?;
        Some((id, Sum::of(lane.latencies().iter().map(|one| &**one)).buckets))
    };
    targets.filter_map(|target| of_all_workers(target.state.id)).collect()
}

/// What is gone and came back begins anew.
fn grown(now: &Buckets, before: &Buckets) -> Buckets {
    std::array::from_fn(|at| now[at].saturating_sub(before[at]))
}

fn requests(route: &RouteTraffic) -> u64 {
    route.buckets.iter().sum()
}

impl Totals {
    fn of(series: &RouteSeries) -> Self {
        let durations = Sum::of(series.workers.all().map(|worker| &worker.duration));
        let failed = series.pairs.all().enumerate().filter(|(_, (_, status))| *status >= 500);
        let failures =
            failed.map(|(at, _)| series.workers.all().map(|worker| worker.pairs.get(at)).sum::<u64>());
        Self { failures: failures.sum(), buckets: durations.buckets }
    }

    fn since(&self, before: &Self) -> Self {
        let failures = self.failures.saturating_sub(before.failures);
        Self { failures, buckets: grown(&self.buckets, &before.buckets) }
    }

    fn named(self, name: &str) -> Option<RouteTraffic> {
        let Self { failures, buckets } = self;
        let any = buckets.iter().any(|count| *count > 0);
        any.then(|| RouteTraffic { route: name.to_owned(), failures, buckets: buckets.to_vec() })
    }
}
