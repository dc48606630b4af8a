//! What is remembered, for how long, and what is not.

use super::*;
use crate::telemetry::{Try, TryEnd};
use crate::test_support;
use http::HeaderValue;
use policy::config::GatewayConfig;
use policy::table::RouteTable;
use serde_json::json;
use std::time::Instant;

fn table() -> RouteTable {
    let config: GatewayConfig = serde_json::from_value(json!({
        "routes": [{"name": "users", "prefix": "/users", "targets": [{"addr": "http://10.0.0.7:8081"}, {"addr": "http://10.0.0.8:8082"}]}],
    }))
    .unwrap();
    RouteTable::build(&config, None).unwrap()
}

/// A request that a target answered.
fn exchanged<'a>(table: &'a RouteTable, request_id: &'a str, began: Instant) -> Exchanged<'a> {
    Exchanged {
        unix_nanos: 1_700_000_000_123_456_789,
        request_id,
        route_at: Some(0),
        route: table.routes.first(),
        upstream: table.routes.first().map(|route| &*route.backends[0].upstream),
        ..test_support::exchanged(began)
    }
}

#[test]
fn everything_that_is_told_of_a_request_is_there_again() {
    let (table, began) = (table(), Instant::now());
    let (host, agent) = (HeaderValue::from_static("api.example.com"), HeaderValue::from_static("curl/8"));
    let one = |target, after, took, ended| Try {
        target,
        began: began + Duration::from_millis(after),
        took: Duration::from_millis(took),
        ended,
        reused: target == 1,
        span: 0,
    };
    let tries = [one(0, 1, 10, TryEnd::Failed("connect_failed")), one(1, 12, 17, TryEnd::Status(200))];
    let mut recent = Recent::new();
    recent.remember(&Exchanged {
        query: Some("page=7&token=s3cret&s3cret&=x"),
        host: Some(&host),
        user_agent: Some(&agent),
        consumer: Some("alice"),
        tries: &tries,
        bytes_in: 3,
        bytes_out: 5,
        retry_denied: true,
        ..exchanged(&table, "r-1", began)
    });
    let attempt = |target: &str, after_us, took_us, status, failure: &str| v1::PastAttempt {
        target: target.to_owned(),
        after_us,
        took_us,
        status,
        failure: failure.to_owned(),
        reused: status == 200,
    };
    let expected = v1::PastRequest {
        request_id: "r-1".to_owned(),
        version: 0,
        began_us: 1_700_000_000_123_456,
        duration_us: 30_000,
        method: "GET".to_owned(),
        host: "api.example.com".to_owned(),
        path: "/users/7".to_owned(),
        query: "page=***&token=***&***&=***".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        user_agent: "curl/8".to_owned(),
        peer: "127.0.0.1:40000".to_owned(),
        client: "192.0.2.7".to_owned(),
        route: "users".to_owned(),
        consumer: "alice".to_owned(),
        status: 200,
        reason: String::new(),
        error: String::new(),
        local: false,
        attempts: vec![
            attempt("10.0.0.7:8081", 1_000, 10_000, 0, "connect_failed"),
            attempt("10.0.0.8:8082", 12_000, 17_000, 200, ""),
        ],
        bytes_in: 3,
        bytes_out: 5,
        trace_id: String::new(),
        retry_denied: true,
        would_limit: false,
    };
    assert_eq!(recent.recall("r-1").requests, [expected]);
    assert_eq!(recent.recall("r-2").requests, []);
    assert_eq!((recent.recall("r-2").remembered, recent.recall("r-2").oldest_ms), (1, 1_700_000_000_123));
}

#[test]
fn what_failed_outlasts_any_number_of_requests_that_did_not() {
    let (table, began) = (table(), Instant::now());
    let mut recent = Recent::new();
    let failed = |id| Exchanged {
        status: 503,
        local: true,
        reason: Some("circuit_open"),
        ..exchanged(&table, id, began)
    };
    let refused =
        |id| Exchanged { status: 404, local: true, reason: Some("no_route"), ..exchanged(&table, id, began) };
    recent.remember(&failed("failed"));
    recent.remember(&refused("refused"));
    recent.remember(&exchanged(&table, "served", began));
    recent.remember(&Exchanged { duration: LONG, ..exchanged(&table, "slow", began) });
    recent.remember(&Exchanged { reason: Some("client_closed"), ..exchanged(&table, "cut off", began) });
    for _ in 0..SERVED {
        recent.remember(&exchanged(&table, "other", began));
    }
    let kept = |recent: &Recent, id| recent.recall(id).requests.len();
    assert_eq!(
        ["failed", "refused", "slow", "cut off", "served"].map(|id| kept(&recent, id)),
        [1, 1, 1, 1, 0]
    );
    for _ in 0..REFUSED {
        recent.remember(&refused("other"));
    }
    assert_eq!(["failed", "refused", "slow"].map(|id| kept(&recent, id)), [1, 0, 1]);
    assert_eq!(recent.recall("").remembered, (SERVED + REFUSED + 3) as u64);
}

#[test]
fn a_ring_that_is_full_takes_no_more_memory_whatever_comes() {
    let (table, began) = (table(), Instant::now());
    let mut recent = Recent::new();
    let long = "a=".repeat(10_000);
    for _ in 0..2 * SERVED {
        recent.remember(&Exchanged { path: &long, query: Some(&long), ..exchanged(&table, "r-1", began) });
    }
    let remembered = recent.recall("r-1").requests;
    assert_eq!(remembered.len(), SERVED);
    assert!(remembered.iter().all(|one| one.path.len() <= 512 && one.query.len() <= 512));
    let buffers = |recent: &Recent| recent.slots().map(Slot::capacity).collect::<Vec<_>>();
    let before = buffers(&recent);
    for _ in 0..SERVED {
        recent.remember(&exchanged(&table, "r-2", began));
    }
    assert_eq!((recent.recall("r-1").requests.len(), buffers(&recent)), (0, before));
}
