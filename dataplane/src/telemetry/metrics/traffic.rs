//! What went through each route lately: the difference of two looks at the metrics, for the status.

use super::Metrics;
use super::count::{BOUNDS, BUCKETS, Sum};
use super::series::RouteSeries;
use policy::clock::Now;
use proto::v1::{RouteTraffic, Traffic};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// More than anybody looks at; the busiest are told.
const MOST: usize = 500;

/// Remembers the last look.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    last: Option<(Now, HashMap<Arc<str>, Totals>)>,
    told: Traffic,
}

/// Of a route, ever.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    failures: u64,
    buckets: [u64; BUCKETS],
}

impl Meter {
    /// What there was since the last call.
    pub(crate) fn tick(&mut self, metrics: &Metrics, now: Now) -> Traffic {
        let totals: HashMap<Arc<str>, Totals> =
            metrics.routes().into_iter().map(|(name, series)| (name, Totals::of(&series))).collect();
        if let Some((then, before)) = &self.last {
            let new = |(name, totals): (&Arc<str>, &Totals)| {
                totals.since(&before.get(name).copied().unwrap_or_default()).named(name)
            };
            let mut routes: Vec<RouteTraffic> = totals.iter().filter_map(new).collect();
            routes.sort_by_cached_key(|route| (Reverse(requests(route)), route.route.clone()));
            routes.truncate(MOST);
            let seconds = now.since(*then).as_secs_f64();
            self.told = Traffic { seconds, bounds: BOUNDS.to_vec(), routes };
        }
        self.last = Some((now, totals));
        self.told.clone()
    }

    /// The same as at the last tick.
    pub(crate) fn last(&self) -> Traffic {
        self.told.clone()
    }
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

    /// A route that was gone and came back begins anew.
    fn since(&self, before: &Self) -> Self {
        Self {
            failures: self.failures.saturating_sub(before.failures),
            buckets: std::array::from_fn(|at| self.buckets[at].saturating_sub(before.buckets[at])),
        }
    }

    fn named(self, name: &str) -> Option<RouteTraffic> {
        let Self { failures, buckets } = self;
        let any = buckets.iter().any(|count| *count > 0);
        any.then(|| RouteTraffic { route: name.to_owned(), failures, buckets: buckets.to_vec() })
    }
}
