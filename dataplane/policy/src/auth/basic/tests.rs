//! Which names and passwords hold, that each is checked once, and what is forgotten when.

use super::*;
use crate::auth::jwt::KeySets;
use crate::auth::{AuthContext, Authenticator, Decision, SlowCheck};
use crate::clock::Now;
use crate::filter::FilterConfig;
use crate::filter::auth::AuthConfig;
use crate::filter::test_support::filter;
use crate::rejection::Rejection;
use event_listener::Listener as _;

const AT: AuthContext = AuthContext { now: Now::from_nanos(1), unix_seconds: 1_000_000 };

/// Of `abc`, by jBCrypt.
const ABC: &str = "$2a$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi";
/// Of `zolty`, by Argon2id.
const ZOLTY: &str =
    "$argon2id$v=19$m=7168,t=5,p=1$c29tZXNhbHRzb21lc2FsdA$ArpGEeGowXJQRpH+SOKuMdPCaX3VeIDsYK/YxcD6msI";

fn config(users: &str) -> AuthConfig {
    match filter(&format!("auth: {{type: basic, realm: ops, users: [{users}], exclude_paths: [/open]}}")) {
        FilterConfig::Auth(config) => config,
        other => panic!("{other:?}"),
    }
}

fn users() -> AuthConfig {
    config(&format!("{{name: ann, hash: '{ABC}'}}, {{name: żółw, hash: '{ZOLTY}'}}"))
}

fn authenticator(config: &AuthConfig, previous: Option<&Authenticator>) -> Arc<Authenticator> {
    Authenticator::new(&[config], previous, &KeySets::default())
}

fn request(authorization: &str) -> Parts {
    let request =
        http::Request::get("/p").header(AUTHORIZATION, authorization).header("x-consumer-name", "root");
    request.body(()).expect("a request").into_parts().0
}

fn basic(text: &str) -> String {
    format!("basic {}", STANDARD.encode(text))
}

fn slow(decision: Decision) -> PasswordCheck {
    match decision {
        Decision::Slow(SlowCheck::Password(check)) => check,
        other => panic!("{other:?}"),
    }
}

fn cause(decision: &Decision) -> Cause {
    match decision {
        Decision::Refuse(Rejection::Unauthenticated { cause, .. }) => *cause,
        other => panic!("{other:?}"),
    }
}

/// What becomes of a request whose password, if it must be, is checked.
fn decided(auth: &Authenticator, parts: &mut Parts) -> Decision {
    match auth.check(parts, "/p", &AT) {
        Decision::Slow(SlowCheck::Password(check)) => {
            let (_waits, job) = check.begin();
            job.expect("nobody else checks it").run();
            auth.resume(parts, "/p", &AT)
        }
        decision => decision,
    }
}

#[test]
fn the_right_password_lets_in_and_stays_here() {
    let auth = authenticator(&users(), None);
    for (sent, name) in [("ann:abc", "ann"), ("żółw:zolty", "żółw")] {
        let mut parts = request(&basic(sent));
        match decided(&auth, &mut parts) {
            Decision::Pass(Some(caller)) => {
                assert_eq!((&*caller.name, caller.scheme), (name, Scheme::Basic));
            }
            other => panic!("{sent}: {other:?}"),
        }
        assert!(!parts.headers.contains_key(AUTHORIZATION), "{sent}");
        assert_eq!(parts.headers["x-consumer-name"].as_bytes(), name.as_bytes());
        // from now on at once
        assert!(
            matches!(auth.check(&mut request(&basic(sent)), "/p", &AT), Decision::Pass(Some(_))),
            "{sent}"
        );
    }
}

#[test]
fn a_wrong_one_does_not_and_is_told_how_to_do_better() {
    let auth = authenticator(&users(), None);
    for sent in ["ann:abd", "ann:", "ann:abc ", "żółw:abc", "nobody:abc", ":abc", "ann:abc:"] {
        let mut parts = request(&basic(sent));
        let decision = decided(&auth, &mut parts);
        assert_eq!(cause(&decision), Cause::WrongCredentials, "{sent}");
        let Decision::Refuse(rejection) = decision else { unreachable!() };
        let told: Vec<_> = rejection.advice().into_iter().map(|(_, value)| value).collect();
        assert_eq!(told, ["Basic realm=\"ops\", charset=\"UTF-8\""], "{sent}");
        assert!(parts.headers.contains_key(AUTHORIZATION), "the request is as it was");
        // it is not checked again
        let again = auth.check(&mut request(&basic(sent)), "/p", &AT);
        assert_eq!(cause(&again), Cause::WrongCredentials, "{sent}");
    }
}

#[test]
fn what_is_no_name_and_password_costs_nothing() {
    let auth = authenticator(&users(), None);
    let long = STANDARD.encode(format!("ann:{}", "x".repeat(MAX_CREDENTIALS)));
    for (sent, expected) in [
        ("Bearer abc", Cause::NoCredentials),
        ("Basic", Cause::Malformed),
        ("Basic !!!", Cause::Malformed),
        ("Basic YW5uOmFiYw", Cause::Malformed),
        ("Basic YW5uOmFiYw== YW5u", Cause::Malformed),
        (&basic("annabc"), Cause::Malformed),
        (&basic("ann:a\0bc"), Cause::Malformed),
        (&basic("ann\n:abc"), Cause::Malformed),
        (&format!("Basic {}", STANDARD.encode(b"ann:\xff")), Cause::Malformed),
        (&format!("Basic {long}"), Cause::TooLong),
    ] {
        assert_eq!(cause(&auth.check(&mut request(sent), "/p", &AT)), expected, "{sent}");
    }
    let mut twice = request(&basic("ann:abc"));
    twice.headers.append(AUTHORIZATION, http::HeaderValue::from_static("Basic x"));
    assert_eq!(cause(&auth.check(&mut twice, "/p", &AT)), Cause::SeveralCredentials);
    let mut open = request("Basic !!!");
    assert!(matches!(auth.check(&mut open, "/open/a", &AT), Decision::Pass(None)));
    assert!(!open.headers.contains_key("x-consumer-name"));
}

#[test]
fn one_check_is_enough_for_all_that_wait_for_it() {
    let auth = authenticator(&users(), None);
    let check = || slow(auth.check(&mut request(&basic("ann:abc")), "/p", &AT));
    let (first, job) = check().begin();
    let job = job.expect("the first one");
    let (second, none) = check().begin();
    assert!(none.is_none());
    job.run();
    first.wait();
    second.wait();
    assert!(matches!(auth.resume(&mut request(&basic("ann:abc")), "/p", &AT), Decision::Pass(Some(_))));
}

#[test]
fn a_check_that_nobody_makes_or_waits_for_leaves_nothing_behind() {
    let auth = authenticator(&users(), None);
    let check = || slow(auth.check(&mut request(&basic("ann:abc")), "/p", &AT));
    // there was no room for it
    let (waits, job) = check().begin();
    drop(job);
    waits.wait();
    let unknown = auth.resume(&mut request(&basic("ann:abc")), "/p", &AT);
    assert!(matches!(unknown, Decision::Refuse(Rejection::AuthUnavailable)), "{unknown:?}");
    // the client has gone
    let (waits, job) = check().begin();
    drop(waits);
    job.expect("the next one").run();
    slow(auth.check(&mut request(&basic("ann:abc")), "/p", &AT));
}

#[test]
fn what_is_known_lasts_as_long_as_the_users() {
    let before = authenticator(&users(), None);
    decided(&before, &mut request(&basic("ann:abc")));
    let same = authenticator(&users(), Some(&before));
    assert!(matches!(same.check(&mut request(&basic("ann:abc")), "/p", &AT), Decision::Pass(Some(_))));
    let without_her = config(&format!("{{name: bob, hash: '{ABC}'}}"));
    let changed = authenticator(&without_her, Some(&before));
    assert_eq!(cause(&decided(&changed, &mut request(&basic("ann:abc")))), Cause::WrongCredentials);
}

#[test]
fn an_unknown_name_is_checked_against_some_users_hash() {
    let AuthConfig::Basic(config) = users() else { unreachable!() };
    let passwords = Passwords::new(&config);
    let decoys: Vec<_> =
        (0..100).map(|at| passwords.decoy(&format!("user{at}")).expect("one").expose()).collect();
    assert!(decoys.contains(&ABC) && decoys.contains(&ZOLTY));
    assert_eq!(
        passwords.decoy("x").map(PasswordHash::expose),
        passwords.decoy("x").map(PasswordHash::expose)
    );
}

#[test]
fn guesses_do_not_displace_what_holds_and_take_bounded_room() {
    let auth = authenticator(&users(), None);
    decided(&auth, &mut request(&basic("ann:abc")));
    let crate::auth::Provider::Basic(passwords) = &auth.entries[0].provider else { unreachable!() };
    for guess in 0..100_000_u32 {
        passwords.cache.insert_wrong(passwords.cache.name(0, &guess.to_le_bytes()));
    }
    assert!(matches!(auth.check(&mut request(&basic("ann:abc")), "/p", &AT), Decision::Pass(Some(_))));
    assert!(passwords.cache.wrong_len() <= 4096, "{}", passwords.cache.wrong_len());
}
