//! From a saved file to a table: the part of "saved → served" that is ours, for ten thousand routes (budget 60 ms).

use criterion::{Criterion, criterion_group, criterion_main};
use policy::config::load::{Surroundings, check, load};
use policy::snapshot;
use policy::table::RouteTable;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io;

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn file(routes: usize) -> String {
    let mut source = String::from("server:\n  port: 8080\nroutes:\n");
    for n in 0..routes {
        // writing to a String cannot fail
        let _ = writeln!(
            source,
            "  - name: service-{n}\n    hosts: [h{}.example.com]\n    prefix: /api/v{}/service-{n}\n    strip_prefix: true\n    \
             methods: [GET, POST]\n    timeout: 5s\n    targets:\n      - addr: http://10.0.{}.{}:8080\n        weight: 3\n      \
             - addr: http://10.1.{}.{}:8080\n",
            n % 50,
            n % 3,
            n / 250,
            n % 250,
            n / 250,
            n % 250,
        );
    }
    source
}

fn ten_thousand_routes(criterion: &mut Criterion) {
    let source = file(10_000);
    let surroundings = Surroundings { env: &|_| None, read_file: &|_| Err(io::ErrorKind::NotFound.into()) };
    let mut group = criterion.benchmark_group("config of 10000 routes");
    group.sample_size(20);
    group.bench_function("read", |bencher| {
        bencher.iter(|| load(black_box(&source), &surroundings).map(|loaded| loaded.config.routes.len()));
    });
    group.bench_function("read and build", |bencher| {
        bencher.iter(|| check(black_box(&source), &surroundings).map(|checked| checked.table.routes.len()));
    });
    let checked = check(&source, &surroundings).expect("a valid config");
    group.bench_function("encode", |bencher| bencher.iter(|| snapshot::encode(black_box(&checked.config))));
    let encoded = snapshot::encode(&checked.config);
    group.bench_function("decode and build again", |bencher| {
        bencher.iter(|| {
            let config = snapshot::decode_table(black_box(&encoded.table)).expect("what was encoded");
            RouteTable::build(&config, Some(&checked.table)).map(|table| table.routes.len())
        });
    });
    let broken = source.replacen("prefix: /api", "prefix: api", 20);
    group.bench_function("read with 20 errors", |bencher| {
        bencher.iter(|| check(black_box(&broken), &surroundings).map_err(|errors| errors.len()).err());
    });
    group.finish();
}

criterion_group!(benches, ten_thousand_routes);
criterion_main!(benches);
