//! Spans as a collector gets them: what is in them, when they come, and which are counted as lost.

use super::*;
use crate::telemetry::{Try, TryEnd};
use crate::test_support;
use ::tests::collector::{Collector, Protocol, attributes};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use policy::config::GatewayConfig;
use prost::Message as _;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);

fn table(endpoint: &str, protocol: &str, more: serde_json::Value) -> RouteTable {
    let mut tracing = json!({"endpoint": endpoint, "protocol": protocol, "service_name": "edge"});
    if let (Some(tracing), serde_json::Value::Object(more)) = (tracing.as_object_mut(), more) {
        tracing.extend(more);
    }
    let config: GatewayConfig = serde_json::from_value(json!({
        "routes": [{"name": "users", "prefix": "/users", "upstream": "pool"}],
        "upstreams": [{"name": "pool", "targets": [{"addr": "http://10.0.0.7:8081"}, {"addr": "http://10.0.0.8:8082"}]}],
        "global_filters": [{"tracing": tracing}],
    }))
    .unwrap();
    RouteTable::build(&config, None).unwrap()
}

/// An exchange with two attempts, the first of which got no connection.
fn exchanged<'a>(table: &'a RouteTable, tries: &'a [Try], trace: &'a Trace, began: Instant) -> Exchanged<'a> {
    Exchanged {
        query: Some("token=s3cret"),
        request_id: "r-1",
        consumer: Some("alice"),
        route_at: Some(0),
        route: table.routes.first(),
        upstream: table.routes.first().map(|route| &*route.backends[0].upstream),
        tries,
        bytes_out: 12,
        trace: Some(trace),
        ..test_support::exchanged(began)
    }
}

fn tries(began: Instant, trace: &Trace) -> [Try; 2] {
    let one = |after, took, target, ended| Try {
        target,
        began: began + Duration::from_millis(after),
        took: Duration::from_millis(took),
        ended,
        reused: target == 1,
        span: trace.client_span().0,
    };
    [one(1, 4, 0, TryEnd::Failed("connect_failed")), one(10, 15, 1, TryEnd::Status(200))]
}

fn trace(traces: &Traces, table: &RouteTable) -> Trace {
    traces.begin(&table.unrouted.tracing.unwrap(), &HeaderMap::new(), false)
}

fn spans_of(trace: &Trace, of: &Exchanged<'_>) -> Vec<Span> {
    let mut encoded = Vec::new();
    let count = span::write(&mut encoded, trace, of);
    let request =
        batch::request(&batch::resource(&[("service.name".to_owned(), "edge".to_owned())]), &encoded);
    let decoded = ExportTraceServiceRequest::decode(request).unwrap();
    let mut scopes = decoded.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    let scope = scopes.next().unwrap();
    assert_eq!(scope.scope.unwrap().name, "mini-gateway");
    assert_eq!(scope.spans.len(), count);
    scope.spans
}

#[test]
fn an_exchange_is_a_server_and_a_client_for_each_attempt() {
    let table = table("http://127.0.0.1:1", "grpc", json!({"sample": "1"}));
    let traces = Traces::new("edge-1", OtelEnvironment::default());
    let (trace, began) = (trace(&traces, &table), Instant::now());
    let tries = tries(began, &trace);
    let host = HeaderValue::from_static("api.example.com:8443");
    let agent = HeaderValue::from_static("curl/8");
    let of =
        Exchanged { host: Some(&host), user_agent: Some(&agent), ..exchanged(&table, &tries, &trace, began) };
    let [server, first, second] = spans_of(&trace, &of).try_into().unwrap();

    assert_eq!((&*server.name, server.kind()), ("GET users", SpanKind::Server));
    assert_eq!(server.trace_id, trace.trace_id());
    assert!(server.parent_span_id.is_empty());
    assert_eq!(server.flags, 3, "sampled, random, no parent");
    assert_eq!(server.start_time_unix_nano, 1_700_000_000_000_000_000);
    assert_eq!(server.end_time_unix_nano - server.start_time_unix_nano, 30_000_000);
    assert_eq!(server.status, None);
    assert_eq!(
        attributes(&server),
        [
            ("client.address", "192.0.2.7"),
            ("gateway.request_id", "r-1"),
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("http.route", "users"),
            ("network.peer.address", "127.0.0.1"),
            ("network.peer.port", "40000"),
            ("network.protocol.version", "1.1"),
            ("server.address", "api.example.com"),
            ("server.port", "8443"),
            ("url.path", "/users/7"),
            ("url.scheme", "http"),
            ("user_agent.original", "curl/8"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
    );

    for span in [&first, &second] {
        assert_eq!((&*span.name, span.kind()), ("GET pool", SpanKind::Client));
        assert_eq!(span.trace_id, server.trace_id);
        assert_eq!(span.parent_span_id, server.span_id);
        assert_eq!(span.flags, 0x103, "its parent is of this process");
    }
    assert_eq!(first.span_id, tries[0].span.to_be_bytes());
    assert_eq!(first.start_time_unix_nano, server.start_time_unix_nano + 1_000_000);
    assert_eq!(first.end_time_unix_nano, server.start_time_unix_nano + 5_000_000);
    assert_eq!(first.status.as_ref().map(|status| status.code()), Some(StatusCode::Error));
    assert_eq!(
        attributes(&first),
        [
            ("error.type", "connect_failed"),
            ("gateway.connection_reused", "false"),
            ("http.request.method", "GET"),
            ("peer.service", "pool"),
            ("server.address", "10.0.0.7"),
            ("server.port", "8081"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    assert_eq!(second.status, None);
    assert_eq!(
        attributes(&second),
        [
            ("gateway.connection_reused", "true"),
            ("http.request.method", "GET"),
            ("http.request.resend_count", "1"),
            ("http.response.status_code", "200"),
            ("peer.service", "pool"),
            ("server.address", "10.0.0.8"),
            ("server.port", "8082"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
}

#[test]
fn the_question_to_a_service_is_a_client_of_its_own() {
    let table = table("http://127.0.0.1:1", "grpc", json!({"sample": "1"}));
    let traces = Traces::new("edge-1", OtelEnvironment::default());
    let (trace, began) = (trace(&traces, &table), Instant::now());
    let config = json!({"routes": [{"name": "a", "prefix": "/", "targets": [{"addr": "http://10.0.0.7"}],
        "filters": [{"forward_auth": {"url": "http://auth:9000/check"}}]}]});
    let asking = RouteTable::build(&serde_json::from_value(config).unwrap(), None).unwrap();
    let service = asking.routes[0].chain.forward_auth.as_ref().unwrap();
    let tries = &tries(began, &trace)[1..];
    let asked = Try { target: 0, ..tries[0] };
    let of = Exchanged {
        method: "POST",
        service: Some((&asked, service)),
        ..exchanged(&table, tries, &trace, began)
    };
    let [server, question, attempt] = spans_of(&trace, &of).try_into().unwrap();
    assert_eq!((&*question.name, question.kind()), ("GET http://auth:9000", SpanKind::Client));
    assert_eq!(question.span_id, asked.span.to_be_bytes());
    assert_eq!(question.parent_span_id, server.span_id);
    assert_eq!(
        attributes(&question),
        [
            ("gateway.connection_reused", "true"),
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("peer.service", "http://auth:9000"),
            ("server.address", "auth"),
            ("server.port", "9000"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    assert_eq!(attempt.name, "POST pool");
    assert!(!attributes(&attempt).iter().any(|(key, _)| key == "http.request.resend_count"));
}

#[test]
fn a_parent_is_one_of_another_process() {
    let table = table("http://127.0.0.1:1", "grpc", json!({"parent": "always"}));
    let traces = Traces::new("edge-1", OtelEnvironment::default());
    let value = "00-0123456789abcdef0123456789abcdef-1234567890abcdef-01";
    let headers = HeaderMap::from_iter([(policy::trace::TRACEPARENT, HeaderValue::from_static(value))]);
    let trace = traces.begin(&table.unrouted.tracing.unwrap(), &headers, false);
    let [server] = spans_of(&trace, &exchanged(&table, &[], &trace, Instant::now())).try_into().unwrap();
    assert_eq!(server.parent_span_id, 0x1234_5678_90ab_cdef_u64.to_be_bytes());
    assert_eq!(server.flags, 0x301);
}

/// Status of the SERVER, its `error.type`, its status code.
fn seen(status: u16, local: bool, reason: Option<&'static str>) -> (Option<StatusCode>, String, String) {
    let table = table("http://127.0.0.1:1", "grpc", json!({}));
    let traces = Traces::new("edge-1", OtelEnvironment::default());
    let trace = trace(&traces, &table);
    let of = Exchanged { status, local, reason, ..exchanged(&table, &[], &trace, Instant::now()) };
    let spans = spans_of(&trace, &of);
    let attributes = attributes(&spans[0]);
    let value = |key: &str| {
        let found = attributes.iter().find(|(known, _)| known == key);
        found.map_or_else(String::new, |(_, value)| value.clone())
    };
    let status = spans[0].status.as_ref().map(|status| status.code());
    (status, value("error.type"), value("http.response.status_code"))
}

#[test]
fn only_what_the_gateway_or_a_target_did_is_an_error() {
    let error = Some(StatusCode::Error);
    for (status, local, reason, expected) in [
        (404, false, None, (None, "", "404")),
        (500, false, None, (error, "500", "500")),
        (429, true, Some("rate_limited"), (None, "", "429")),
        (503, true, Some("no_target"), (error, "no_target", "503")),
        (200, false, Some("upstream_aborted"), (error, "upstream_aborted", "200")),
        (499, false, Some("client_closed"), (None, "client_closed", "")),
    ] {
        let (code, kind, number) = expected;
        assert_eq!(
            seen(status, local, reason),
            (code, kind.to_owned(), number.to_owned()),
            "{status} {reason:?}"
        );
    }
}

#[test]
fn a_client_names_no_span_and_its_texts_are_bounded() {
    let table = table("http://127.0.0.1:1", "grpc", json!({}));
    let traces = Traces::new("edge-1", OtelEnvironment::default());
    let trace = trace(&traces, &table);
    let path = "/é".repeat(5000);
    let client_ip = IpAddr::from(Ipv4Addr::LOCALHOST);
    let of = Exchanged {
        method: "BREW",
        path: &path,
        client_ip,
        ..exchanged(&table, &[], &trace, Instant::now())
    };
    let [server] = spans_of(&trace, &of).try_into().unwrap();
    assert_eq!(server.name, "HTTP users");
    let attributes = attributes(&server);
    let value =
        |key: &str| attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
    assert_eq!(value("http.request.method"), Some("_OTHER"));
    assert_eq!(value("http.request.method_original"), Some("BREW"));
    assert_eq!(value("network.peer.address"), None, "the client itself");
    assert!(value("url.path").is_some_and(|path| path.len() > 1000 && path.len() <= 1024));
}

/// Exports so many exchanges of two attempts: three spans each.
fn export(traces: &Traces, table: &RouteTable, count: usize) {
    let began = Instant::now();
    for _ in 0..count {
        let trace = trace(traces, table);
        let tries = tries(began, &trace);
        traces.export(&trace, &exchanged(table, &tries, &trace, began));
    }
}

#[tokio::test]
async fn the_end_waits_for_the_last_spans_over_both_protocols() {
    for (protocol, spoken) in [("grpc", Protocol::Grpc), ("http", Protocol::Http)] {
        let collector = Collector::start(spoken).await;
        let headers = json!({"sample": "1", "headers": {"x-key": "s3cret"}});
        let table = table(&collector.endpoint(), protocol, headers);
        let traces = Traces::new("edge-1", OtelEnvironment::default());
        traces.adopt(&table);
        export(&traces, &table, 1000);
        traces.shutdown(PATIENCE).await;
        assert_eq!((traces.exported(), traces.dropped()), (3000, 0), "{protocol}");
        let got = collector.requests();
        assert!(got.iter().all(|got| got.key.as_deref() == Some("s3cret")), "{protocol}");
        assert!(got.len() < 100, "{protocol}: they come in batches: {}", got.len());
        assert_eq!(collector.spans().len(), 3000, "{protocol}");
        let resource = &collector.resource();
        for (key, value) in [("service.name", "edge"), ("service.instance.id", "edge-1")] {
            assert!(resource.iter().any(|(known, is)| known == key && is == value), "{key}: {resource:?}");
        }
        export(&traces, &table, 1);
        assert_eq!(collector.spans().len(), 3000, "nothing is exported afterwards");
    }
}

#[tokio::test]
async fn a_collector_that_was_away_gets_what_the_queue_has_kept() {
    let collector = Collector::start(Protocol::Grpc).await;
    collector.refuse(3);
    let table = table(&collector.endpoint(), "grpc", json!({"sample": "1"}));
    let traces = Traces::new("edge-1", OtelEnvironment::default());
    traces.adopt(&table);
    export(&traces, &table, 2);
    collector.until(6).await;
    assert_eq!(collector.refused(), 3);
    traces.shutdown(PATIENCE).await;
    assert_eq!((traces.exported(), traces.dropped()), (6, 0));
}

#[tokio::test]
async fn what_nobody_takes_is_counted() {
    let gone = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let table = table(&format!("http://{gone}"), "grpc", json!({"sample": "1"}));
    let traces = Traces::new("edge-1", OtelEnvironment::default());
    traces.adopt(&table);
    export(&traces, &table, QUEUE + 100);
    traces.shutdown(Duration::ZERO).await;
    assert_eq!((traces.exported(), traces.dropped()), (0, 3 * (QUEUE as u64 + 100)));
}

#[tokio::test]
async fn a_batch_that_is_refused_for_good_is_not_sent_again() {
    let collector = Collector::start(Protocol::Http).await;
    collector.refuse_for_good(1);
    let table = table(&collector.endpoint(), "http", json!({"sample": "1"}));
    let traces = Traces::new("edge-1", OtelEnvironment::default());
    traces.adopt(&table);
    export(&traces, &table, 1);
    traces.shutdown(PATIENCE).await;
    assert_eq!((traces.exported(), traces.dropped(), collector.refused()), (0, 3, 1));
}

#[tokio::test]
async fn a_config_that_names_another_collector_is_followed_at_once() {
    // it takes connections and never answers
    let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let collector = Collector::start(Protocol::Http).await;
    let traces = Traces::new("edge-1", OtelEnvironment::default());
    let address = silent.local_addr().unwrap();
    let first = table(&format!("http://{address}"), "grpc", json!({"sample": "1"}));
    traces.adopt(&first);
    export(&traces, &first, 5);
    let connected = tokio::task::spawn_blocking(move || silent.accept()).await.unwrap().unwrap();
    traces.adopt(&table(&collector.endpoint(), "http", json!({"sample": "1"})));
    collector.until(15).await;
    drop(connected);
    assert_eq!(traces.dropped(), 0);
}

#[tokio::test]
async fn what_is_left_when_tracing_is_turned_off_goes_where_it_was_meant_to() {
    let collector = Collector::start(Protocol::Grpc).await;
    let traces = Traces::new("edge-1", OtelEnvironment::default());
    let traced = table(&collector.endpoint(), "grpc", json!({"sample": "1"}));
    traces.adopt(&traced);
    export(&traces, &traced, 1);
    collector.until(3).await;
    export(&traces, &traced, 1);
    let silent: GatewayConfig = serde_json::from_value(json!({"routes": []})).unwrap();
    traces.adopt(&RouteTable::build(&silent, None).unwrap());
    collector.until(6).await;
    assert_eq!(traces.dropped(), 0);
}

#[test]
fn failures_are_recorded_whatever_was_decided_but_not_without_end() {
    let table = table("http://127.0.0.1:1", "grpc", json!({"sample": "0"}));
    let traces = Traces::new("edge-1", OtelEnvironment::default());
    let trace = trace(&traces, &table);
    assert!(!trace.sampled());
    let left = || QUEUE - traces.queue.capacity();
    let began = Instant::now();
    traces.export(&trace, &exchanged(&table, &[], &trace, began));
    let refused = Exchanged { status: 429, local: true, ..exchanged(&table, &[], &trace, began) };
    traces.export(&trace, &refused);
    assert_eq!(left(), 0, "nothing failed here");
    let failed = |second: u64| Exchanged {
        status: 503,
        local: true,
        reason: Some("no_target"),
        unix_nanos: second * 1_000_000_000,
        ..exchanged(&table, &[], &trace, began)
    };
    (0..1000).for_each(|_| traces.export(&trace, &failed(1_700_000_000)));
    assert_eq!(left(), 100);
    traces.export(&trace, &failed(1_700_000_001));
    assert_eq!(left(), 101);
    let silent = Trace { records_errors: false, ..trace };
    traces.export(&silent, &failed(1_700_000_002));
    assert_eq!((left(), traces.dropped()), (101, 0), "neither queued nor counted as lost");
}
