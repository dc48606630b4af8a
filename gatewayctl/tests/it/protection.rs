//! Health, breakers and limits in every format: one line where instances agree, one for each state where not.

use crate::support::{Fake, Script};
use gatewayctl::command::status::{
    breakers, fleet, health::Health, issuers, limits, listeners, routes, table, targets,
};
use gatewayctl::output::{Format, Resource, render};
use insta::assert_snapshot;
use jiff::Timestamp;
use policy::config::GatewayConfig;
use proto::v1::*;

const NOW_MS: i64 = 1_700_000_000_000;

fn text<R: Resource>(items: &[R], format: Format) -> String {
    let now = Timestamp::from_millisecond(NOW_MS).unwrap();
    anstream::adapter::strip_str(&render(items, format, now).unwrap()).to_string()
}

fn addr(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A fleet whose instances report this, in the order of their names.
fn fleet_of(reports: Vec<InstanceStatus>) -> GetStatusResponse {
    let targets: Vec<_> = (8081..=8086).map(|port| serde_json::json!({ "addr": addr(port) })).collect();
    let routes = ["orders", "pay", "search"].map(|name| {
        serde_json::json!({ "name": name, "prefix": format!("/{name}"), "targets": [{ "addr": addr(8081) }] })
    });
    let config: GatewayConfig = serde_json::from_value(serde_json::json!({
        "upstreams": [{ "name": "users", "targets": targets }],
        "routes": routes,
    }))
    .unwrap();
    let instance = |(number, status): (usize, InstanceStatus)| Instance {
        hello: Some(Hello { instance: format!("dp-{}", number + 1), ..Hello::default() }),
        state: InstanceState::Current.into(),
        status: Some(status),
        ..Instance::default()
    };
    let by = |ago_ms: i64| Some(OrderedBy { author: "ann".to_owned(), at_ms: NOW_MS - ago_ms });
    GetStatusResponse {
        current_version: 7,
        instances: reports.into_iter().enumerate().map(instance).collect(),
        table: policy::snapshot::encode(&config).table.into(),
        orders: Some(Orders {
            revision: 3,
            drained: vec![DrainedTarget { upstream: "users".into(), addr: addr(8082), by: by(300_000) }],
            held: vec![HeldBreaker { route: "pay".into(), open: true, by: by(60_000) }],
            ..Orders::default()
        }),
        ..GetStatusResponse::default()
    }
}

fn target(port: u16, state: HealthState, reason: &str, since_s: i64) -> TargetStatus {
    let recovering = state == HealthState::Recovering;
    let until_s = if matches!(state, HealthState::Ejected | HealthState::Recovering) { 25 } else { 0 };
    TargetStatus {
        upstream: "users".to_owned(),
        addr: addr(port),
        weight: 1,
        in_flight: 2,
        requests_total: 1_000,
        failures_total: 7,
        connections: 4,
        requests_per_second: 12.34,
        failures_per_second: 0.25,
        health: Some(TargetHealth {
            state: state.into(),
            reason: reason.to_owned(),
            since_ms: NOW_MS - since_s * 1_000,
            until_ms: if until_s > 0 { NOW_MS + until_s * 1_000 } else { 0 },
            probes: 120,
            probe_failures: 3,
            ejections: 1,
            slow_start_share: recovering.then_some(0.3),
        }),
        ..TargetStatus::default()
    }
}

fn troubled() -> GetStatusResponse {
    use HealthState::{Drained, Ejected, Healthy, Recovering, Unhealthy};
    let common = || {
        vec![
            target(8081, Healthy, "", 3_600),
            target(8082, Drained, "drained by an operator", 300),
            target(8083, Recovering, "slow start: 30% of its share", 4),
        ]
    };
    let told = |more: [TargetStatus; 2]| InstanceStatus {
        targets: common().into_iter().chain(more).collect(),
        ..InstanceStatus::default()
    };
    let refused = "status 503 on GET /health, wanted 200";
    fleet_of(vec![
        told([
            target(8084, Ejected, "5 errors in a row; back in 25s", 5),
            target(8085, Unhealthy, refused, 90),
        ]),
        told([target(8084, Healthy, "", 3_600), target(8085, Unhealthy, refused, 88)]),
        told([target(8084, Healthy, "", 3_600), target(8085, Healthy, "", 3_600)]),
    ])
}

#[test]
fn targets_that_are_out_say_why_and_who_sees_it_so() {
    let status = troubled();
    let targets = targets::targets(&status, &table(&status).unwrap());
    assert_snapshot!("protection_targets", text(&targets, Format::Table));
    assert_snapshot!("protection_targets_wide", text(&targets, Format::Wide));
    let health: Vec<Health> = targets.into_iter().map(Health).collect();
    assert_snapshot!("health_table", text(&health, Format::Table));
    assert_snapshot!("health_json", text(&health[1..4], Format::Json));
    assert_snapshot!("health_name", text(&health, Format::Name));
}

fn counter(total: u64, per_second: f64) -> Option<Counter> {
    Some(Counter { total, per_second })
}

fn breaker(route: &str, state: BreakerState, reason: &str) -> BreakerStatus {
    BreakerStatus {
        route: route.to_owned(),
        state: state.into(),
        reason: reason.to_owned(),
        since_ms: NOW_MS - 12_000,
        retry_ms: if state == BreakerState::Open { NOW_MS + 18_000 } else { 0 },
        failures: 5,
        error_rate: Some(0.42),
        opened: 2,
        refused: counter(310, 24.5),
        would_refuse: counter(0, 0.0),
        ..BreakerStatus::default()
    }
}

fn with_breakers() -> GetStatusResponse {
    use BreakerState::{Closed, HalfOpen, Open};
    let open = || breaker("orders", Open, "5 failures in a row, last: status 503");
    let held =
        || BreakerStatus { held: true, retry_ms: 0, ..breaker("pay", Open, "held open by an operator") };
    let shadow = || BreakerStatus {
        shadow: true,
        target: addr(8081),
        would_refuse: counter(40, 3.2),
        ..breaker("search", HalfOpen, "being tried, 0 of 1 succeeded; error rate 60 % of 40 requests in 10s")
    };
    let told = |orders| InstanceStatus {
        breakers: vec![orders, held(), shadow()],
        targets: ["orders", "pay", "search"]
            .map(|route| TargetStatus {
                upstream: route.to_owned(),
                ..target(8081, HealthState::Healthy, "", 60)
            })
            .into(),
        ..InstanceStatus::default()
    };
    fleet_of(vec![told(open()), told(breaker("orders", Closed, "")), told(open())])
}

#[test]
fn an_open_breaker_shows_in_the_fleet_and_in_its_route() {
    let status = with_breakers();
    let config = table(&status).unwrap();
    assert_snapshot!("breakers_routes", text(&routes::routes(&status, &config), Format::Table));
    assert_snapshot!("breakers_fleet", text(&[fleet::fleet(&status, &config)], Format::Wide));
}

#[test]
fn all_targets_out_and_fail_open_is_told() {
    let mut status = with_breakers();
    for target in status.instances.iter_mut().flat_map(|one| &mut one.status.as_mut().unwrap().targets) {
        target.health.as_mut().unwrap().set_state(HealthState::Unhealthy);
        target.health.as_mut().unwrap().reason = "connection refused".to_owned();
    }
    let routes = routes::routes(&status, &table(&status).unwrap());
    assert_eq!(routes[2].state, gatewayctl::command::status::State::Degraded);
    assert!(routes[2].reason.contains("fail_open"), "{}", routes[2].reason);
}

#[test]
fn breakers_say_why_since_when_and_when_they_are_tried_again() {
    let breakers = breakers::breakers(&with_breakers());
    assert_snapshot!("breakers_table", text(&breakers, Format::Table));
    assert_snapshot!("breakers_wide", text(&breakers, Format::Wide));
    assert_snapshot!("breakers_json", text(&breakers[..2], Format::Json));
    assert_snapshot!("breakers_yaml", text(&breakers[3..], Format::Yaml));
    assert_snapshot!("breakers_name", text(&breakers, Format::Name));
}

fn limiter(route: &str, key: &str, limited: f64, would_limit: f64) -> LimiterStatus {
    LimiterStatus {
        route: route.to_owned(),
        algorithm: "token_bucket".to_owned(),
        key: key.to_owned(),
        qps: 100,
        burst: 200,
        shadow: would_limit > 0.0,
        level: 3.4,
        keys: 1_200,
        evicted: 3,
        passed: counter(90_000, 100.0),
        delayed: counter(0, 0.0),
        limited: counter(450, limited),
        would_limit: counter(12, would_limit),
        global: route == "*",
    }
}

#[test]
fn limits_say_how_full_they_are_and_what_they_refuse() {
    let concurrency = ConcurrencyStatus {
        route: "orders".to_owned(),
        limit: 180,
        max: 200,
        in_flight: 180,
        queued: 4,
        adaptive: true,
        refused: counter(9, 0.0),
        queue: 50,
        waited: counter(30, 0.4),
        baseline_ms: Some(12.25),
        ..ConcurrencyStatus::default()
    };
    let retry = RetryStatus {
        route: "orders".to_owned(),
        retries: counter(77, 1.5),
        denied: counter(5, 0.4),
        budget_left: 0,
    };
    let told = |limited| InstanceStatus {
        limiters: vec![
            limiter("*", "client_ip", 0.0, 0.0),
            limiter("orders", "route", limited, 0.0),
            limiter("new", "header:X-User", 0.0, 2.5),
        ],
        concurrency: vec![concurrency.clone()],
        retries: vec![retry.clone()],
        ..InstanceStatus::default()
    };
    let limits = limits::limits(&fleet_of(vec![told(12.5), told(0.0)]));
    assert_snapshot!("limits_table", text(&limits, Format::Table));
    assert_snapshot!("limits_wide", text(&limits, Format::Wide));
    assert_snapshot!("limits_json", text(&limits, Format::Json));
    assert_snapshot!("limits_name", text(&limits, Format::Name));
}

/// What `gatewayctl` writes when it asks this fleet.
fn asked(arguments: &[&str], code: i32) -> (String, String) {
    let fake = Fake::start(Script { status: troubled(), ..Script::default() });
    let assert = fake.gatewayctl(arguments).assert().code(code);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&assert.get_output().stdout), text(&assert.get_output().stderr))
}

#[test]
fn names_choose_lines_and_an_instance_its_own_view() {
    let (all, _) = asked(&["status", "health", "-o", "name"], 0);
    assert_eq!(all.lines().count(), 9, "{all}");
    let (one, _) = asked(&["status", "health", "users/127.0.0.1:8084", "-o", "name"], 0);
    assert_eq!(one, "health/users/http://127.0.0.1:8084\n");
    let (seen, _) = asked(&["status", "targets", "users/127.0.0.1:8084", "--instance", "dp-1"], 0);
    assert!(seen.contains("EJECTED") && seen.contains("1/1") && !seen.contains("OK"), "{seen}");
}

#[test]
fn a_name_that_no_line_has_is_1_with_the_nearest() {
    let (stdout, stderr) = asked(&["status", "targets", "usres"], 1);
    assert_eq!(stdout, "");
    assert_eq!(stderr, "error: no target is named `usres`\nhelp: did you mean `users`?\n");
    let (_, stderr) = asked(&["status", "breakers", "--instance", "dp-9"], 1);
    assert_eq!(stderr, "error: no instance is named `dp-9`\nhelp: did you mean `dp-1`?\n");
}

#[test]
fn shells_get_live_names() {
    let fake = Fake::start(Script { status: troubled(), ..Script::default() });
    let complete = |words: &[&str]| {
        let mut command = fake.gatewayctl(&["--", "gatewayctl"]);
        command.args(words).env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        String::from_utf8(command.assert().code(0).get_output().stdout.clone()).unwrap()
    };
    assert!(complete(&["target", "drain", ""]).contains(&format!("users/{}", addr(8083))));
    assert_eq!(complete(&["target", "enable", ""]).lines().next(), Some(&*format!("users/{}", addr(8082))));
    assert!(complete(&["breaker", "reset", ""]).starts_with("orders"));
    assert!(complete(&["status", "targets", "--instance", ""]).contains("dp-2"));
}

fn issuer(keys: u64, loaded_ago_s: i64, error: &str) -> IssuerStatus {
    let ago = |seconds: i64| NOW_MS - seconds * 1_000;
    IssuerStatus {
        url: "https://id.example/keys".to_owned(),
        keys,
        changes: keys.min(1),
        loaded_ms: if keys > 0 { ago(loaded_ago_s) } else { 0 },
        next_ms: ago(-40),
        last_error: error.to_owned(),
        failed_ms: if error.is_empty() { 0 } else { ago(20) },
        fetches: 12,
        failures: u64::from(!error.is_empty()),
    }
}

#[test]
fn issuers_say_whose_keys_are_there_and_why_not() {
    let told = |issuer| InstanceStatus { issuers: vec![issuer], ..InstanceStatus::default() };
    let status = fleet_of(vec![
        told(issuer(2, 300, "")),
        told(issuer(2, 900, "status 500")),
        told(issuer(0, 0, "Connection refused (os error 111)")),
    ]);
    let issuers = issuers::issuers(&status);
    assert_snapshot!("issuers_table", text(&issuers, Format::Table));
    assert_snapshot!("issuers_json", text(&issuers[..1], Format::Json));
    let fleet = fleet::fleet(&status, &table(&status).unwrap());
    let complaints: Vec<_> = fleet.problems.iter().filter(|one| one.contains("id.example")).collect();
    assert_eq!(
        complaints,
        [
            "there are no keys of tokens from https://id.example/keys on 1/3 dp-3: Connection refused (os error 111)",
            "the keys of tokens are old ones from https://id.example/keys on 1/3 dp-2: status 500",
        ]
    );
}

fn listener(problem: &str, expires_in_days: &[i64]) -> ListenerStatus {
    let certificate = |(at, days): (usize, &i64)| CertificateStatus {
        path: format!("/etc/tls/{at}.pem"),
        names: vec![format!("{at}.test"), format!("www.{at}.test")],
        not_after_ms: NOW_MS + days * 86_400_000,
    };
    ListenerStatus {
        name: "https".to_owned(),
        address: "10.0.0.7:8443".to_owned(),
        protocols: vec!["h2".to_owned(), "http1".to_owned()],
        connections: 7,
        turned_away: 1,
        tls: true,
        certificates: expires_in_days.iter().enumerate().map(certificate).collect(),
        problem: problem.to_owned(),
    }
}

#[test]
fn listeners_say_which_certificates_they_show_and_for_how_long_they_hold() {
    let told = |listener| InstanceStatus { listeners: vec![listener], ..InstanceStatus::default() };
    let status = fleet_of(vec![
        told(listener("", &[60, 80])),
        told(listener("/etc/tls/0.key: its private key is not that of /etc/tls/0.pem", &[5, 80])),
        told(listener("/etc/tls/0.pem: it cannot be read", &[])),
    ]);
    let listeners = listeners::listeners(&status);
    assert_snapshot!("listeners_table", text(&listeners, Format::Table));
    assert_snapshot!("listeners_json", text(&listeners[..2], Format::Json));
    let fleet = fleet::fleet(&status, &table(&status).unwrap());
    let complaints: Vec<_> = fleet.problems.iter().filter(|one| one.starts_with("listener ")).collect();
    assert_eq!(
        complaints,
        [
            "listener https on 1/3 dp-3: /etc/tls/0.pem: it cannot be read",
            "listener https on 1/3 dp-2: /etc/tls/0.key: its private key is not that of /etc/tls/0.pem",
        ]
    );
}
