//! What health costs a request: the pick of a target and the note of how its attempt ended.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::StatusCode;
use policy::clock::Now;
use policy::config::GatewayConfig;
use policy::outcome::Outcome;
use policy::table::RouteTable;
use policy::upstream::Upstream;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const NOW: Now = Now::from_nanos(1_000_000_000);

fn upstream(targets: usize, settings: &serde_json::Value) -> Arc<Upstream> {
    let targets: Vec<_> =
        (0..targets).map(|at| serde_json::json!({"addr": format!("http://10.0.0.{at}:80")})).collect();
    let mut upstream = serde_json::json!({"name": "u", "targets": targets});
    if let (Some(upstream), Some(settings)) = (upstream.as_object_mut(), settings.as_object()) {
        upstream.extend(settings.clone());
    }
    let config: GatewayConfig =
        serde_json::from_value(serde_json::json!({"upstreams": [upstream]})).expect("a config");
    let table = RouteTable::build(&config, None).expect("a table");
    table.upstreams[0].activate(NOW);
    Arc::clone(&table.upstreams[0])
}

fn protected(targets: usize) -> Arc<Upstream> {
    upstream(
        targets,
        &serde_json::json!({"health_check": {"unhealthy_threshold": 1}, "outlier": {}, "slow_start": "1h"}),
    )
}

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("health/pick");
    for count in [3, 100] {
        let mut bench = |state: &str, upstream: &Upstream| {
            group.bench_function(BenchmarkId::new(state, count), |bencher| {
                bencher.iter(|| black_box(upstream.pick(None, black_box(NOW), |_| true)));
            });
        };
        let (bare, well) = (upstream(count, &serde_json::json!({})), protected(count));
        bench("neither checked nor ejected", &bare);
        bench("all well", &well);
        let thresholds = well.thresholds().expect("a health check");
        well.targets[0].state.probed(Err("down".to_owned()), thresholds, NOW);
        bench("one unhealthy", &well);
        (0..2).for_each(|_| well.targets[0].state.probed(Ok(()), thresholds, NOW));
        bench("one in slow start", &well);
        well.targets.iter().for_each(|target| target.state.probed(Err("down".to_owned()), thresholds, NOW));
        bench("none healthy, fail_open", &well);
    }
    group.finish();
}

fn record(criterion: &mut Criterion) {
    let upstream = protected(3);
    let mut bench = |name: &str, outcomes: [Outcome; 2]| {
        let mut turn = 0;
        criterion.bench_function(&format!("health/record/{name}"), |bencher| {
            bencher.iter(|| {
                turn ^= 1;
                upstream.record(0, black_box(outcomes[turn]), Duration::ZERO, black_box(NOW));
            });
        });
    };
    let (good, bad) = (Outcome::Response(StatusCode::OK), Outcome::Response(StatusCode::BAD_GATEWAY));
    bench("a success", [good, good]);
    bench("an error and a success in turn", [good, bad]);
}

criterion_group!(benches, pick, record);
criterion_main!(benches);
