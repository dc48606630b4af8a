//! What is retried, how often and why not.

use super::*;
use crate::config::leaf::{ByteSize, Method as MethodName, Percent};
use crate::filter::retry::BackoffConfig;
use crate::rejection::Rejection;
use http::StatusCode;

const NOW: Now = Now::from_nanos(7_000_000_000);

fn config(retry_on: &[&str]) -> RetryConfig {
    RetryConfig {
        max_retries: 2,
        retry_on: retry_on.iter().map(|text| text.parse().expect("a failure")).collect(),
        per_try_timeout: None,
        backoff: BackoffConfig::default(),
        budget: Percent::saturating(20),
        methods: vec![MethodName(Method::GET), MethodName(Method::PUT)],
        max_body: ByteSize(1000),
    }
}

fn next(policy: &RetryPolicy, outcome: Outcome) -> Result<Duration, NoRetry> {
    policy.next(1, outcome, &Method::GET, false, NOW)
}

/// Which of all outcomes an entry covers.
fn covered(on: &str) -> Vec<Outcome> {
    let status = |code| Outcome::Response(StatusCode::from_u16(code).expect("a status"));
    let outcomes = [
        status(200),
        status(404),
        status(429),
        status(500),
        status(502),
        status(503),
        status(504),
        Outcome::ConnectFailure,
        Outcome::Reset,
        Outcome::Timeout,
        Outcome::RefusedStream,
        Outcome::Call(GrpcStatus::Unavailable),
        Outcome::Call(GrpcStatus::Internal),
        Outcome::Call(GrpcStatus::Ok),
    ];
    let on = on.parse().expect("a failure");
    outcomes.into_iter().filter(|outcome| covers(on, *outcome)).collect()
}

#[test]
fn a_status_includes_what_the_gateway_itself_would_answer_so() {
    let status = |code| Outcome::Response(StatusCode::from_u16(code).expect("a status"));
    assert_eq!(covered("502"), [status(502), Outcome::ConnectFailure, Outcome::Reset]);
    assert_eq!(covered("503"), [status(503), Outcome::ConnectFailure, Outcome::RefusedStream]);
    assert_eq!(covered("504"), [status(504), Outcome::ConnectFailure, Outcome::Timeout]);
    assert_eq!(covered("500"), [status(500)]);
    assert_eq!(covered("429"), [status(429)]);
    assert_eq!(covered("connect_failure"), [Outcome::ConnectFailure]);
    assert_eq!(covered("reset"), [Outcome::Reset]);
    assert_eq!(covered("timeout"), [Outcome::Timeout]);
    assert_eq!(covered("refused_stream"), [Outcome::RefusedStream]);
    let call = Outcome::Call;
    assert_eq!(
        covered("unavailable"),
        [Outcome::ConnectFailure, Outcome::Reset, Outcome::RefusedStream, call(GrpcStatus::Unavailable)]
    );
    assert_eq!(covered("deadline_exceeded"), [Outcome::Timeout]);
    assert_eq!(covered("internal"), [call(GrpcStatus::Internal)]);
}

#[test]
fn what_the_gateway_answers_for_a_target_is_retried_by_its_own_status() {
    for rejection in Rejection::ALL {
        let Some(outcome) = Outcome::of(&rejection) else { continue };
        let policy = RetryPolicy::new(&config(&[rejection.status().as_str()]));
        assert!(next(&policy, outcome).is_ok(), "{}", rejection.reason());
    }
}

#[test]
fn what_is_not_asked_for_is_not_retried() {
    let policy = RetryPolicy::new(&config(&["503"]));
    assert_eq!(next(&policy, Outcome::Response(StatusCode::OK)), Err(NoRetry::NotWanted));
    assert_eq!(next(&policy, Outcome::Reset), Err(NoRetry::NotWanted));
    assert!(next(&policy, Outcome::Response(StatusCode::SERVICE_UNAVAILABLE)).is_ok());
    assert_eq!(policy.view(NOW), RetryView { retries: 1, denied_by_budget: 0, budget_left: 29 });
}

#[test]
fn a_post_goes_out_twice_only_if_nothing_of_it_went_out_once() {
    let policy = RetryPolicy::new(&config(&["502", "connect_failure"]));
    let post = |outcome, unsent| policy.next(1, outcome, &Method::POST, unsent, NOW);
    assert_eq!(post(Outcome::Reset, false), Err(NoRetry::Method));
    assert_eq!(post(Outcome::Response(StatusCode::BAD_GATEWAY), false), Err(NoRetry::Method));
    assert!(post(Outcome::ConnectFailure, true).is_ok());
    assert_eq!(policy.max_body(&Method::POST, true), 0, "no memory for what is not sent again");
    assert_eq!(policy.max_body(&Method::PUT, false), 1000);
}

#[test]
fn a_call_is_made_again_by_its_status_though_it_is_a_post() {
    let policy = RetryPolicy::new(&config(&["unavailable"]));
    let post = |outcome| policy.next(1, outcome, &Method::POST, false, NOW);
    assert!(post(Outcome::Call(GrpcStatus::Unavailable)).is_ok());
    assert_eq!(post(Outcome::Call(GrpcStatus::Internal)), Err(NoRetry::NotWanted));
    assert_eq!(post(Outcome::Reset), Err(NoRetry::Method), "nobody knows what the target has done");
    assert_eq!(policy.max_body(&Method::POST, true), 1000);
    assert_eq!(policy.max_body(&Method::POST, false), 0);
}

#[test]
fn there_are_at_most_so_many_retries() {
    let policy = RetryPolicy::new(&config(&["reset"]));
    let attempt = |made| policy.next(made, Outcome::Reset, &Method::GET, false, NOW);
    assert!(attempt(1).is_ok_and(|pause| pause <= Duration::from_millis(25)));
    assert!(attempt(2).is_ok_and(|pause| pause <= Duration::from_millis(50)));
    assert_eq!(attempt(3), Err(NoRetry::Exhausted));
}

#[test]
fn a_refused_retry_costs_no_budget_and_one_without_budget_is_counted() {
    let policy = RetryPolicy::new(&config(&["reset"]));
    for _ in 0..100 {
        assert_eq!(next(&policy, Outcome::Timeout), Err(NoRetry::NotWanted));
        assert_eq!(policy.next(3, Outcome::Reset, &Method::GET, false, NOW), Err(NoRetry::Exhausted));
        assert_eq!(policy.next(1, Outcome::Reset, &Method::POST, false, NOW), Err(NoRetry::Method));
    }
    assert_eq!(policy.view(NOW).budget_left, 30);
    (0..10).for_each(|_| policy.begin(NOW));
    assert_eq!(policy.view(NOW).budget_left, 32);
    let granted = (0..100).filter(|_| next(&policy, Outcome::Reset).is_ok()).count();
    assert_eq!(granted, 32);
    assert_eq!(next(&policy, Outcome::Reset), Err(NoRetry::Budget));
    assert_eq!(policy.view(NOW), RetryView { retries: 32, denied_by_budget: 69, budget_left: 0 });
}
