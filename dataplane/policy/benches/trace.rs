//! What trace context costs a request: to begin, with and without a caller's, and to tell a target.

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue};
use policy::filter::tracing::{SamplingDefaults, Tracing, TracingConfig};
use policy::trace::{TRACEPARENT, TRACESTATE, new_span_id};
use std::hint::black_box;

fn tracing(json: &str) -> Tracing {
    let config: TracingConfig = serde_json::from_str(json).expect("a config");
    Tracing::new(None, &config)
}

/// What a browser sends, and what a caller that is traced adds.
fn requests() -> [(&'static str, HeaderMap); 2] {
    let usual = [("host", "api.example.com"), ("user-agent", "curl/8.5.0"), ("accept", "*/*")];
    let plain: HeaderMap = usual
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .into_iter()
        .collect();
    let mut traced = plain.clone();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    traced.insert(TRACEPARENT, HeaderValue::from_static(parent));
    traced.insert(TRACESTATE, HeaderValue::from_static("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"));
    [("no caller", plain), ("a caller", traced)]
}

fn begin(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("trace/begin");
    let silent = SamplingDefaults::default();
    for (name, mut headers) in requests() {
        let tracing = tracing(r#"{"sample": "0.01"}"#);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let span = tracing.begin(black_box(&headers), false, &silent);
                span.clean(&mut headers);
                span
            });
        });
    }
}

fn propagate(criterion: &mut Criterion) {
    let tracing = tracing("{}");
    let span = tracing.begin(&HeaderMap::new(), false, &SamplingDefaults::default());
    let mut headers = requests()[0].1.clone();
    criterion.bench_function("trace/tell a target", |bencher| {
        bencher.iter(|| headers.insert(TRACEPARENT, black_box(&span).traceparent(new_span_id())));
    });
}

criterion_group!(benches, begin, propagate);
criterion_main!(benches);
