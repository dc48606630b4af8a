//! Building tables: what is taken over from the last one, how paths change, what a lookup gives.

use super::*;
use crate::config::load::{Surroundings, check};
use http::{HeaderMap, Method};
use std::io;

fn config(source: &str) -> GatewayConfig {
    let surroundings = Surroundings { env: &|_| None, read_file: &|_| Err(io::ErrorKind::NotFound.into()) };
    check(source, &surroundings).expect("a valid config").config
}

fn table(source: &str, previous: Option<&RouteTable>) -> RouteTable {
    RouteTable::build(&config(source), previous).expect("a valid config")
}

fn find<'t>(table: &'t RouteTable, method: &Method, path: &str) -> Result<&'t str, Rejection> {
    let headers = HeaderMap::new();
    let lookup =
        Lookup { listener: "default", host: "a.example", path, query: None, method, headers: &headers };
    table.find(&lookup).map(|at| &*table.routes[at].name)
}

const TWO_ROUTES: &str = r#"
upstreams:
  - {name: shared, targets: [{addr: "http://10.0.0.1:80"}, {addr: "http://10.0.0.2:80"}]}
routes:
  - {name: a, prefix: /a, upstream: shared}
  - {name: b, prefix: /b, methods: [GET], targets: [{addr: "http://10.0.0.3:80"}]}
"#;

#[test]
fn routes_share_a_named_upstream_and_own_an_inline_one() {
    let table = table(TWO_ROUTES, None);
    let names: Vec<_> = table.upstreams.iter().map(|upstream| &*upstream.name).collect();
    assert_eq!(names, ["shared", "b"]);
    assert!(Arc::ptr_eq(&table.routes[0].backends[0].upstream, &table.upstreams[0]));
    assert!(Arc::ptr_eq(&table.routes[1].backends[0].upstream, &table.upstreams[1]));
    assert_eq!(table.upstreams[0].targets[0].authority, "10.0.0.1");
}

#[test]
fn an_upstream_that_has_not_changed_is_the_same_one() {
    let first = table(TWO_ROUTES, None);
    let second = table(&TWO_ROUTES.replace("prefix: /a", "prefix: /other"), Some(&first));
    for (before, after) in first.upstreams.iter().zip(&second.upstreams) {
        assert!(Arc::ptr_eq(before, after), "{}", before.name);
    }
}

#[test]
fn a_target_that_stays_keeps_what_it_has_lived_through() {
    let first = table(TWO_ROUTES, None);
    let edited =
        TWO_ROUTES.replace("10.0.0.1:80\"}", "10.0.0.1:80\", weight: 5}").replace("10.0.0.2", "10.0.0.9");
    let second = table(&edited, Some(&first));
    let (before, after) = (&first.upstreams[0], &second.upstreams[0]);
    assert!(!Arc::ptr_eq(before, after));
    assert!(
        Arc::ptr_eq(&before.targets[0].state, &after.targets[0].state),
        "another weight, the same target"
    );
    assert!(
        !Arc::ptr_eq(&before.targets[1].state, &after.targets[1].state),
        "another address, another target"
    );
    assert_eq!(after.targets[0].weight, 5);
    // the same address in another upstream is another target
    let renamed = table(&TWO_ROUTES.replace("shared", "renamed"), Some(&first));
    assert!(!Arc::ptr_eq(&renamed.upstreams[0].targets[0].state, &before.targets[0].state));
}

#[test]
fn the_order_of_targets_does_not_matter_for_their_state() {
    let first = table(TWO_ROUTES, None);
    let swapped = TWO_ROUTES
        .replace("10.0.0.1", "x")
        .replace("10.0.0.2", "10.0.0.1")
        .replace("http://x", "http://10.0.0.2");
    let second = table(&swapped, Some(&first));
    assert!(Arc::ptr_eq(&first.upstreams[0].targets[0].state, &second.upstreams[0].targets[1].state));
}

#[test]
fn a_lookup_gives_the_route_or_the_refusal() {
    let table = table(TWO_ROUTES, None).identified(7, "abc".into());
    assert_eq!((table.version, table.sha256.as_str()), (7, "abc"));
    assert_eq!(find(&table, &Method::POST, "/a/x"), Ok("a"));
    assert_eq!(find(&table, &Method::GET, "/b"), Ok("b"));
    assert_eq!(find(&table, &Method::HEAD, "/b"), Ok("b"), "what GET may ask, HEAD may");
    let refused = Rejection::MethodNotAllowed { allow: vec![Method::GET, Method::HEAD] };
    assert_eq!(find(&table, &Method::POST, "/b"), Err(refused));
    assert_eq!(find(&table, &Method::GET, "/bx"), Err(Rejection::NoRoute));
}

#[test]
fn a_rewrite_says_what_stands_in_the_prefixs_place() {
    let rewrite = |keys: &str| {
        let source = format!("routes: [{{name: a, {keys}, targets: [{{addr: \"http://10.0.0.1:80\"}}]}}]");
        table(&source, None).routes[0].rewrite.clone()
    };
    let replaced = |prefix_len, with: &str| Rewrite::Prefix { prefix_len, with: with.to_owned() };
    assert_eq!(rewrite("prefix: /api"), Rewrite::Keep);
    assert_eq!(rewrite("path: /api"), Rewrite::Keep);
    assert_eq!(rewrite("prefix: /api, strip_prefix: true"), replaced(4, ""));
    assert_eq!(rewrite("prefix: /api/, strip_prefix: true"), replaced(4, ""));
    assert_eq!(rewrite("prefix: /, strip_prefix: true"), replaced(0, ""));
    assert_eq!(rewrite("prefix: /api, rewrite: /v2/"), replaced(4, "/v2"));
    assert_eq!(rewrite("prefix: /api, rewrite: /"), replaced(4, ""));
    assert_eq!(rewrite("prefix: /, rewrite: /v2"), replaced(0, "/v2"));
}

#[test]
fn a_config_without_routes_can_be_built() {
    let table = table("routes: []", None);
    assert_eq!(find(&table, &Method::GET, "/"), Err(Rejection::NoRoute));
}

#[test]
fn routes_without_an_access_log_of_their_own_share_the_global_one() {
    let table = table(
        r#"
routes:
  - {name: a, prefix: /a, targets: [{addr: "http://10.0.0.1:80"}]}
  - name: b
    prefix: /b
    targets: [{addr: "http://10.0.0.1:80"}]
    filters: [{body_limit: {max: 1KiB}}, {logging: {output: [/var/log/b.log, stdout], sample: 0}}]
  - {name: c, prefix: /c, targets: [{addr: "http://10.0.0.1:80"}]}
global_filters:
  - logging: {output: [stdout, stderr]}
"#,
        None,
    );
    let logging = |at: usize| table.routes[at].chain.edge.logging.as_ref().expect("an access log");
    let unrouted = table.unrouted.logging.as_ref().expect("an access log");
    assert!(Arc::ptr_eq(logging(0), unrouted) && Arc::ptr_eq(logging(2), unrouted));
    assert_eq!(logging(1).config.sample.millionths(), 0);
    let named: Vec<_> =
        table.log_outputs.iter().map(|one| (one.output.to_string(), one.named_at.as_str())).collect();
    let expected = [
        ("stdout", "global_filters[0].logging.output"),
        ("stderr", "global_filters[0].logging.output"),
        ("/var/log/b.log", "routes[1].filters[1].logging.output"),
    ];
    assert_eq!(named, expected.map(|(output, at)| (output.to_owned(), at)));
    assert_eq!((&*unrouted.outputs, &*logging(1).outputs), (&[0, 1][..], &[2, 0][..]));
}

#[test]
fn without_a_filter_there_is_no_access_log() {
    let table = table(TWO_ROUTES, None);
    assert!(table.log_outputs.is_empty() && table.unrouted.logging.is_none());
    assert!(table.routes.iter().all(|route| route.chain.edge.logging.is_none()));
}
