//! What is counted, read from the page: over tables that come and go, without workers.

use super::*;
use crate::dial::Transports;
use crate::gateway::Gateway;
use crate::telemetry::access_log::WorkerLog;
use crate::telemetry::traces::Trace;
use crate::telemetry::{Try, TryEnd};
use crate::test_support;
use crate::worker::TableHandle;
use policy::config::GatewayConfig;
use policy::grpc::GrpcStatus;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

/// A gateway of two workers that nobody asks anything.
struct Counted {
    gateway: Arc<Gateway>,
    workers: [Arc<WorkerCounters>; 2],
}

fn at(secs: u64) -> Now {
    Now::from_nanos(secs * 1_000_000_000)
}

fn route(name: &str, filters: Value) -> Value {
    let targets = json!([{"addr": "http://10.0.0.1:80"}, {"addr": "http://10.0.0.2:80"}]);
    json!({"name": name, "prefix": format!("/{name}"), "targets": targets, "filters": filters})
}

impl Counted {
    fn new(routes: Value, global_filters: Value) -> Self {
        let gateway = Gateway::new("edge-1".to_owned());
        let workers = [gateway.add_worker(), gateway.add_worker()];
        let counted = Self { gateway, workers };
        counted.serve(routes, global_filters);
        counted
    }

    fn serve(&self, routes: Value, global_filters: Value) {
        let config = json!({"routes": routes, "global_filters": global_filters});
        let config: GatewayConfig = serde_json::from_value(config).unwrap();
        let table = RouteTable::build(&config, self.gateway.table().as_deref()).unwrap();
        self.gateway.publish(table.identified(7, String::new()), Transports::default());
    }

    fn table(&self) -> TableHandle {
        TableHandle::new(&self.gateway.serving().unwrap(), &WorkerLog::default())
    }

    /// A worker has seen an exchange of a route, and of a table that may not be the current one any more.
    fn tell<'a>(
        &self,
        worker: usize,
        table: &'a TableHandle,
        name: &str,
        change: impl FnOnce(&mut Exchanged<'a>),
    ) {
        let route_at = table.routes.iter().position(|route| *route.name == *name);
        let mut exchanged = Exchanged {
            duration: Duration::from_millis(2),
            table: Some(table),
            route_at,
            route: route_at.map(|at| &table.routes[at]),
            ..test_support::exchanged(Instant::now())
        };
        change(&mut exchanged);
        self.gateway.metrics().count(&self.workers[worker], worker, &exchanged);
    }

    fn page(&self, now: Now) -> String {
        scrape(&self.gateway, Format::Prometheus, now)
    }

    /// The samples of one name, without it.
    fn samples(&self, name: &str) -> Vec<String> {
        let page = self.page(crate::clock::now());
        let samples = page.lines().filter_map(|line| line.strip_prefix(name));
        samples.filter(|rest| rest.starts_with(['{', ' '])).map(str::to_owned).collect()
    }
}

fn attempt(ended: TryEnd, millis: u64) -> Try {
    let took = Duration::from_millis(millis);
    Try { target: 0, began: Instant::now(), took, ended, reused: false, span: 0 }
}

#[test]
fn what_workers_count_is_shown_in_sum_by_route_method_and_status() {
    let counted = Counted::new(json!([route("a", json!([])), route("b", json!([]))]), json!([]));
    let table = counted.table();
    counted.tell(0, &table, "a", |_| {});
    counted.tell(1, &table, "a", |_| {});
    counted.tell(1, &table, "a", |of| (of.method, of.status) = ("BREW", 503));
    counted.tell(0, &table, "nothing", |of| (of.status, of.local, of.reason) = (404, true, Some("no_route")));
    assert_eq!(
        counted.samples("gateway_requests_total"),
        [
            r#"{route="<none>",method="GET",status="404"} 1"#,
            r#"{route="a",method="GET",status="200"} 2"#,
            r#"{route="a",method="_other",status="503"} 1"#,
        ]
    );
    assert_eq!(
        counted.samples("gateway_request_duration_seconds_count"),
        [r#"{route="<none>"} 1"#, r#"{route="a"} 3"#],
        "nobody has asked for b"
    );
    let reasons = counted.samples("gateway_local_responses_total");
    assert!(reasons.contains(&r#"{reason="no_route"} 1"#.to_owned()), "{reasons:?}");
    assert!(reasons.contains(&r#"{reason="internal"} 0"#.to_owned()), "{reasons:?}");
    assert_eq!(counted.samples("gateway_config_version"), [" 7"]);
}

#[test]
fn limits_and_retries_are_told_apart_by_what_came_of_them() {
    let filters = json!([{"rate_limit": {"qps": 1}}, {"retry": {"max_retries": 1, "retry_on": ["503"]}}]);
    let counted = Counted::new(json!([route("a", filters), route("b", json!([]))]), json!([]));
    let table = counted.table();
    counted.tell(0, &table, "b", |_| {});
    counted.tell(0, &table, "a", |of| of.would_limit = true);
    counted.tell(1, &table, "a", |of| of.would_limit = true);
    counted.tell(1, &table, "a", |of| {
        (of.status, of.local, of.reason) = (429, true, Some("rate_limited"));
    });
    assert_eq!(counted.samples("gateway_rate_limit_hits_total"), [r#"{route="a"} 1"#]);
    assert_eq!(counted.samples("gateway_rate_limit_shadow_hits_total"), [r#"{route="a"} 2"#]);

    let failed = attempt(TryEnd::Failed("connect_failed"), 1);
    let answered = |status| attempt(TryEnd::Status(status), 1);
    let exchanges = [
        vec![failed, answered(404)],
        vec![answered(503), answered(503)],
        vec![failed, attempt(TryEnd::Abandoned, 0)],
        vec![failed, failed, answered(200)],
    ];
    for tries in &exchanges {
        counted.tell(0, &table, "a", |of| of.tries = tries);
    }
    let denied = [failed];
    counted.tell(0, &table, "a", |of| (of.tries, of.retry_denied) = (&denied, true));
    assert_eq!(
        counted.samples("gateway_retries_total"),
        [
            r#"{route="a",outcome="success"} 2"#,
            r#"{route="a",outcome="failure"} 2"#,
            r#"{route="a",outcome="abandoned"} 1"#,
            r#"{route="a",outcome="denied"} 1"#,
        ]
    );
    let attempts = counted.samples("gateway_upstream_duration_seconds_count");
    assert_eq!(attempts, [r#"{upstream="a"} 9"#], "one that was abandoned says nothing of its target");
}

/// Calls answer with 200 whatever comes of them.
#[test]
fn a_retried_call_has_succeeded_only_if_its_status_says_so() {
    let filters = json!([{"retry": {"max_retries": 3, "retry_on": ["unavailable"]}}]);
    let counted = Counted::new(json!([route("a", filters)]), json!([]));
    let table = counted.table();
    let answered = attempt(TryEnd::Status(200), 1);
    for (tries, status) in [
        (vec![answered; 3], GrpcStatus::Ok),
        (vec![answered; 2], GrpcStatus::Unavailable),
        (vec![answered; 2], GrpcStatus::NotFound),
    ] {
        counted.tell(0, &table, "a", |of| (of.tries, of.grpc_status) = (&tries, Some(status)));
    }
    let retries = counted.samples("gateway_retries_total");
    assert_eq!(retries[..2], [r#"{route="a",outcome="success"} 2"#, r#"{route="a",outcome="failure"} 2"#]);
}

#[test]
fn a_route_goes_on_counting_through_every_edit_that_keeps_it() {
    let counted = Counted::new(json!([route("a", json!([])), route("b", json!([]))]), json!([]));
    let first = counted.table();
    counted.tell(0, &first, "a", |_| {});
    counted
        .serve(json!([route("new", json!([])), route("a", json!([{"rate_limit": {"qps": 1}}]))]), json!([]));
    let second = counted.table();
    counted.tell(1, &second, "a", |_| {});
    counted.tell(0, &first, "a", |_| {});
    counted.tell(0, &first, "b", |_| {});
    assert_eq!(
        counted.samples("gateway_requests_total"),
        [r#"{route="a",method="GET",status="200"} 3"#, r#"{route="b",method="GET",status="200"} 1"#],
        "also those that began under the config before"
    );
}

#[test]
fn a_route_that_goes_is_forgotten_after_a_while() {
    let counted = Counted::new(json!([route("a", json!([])), route("b", json!([]))]), json!([]));
    counted.tell(0, &counted.table(), "a", |_| {});
    counted.tell(0, &counted.table(), "b", |_| {});
    counted.serve(json!([route("b", json!([]))]), json!([]));
    let gone = crate::clock::now();
    let has = |now: Now| counted.page(now).contains(r#"route="a""#);
    assert!(has(gone), "the last scrape may have been before the last request");
    counted.serve(json!([route("a", json!([]))]), json!([]));
    assert!(has(gone.after(series::KEPT * 2)), "it is back");
    counted.serve(json!([route("b", json!([]))]), json!([]));
    let after = crate::clock::now().after(series::KEPT);
    assert!(!has(after));
    assert!(!has(gone), "it is gone for good");
}

#[test]
fn what_is_turned_off_is_not_there() {
    let (on, off) = (json!([{"metrics": {"enabled": true}}]), json!([{"metrics": {"enabled": false}}]));
    let breaker = json!({"circuit_breaker": {"threshold": 1}});
    let routes = |b: Value| json!([route("a", on.clone()), route("b", b)]);
    let counted = Counted::new(routes(json!([breaker])), json!([]));
    let tries = [attempt(TryEnd::Status(200), 1)];
    let tell = || {
        let table = counted.table();
        for name in ["a", "b", "none"] {
            counted.tell(0, &table, name, |of| of.tries = &tries);
        }
    };
    tell();
    let page = counted.page(at(0));
    let named = |page: &str, name: &str| page.matches(&format!("=\"{name}\"")).count();
    assert!(named(&page, "b") > named(&page, "a"), "it has a breaker:\n{page}");

    counted.serve(routes(json!([breaker, {"metrics": {"enabled": false}}])), json!([]));
    tell();
    let page = counted.page(at(0));
    assert!(named(&page, "a") > 0 && named(&page, "<none>") > 0 && named(&page, "b") == 0, "{page}");

    counted.serve(json!([route("a", on.clone()), route("b", json!([]))]), off.clone());
    tell();
    let page = counted.page(at(0));
    assert!(named(&page, "a") > 0 && named(&page, "<none>") == 0 && named(&page, "b") == 0, "{page}");

    counted.serve(json!([route("a", json!([])), route("b", json!([]))]), off);
    tell();
    let page = counted.page(at(0));
    for family in ["requests", "request_duration", "active", "local", "upstream", "target", "pool"] {
        assert!(!page.contains(&format!("gateway_{family}")), "{family} in\n{page}");
    }
    assert!(page.contains("gateway_config_version") && page.contains("process_open_fds"), "{page}");

    counted.serve(json!([route("a", json!([]))]), json!([]));
    tell();
    let anew =
        [r#"{route="<none>",method="GET",status="200"} 2"#, r#"{route="a",method="GET",status="200"} 1"#];
    assert_eq!(counted.samples("gateway_requests_total"), anew);
}

#[test]
fn a_traced_request_is_the_example_of_its_bucket() {
    let filters = json!([{"tracing": {"endpoint": "http://127.0.0.1:9", "sample": "1"}}]);
    let counted = Counted::new(json!([route("a", json!([]))]), filters);
    let table = counted.table();
    let begin = |sampled: bool| -> Trace {
        let tracing = table.routes[0].chain.edge.tracing.as_ref().unwrap();
        let sampled = u8::from(sampled);
        let parent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0{sampled}");
        let headers = [("traceparent".parse().unwrap(), parent.parse().unwrap())].into_iter().collect();
        counted.gateway.traces().begin(tracing, &headers, true)
    };
    counted.tell(0, &table, "a", |_| {});
    let (sampled, other) = (begin(true), begin(false));
    assert!(sampled.sampled() && !other.sampled());
    counted.tell(0, &table, "a", |of| of.trace = Some(&other));
    let open = || scrape(&counted.gateway, Format::OpenMetrics, at(0));
    assert!(!open().contains(" # {"));
    counted.tell(1, &table, "a", |of| of.trace = Some(&sampled));
    let exemplar = "gateway_request_duration_seconds_bucket{route=\"a\",le=\"0.0025\"} 3 \
                    # {trace_id=\"0af7651916cd43dd8448eb211c80319c\"} 0.002 1700000000.002\n";
    assert!(open().contains(exemplar), "{}", open());
    assert!(!counted.page(at(0)).contains(" # {"), "Prometheus's own format has none");
}

#[test]
fn exchanges_under_way_are_those_that_began_and_are_not_over() {
    let counted = Counted::new(json!([]), json!([]));
    let [one, other] = &counted.workers;
    (0..3).for_each(|_| one.began.add_one());
    other.began.add_one();
    one.over.add_one();
    assert_eq!(counted.samples("gateway_active_requests"), [" 3"]);
}

#[test]
fn counting_allocates_nothing_once_a_worker_knows_the_route() {
    let counted = Counted::new(json!([route("a", json!([]))]), json!([]));
    let table = counted.table();
    let tries = [attempt(TryEnd::Failed("connect_failed"), 1), attempt(TryEnd::Status(200), 1)];
    let tell = || counted.tell(0, &table, "a", |of| of.tries = &tries);
    tell();
    let counts = allocation_counter::measure(|| (0..1000).for_each(|_| tell()));
    assert_eq!(counts.count_total, 0);
    assert_eq!(counted.samples("gateway_requests_total"), [r#"{route="a",method="GET",status="200"} 1001"#]);
}
