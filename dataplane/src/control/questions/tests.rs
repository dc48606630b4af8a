//! What `explain` says, against what then happens: random configs in random states, random requests, real sockets.

use super::explained;
use crate::clock;
use crate::test_support::{Served, serve_table};
use ::tests::client::RawClient;
use ::tests::upstream::Target;
use fastrand::Rng;
use policy::breaker::Hold;
use policy::config::GatewayConfig;
use policy::explain::{Explanation, Verdict};
use policy::table::RouteTable;
use proptest::prelude::*;
use proto::v1::{self, HeaderField, PastRequest};
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// HS256 by [`SECRET`], valid until 2100 but for the last: alice is an admin, bob is not, eve's has expired.
const TOKENS: [&str; 3] = [
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsInJvbGUiOiJhZG1pbiIsImV4cCI6NDEwMjQ0NDgwMH0.rvj2GHqCFmZD24j3id1SjtL9t8ubkZLHzc7Pvz3A4-8",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJib2IiLCJleHAiOjQxMDI0NDQ4MDB9.022e1FjJvIwU9Vl8T-cNZhEWnUWy7Jn7N-NzZ3h0_C8",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJldmUiLCJleHAiOjEwMDB9.R88Fh9EJyG7qU5cgeocUSg3hCmhATRdRo4-QPSwCQuc",
];
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn one<T: Clone>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())].clone()
}

fn a_filter(rng: &mut Rng) -> Value {
    match rng.u8(..13) {
        0 => json!({"ip": {"allow": ["127.0.0.0/8"]}}),
        1 => json!({"ip": {"deny": ["192.0.2.0/24"]}}),
        2 => {
            json!({"auth": {"type": "apikey", "keys": [{"name": "bob", "key": "k3y"}], "exclude_paths": ["/api/v1/me"]}})
        }
        3 => json!({"auth": {"type": "jwt", "secret": SECRET}}),
        4 => json!({"authorize": {"claims": {"role": ["admin"]}}}),
        5 => {
            json!({"rate_limit": {"qps": 1, "algorithm": "sliding_window", "window": "4s", "key": one(rng, &["route", "client_ip", "header:X-Version"])}})
        }
        6 => {
            json!({"rate_limit": {"qps": 1000, "burst": 1, "algorithm": "leaky_bucket", "shadow": rng.bool()}})
        }
        7 => json!({"body_limit": {"max": "10B"}}),
        8 => json!({"headers": {"request": {"set": {"X-Version": "2"}}, "response": {"remove": ["Server"]}}}),
        9 => {
            json!({"circuit_breaker": {"threshold": 5, "scope": one(rng, &["route", "target"]), "shadow": rng.u8(..4) == 0}})
        }
        10 => json!({"concurrency": {"max": 50, "queue": 0, "scope": one(rng, &["route", "target"])}}),
        11 => json!({"retry": {"max_retries": 1}}),
        _ => json!({"cors": {"allow_origins": ["https://a.example"], "allow_methods": ["GET", "PUT"]}}),
    }
}

fn some_filters(rng: &mut Rng) -> Vec<Value> {
    let mut filters: Vec<Value> = Vec::new();
    for _ in 0..rng.u8(..5) {
        let filter = a_filter(rng);
        let kind = |filter: &Value| filter.as_object().and_then(|map| map.keys().next().cloned());
        if filters.iter().all(|other| kind(other) != kind(&filter)) {
            filters.push(filter);
        }
    }
    // without anybody who finds out who asks, the config is refused
    if !filters.iter().any(|filter| filter.get("auth").is_some()) {
        filters.retain(|filter| filter.get("authorize").is_none());
    }
    filters
}

fn a_route(rng: &mut Rng, at: usize, targets: &[String]) -> Value {
    let mut route = json!({"name": format!("r{at}"), "filters": some_filters(rng)});
    let (key, path) = one(
        rng,
        &[
            ("prefix", "/"),
            ("prefix", "/api"),
            ("prefix", "/api/v1"),
            ("path", "/api/v1/me"),
            ("path", "/users/{id}"),
        ],
    );
    route[key] = path.into();
    route["hosts"] = one(rng, &[json!([]), json!([]), json!(["api.example.com"]), json!(["*.example.com"])]);
    route["methods"] = one(rng, &[json!([]), json!(["GET"]), json!(["GET", "POST"])]);
    if rng.u8(..4) == 0 {
        route["headers"] = json!([{"name": "X-Version", "value": "2"}]);
    }
    if rng.u8(..5) == 0 {
        route["query"] = json!([{"name": "beta", "value": "1"}]);
    }
    if key == "prefix" && rng.bool() {
        route["strip_prefix"] = true.into();
    }
    match rng.u8(..10) {
        0 => route["redirect"] = json!({"to": "https://{host}{path}"}),
        1 => route["respond"] = json!({"status": one(rng, &[200, 503]), "body": "later"}),
        // whose turn it is would be another matter
        2 | 3 => {
            route["split"] = json!([
                {"upstream": "first", "weight": 0, "when": [{"header": "X-Version", "value": "2"}]},
                {"upstream": "second", "weight": 1},
            ]);
        }
        _ => {
            let addrs: Vec<Value> =
                targets[..rng.usize(1..=targets.len())].iter().map(|addr| json!({"addr": addr})).collect();
            route["targets"] = addrs.into();
            route["balancer"] =
                one(rng, &["round_robin", "least_request", "weighted_round_robin", "random"]).into();
            if rng.bool() {
                route["health_check"] = json!({"path": "/health"});
                route["on_all_unhealthy"] = one(rng, &["fail_open", "fail_closed"]).into();
            }
        }
    }
    if route.get("targets").is_none() && route.get("split").is_none() {
        let needless = ["circuit_breaker", "concurrency", "retry"];
        if let Some(filters) = route["filters"].as_array_mut() {
            filters.retain(|filter| needless.iter().all(|kind| filter.get(kind).is_none()));
        }
        if let Some(route) = route.as_object_mut() {
            route.remove("strip_prefix");
        }
    }
    route
}

/// As many of the routes as do not contradict each other.
fn a_table(rng: &mut Rng, targets: &[String]) -> RouteTable {
    let mut routes: Vec<Value> = Vec::new();
    let global = if rng.bool() {
        json!([{"cors": {"allow_origins": ["https://a.example"], "allow_methods": ["GET"]}}])
    } else {
        json!([])
    };
    let mut server = if rng.bool() {
        json!({"trusted_proxies": ["127.0.0.1"]})
    } else {
        json!({"max_body_bytes": "100B"})
    };
    if rng.u8(..10) == 0 {
        server["redirect_https"] = json!({"port": 8443});
    }
    let mut built = None;
    for at in 0..rng.usize(1..7) {
        let route = a_route(rng, at, targets);
        routes.push(route.clone());
        let upstreams = json!([
            {"name": "first", "targets": [{"addr": targets[0]}]},
            {"name": "second", "targets": [{"addr": targets[1]}]},
        ]);
        let config =
            json!({"server": server, "upstreams": upstreams, "routes": routes, "global_filters": global});
        let config: GatewayConfig =
            serde_json::from_value(config).unwrap_or_else(|error| panic!("{error}: {route}"));
        match RouteTable::build(&config, None) {
            Ok(table) => built = Some(table),
            Err(problems) => {
                // two routes for the same requests, and nothing else
                assert!(problems.iter().all(|problem| problem.message.contains('`')), "{problems:?}");
                routes.pop();
            }
        }
    }
    built.unwrap_or_else(|| panic!("no table of {routes:?}"))
}

/// Breakers, targets and places as a bad night may have left them.
fn unsettle(table: &RouteTable, rng: &mut Rng) -> Vec<policy::concurrency::Slot> {
    let mut slots = Vec::new();
    let now = clock::now();
    for route in &table.routes {
        for (_, breaker) in route.breakers() {
            match rng.u8(..4) {
                0 => breaker.hold(Some(Hold::Open), now),
                1 => breaker.hold(Some(Hold::Closed), now),
                _ => {}
            }
        }
        for (_, limit) in route.concurrency_limits() {
            if rng.u8(..3) == 0 {
                slots.extend(std::iter::from_fn(|| limit.try_acquire()));
            }
        }
        let upstreams = route.backends.iter().map(|backend| &backend.upstream);
        for (upstream, target) in
            upstreams.flat_map(|one| one.targets.iter().map(move |target| (one, target)))
        {
            match (rng.u8(..4), upstream.thresholds()) {
                (0, _) => target.state.set_drained(true, now),
                (1, Some(thresholds)) => {
                    for _ in 0..10 {
                        target.state.probed(Err("it is night".to_owned()), thresholds, now);
                    }
                }
                _ => {}
            }
        }
    }
    slots
}

struct Asked {
    question: v1::Explain,
    body: &'static str,
}

fn a_request(rng: &mut Rng) -> Asked {
    let method = one(rng, &["GET", "GET", "GET", "POST", "PUT", "HEAD", "OPTIONS", "TRACE", "PURGE"]);
    let path = one(
        rng,
        &[
            "/",
            "/api",
            "/api/",
            "/apix",
            "/api/v1",
            "/api/v1/me",
            "/api/v1/me/x",
            "/users/7",
            "/users/",
            "/a//b",
            "/api/../users/7",
            "/api/%2e%2e/users/7",
            "/api%2fv1",
            "/%61pi/v1",
            "/api/v1/..",
            "/a%00b",
            "http://api.example.com/api",
        ],
    );
    let query = one(rng, &["", "", "?beta=1", "?a=2&beta=1", "?beta"]);
    let mut headers: Vec<(&str, String)> = Vec::new();
    let mut add = |name, value: &str| headers.push((name, value.to_owned()));
    add(
        "Host",
        one(
            rng,
            &[
                "api.example.com",
                "api.example.com",
                "www.example.com",
                "other.org",
                "API.example.com:8080",
                "a/b",
            ],
        ),
    );
    if rng.u8(..3) == 0 {
        add("X-Version", one(rng, &["1", "2"]));
    }
    if rng.bool() {
        add("X-API-Key", one(rng, &["k3y", "k3y", "wrong"]));
    }
    if rng.u8(..3) == 0 {
        add(
            "Authorization",
            &format!("Bearer {}", one(rng, &[TOKENS[0], TOKENS[0], TOKENS[1], TOKENS[2], "x.y.z"])),
        );
    }
    if rng.u8(..4) == 0 {
        add("Origin", one(rng, &["https://a.example", "https://b.example"]));
        if rng.bool() {
            add("Access-Control-Request-Method", one(rng, &["GET", "PUT"]));
        }
    }
    if rng.u8(..4) == 0 {
        add("X-Forwarded-For", one(rng, &["192.0.2.7", "10.0.0.1", "nonsense"]));
    }
    match rng.u8(..24) {
        0 => add("Expect", "a miracle"),
        1 => add("Via", "1.1 test"),
        2 => add("Upgrade", "h2c"),
        3 => add("X-Forwarded-For", "192.0.2.8"),
        _ => {}
    }
    let body = if matches!(method, "POST" | "PUT") {
        one(rng, &["", "hello", "more than ten bytes of a body"])
    } else {
        ""
    };
    if !body.is_empty() {
        add("Content-Length", &body.len().to_string());
    }
    add("Connection", one(rng, &["close", "close", "close", "close, host"]));
    let headers = headers.into_iter().map(|(name, value)| HeaderField { name: name.to_owned(), value });
    let question = v1::Explain {
        method: method.to_owned(),
        target: format!("{path}{query}"),
        headers: headers.collect(),
        peer: "127.0.0.1".to_owned(),
        listener: String::new(),
    };
    Asked { question, body }
}

/// Everything that a question might have moved.
fn counts(served: &Served) -> Vec<u64> {
    let (table, now) = (served.gateway.table().unwrap(), clock::now());
    let mut counts = Vec::new();
    for route in &table.routes {
        for limit in &route.guard.limits {
            let view = limit.running.view(now);
            counts.extend([view.passed, view.delayed, view.limited, view.would_limit, view.keys]);
        }
        for (_, breaker) in route.breakers() {
            let view = breaker.view(now);
            counts.extend([view.refused, view.would_refuse, view.opened]);
        }
        for (_, limit) in route.concurrency_limits() {
            let view = limit.view();
            counts.extend([view.in_flight.into(), view.refused, view.waited, view.queued.into()]);
        }
        counts.extend(route.guard.retry.iter().map(|retry| retry.running.view(now).retries));
    }
    counts
}

/// What really becomes of it: as the client sees it, and as it is remembered.
struct Happened {
    status: u16,
    /// In `Proxy-Status`, and in the body.
    told: (String, String),
    remembered: PastRequest,
}

async fn happened(served: &Served, asked: &Asked) -> Happened {
    let v1::Explain { method, target, headers, peer: _, listener: _ } = &asked.question;
    let fields: String =
        headers.iter().map(|HeaderField { name, value }| format!("{name}: {value}\r\n")).collect();
    let mut client = RawClient::connect(served.address).await;
    client.send(format!("{method} {target} HTTP/1.1\r\n{fields}\r\n{}", asked.body)).await;
    let answer = client.until_closed().await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) =
        answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?} to {:?}", asked.question));
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
        line.map(|line| line[name.len() + 2..].to_owned()).unwrap_or_default()
    };
    let detail = header("proxy-status");
    let detail =
        detail.split("details=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
    let problem: Value = serde_json::from_str(body).unwrap_or_default();
    let id = header("x-request-id");
    let remembered = loop {
        // the answer may be read before its exchange is over
        if let Some(request) = served.workers.recall(&id, PATIENCE).await.requests.pop() {
            break request;
        }
        tokio::task::yield_now().await;
    };
    Happened {
        status: head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0),
        told: (detail.to_owned(), problem["reason"].as_str().unwrap_or_default().to_owned()),
        remembered,
    }
}

/// Whether the limit that refuses may let the same request pass a moment later.
fn is_fleeting(told: &Explanation) -> bool {
    let Verdict::Answer { reason, advice, .. } = &told.verdict else { return false };
    let wait = advice
        .iter()
        .find(|(name, _)| name == "retry-after")
        .and_then(|(_, value)| value.parse::<u32>().ok());
    reason == "rate_limited" && wait.is_none_or(|seconds| seconds <= 1)
}

async fn compare(served: &Served, asked: &Asked) -> Result<bool, TestCaseError> {
    let before = counts(served);
    let told = explained(&served.gateway, asked.question.clone()).map_err(TestCaseError::fail)?;
    for _ in 0..3 {
        let again = explained(&served.gateway, asked.question.clone()).map_err(TestCaseError::fail)?;
        prop_assert_eq!((&again.route, again.verdict.is_refusal()), (&told.route, told.verdict.is_refusal()));
    }
    prop_assert_eq!(before, counts(served), "asking changed something: {:?}", &told);
    let Happened { status, told: (header, body), remembered } = happened(served, asked).await;
    if is_fleeting(&told) {
        return Ok(false);
    }
    let context = format!("{told:#?}\n{:?}\n{remembered:?}", asked.question);
    prop_assert_eq!(told.route.as_deref().unwrap_or_default(), &remembered.route, "{}", &context);
    let local = match &told.verdict {
        Verdict::Forward { upstream, .. } => {
            prop_assert_eq!((status, remembered.reason.as_str()), (200, ""), "{}", &context);
            let destination = told.destination.as_ref().map(|to| &to.upstream);
            prop_assert_eq!(Some(upstream), destination, "{}", &context);
            let candidates =
                told.destination.iter().flat_map(|to| &to.targets).filter(|target| target.candidate);
            let candidates: Vec<&str> =
                candidates.map(|target| target.addr.trim_start_matches("http://")).collect();
            prop_assert!(candidates.contains(&remembered.attempts[0].target.as_str()), "{}", &context);
            false
        }
        Verdict::Answer { status: expected, reason, refused, .. } => {
            prop_assert_eq!((status, &remembered.reason), (*expected, reason), "{}", &context);
            if *refused && asked.question.method != "HEAD" {
                prop_assert_eq!((&header, &body), (reason, reason), "{}", &context);
            }
            true
        }
    };
    prop_assert_eq!(remembered.local, local, "{}", &context);
    prop_assert_eq!(remembered.status, u32::from(status), "{}", &context);
    Ok(told.verdict.is_refusal())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_explained_is_what_happens(seed: u64) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut rng = Rng::with_seed(seed);
            let targets = [Target::start("one").await, Target::start("two").await];
            let addrs = targets.iter().map(|target| format!("http://{}", target.address())).collect::<Vec<_>>();
            let table = a_table(&mut rng, &addrs);
            let _taken = unsettle(&table, &mut rng);
            let served = serve_table(table);
            for _ in 0..24 {
                compare(&served, &a_request(&mut rng)).await?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
