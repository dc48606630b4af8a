//! Traces through a fleet into a collector: who called whom, by which attempt, and nothing is lost at the end.

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use tests::client::{get, send};
use tests::collector::{Collector, Protocol, attributes};
use tests::config;
use tests::fleet::{Fleet, Setup};
use tests::upstream::{Upstream, empty, full};

/// Answers with a status.
async fn answering(status: StatusCode) -> Upstream {
    Upstream::http(move |_| {
        let mut response = Response::new(full("answered"));
        *response.status_mut() = status;
        std::future::ready(response)
    })
    .await
}

fn tracing(collector: &Collector, more: &str) -> String {
    format!(
        "global_filters:\n  - tracing: {{endpoint: \"{}\", service_name: edge{more}}}\n",
        collector.endpoint()
    )
}

/// The `traceparent` of a client that records its spans; ids are made from a number.
fn traceparent(number: u64) -> String {
    format!("00-{:032x}-{:016x}-01", u128::from(number) << 64 | 0xabc, number)
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    attributes(span).into_iter().find(|(known, _)| known == key).map(|(_, value)| value)
}

async fn ask(address: SocketAddr, path: &str, number: u64) -> StatusCode {
    let request =
        Request::get(path).header("traceparent", traceparent(number)).header("tracestate", "vendor=1");
    send(address, request.body(Full::<Bytes>::default()).expect("a request")).await.expect("a reply").status
}

/// The span that a target was told to be a part of, by `traceparent`.
fn told(target: &Upstream) -> Vec<(String, String)> {
    let parts = |value: &str| {
        let mut parts = value.split('-').skip(1).map(str::to_owned);
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    };
    let requests = target.requests();
    requests.iter().map(|request| parts(request.header("traceparent").expect("a traceparent"))).collect()
}

const INSTANCES: u64 = 3;
const REQUESTS: u64 = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_loses_no_span_of_any_attempt_when_it_stops() {
    let (collector, bad, good) = (
        Collector::start(Protocol::Grpc).await,
        answering(StatusCode::SERVICE_UNAVAILABLE).await,
        answering(StatusCode::OK).await,
    );
    let retry = "filters: [{retry: {max_retries: 1, retry_on: [503], backoff: {base: 0s}, budget: 100%}}]";
    let mut fleet = Fleet::start(INSTANCES as u8, |port| {
        let route = config::route("users", &[bad.address(), good.address()], &[retry]);
        config::server(port, "") + "routes:\n" + &route + &tracing(&collector, ", parent: always")
    })
    .await;

    let ask_all = (0..INSTANCES).flat_map(|at| {
        let address = fleet.address(at as usize);
        (1..=REQUESTS).map(move |number| ask(address, "/users/7", at * 1000 + number))
    });
    let statuses = join_all(ask_all).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
    // the last spans have not been sent yet: it is the end that must wait for them
    (0..INSTANCES as usize).for_each(|at| fleet.data_plane(at).signal(Signal::TERM));
    for at in 0..INSTANCES as usize {
        assert!(fleet.data_plane(at).ended().await.success());
    }

    let spans = collector.spans();
    let of_kind = |kind| spans.iter().filter(move |span| span.kind() == kind);
    let servers: BTreeMap<_, _> = of_kind(SpanKind::Server).map(|span| (hex(&span.span_id), span)).collect();
    let expected: BTreeSet<_> = (0..INSTANCES)
        .flat_map(|at| (1..=REQUESTS).map(move |number| traceparent(at * 1000 + number)[3..52].to_owned()))
        .collect();
    let callers =
        servers.values().map(|span| format!("{}-{}", hex(&span.trace_id), hex(&span.parent_span_id)));
    assert_eq!(callers.collect::<BTreeSet<_>>(), expected, "one server for each request, below its client");
    assert_eq!(servers.len() as u64, INSTANCES * REQUESTS);

    let mut of_attempts: Vec<(String, String)> = Vec::new();
    for span in of_kind(SpanKind::Client) {
        let server = servers[&hex(&span.parent_span_id)];
        assert_eq!(span.trace_id, server.trace_id);
        assert!(span.start_time_unix_nano >= server.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= server.end_time_unix_nano);
        let port = attribute(span, "server.port").expect("a port");
        let failed = port == bad.address().port().to_string();
        let status = span.status.as_ref().map(|status| status.code());
        assert_eq!(status, failed.then_some(SpanStatus::Error), "{span:?}");
        let resent = attribute(span, "http.request.resend_count");
        assert!(!failed || resent.is_none(), "the bad target is never the second one of two");
        of_attempts.push((hex(&span.trace_id), hex(&span.span_id)));
    }
    let mut told: Vec<_> = told(&bad).into_iter().chain(told(&good)).collect();
    of_attempts.sort();
    told.sort();
    assert_eq!(of_attempts, told, "each target was told the span of its own attempt");
    assert_eq!(good.requests().len() as u64, INSTANCES * REQUESTS);
    assert!(!bad.requests().is_empty(), "there were retries");
    assert!(good.requests().iter().all(|request| request.header("tracestate") == Some("vendor=1")));
}

/// What is asked of a service before the request goes on is a span of its own, and the service knows of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_asked_is_a_span_beside_the_attempt() {
    let (collector, target, admits, refuses) = (
        Collector::start(Protocol::Grpc).await,
        answering(StatusCode::OK).await,
        answering(StatusCode::OK).await,
        answering(StatusCode::FORBIDDEN).await,
    );
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let asking = |name: &str, service: SocketAddr| {
        let filter =
            format!("filters: [{{forward_auth: {{url: \"http://{service}/check\", timeout: 10s}}}}]");
        config::route(name, &[target.address()], &[&filter])
    };
    let fleet = Fleet::start(1, |port| {
        let routes =
            asking("in", admits.address()) + &asking("out", refuses.address()) + &asking("lost", gone);
        config::server(port, "") + "routes:\n" + &routes + &tracing(&collector, ", parent: always")
    })
    .await;
    let address = fleet.address(0);
    for (number, path, status) in [
        (1, "/in", StatusCode::OK),
        (2, "/out", StatusCode::FORBIDDEN),
        (3, "/lost", StatusCode::SERVICE_UNAVAILABLE),
    ] {
        assert_eq!(ask(address, path, number).await, status);
    }

    let spans = collector.until(7).await;
    let of = |number: u64, kind: SpanKind, port: Option<u16>| {
        let mut found = spans.iter().filter(|span| {
            let of_port = port.is_none_or(|port| attribute(span, "server.port") == Some(port.to_string()));
            hex(&span.trace_id) == traceparent(number)[3..35] && span.kind() == kind && of_port
        });
        let one = found.next().expect("a span");
        assert_eq!(found.next(), None);
        one
    };
    for (number, service) in [(1, &admits), (2, &refuses)] {
        let (server, question) = (
            of(number, SpanKind::Server, None),
            of(number, SpanKind::Client, Some(service.address().port())),
        );
        assert_eq!(question.parent_span_id, server.span_id);
        assert_eq!(told(service), [(hex(&question.trace_id), hex(&question.span_id))]);
        let failed = number == 2;
        assert_eq!(question.status.as_ref().map(|status| status.code()), failed.then_some(SpanStatus::Error));
    }
    let (question, attempt) = (
        of(1, SpanKind::Client, Some(admits.address().port())),
        of(1, SpanKind::Client, Some(target.address().port())),
    );
    assert!(question.end_time_unix_nano <= attempt.start_time_unix_nano);
    assert_eq!(attribute(question, "http.response.status_code").as_deref(), Some("200"));
    let lost = of(3, SpanKind::Client, Some(gone.port()));
    assert_eq!(attribute(lost, "error.type").as_deref(), Some("connect_failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_does_not_decide_and_failures_are_recorded_all_the_same() {
    let collector = Collector::start(Protocol::Http).await;
    let nobody = Upstream::http(|_| std::future::ready(Response::new(empty()))).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let fleet = Fleet::start(1, |port| {
        let routes = config::route("fine", &[nobody.address()], &[]) + &config::route("gone", &[gone], &[]);
        let more = ", protocol: http, sample: 0";
        config::server(port, "") + "routes:\n" + &routes + &tracing(&collector, more)
    })
    .await;
    let address = fleet.address(0);
    assert_eq!(ask(address, "/fine", 1).await, StatusCode::OK);
    assert_eq!(ask(address, "/nowhere", 2).await, StatusCode::NOT_FOUND);
    assert_eq!(ask(address, "/gone", 3).await, StatusCode::BAD_GATEWAY);

    let [server, client] = collector.until(2).await.try_into().expect("the failure alone");
    assert_eq!(hex(&server.trace_id), traceparent(3)[3..35]);
    assert_eq!(attribute(&server, "gateway.reason").as_deref(), Some("connect_failed"));
    assert_eq!(attribute(&server, "gateway.config_version").as_deref(), Some("1"));
    assert_eq!(client.parent_span_id, server.span_id);
    let request = &nobody.requests()[0];
    let told = request.header("traceparent").expect("a traceparent");
    assert_eq!(
        (&told[3..35], &told[52..]),
        (&traceparent(1)[3..35], "-00"),
        "its trace goes on, not recorded"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_turns_tracing_on_and_off() {
    let collector = Collector::start(Protocol::Grpc).await;
    let target = answering(StatusCode::OK).await;
    let text = |port, tracing: &str| config::forward_all(port, target.address()) + tracing;
    let fleet = Fleet::start(1, |port| text(port, "")).await;
    let (address, port) = (fleet.address(0), fleet.port());
    get(address, "/").await.expect("a reply");
    assert_eq!(target.requests()[0].header("traceparent"), None);
    ask(address, "/", 1).await;
    assert_eq!(target.requests()[1].header("traceparent"), Some(&*traceparent(1)), "passed on as it came");

    fleet.apply(&text(port, &tracing(&collector, ", sample: 1")), &[]).await.exits(0);
    get(address, "/").await.expect("a reply");
    assert_eq!(collector.until(2).await.len(), 2);
    fleet.apply(&text(port, ""), &[]).await.exits(0);
    target.forget();
    get(address, "/").await.expect("a reply");
    assert_eq!(target.requests()[0].header("traceparent"), None);
    assert_eq!(collector.spans().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_a_trace_of_what_each_instance_did() {
    let (collector, target) = (Collector::start(Protocol::Grpc).await, answering(StatusCode::OK).await);
    let setup = Setup { data_planes: 2, rollouts_to: Some(collector.endpoint()), ..Setup::default() };
    let mut fleet = Fleet::start_with(setup, |port| config::forward_all(port, target.address())).await;
    let other =
        config::server(fleet.port(), "") + "routes:\n" + &config::route("b", &[target.address()], &[]);
    fleet.apply(&other, &[]).await.exits(0);
    fleet.control_plane().signal(Signal::TERM);
    assert!(fleet.control_plane().ended().await.success());

    let spans = collector.spans();
    let rollout = spans.iter().find(|span| span.name == "rollout").expect("a rollout");
    assert_eq!(attribute(rollout, "gateway.config_version").as_deref(), Some("2"));
    assert_eq!(attribute(rollout, "rollout.outcome").as_deref(), Some("OUTCOME_COMMITTED"));
    let below = spans.iter().filter(|span| span.parent_span_id == rollout.span_id);
    let mut phases: Vec<_> = below
        .map(|span| {
            assert!(span.trace_id == rollout.trace_id && span.kind() == SpanKind::Client);
            let shown = |key| attribute(span, key).unwrap_or_default();
            (span.name.clone(), shown("gateway.instance"), shown("rollout.step"))
        })
        .collect();
    phases.sort();
    let phase =
        |name: &str, instance: &str, step: &str| (name.to_owned(), instance.to_owned(), step.to_owned());
    let expected = [
        phase("commit", "dp-1", "STEP_ACTIVE"),
        phase("commit", "dp-2", "STEP_ACTIVE"),
        phase("prepare", "dp-1", "STEP_PREPARED"),
        phase("prepare", "dp-2", "STEP_PREPARED"),
    ];
    assert_eq!(phases, expected);
    let resource = collector.resource();
    assert!(
        resource.iter().any(|(key, value)| key == "service.name" && value == "mini-gateway-controlplane")
    );
}
