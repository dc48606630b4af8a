//! What a real Prometheus reads from a fleet is what the fleet was asked, and however it is asked its metrics stay few.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tests::client::{RawClient, get, send};
use tests::collector::{Collector, Protocol};
use tests::config;
use tests::fleet::Fleet;
use tests::peers::present;
use tests::ports;
use tests::prometheus::{Prometheus, promtool};
use tests::upstream::{Upstream, full};

async fn answering(status: StatusCode) -> Upstream {
    Upstream::http(move |_| {
        let mut response = Response::new(full("answered"));
        *response.status_mut() = status;
        std::future::ready(response)
    })
    .await
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> StatusCode {
    let method: Method = method.parse().expect("a method");
    let request = Request::builder().method(method).uri(path).body(Full::<Bytes>::default());
    send(address, request.expect("a request")).await.expect("a reply").status
}

async fn page(admin: SocketAddr) -> String {
    let reply = get(admin, "/metrics").await.expect("a page");
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    String::from_utf8(reply.body.to_vec()).expect("text")
}

async fn scraping(fleet: &Fleet, instances: usize) -> Prometheus {
    let names: Vec<_> = (1..=instances).map(|number| format!("dp-{number}")).collect();
    let targets: Vec<_> =
        names.iter().enumerate().map(|(at, name)| (&**name, fleet.admin_address(at))).collect();
    Prometheus::start(&targets).await
}

const INSTANCES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fleet_was_asked_is_what_prometheus_tells() {
    if !present(&["prometheus"]) {
        return;
    }
    let (good, bad) = (answering(StatusCode::OK).await, answering(StatusCode::SERVICE_UNAVAILABLE).await);
    let (gone, _lease) = ports::refusing();
    let fleet = Fleet::start(INSTANCES as u8, |port| {
        let (good, both) = ([good.address()], [bad.address(), good.address()]);
        let retry =
            "filters: [{retry: {max_retries: 1, retry_on: [503], backoff: {base: 0s}, budget: 100%}}]";
        let limit = |more| format!("filters: [{{rate_limit: {{qps: 1, burst: 2{more}}}}}]");
        let breaker = "filters: [{circuit_breaker: {threshold: 2, timeout: 1h}}]";
        config::server(port, "")
            + "routes:\n"
            + &config::route("users", &good, &[])
            + &config::route("flaky", &both, &[retry])
            + &config::route("limited", &good, &[&limit("")])
            + &config::route("watched", &good, &[&limit(", shadow: true")])
            + &config::route("broken", &[gone], &[breaker])
            + &config::route("unseen", &good, &["filters: [{metrics: {enabled: false}}]"])
    })
    .await;
    let prometheus = scraping(&fleet, INSTANCES).await;

    let mut asked: BTreeMap<[String; 4], f64> = BTreeMap::new();
    for at in 0..INSTANCES {
        for (method, path, times) in [
            ("GET", "/users/1", 20 + at),
            ("POST", "/users", 3),
            ("BREW", "/users/tea", 2),
            ("GET", "/flaky", 10),
            ("GET", "/limited", 8),
            ("GET", "/watched", 8),
            ("GET", "/broken", 5),
            ("GET", "/nowhere", 4),
            ("GET", "/unseen", 6),
        ] {
            for _ in 0..times {
                let status = ask(fleet.address(at), method, path).await;
                let route = match path.split('/').nth(1).unwrap_or_default() {
                    "unseen" => continue,
                    "nowhere" => "<none>",
                    route => route,
                };
                let method = if method == "BREW" { "_other" } else { method };
                let labels = [&format!("dp-{}", at + 1), route, method, status.as_str()];
                *asked.entry(labels.map(str::to_owned)).or_default() += 1.0;
            }
        }
    }

    let names = ["instance", "route", "method", "status"];
    let by_labels = |samples: &[tests::prometheus::Sample]| -> BTreeMap<[String; 4], f64> {
        samples.iter().map(|one| (names.map(|name| one.label(name).to_owned()), one.value)).collect()
    };
    let told = |samples: &[_]| by_labels(samples) == asked;
    prometheus.until("gateway_requests_total", told).await;

    let sum = |query: &str| format!("sum({query})");
    let asked_of = |route: &str, status: &str| -> f64 {
        asked.iter().filter(|(of, _)| of[1] == route && of[3] == status).map(|(_, count)| count).sum()
    };
    let total: f64 = asked.values().sum();
    prometheus.tells(&sum("gateway_request_duration_seconds_count"), total).await;
    prometheus.tells(&sum(r#"gateway_request_duration_seconds_bucket{le="+Inf"}"#), total).await;
    prometheus.tells("sum(gateway_active_requests)", 0.0).await;
    let limited = asked_of("limited", "429");
    assert!(limited > 0.0 && asked_of("watched", "200") == 24.0, "{asked:?}");
    prometheus.tells(&sum("gateway_rate_limit_hits_total"), limited).await;
    prometheus.tells(&sum(r#"gateway_rate_limit_hits_total{route="watched"}"#), 0.0).await;
    let shadow = prometheus.query(&sum("gateway_rate_limit_shadow_hits_total")).await[0].value;
    assert!((1.0..24.0).contains(&shadow), "{shadow}");

    // each refusal of a target was followed by an attempt at the other
    let refused = bad.requests().len() as f64;
    assert_eq!(asked_of("flaky", "200"), 30.0);
    prometheus.tells(&sum(r#"gateway_retries_total{outcome="success"}"#), refused).await;
    prometheus.tells(&sum(r#"gateway_retries_total{outcome!="success"}"#), 0.0).await;
    let attempts = sum(r#"gateway_upstream_duration_seconds_count{upstream="flaky"}"#);
    prometheus.tells(&attempts, 30.0 + refused).await;
    let at_bad = format!(r#"gateway_target_requests_total{{target="http://{}"}}"#, bad.address());
    prometheus.tells(&sum(&at_bad), refused).await;

    prometheus.tells(&sum(r#"gateway_local_responses_total{reason="no_route"}"#), 12.0).await;
    prometheus.tells(&sum(r#"gateway_local_responses_total{reason="circuit_open"}"#), 9.0).await;
    prometheus.tells(&sum(r#"gateway_local_responses_total{reason="connect_failed"}"#), 6.0).await;
    prometheus.tells(r#"sum(gateway_circuit_breaker_state{route="broken",target="*"})"#, 3.0).await;
    prometheus.tells("count(gateway_config_version == 1)", 3.0).await;
    prometheus.tells("sum(gateway_control_plane_connected)", 3.0).await;
    prometheus.tells(&sum(r#"gateway_config_applies_total{result="committed"}"#), 3.0).await;
    prometheus.tells("count(gateway_build_info)", 3.0).await;
    prometheus.tells("count(process_resident_memory_bytes > 1e6)", 3.0).await;
    prometheus.tells("count(time() - process_start_time_seconds < 600)", 3.0).await;
    let unseen = prometheus.query(r#"{route="unseen"} or {upstream="unseen"}"#).await;
    assert_eq!(unseen, [], "it is not to be counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_sound_in_the_eyes_of_promtool() {
    if !present(&["promtool"]) {
        return;
    }
    let target = answering(StatusCode::OK).await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, target.address())).await;
    for _ in 0..3 {
        assert_eq!(ask(fleet.address(0), "GET", "/").await, StatusCode::OK);
    }
    let page = page(fleet.admin_address(0)).await;
    let (sound, said) = promtool(&["check", "metrics"], &page);
    assert!(sound && said.is_empty(), "{said}\n{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_request_leads_to_its_trace() {
    if !present(&["prometheus"]) {
        return;
    }
    let (target, collector) = (answering(StatusCode::OK).await, Collector::start(Protocol::Grpc).await);
    let fleet = Fleet::start(1, |port| {
        let tracing = format!("{{endpoint: \"{}\", sample: 1, parent: always}}", collector.endpoint());
        config::forward_all(port, target.address()) + &format!("global_filters: [{{tracing: {tracing}}}]\n")
    })
    .await;
    let prometheus = scraping(&fleet, 1).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = Request::get("/").header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    send(fleet.address(0), request.body(Full::default()).expect("a request")).await.expect("a reply");
    let query = "gateway_request_duration_seconds_bucket";
    prometheus.until(&format!("sum({query})"), |samples| samples.iter().any(|one| one.value > 0.0)).await;
    let [(labels, seconds)] = &prometheus.exemplars(query).await[..] else { panic!("one exemplar") };
    assert_eq!(labels["trace_id"], trace);
    assert!(*seconds > 0.0);
    prometheus.tells("gateway_spans_dropped_total", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_outlast_applies_and_what_is_wrong_shows() {
    if !present(&["prometheus"]) {
        return;
    }
    let (target, other) = (answering(StatusCode::OK).await, answering(StatusCode::OK).await);
    let mut fleet = Fleet::start(1, |port| config::forward_all(port, target.address())).await;
    let prometheus = scraping(&fleet, 1).await;
    let (address, port) = (fleet.address(0), fleet.port());
    ask(address, "GET", "/").await;
    let checked = config::forward_all(port, other.address())
        + "    health_check: {path: /health, interval: 50ms, timeout: 1s, unhealthy_threshold: 1}\n";
    fleet.apply(&checked, &[]).await.exits(0);
    ask(address, "GET", "/").await;
    prometheus.tells(r#"gateway_requests_total{route="all",status="200"}"#, 2.0).await;
    prometheus.tells("gateway_config_version", 2.0).await;
    prometheus.tells("gateway_target_health", 1.0).await;
    fleet.apply("routes: 7", &[]).await.exits(3);
    prometheus.tells(r#"gateway_config_applies_total{result="committed"}"#, 2.0).await;

    drop(other);
    prometheus.tells("gateway_target_health", 0.0).await;
    fleet.kill_control_plane();
    prometheus.tells("gateway_control_plane_connected", 0.0).await;
    prometheus.tells("gateway_config_version", 2.0).await;
}

/// How many series a page has.
fn series(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#')).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn distinct_paths_methods_and_hosts_make_no_series() {
    let target = answering(StatusCode::OK).await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, target.address())).await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    let mut ask = async |number: usize| {
        let method = if number == 0 { "GET".to_owned() } else { format!("M{number}") };
        let request = format!("{method} /p/{number}?q={number} HTTP/1.1\r\nHost: h{number}.test\r\n\r\n");
        client.send(request.as_bytes()).await;
        assert_eq!(client.response().await.status, 200);
    };
    ask(0).await;
    ask(1).await;
    let before = page(fleet.admin_address(0)).await;
    for number in 2..2000 {
        ask(number).await;
    }
    let after = page(fleet.admin_address(0)).await;
    assert_eq!(series(&after), series(&before), "{after}");
    assert!(
        after.contains("gateway_requests_total{route=\"all\",method=\"_other\",status=\"200\"} 1999\n"),
        "{after}"
    );
    assert!(!after.contains("M77") && !after.contains("h77") && !after.contains("/p/77"));
}
