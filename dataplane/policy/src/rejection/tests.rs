//! Each refusal says one thing, the same everywhere, and what the client can do.

use super::*;
use std::collections::HashSet;

#[test]
fn reasons_are_unique_and_each_is_a_refusal() {
    let reasons: HashSet<_> = Rejection::ALL.iter().map(Rejection::reason).collect();
    assert_eq!(reasons.len(), Rejection::ALL.len());
    for (at, rejection) in Rejection::ALL.iter().enumerate() {
        assert_eq!(rejection.index(), at);
        assert!(rejection.status().as_u16() >= 400, "{rejection:?}");
    }
}

#[test]
fn body_and_header_carry_the_same_reason_version_and_instance() {
    let who = Who { instance: "dp-1", version: 7, request_id: "abc" };
    for rejection in Rejection::ALL {
        let body: serde_json::Value = serde_json::from_str(&rejection.problem(&who)).expect("json");
        assert_eq!(body["reason"], rejection.reason());
        assert_eq!(body["status"], rejection.status().as_u16());
        assert_eq!(body["config_version"], 7);
        let header = rejection.proxy_status(&who);
        let header = header.to_str().expect("ascii");
        assert!(header.starts_with("\"dp-1\"; error=") && header.contains(rejection.reason()), "{header}");
    }
}

#[test]
fn a_refused_method_names_the_allowed_ones() {
    let rejection = Rejection::MethodNotAllowed { allow: vec![Method::GET, Method::POST] };
    assert_eq!(rejection.advice(), [(header::ALLOW, HeaderValue::from_static("GET, POST"))]);
    assert!(Rejection::NoRoute.advice().is_empty());
}

#[test]
fn a_limited_request_learns_its_quota_in_the_style_asked_for() {
    let limited = |style| Limited {
        retry_after: Duration::from_millis(1200),
        quota: 100,
        window: Duration::from_secs(60),
        style,
    };
    let told = |style| -> Vec<String> {
        let advice = Rejection::RateLimited(limited(style)).advice();
        advice.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("ascii"))).collect()
    };
    assert_eq!(
        told(QuotaHeaders::Ietf),
        ["retry-after: 2", "ratelimit: \"default\";r=0;t=2", "ratelimit-policy: \"default\";q=100;w=60"]
    );
    assert_eq!(
        told(QuotaHeaders::Legacy),
        ["retry-after: 2", "x-ratelimit-limit: 100", "x-ratelimit-remaining: 0", "x-ratelimit-reset: 2"]
    );
    assert_eq!(told(QuotaHeaders::Off), ["retry-after: 2"]);
}

#[test]
fn a_401_always_says_how_to_prove_oneself_and_never_why_it_failed() {
    let told = |challenge: &Challenge, cause| -> Vec<String> {
        let advice = Rejection::Unauthenticated { challenge: challenge.clone(), cause }.advice();
        advice
            .iter()
            .map(|(name, value)| {
                assert_eq!(*name, header::WWW_AUTHENTICATE);
                value.to_str().expect("ascii").to_owned()
            })
            .collect()
    };
    let bearer = Challenge { bearer: true, ..Challenge::NONE };
    assert_eq!(told(&bearer, Cause::NoCredentials), ["Bearer realm=\"gateway\""]);
    for cause in [Cause::Expired, Cause::BadSignature, Cause::UnknownKey] {
        assert_eq!(told(&bearer, cause), ["Bearer realm=\"gateway\", error=\"invalid_token\""]);
    }
    let realm: crate::filter::auth::Realm = "the ops".parse().expect("a realm");
    let all = Challenge { bearer: true, basic: Some(Challenge::basic(&realm)), key: true };
    let expected = [
        "Bearer realm=\"gateway\"",
        "Basic realm=\"the ops\", charset=\"UTF-8\"",
        "ApiKey realm=\"gateway\"",
    ];
    assert_eq!(told(&all, Cause::NoCredentials), expected);
    // RFC 9110 §15.5.2: at least one challenge, whatever guards the route
    assert_eq!(told(&Challenge::NONE, Cause::NoCredentials), ["ApiKey realm=\"gateway\""]);
}
