//! What a lookup costs in 10 000 routes, and what building them costs. Budget: 200 ns a match.
//!
//! Each iteration asks for another of the routes in a scattered order: a single path asked again and again would be
//! answered from the processor's first cache, which no gateway with 10 000 routes lives in. The requests themselves lie
//! in memory in the order in which they are asked: the head of a request has just been read.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use policy::config::leaf::{HostPattern, PathPrefix, PathTemplate};
use policy::router::{Found, Lookup, PathMatch, RouteMatch, Router};
use std::hint::black_box;

const ROUTES: usize = 10_000;
/// Has no factor in common with `ROUTES`, so that every route gets its turn.
const STRIDE: usize = 7_919;

const TENANT: HeaderName = HeaderName::from_static("x-tenant");

fn route(path: PathMatch) -> RouteMatch {
    RouteMatch {
        hosts: Vec::new(),
        listeners: Vec::new(),
        path,
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
    }
}

fn prefix(path: String) -> RouteMatch {
    route(PathMatch::Prefix(PathPrefix(path)))
}

fn template(path: String) -> RouteMatch {
    route(PathMatch::Template(PathTemplate(path)))
}

/// Where services hang below a few stems, as the names of teams and services do.
fn stem(n: usize) -> String {
    format!("/api/v{}/team-{:02}/service-{:02}", n % 4 + 1, n / 4 % 50, n / 200)
}

struct Request {
    host: String,
    path: String,
    method: Method,
    headers: HeaderMap,
    query: Option<&'static str>,
}

fn get(path: String) -> Request {
    Request {
        host: "api.example.com".into(),
        path,
        method: Method::GET,
        headers: HeaderMap::new(),
        query: None,
    }
}

fn bench(
    criterion: &mut Criterion,
    name: &str,
    route: impl Fn(usize) -> RouteMatch,
    request: impl Fn(usize) -> Request,
    expected: impl Fn(usize) -> Found,
) {
    let routes: Vec<_> = (0..ROUTES).map(route).collect();
    let router = Router::build(routes).expect("no conflicts");
    let scattered: Vec<_> = (0..ROUTES).map(|n| n * STRIDE % ROUTES).collect();
    let requests: Vec<_> = scattered.iter().map(|n| request(*n)).collect();
    let find = |at: usize| {
        let Request { host, path, method, headers, query } = &requests[at];
        router.find(&Lookup { listener: "default", host, path, query: *query, method, headers })
    };
    for (at, n) in scattered.iter().enumerate() {
        assert_eq!(find(at), expected(*n), "{name}: {}", requests[at].path);
    }
    let mut at = 0;
    criterion.bench_function(&format!("router/find in 10 000: {name}"), |bencher| {
        bencher.iter(|| {
            at = (at + 1) % ROUTES;
            black_box(find(black_box(at)))
        });
    });
}

fn lookups(criterion: &mut Criterion) {
    let below = |n| get(stem(n) + "/orders/4711");
    bench(criterion, "prefix", |n| prefix(stem(n)), below, Found::Route);
    bench(criterion, "exact", |n| template(stem(n)), |n| get(stem(n)), Found::Route);
    let with_params = |n| template(stem(n) + "/{order}/items/{item}");
    bench(criterion, "template", with_params, |n| get(stem(n) + "/4711/items/1"), Found::Route);
    let params_first = |n| template(format!("/{{tenant}}{}/{{id}}", stem(n)));
    bench(
        criterion,
        "template, parameter first",
        params_first,
        |n| get(format!("/acme{}/7", stem(n))),
        Found::Route,
    );
    bench(criterion, "miss", |n| prefix(stem(n)), |n| get(stem(n) + "x/orders"), |_| Found::None);
    bench(
        criterion,
        "method not allowed",
        |n| RouteMatch { methods: vec![Method::POST, Method::PUT], ..prefix(stem(n)) },
        below,
        |_| Found::MethodNotAllowed(vec![Method::POST, Method::PUT]),
    );
}

fn hosts_and_conditions(criterion: &mut Criterion) {
    let host = |n: usize| format!("tenant-{n:04}.example.com");
    bench(
        criterion,
        "exact host",
        |n| RouteMatch { hosts: vec![HostPattern::Exact(host(n))], ..prefix("/".into()) },
        |n| Request { host: host(n), ..get("/api/v1/users/7".into()) },
        Found::Route,
    );
    bench(
        criterion,
        "wildcard host",
        |n| RouteMatch { hosts: vec![HostPattern::Wildcard(host(n))], ..prefix("/".into()) },
        |n| Request { host: format!("eu.{}", host(n)), ..get("/api/v1/users/7".into()) },
        Found::Route,
    );
    // five tenants and five variants on each of 400 paths
    let tenant = |n: usize| n % 5;
    let variant = |n: usize| ["a", "b", "c", "d", "e"][n / 5 % 5];
    bench(
        criterion,
        "25 variants of a path by header and query",
        |n| RouteMatch {
            headers: vec![(TENANT, tenant(n).to_string())],
            query: vec![("variant".into(), variant(n).into())],
            ..prefix(stem(n / 25))
        },
        |n| Request {
            headers: HeaderMap::from_iter([(TENANT, HeaderValue::from(tenant(n)))]),
            query: Some(["variant=a", "variant=b", "variant=c", "variant=d", "variant=e"][n / 5 % 5]),
            ..get(stem(n / 25))
        },
        Found::Route,
    );
}

fn build(criterion: &mut Criterion) {
    let routes: Vec<_> = (0..ROUTES).map(|n| prefix(stem(n))).collect();
    let mut group = criterion.benchmark_group("router/build 10 000");
    group.sample_size(20);
    group.bench_function("prefixes", |bencher| {
        bencher.iter_batched(
            || routes.clone(),
            |routes| Router::build(black_box(routes)),
            BatchSize::PerIteration,
        );
    });
    let hosts: Vec<_> = (0..ROUTES)
        .map(|n| RouteMatch {
            hosts: vec![HostPattern::Exact(format!("tenant-{n:04}.example.com"))],
            ..prefix("/".into())
        })
        .collect();
    group.bench_function("hosts", |bencher| {
        bencher.iter_batched(
            || hosts.clone(),
            |hosts| Router::build(black_box(hosts)),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, lookups, hosts_and_conditions, build);
criterion_main!(benches);
