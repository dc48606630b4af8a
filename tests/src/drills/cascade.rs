//! A cascade: a service that hangs fills the one that calls it; a breaker cuts the two apart.

use super::target::Target;
use super::{apply, ctl, reported, shown, signal, step};
use crate::client::get;
use crate::collector::{Collector, Protocol, attributes};
use crate::config;
use crate::fleet::Fleet;
use crate::load::{Load, Plan};
use crate::wait::eventually;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rustix::process::Signal;
use std::fmt::Write as _;
use std::time::Duration;

const PATIENCE: &str = "timeout: 1s";
const BREAKER: &str = "filters: [{circuit_breaker: {threshold: 5, timeout: 60s}}]";

pub(super) async fn run() {
    let (pay, collector) = (Target::start("pay", &[]).await, Collector::start(Protocol::Grpc).await);
    let tracing = format!(
        "global_filters: [{{tracing: {{endpoint: \"{}\", sample: 1, parent: always, service_name: edge}}}}]\n",
        collector.endpoint()
    );
    let text = |port, more: &str| {
        let pay = config::route("pay", &[pay.address], &[PATIENCE, BREAKER]);
        config::server(port, "") + "routes:\n" + &pay + more + &tracing
    };
    let fleet = Fleet::start(2, |port| text(port, "")).await;
    // four at once, and each asks `pay` through the gateway
    let mut arguments: Vec<_> = ["--at-once", "4", "--takes", "10"].map(str::to_owned).into();
    arguments.extend(fleet.addresses().into_iter().flat_map(|at| ["--calls".to_owned(), at.to_string()]));
    let shop = Target::start("shop", &arguments).await;
    apply(&fleet, &text(fleet.port(), &config::route("shop", &[shop.address], &[])), "shop, which asks pay")
        .await;
    let plan = Plan { clients: 12, pace: Duration::from_millis(50), ..Plan::get("/shop") };
    let load = Load::start(fleet.address(0), &plan);
    let before = answers(&load, "200").await;
    let pid = pay.process.pid().as_raw_nonzero();

    step(
        "SYMPTOM",
        "`shop` answers 503, though nobody has touched it: its places wait for `pay`, which hangs",
    );
    pay.process.signal(Signal::STOP);
    shown(&format!("kill -STOP {pid}    # the drill, to the process of `pay`"), "");
    answers(&load, "503").await;
    println!("answers of shop so far, well before: {before}: {:?}", load.tally());

    step("SIGNAL", "the breaker of `pay` opens, on each instance for itself");
    signal(&fleet, "gateway_circuit_breaker_state", &[r#"route="pay""#], |values| values == [1.0]).await;
    reported(&fleet, &["status", "breakers"], |said| said.contains(" OPEN ") && said.contains("2/2")).await;
    ctl(&fleet, &["status"], 1).await;

    step("CAUSE", "a trace of a page that was slow ends at the one whom it waited for");
    let trace = eventually("a trace of shop that failed at pay", async || {
        let spans = collector.spans();
        let failed = spans
            .iter()
            .find(|span| is(span, SpanKind::Client, "GET pay") && of(span, "error.type").is_some());
        let of_trace =
            |id: &[u8]| spans.iter().filter(|span| span.trace_id == id).cloned().collect::<Vec<_>>();
        let trace = failed.map(|span| of_trace(&span.trace_id)).unwrap_or_default();
        if trace.len() >= 4 { Ok(trace) } else { Err(format!("{} spans", trace.len())) }
    })
    .await;
    print!("{}", tree(&trace));
    ctl(&fleet, &["explain", "GET", "http://a.test/pay"], 1).await;

    step("DO", "nothing yet: with `pay` refused at once `shop` has its places back, and goes without");
    let of_pay = get(fleet.address(0), "/pay").await.expect("an answer");
    assert_eq!(of_pay.json()["reason"], "circuit_open");
    answers(&load, "200").await;
    println!("shop answers 200 again while pay still hangs: {:?}", load.tally());
    pay.process.signal(Signal::CONT);
    shown(&format!("kill -CONT {pid}    # or restart it"), "");
    ctl(&fleet, &["breaker", "reset", "pay"], 0).await;

    step("RECOVERY", "the breaker is closed, and `pay` is asked again");
    signal(&fleet, "gateway_circuit_breaker_state", &[r#"route="pay""#], |values| values == [0.0]).await;
    signal(&fleet, "gateway_requests_total", &[r#"route="pay""#, r#"status="200""#], |values| {
        values.iter().sum::<f64>() > 0.0
    })
    .await;
    reported(&fleet, &["status"], |said| said.contains(" OK ")).await;
    load.stop().await;
}

/// Waits for twenty more of an answer.
async fn answers(load: &Load, answer: &str) -> usize {
    let count = || load.tally().get(answer).copied().unwrap_or_default();
    let wanted = count() + 20;
    eventually(&format!("20 more answers {answer}"), async || match count() {
        enough if enough >= wanted => Ok(enough),
        _ => Err(format!("{:?}", load.tally())),
    })
    .await
}

fn is(span: &Span, kind: SpanKind, name: &str) -> bool {
    span.kind() == kind && span.name == name
}

fn of(span: &Span, key: &str) -> Option<String> {
    attributes(span).into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

/// Each span below the one that it is a part of.
fn tree(trace: &[Span]) -> String {
    let mut text = String::new();
    let known = |id: &[u8]| trace.iter().any(|span| span.span_id == id);
    let mut open: Vec<_> =
        trace.iter().filter(|span| !known(&span.parent_span_id)).map(|span| (span, 0)).collect();
    while let Some((span, depth)) = open.pop() {
        let took = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) as f64 / 1e6;
        let kind = if span.kind() == SpanKind::Server { "SERVER" } else { "CLIENT" };
        let what = ["http.response.status_code", "error.type", "gateway.reason"];
        let what = what.iter().filter_map(|key| Some(format!("{key}={}", of(span, key)?)));
        let title = format!("{:1$}edge  {kind} {2}", "", depth * 2, span.name);
        let _ = writeln!(text, "{title:<32} {took:>8.1} ms  {}", what.collect::<Vec<_>>().join(" "));
        open.extend(
            trace.iter().filter(|below| below.parent_span_id == span.span_id).map(|span| (span, depth + 1)),
        );
    }
    text
}
