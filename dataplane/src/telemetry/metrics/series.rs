//! What is counted of each route and upstream, found by the position of the route in its table.
//!
//! A table brings the series of its routes along, so that a request looks up no name. They are kept by name: whatever a
//! config changes, a route that stays goes on counting where it was.

use super::count::{Count, Exemplar, Exemplars, Histogram, PerWorker, zeros};
use super::pairs::{PairCounts, Pairs};
use crate::telemetry::{Exchanged, TryEnd};
use foldhash::fast::RandomState;
use policy::clock::Now;
use policy::grpc::GrpcStatus;
use policy::mirror::Mirrored;
use policy::table::{Route, RouteTable};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long what is gone can still be read: a few scrapes, and a route that was taken out by mistake is back by then.
pub(super) const KEPT: Duration = Duration::from_secs(600);

/// The name under which requests are counted that no route takes; no route can have it.
pub(super) const NO_ROUTE: &str = "<none>";

/// What becomes of a retry, or of the wish for one.
pub(super) const RETRY_OUTCOMES: [&str; 4] = ["success", "failure", "abandoned", "denied"];
const SUCCESS: usize = 0;
const FAILURE: usize = 1;
const ABANDONED: usize = 2;
const DENIED: usize = 3;

/// Attempts at the targets of an upstream, to the head of the response.
pub(super) type UpstreamSeries = PerWorker<Histogram>;

/// Everything that is counted of a route.
#[derive(Debug)]
pub(super) struct RouteSeries {
    pub(super) pairs: Pairs,
    pub(super) workers: PerWorker<OfRoute>,
    limits: AtomicBool,
    retries: AtomicBool,
    mirror: AtomicBool,
}

/// What one worker counts of it.
#[derive(Debug)]
pub(super) struct OfRoute {
    pub(super) pairs: PairCounts,
    pub(super) duration: Histogram,
    pub(super) exemplars: Exemplars,
    pub(super) limited: Count,
    pub(super) would_limit: Count,
    pub(super) retries: [Count; RETRY_OUTCOMES.len()],
    /// In the order of [`Mirrored::ALL`].
    pub(super) mirrored: [Count; Mirrored::ALL.len()],
    pub(super) calls: Calls,
}

/// Calls by how they ended, in the order of [`GrpcStatus::ALL`]; there is no room for any until the first one comes.
#[derive(Debug, Default)]
pub(super) struct Calls(OnceLock<Box<[Count; GrpcStatus::ALL.len()]>>);

impl Calls {
    fn count(&self, status: GrpcStatus) {
        self.0.get_or_init(|| Box::new(zeros()))[usize::from(status.code())].add_one();
    }

    pub(super) fn get(&self, status: GrpcStatus) -> u64 {
        self.0.get().map_or(0, |counts| counts[usize::from(status.code())].get())
    }
}

impl Default for OfRoute {
    fn default() -> Self {
        Self {
            pairs: PairCounts::default(),
            duration: Histogram::default(),
            exemplars: Exemplars::default(),
            limited: Count::default(),
            would_limit: Count::default(),
            retries: zeros(),
            mirrored: zeros(),
            calls: Calls::default(),
        }
    }
}

impl RouteSeries {
    fn new(workers: usize) -> Self {
        Self {
            pairs: Pairs::default(),
            workers: PerWorker::new(workers),
            limits: AtomicBool::new(false),
            retries: AtomicBool::new(false),
            mirror: AtomicBool::new(false),
        }
    }

    /// A limit that has refused nothing yet is shown with its zero.
    fn expect(&self, route: &Route) {
        self.limits.store(!route.guard.limits.is_empty(), Ordering::Relaxed);
        self.retries.store(route.guard.retry.is_some(), Ordering::Relaxed);
        self.mirror.store(route.mirror.is_some(), Ordering::Relaxed);
    }

    pub(super) fn has_limits(&self) -> bool {
        self.limits.load(Ordering::Relaxed)
    }

    pub(super) fn has_retries(&self) -> bool {
        self.retries.load(Ordering::Relaxed)
    }

    pub(super) fn has_mirror(&self) -> bool {
        self.mirror.load(Ordering::Relaxed)
    }
}

/// What the exchanges of a table are counted in, by the positions of its routes.
#[derive(Debug, Default)]
pub(crate) struct TableSeries {
    routes: Box<[Option<Entry>]>,
    unrouted: Option<Entry>,
    /// Which upstreams are shown, by their positions in the table.
    upstreams: Box<[bool]>,
}

/// A route that is counted.
#[derive(Debug)]
pub(super) struct Entry {
    route: Arc<RouteSeries>,
    /// Of each backend; None where the gateway answers itself.
    upstreams: Box<[Option<Arc<UpstreamSeries>>]>,
}

impl TableSeries {
    /// The position of a route; `None`: no route.
    pub(super) fn entry(&self, route: Option<usize>) -> Option<&Entry> {
        match route {
            Some(at) => self.routes.get(at)?.as_ref(),
            None => self.unrouted.as_ref(),
        }
    }

    /// Counts what became of a copy of a request of a route, on the thread of its worker.
    pub(crate) fn count_mirrored(&self, route: usize, worker: usize, mirrored: Mirrored) {
        if let Some(entry) = self.entry(Some(route)) {
            entry.count_mirrored(worker, mirrored);
        }
    }

    /// Whether any request is counted.
    pub(super) fn counts_any(&self) -> bool {
        self.unrouted.is_some() || self.routes.iter().any(Option::is_some)
    }

    pub(super) fn counts_route(&self, at: usize) -> bool {
        self.routes.get(at).is_some_and(Option::is_some)
    }

    pub(super) fn shows_upstream(&self, at: usize) -> bool {
        self.upstreams.get(at).is_some_and(|shown| *shown)
    }
}

impl Entry {
    /// Counts what became of a copy of a request, on the thread of its worker.
    pub(super) fn count_mirrored(&self, worker: usize, mirrored: Mirrored) {
        let at = Mirrored::ALL.iter().position(|(known, _)| *known == mirrored);
        if let (Some(mine), Some(at)) = (self.route.workers.of(worker), at) {
            mine.mirrored[at].add_one();
        }
    }

    /// Counts an exchange that is over, on the thread of its worker.
    pub(super) fn count(&self, worker: usize, of: &Exchanged<'_>) {
        let Some(mine) = self.route.workers.of(worker) else { return };
        mine.pairs.add_one(self.route.pairs.position(of.method, of.status));
        let bucket = mine.duration.observe(of.duration);
        if let Some(trace) = of.trace.filter(|trace| trace.sampled()) {
            let unix_millis = of.unix_nanos / 1_000_000 + of.duration.as_millis() as u64;
            let seconds = of.duration.as_secs_f64();
            mine.exemplars.put(bucket, Exemplar { trace_id: trace.trace_id(), seconds, unix_millis });
        }
        if let Some(status) = of.grpc_status {
            mine.calls.count(status);
        }
        if of.would_limit {
            mine.would_limit.add_one();
        }
        if of.local && of.reason == Some(RATE_LIMITED) {
            mine.limited.add_one();
        }
        if of.retry_denied {
            mine.retries[DENIED].add_one();
        }
        for (at, one) in of.tries.iter().enumerate() {
            if at > 0 {
                // a call that is tried again has failed, though its answer is a 200
                let call_failed =
                    of.grpc_status.is_some_and(|status| at + 1 < of.tries.len() || status.is_failure());
                mine.retries[outcome(one.ended, call_failed)].add_one();
            }
            if one.ended != TryEnd::Abandoned
                && let Some(Some(upstream)) = self.upstreams.get(of.backend)
                && let Some(upstream) = upstream.of(worker)
            {
                upstream.observe(one.took);
            }
        }
    }
}

/// The reason of `Rejection::RateLimited`.
const RATE_LIMITED: &str = "rate_limited";

fn outcome(ended: TryEnd, call_failed: bool) -> usize {
    match ended {
        TryEnd::Status(status) if status < 500 && !call_failed => SUCCESS,
        TryEnd::Status(_) | TryEnd::Failed(_) => FAILURE,
        TryEnd::Abandoned => ABANDONED,
    }
}

/// All series of the process.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) routes: Kept<RouteSeries>,
    pub(super) upstreams: Kept<UpstreamSeries>,
}

impl Registry {
    /// A table is about to serve: its routes go on where those of the same names were.
    pub(super) fn adopt(&mut self, table: &RouteTable, workers: usize, now: Now) -> TableSeries {
        self.forget(now);
        self.routes.expect_none(now);
        self.upstreams.expect_none(now);

        let upstreams: Box<[bool]> = shown_upstreams(table);
        for (upstream, shown) in table.upstreams.iter().zip(&upstreams) {
            match shown {
                true => drop(self.upstreams.expect(&upstream.name, || PerWorker::new(workers))),
                false => self.upstreams.remove(&upstream.name),
            }
        }
        let routes = table.routes.iter().map(|route| self.entry(route, workers)).collect();
        let no_route = Arc::from(NO_ROUTE);
        let unrouted = match table.unrouted.metrics.enabled {
            true => {
                let route = self.routes.expect(&no_route, || RouteSeries::new(workers));
                Some(Entry { route, upstreams: Box::default() })
            }
            false => {
                self.routes.remove(&no_route);
                None
            }
        };
        TableSeries { routes, unrouted, upstreams }
    }

    fn entry(&mut self, route: &Route, workers: usize) -> Option<Entry> {
        if !route.chain.edge.metrics.enabled {
            self.routes.remove(&route.name);
            return None;
        }
        let series = self.routes.expect(&route.name, || RouteSeries::new(workers));
        series.expect(route);
        let upstreams =
            route.backends.iter().map(|backend| self.upstreams.get(&backend.upstream.name)).collect();
        Some(Entry { route: series, upstreams })
    }

    /// What has been gone for long enough.
    pub(super) fn forget(&mut self, now: Now) {
        self.routes.forget(now);
        self.upstreams.forget(now);
    }
}

/// All but those whose routes are not counted, none of them.
fn shown_upstreams(table: &RouteTable) -> Box<[bool]> {
    let mut used: HashMap<&str, bool, RandomState> = HashMap::default();
    for route in &table.routes {
        for backend in &route.backends {
            *used.entry(&backend.upstream.name).or_default() |= route.chain.edge.metrics.enabled;
        }
    }
    let shown = |name| used.get(name).copied().unwrap_or(table.unrouted.metrics.enabled);
    table.upstreams.iter().map(|upstream| shown(&*upstream.name)).collect()
}

/// Series by name, those that are gone for a while too.
#[derive(Debug)]
pub(super) struct Kept<S>(HashMap<Arc<str>, Known<S>, RandomState>);

#[derive(Debug)]
struct Known<S> {
    series: Arc<S>,
    gone: Option<Now>,
}

impl<S> Default for Kept<S> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<S> Kept<S> {
    /// Whatever is not expected again from now on is gone.
    fn expect_none(&mut self, now: Now) {
        self.0.values_mut().for_each(|known| known.gone = known.gone.or(Some(now)));
    }

    /// That of a name: the one that is there, or a new one.
    fn expect(&mut self, name: &Arc<str>, new: impl FnOnce() -> S) -> Arc<S> {
        let known = self.0.entry(Arc::clone(name));
        let known = known.or_insert_with(|| Known { series: Arc::new(new()), gone: None });
        known.gone = None;
        Arc::clone(&known.series)
    }

    fn get(&self, name: &str) -> Option<Arc<S>> {
        self.0.get(name).map(|known| Arc::clone(&known.series))
    }

    /// At once, for nobody wants it counted any more.
    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    fn forget(&mut self, now: Now) {
        self.0.retain(|_, known| known.gone.is_none_or(|gone| now.since(gone) < KEPT));
    }

    /// By name.
    pub(super) fn all(&self) -> Vec<(Arc<str>, Arc<S>)> {
        let mut all: Vec<_> =
            self.0.iter().map(|(name, known)| (Arc::clone(name), Arc::clone(&known.series))).collect();
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        all
    }
}
