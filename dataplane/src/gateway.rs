//! What every thread of the data plane shares: the current table, its targets' connection budgets, the counters.

use arc_swap::ArcSwapOption;
use foldhash::fast::RandomState;
use http::HeaderValue;
use parking_lot::{Mutex, RwLock};
use policy::table::RouteTable;
use proto::v1::Orders;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

use crate::clock;
use crate::connection::http2::OffenceCounts;
use crate::dial::Transports;
use crate::listener::ListenerState;
use crate::orders;
use crate::passwords::Passwords;
use crate::pool::lane::Lane;
use crate::settings::OtelEnvironment;
use crate::telemetry::access_log::{AccessLog, Output};
use crate::telemetry::metrics::{Count, Metrics, ReasonCounts, TableSeries};
use crate::telemetry::taps::Taps;
use crate::telemetry::traces::Traces;
use crate::worker::Lag;

/// The data plane as one thing; behind an `Arc` on every thread.
pub struct Gateway {
    instance: String,
    via: HeaderValue,
    serving: Arc<ArcSwapOption<Serving>>,
    lanes: Mutex<HashMap<u64, Arc<Lane>, RandomState>>,
    orders: Mutex<Orders>,
    workers: RwLock<Vec<Arc<WorkerCounters>>>,
    listeners: RwLock<Arc<[Arc<ListenerState>]>>,
    published: watch::Sender<()>,
    traces: Arc<Traces>,
    metrics: Arc<Metrics>,
    taps: Arc<Taps>,
    access_log: Arc<AccessLog>,
    passwords: Passwords,
}

/// A table, and where its requests are told of.
pub(crate) struct Serving {
    pub(crate) table: Arc<RouteTable>,
    pub(crate) series: Arc<TableSeries>,
    /// In the order of the table's `log_outputs`.
    pub(crate) log_outputs: Box<[Arc<Output>]>,
    /// How its targets are reached.
    pub(crate) transports: Arc<Transports>,
}

/// What one worker counts; written by it alone, read by anyone.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Client connections that this worker holds or that were just handed to it.
    pub connections: AtomicU64,
    /// Requests begun.
    pub(crate) requests: Count,
    /// Exchanges begun, those without a whole request too.
    pub(crate) began: Count,
    /// Exchanges over.
    pub(crate) over: Count,
    /// Why the gateway answered itself.
    pub(crate) reasons: ReasonCounts,
    /// WebSockets that were opened, and that were closed.
    pub(crate) websockets_opened: Count,
    pub(crate) websockets_closed: Count,
    /// What connections of HTTP/2 were closed for.
    pub(crate) offences: OffenceCounts,
    /// How long work waits for it.
    pub(crate) lag: Lag,
}

impl Gateway {
    /// A gateway without a table. The instance name is `[A-Za-z0-9._-]+`, as the settings made sure.
    pub fn new(instance: String) -> Arc<Self> {
        let via = HeaderValue::try_from(format!("1.1 {instance}"))
            .unwrap_or_else(|_| HeaderValue::from_static("1.1 mini-gateway"));
        let traces = Traces::new(&instance, OtelEnvironment::of_process());
        Arc::new(Self {
            instance,
            via,
            serving: Arc::new(ArcSwapOption::empty()),
            lanes: Mutex::default(),
            orders: Mutex::default(),
            workers: RwLock::new(Vec::new()),
            listeners: RwLock::default(),
            published: watch::Sender::new(()),
            traces,
            metrics: Arc::default(),
            taps: Arc::default(),
            access_log: Arc::default(),
            passwords: Passwords::default(),
        })
    }

    /// The name that `Via`, `Proxy-Status` and the control plane know it by.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The `Via` element of this instance.
    pub fn via(&self) -> &HeaderValue {
        &self.via
    }

    /// The table that serves now.
    pub fn table(&self) -> Option<Arc<RouteTable>> {
        self.serving.load().as_ref().map(|serving| serving.table.clone())
    }

    /// The same with where its requests are counted.
    pub(crate) fn serving(&self) -> Option<Arc<Serving>> {
        self.serving.load_full()
    }

    /// The swap itself, for the workers' caches.
    pub(crate) fn serving_cell(&self) -> Arc<ArcSwapOption<Serving>> {
        self.serving.clone()
    }

    /// Swaps in a table: every request that begins after this sees it. Returns the one before, which requests that have
    /// begun may still hold.
    pub(crate) fn publish(&self, table: RouteTable, transports: Transports) -> Option<Arc<Serving>> {
        let now = clock::now();
        table.upstreams.iter().for_each(|upstream| upstream.activate(now));
        // before the swap: no request may reach a drained target in between
        orders::apply(&self.orders.lock(), &table, now);
        self.adjust_lanes(&table);
        self.traces.adopt(&table);
        let series = Arc::new(self.metrics.adopt(&table, self.workers.read().len(), now));
        let log_outputs = self.access_log.adopt(&table);
        let (table, transports) = (Arc::new(table), Arc::new(transports));
        let before = self.serving.swap(Some(Arc::new(Serving { table, series, log_outputs, transports })));
        self.published.send_replace(());
        before
    }

    /// Spans, and where they go.
    pub(crate) fn traces(&self) -> &Arc<Traces> {
        &self.traces
    }

    /// What is counted, but for what workers hold.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What each worker counts.
    pub(crate) fn workers(&self) -> Vec<Arc<WorkerCounters>> {
        self.workers.read().clone()
    }

    /// Every open listener, in the order of the configured ports.
    pub(crate) fn listeners(&self) -> Arc<[Arc<ListenerState>]> {
        self.listeners.read().clone()
    }

    /// From now on these are open.
    pub(crate) fn set_listeners(&self, open: Arc<[Arc<ListenerState>]>) {
        *self.listeners.write() = open;
    }

    /// Whoever watches requests as they end.
    pub(crate) fn taps(&self) -> &Arc<Taps> {
        &self.taps
    }

    /// Lines of access logs, and where they go.
    pub(crate) fn access_log(&self) -> &Arc<AccessLog> {
        &self.access_log
    }

    /// Where passwords are checked.
    pub(crate) fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Changes whenever a table has been swapped in.
    pub(crate) fn published(&self) -> watch::Receiver<()> {
        self.published.subscribe()
    }

    /// From now on these orders hold, for the table that serves and for every later one.
    pub fn obey(&self, next: Orders) {
        let mut standing = self.orders.lock();
        if let Some(table) = self.table() {
            let now = clock::now();
            orders::apply(&next, &table, now);
            orders::reset(&next, standing.revision, &table, now);
        }
        *standing = next;
    }

    /// Gives every target of the table its connection budget and forgets those of targets that are gone.
    fn adjust_lanes(&self, table: &RouteTable) {
        let mut lanes = self.lanes.lock();
        let mut kept = HashMap::with_capacity_and_hasher(lanes.len(), RandomState::default());
        for upstream in table.upstreams.iter().chain(&table.services) {
            for target in &upstream.targets {
                let id = target.state.id;
                let lane = lanes
                    .remove(&id)
                    .unwrap_or_else(|| Lane::new(target.state.clone(), upstream.max_connections));
                lane.resize(upstream.max_connections);
                kept.insert(id, lane);
            }
        }
        *lanes = kept;
    }

    /// The connection budget of a target; `None` when a newer table no longer has the target.
    pub(crate) fn lane(&self, target: u64) -> Option<Arc<Lane>> {
        self.lanes.lock().get(&target).cloned()
    }

    /// Why the last attempt to connect to a target failed; `None` when it did not.
    pub fn last_connect_error(&self, target: u64) -> Option<String> {
        self.lane(target).and_then(|lane| lane.last_error())
    }

    /// Client connections now.
    pub fn connections(&self) -> u64 {
        self.workers.read().iter().map(|one| one.connections.load(Ordering::Relaxed)).sum()
    }

    /// Requests ever begun.
    pub fn requests_total(&self) -> u64 {
        self.workers.read().iter().map(|one| one.requests.get()).sum()
    }

    pub(crate) fn add_worker(&self) -> Arc<WorkerCounters> {
        let counters = Arc::new(WorkerCounters::default());
        self.workers.write().push(counters.clone());
        counters
    }
}
