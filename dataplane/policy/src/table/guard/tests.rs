//! What of a route's protection is taken over from table to table, and which filters hold for a route.

use super::*;
use crate::clock::Now;
use crate::config::load::{Surroundings, check};
use crate::limiter::Verdict;
use std::io;

fn table(source: &str, previous: Option<&RouteTable>) -> RouteTable {
    let surroundings = Surroundings { env: &|_| None, read_file: &|_| Err(io::ErrorKind::NotFound.into()) };
    let config = check(source, &surroundings).expect("a valid config").config;
    RouteTable::build(&config, previous).expect("a valid config")
}

fn route<'t>(table: &'t RouteTable, name: &str) -> &'t Route {
    table.routes.iter().find(|route| &*route.name == name).expect("a route of that name")
}

const ALL: &str = r#"
routes:
  - name: a
    prefix: /a
    targets: [{addr: "http://10.0.0.1:80"}, {addr: "http://10.0.0.2:80"}]
    filters:
      - rate_limit: {qps: 10}
      - circuit_breaker: {threshold: 5, scope: target}
      - concurrency: {max: 7}
      - retry: {max_retries: 2, retry_on: [502]}
  - name: b
    prefix: /b
    targets: [{addr: "http://10.0.0.3:80"}]
    filters:
      - rate_limit: {qps: 1, burst: 1}
      - circuit_breaker: {threshold: 1}
"#;

fn breakers(route: &Route) -> Vec<&Arc<Breaker>> {
    route.breakers().map(|(_, breaker)| breaker).collect()
}

#[test]
fn an_edit_of_one_route_leaves_the_state_of_the_other() {
    let now = Now::from_nanos(1 << 50);
    let first = table(ALL, None);
    let before = route(&first, "b");
    assert_eq!(before.guard.limits[0].running.decide(0, now), Verdict::Pass);
    breakers(before)[0].acquire(now).expect("closed").failed(now, crate::outcome::Outcome::Reset);

    let second =
        table(&ALL.replace("qps: 10}", "qps: 11}").replace("prefix: /a", "prefix: /other"), Some(&first));
    let after = route(&second, "b");
    assert!(
        matches!(after.guard.limits[0].running.decide(0, now), Verdict::Limit(_)),
        "the bucket is still empty"
    );
    assert!(breakers(after)[0].acquire(now).is_err(), "the breaker is still open");
    let (before, after) = (&route(&first, "a").guard, &route(&second, "a").guard);
    assert!(
        !Arc::ptr_eq(&before.limits[0].running, &after.limits[0].running),
        "other settings, another bucket"
    );
    assert!(Arc::ptr_eq(&before.retry.as_ref().unwrap().running, &after.retry.as_ref().unwrap().running));
}

#[test]
fn a_breaker_stays_with_its_target_wherever_that_stands() {
    let first = table(ALL, None);
    let swapped =
        ALL.replace("10.0.0.1", "x").replace("10.0.0.2", "10.0.0.1").replace("http://x", "http://10.0.0.9");
    let second = table(&swapped, Some(&first));
    let (before, after) = (breakers(route(&first, "a")), breakers(route(&second, "a")));
    assert!(Arc::ptr_eq(before[0], after[1]), "10.0.0.1 has moved");
    assert!(!Arc::ptr_eq(before[1], after[0]), "10.0.0.9 is new");
}

#[test]
fn another_upstream_or_other_settings_make_a_new_breaker() {
    let first = table(ALL, None);
    let before = breakers(route(&first, "b"))[0];
    let stricter = table(&ALL.replace("threshold: 1}", "threshold: 2}"), Some(&first));
    assert!(!Arc::ptr_eq(before, breakers(route(&stricter, "b"))[0]));
    let named = ALL.replace("targets: [{addr: \"http://10.0.0.3:80\"}]", "upstream: u")
        + "upstreams: [{name: u, targets: [{addr: \"http://10.0.0.3:80\"}]}]\n";
    let elsewhere = table(&named, Some(&first));
    assert!(!Arc::ptr_eq(before, breakers(route(&elsewhere, "b"))[0]));
}

#[test]
fn limits_add_up_and_other_filters_replace_the_global_one() {
    let source = ALL.to_owned()
        + "global_filters:\n  - rate_limit: {qps: 100}\n  - circuit_breaker: {threshold: 9}\n  - concurrency: {max: 3}\n";
    let table = table(&source, None);
    let (a, b) = (&route(&table, "a").guard, &route(&table, "b").guard);
    let reaches = |guard: &Guard| guard.limits.iter().map(|limit| limit.reach).collect::<Vec<_>>();
    assert_eq!(reaches(a), [Reach::Route { global: false }, Reach::All], "the narrowest first");
    assert!(Arc::ptr_eq(&a.limits[1].running, &b.limits[1].running), "one bucket for all routes");
    let (a, b) = (&route(&table, "a").backends[0], &route(&table, "b").backends[0]);
    assert_eq!(b.breaker.as_ref().unwrap().config.threshold.get(), 1, "the route's own");
    assert_eq!(b.concurrency.as_ref().unwrap().config.max.get(), 3, "the global one");
    assert_eq!(a.concurrency.as_ref().unwrap().config.max.get(), 7);
    let Some(Scoped::Route(one)) = a.concurrency.as_ref().map(|kept| &kept.running) else {
        panic!("of the route")
    };
    let other = b.concurrency.as_ref().unwrap().running.covering(0).unwrap();
    assert!(!Arc::ptr_eq(one, other), "each route has its own");
}

#[test]
fn a_key_says_which_requests_count_together() {
    let source = |own: &str, global: &str| {
        let route = |name: &str| {
            format!(
                "  - {{name: {name}, prefix: /{name}, targets: [{{addr: \"http://10.0.0.1:80\"}}], filters: [{{rate_limit: {{qps: 5{own}}}}}]}}\n"
            )
        };
        format!("routes:\n{}{}global_filters: [{{rate_limit: {{qps: 9{global}}}}}]\n", route("a"), route("b"))
    };
    let shared = |table: &RouteTable, at: usize| {
        let limit = |name| &route(table, name).guard.limits[at].running;
        Arc::ptr_eq(limit("a"), limit("b"))
    };
    let plain = table(&source("", ""), None);
    assert!(!shared(&plain, 0) && shared(&plain, 1));
    let apart = table(&source("", ", key: route"), None);
    assert!(!shared(&apart, 0) && !shared(&apart, 1));
    let by_client = table(&source(", key: client_ip", ", key: client_ip"), None);
    assert!(
        !shared(&by_client, 0) && shared(&by_client, 1),
        "a client's bucket of each route, and one of all"
    );
    for (own, global) in [("", ""), ("", ", key: route"), (", key: client_ip", ", key: client_ip")] {
        let first = table(&source(own, global), None);
        let again = table(&source(own, global), Some(&first));
        for at in 0..2 {
            let limit = |table| Arc::clone(&route(table, "a").guard.limits[at].running);
            assert!(Arc::ptr_eq(&limit(&first), &limit(&again)), "{own} {global}");
        }
    }
}

const SPLIT: &str = r#"
upstreams:
  - {name: users, targets: [{addr: "http://10.0.0.1:80"}, {addr: "http://10.0.0.2:80"}]}
  - {name: canary, targets: [{addr: "http://10.0.0.3:80"}]}
routes:
  - name: a
    prefix: /
    split: [{upstream: users, weight: 95}, {upstream: canary, weight: 5}]
    filters:
      - circuit_breaker: {threshold: 5, scope: target}
      - concurrency: {max: 7}
"#;

#[test]
fn each_target_of_a_split_has_its_breaker_and_the_route_one_limit() {
    let table = table(SPLIT, None);
    let route = route(&table, "a");
    let covered = route.breakers().map(|(target, _)| target.unwrap().addr.to_string());
    assert_eq!(
        covered.collect::<Vec<_>>(),
        ["http://10.0.0.1:80", "http://10.0.0.2:80", "http://10.0.0.3:80"]
    );
    let limits: Vec<_> = route.concurrency_limits().collect();
    assert!(matches!(limits[..], [(None, _)]), "{limits:?}");
    for backend in &route.backends {
        let limit = backend.concurrency.as_ref().unwrap().running.covering(0).unwrap();
        assert!(Arc::ptr_eq(limit, limits[0].1));
    }
}

#[test]
fn other_weights_and_another_order_keep_everything() {
    let plain = SPLIT
        .replace("split: [{upstream: users, weight: 95}, {upstream: canary, weight: 5}]", "upstream: users");
    let moved = SPLIT.replace(
        "[{upstream: users, weight: 95}, {upstream: canary, weight: 5}]",
        "[{upstream: canary, weight: 50}, {upstream: users, weight: 50}]",
    );
    let first = table(&plain, None);
    let second = table(SPLIT, Some(&first));
    let third = table(&moved, Some(&second));
    let (first, second, third) = (route(&first, "a"), route(&second, "a"), route(&third, "a"));
    let same = |a: &Arc<Breaker>, b: &Arc<Breaker>| Arc::ptr_eq(a, b);
    assert!(same(breakers(first)[1], breakers(second)[1]) && same(breakers(second)[1], breakers(third)[2]));
    assert!(same(breakers(second)[2], breakers(third)[0]), "of the canary");
    let limit = |route: &Route| Arc::clone(route.concurrency_limits().next().unwrap().1);
    assert!(Arc::ptr_eq(&limit(first), &limit(second)) && Arc::ptr_eq(&limit(second), &limit(third)));
    for (a, b) in [(0, 1), (1, 0)] {
        assert!(Arc::ptr_eq(&second.backends[a].upstream, &third.backends[b].upstream));
    }
    assert!(!Arc::ptr_eq(second.split.as_ref().unwrap(), third.split.as_ref().unwrap()));
}
