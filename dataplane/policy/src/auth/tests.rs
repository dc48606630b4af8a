//! Several entries on one route, excluded paths, and what the target is told.

use super::*;
use crate::filter::FilterConfig;
use crate::filter::Scheme;
use crate::filter::test_support::filter;
use http::header::AUTHORIZATION;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

const AT: AuthContext = AuthContext { now: Now::from_nanos(1_000_000_000_000), unix_seconds: 1_000_000 };

fn config(yaml: &str) -> AuthConfig {
    match filter(&format!("auth: {yaml}")) {
        FilterConfig::Auth(config) => config,
        other => panic!("{other:?}"),
    }
}

fn authenticator(entries: &[&str]) -> Arc<Authenticator> {
    let configs: Vec<_> = entries.iter().map(|yaml| config(yaml)).collect();
    Authenticator::new(&configs.iter().collect::<Vec<_>>(), None, &KeySets::default())
}

fn token(secret: &str, claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).expect("a token")
}

fn good(secret: &str) -> String {
    format!("Bearer {}", token(secret, &json!({"sub": "alice", "exp": 2_000_000, "role": "admin"})))
}

fn request(headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::get("/p");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn cause(decision: Decision) -> Cause {
    match decision {
        Decision::Refuse(Rejection::Unauthenticated { cause, .. }) => cause,
        other => panic!("{other:?}"),
    }
}

fn caller(decision: Decision) -> Arc<Caller> {
    match decision {
        Decision::Pass(Some(caller)) => caller,
        other => panic!("{other:?}"),
    }
}

const JWT: &str =
    "{type: jwt, secret: one, exclude_paths: [/public], claims_to_headers: {sub: X-User, role: X-Role}}";
const KEYS: &str = "{type: apikey, keys: [{name: bob, key: k3y}]}";

#[test]
fn any_entry_lets_a_request_in_and_the_caller_is_known_by_it() {
    let auth = authenticator(&[JWT, "{type: jwt, secret: two}", KEYS]);
    let ask = |headers: &[(&str, &str)]| auth.check(&mut request(headers), "/p", &AT);
    for secret in ["one", "two"] {
        let alice = caller(ask(&[("authorization", &good(secret))]));
        assert_eq!((&*alice.name, alice.scheme), ("alice", Scheme::Jwt));
        assert_eq!(alice.claim("role"), Some(&json!("admin")));
    }
    let bob = caller(ask(&[("x-api-key", "k3y")]));
    assert_eq!((&*bob.name, bob.scheme), ("bob", Scheme::ApiKey));
    // one that does not hold does not spoil another that does
    let both = caller(ask(&[("authorization", &good("three")), ("x-api-key", "k3y")]));
    assert_eq!(&*both.name, "bob");
    assert_eq!(cause(ask(&[])), Cause::NoCredentials);
    assert_eq!(cause(ask(&[("authorization", &good("three"))])), Cause::BadSignature);
    assert_eq!(cause(ask(&[("x-api-key", "k3y ")])), Cause::WrongCredentials);
}

#[test]
fn excluded_paths_are_whole_segments_and_their_requests_have_no_caller() {
    let auth = authenticator(&[JWT]);
    for path in ["/public", "/public/", "/public/x"] {
        let mut parts = request(&[("x-user", "root"), ("authorization", "Bearer nonsense")]);
        assert!(matches!(auth.check(&mut parts, path, &AT), Decision::Pass(None)), "{path}");
        assert!(!parts.headers.contains_key("x-user"), "nobody is not told as somebody");
    }
    for path in ["/publicity", "/public;x", "/Public", "/", "/private/public", "/public%2Fx"] {
        let mut parts = request(&[]);
        assert_eq!(cause(auth.check(&mut parts, path, &AT)), Cause::NoCredentials, "{path}");
    }
}

#[test]
fn the_target_hears_of_the_caller_from_us_alone() {
    let auth = authenticator(&[JWT, KEYS]);
    let token = good("one");
    let forged = [
        ("authorization", token.as_str()),
        ("x-user", "root"),
        ("x_user", "root"),
        ("x-role", "root"),
        ("x-consumer-name", "root"),
        ("x_consumer_name", "root"),
        ("x-consumer-id", "0"),
        ("x-api-key", "nonsense"),
        ("x-username", "stays"),
    ];
    let mut parts = request(&forged);
    caller(auth.check(&mut parts, "/p", &AT));
    let mut told: Vec<_> =
        parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
    told.sort_unstable();
    let expected = [
        ("authorization", token.as_str()),
        ("x-consumer-name", "alice"),
        ("x-role", "admin"),
        ("x-user", "alice"),
        ("x-username", "stays"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_refused_request_is_as_it_was() {
    let auth = authenticator(&[JWT, KEYS]);
    let mut parts = request(&[("x-user", "root"), ("x-api-key", "wrong")]);
    cause(auth.check(&mut parts, "/p", &AT));
    assert_eq!(parts.headers.len(), 2);
}

#[test]
fn credentials_that_stay_here_do_not_go_on() {
    for (entry, place) in [
        ("{type: jwt, secret: one, forward: false}", "authorization"),
        ("{type: jwt, secret: one, from: 'header:x-token', forward: false}", "x-token"),
        ("{type: jwt, secret: one, from: 'cookie:t', forward: false}", "cookie"),
    ] {
        let auth = authenticator(&[entry]);
        let value = match place {
            "cookie" => good("one").replace("Bearer ", "t="),
            _ => good("one"),
        };
        let mut parts = request(&[(place, &value)]);
        caller(auth.check(&mut parts, "/p", &AT));
        assert!(!parts.headers.contains_key(place), "{entry}");
    }
    let auth = authenticator(&["{type: jwt, secret: one, from: 'query:t'}"]);
    let mut parts = request(&[]);
    parts.uri = format!("/p?a=1&t={}", &good("one")["Bearer ".len()..]).parse().expect("a target");
    caller(auth.check(&mut parts, "/p", &AT));
    assert_eq!(parts.uri, "/p?a=1");
    // what another scheme has there is not ours
    let auth = authenticator(&["{type: jwt, secret: one, forward: false}", KEYS]);
    let mut parts = request(&[("authorization", "Basic eDp5"), ("x-api-key", "k3y")]);
    caller(auth.check(&mut parts, "/p", &AT));
    assert_eq!(parts.headers.get(AUTHORIZATION).expect("it stays"), "Basic eDp5");
}

#[test]
fn an_edit_elsewhere_keeps_what_is_known() {
    let configs = [config(JWT), config("{type: jwt, jwks_url: 'https://a/keys'}")];
    let first = KeySets::default();
    let before = Authenticator::new(&configs.iter().collect::<Vec<_>>(), None, &first);
    let second = KeySets::after(Some(&first));
    let changed = [config("{type: jwt, jwks_url: 'https://a/keys', issuers: [a]}"), config(JWT)];
    let after = Authenticator::new(&changed.iter().collect::<Vec<_>>(), Some(&before), &second);
    let jwt = |auth: &Authenticator, at: usize| match &auth.entries[at].provider {
        Provider::Jwt(verifier) => Arc::clone(verifier),
        Provider::ApiKey(_) | Provider::Basic(_) => panic!("not a key"),
    };
    assert!(Arc::ptr_eq(&jwt(&before, 0), &jwt(&after, 1)), "the same entry is the same object");
    assert!(!Arc::ptr_eq(&jwt(&before, 1), &jwt(&after, 0)));
    assert!(Arc::ptr_eq(&first.all()[0], &second.all()[0]), "the same URL is the same set");
    let third = KeySets::after(Some(&second));
    let again = Authenticator::new(&changed.iter().collect::<Vec<_>>(), Some(&after), &third);
    assert!(Arc::ptr_eq(&jwt(&again, 0), &jwt(&after, 0)));
    assert_eq!(third.all().len(), 1, "an entry that is taken over still needs its keys");
    assert_eq!(KeySets::after(Some(&third)).all().len(), 0, "what no entry names is gone");
}
