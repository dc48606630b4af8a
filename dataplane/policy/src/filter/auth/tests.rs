//! What an `auth` may say, and what is wrong with one that cannot be meant.

use super::*;
use crate::filter::test_support::{fault, filter, wire_round_trip};

/// Of `abc`.
const BCRYPT: &str = "$2a$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi";

#[test]
fn every_setting_survives_the_wire() {
    wire_round_trip("auth: {type: jwt, secret: s3cret, exclude_paths: [/public]}");
    wire_round_trip("auth: {type: apikey, header: X-Key, keys: [{name: a, key: k}], exclude_paths: [/open]}");
    wire_round_trip(&format!(
        "auth: {{type: basic, realm: 'the ops', users: [{{name: a b, hash: '{BCRYPT}'}}], exclude_paths: [/open]}}"
    ));
}

#[test]
fn the_keys_of_the_other_type_are_refused() {
    assert_eq!(fault("auth: {type: jwt, secret: s, header: X-A}"), "`header` has no meaning for `type: jwt`");
    assert_eq!(fault("auth: {type: apikey, secret: s}"), "`secret` has no meaning for `type: apikey`");
    assert_eq!(
        fault("auth: {type: jwt}"),
        "`type: jwt` needs a `secret`, `public_key`, `jwks` or `jwks_url`"
    );
    assert_eq!(fault("auth: {type: apikey}"), "`type: apikey` needs `keys`");
    assert_eq!(fault("auth: {type: basic}"), "`type: basic` needs `users`");
    assert_eq!(fault("auth: {type: basic, keys: []}"), "`keys` has no meaning for `type: basic`");
    assert_eq!(fault("auth: {type: jwt, secret: s, realm: a}"), "`realm` has no meaning for `type: jwt`");
    assert_eq!(fault("auth: {type: apikey, users: []}"), "`users` has no meaning for `type: apikey`");
    assert_eq!(fault("auth: {secret: s}"), "`type` is missing");
}

#[test]
fn keys_that_tell_callers_apart_are_asked_for() {
    assert!(fault("auth: {type: apikey, keys: []}").contains("nobody would be let in"));
    assert!(fault("auth: {type: apikey, keys: [{name: a, key: x}, {name: a, key: y}]}").contains("two keys"));
    assert!(
        fault("auth: {type: apikey, keys: [{name: a, key: x}, {name: b, key: x}]}")
            .contains("another caller")
    );
    assert!(fault("auth: {type: jwt, secret: ''}").contains("the secret is empty"));
}

#[test]
fn no_output_shows_a_secret() {
    let basic = format!("auth: {{type: basic, users: [{{name: a, hash: '{BCRYPT}'}}]}}");
    for text in [
        "auth: {type: jwt, secret: hunter2}",
        "auth: {type: apikey, keys: [{name: a, key: hunter2}]}",
        &basic,
    ] {
        let filter = filter(text);
        let shown = format!("{filter:?} {}", serde_json::to_string(&filter).expect("json"));
        assert!(!shown.contains("hunter2") && !shown.contains("WvvTPHK") && shown.contains("***"), "{shown}");
    }
}

const JWKS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

#[test]
fn every_setting_of_a_token_survives_the_wire() {
    wire_round_trip(&format!("auth: {{type: jwt, jwks: '{JWKS}', algorithms: [ES256]}}"));
    wire_round_trip(
        "auth: {type: jwt, jwks_url: 'https://issuer.example:8443/keys?v=1', issuers: [a], audiences: [b, c], \
         leeway: 1m, require_exp: false, required_claims: [sub], claims_to_headers: {sub: X-User, role: X-Role}, \
         from: 'cookie:session', forward: false, algorithms: [RS256, PS512, EdDSA]}",
    );
    for from in ["header", "header:x-token", "query:access_token"] {
        wire_round_trip(&format!("auth: {{type: jwt, secret: s, from: '{from}'}}"));
    }
}

#[test]
fn what_is_left_out_is_what_a_careful_operator_would_write() {
    let jwt = |text: &str| match filter(text) {
        crate::filter::FilterConfig::Auth(AuthConfig::Jwt(config)) => *config,
        other => panic!("{other:?}"),
    };
    let config = jwt("auth: {type: jwt, secret: s}");
    assert!(config.require_exp && config.forward);
    assert_eq!(config.leeway, Duration::from_secs(30));
    assert!(!jwt("auth: {type: jwt, secret: s, from: 'query:t'}").forward, "a query ends in logs");
    assert_eq!(
        jwt("auth: {type: jwt, secret: s, from: 'header:authorization'}").from,
        TokenSource::Authorization
    );
}

#[test]
fn a_key_is_never_meant_for_another_family() {
    let foreign = |keys: &str, algorithm: &str| {
        let message = fault(&format!("auth: {{type: jwt, {keys}, algorithms: [{algorithm}]}}"));
        assert!(message.contains("is not an algorithm that"), "{keys} {algorithm}: {message}");
    };
    foreign("secret: s", "RS256");
    foreign(&format!("jwks: '{JWKS}'"), "HS256");
    foreign(&format!("jwks: '{JWKS}'"), "ES384");
    foreign("jwks_url: 'https://a/'", "HS256");
    assert!(fault("auth: {type: jwt, secret: s, algorithms: [none]}").contains("anybody could be anybody"));
    assert!(fault("auth: {type: jwt, secret: s, algorithms: [hs256]}").contains("not an algorithm"));
}

#[test]
fn keys_that_cannot_be_used_are_refused_with_the_reason() {
    for (keys, part) in [
        ("jwks: '{}'", "not a JWK set"),
        ("jwks: '{\"keys\": []}'", "none of its keys"),
        ("jwks: '{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAA\"}]}'", "none of its keys"),
        ("public_key: hello", "not the PEM of a public key"),
        ("public_key: '-----BEGIN PRIVATE KEY-----'", "private key"),
        ("jwks_url: 'ftp://a/b'", "not an `https` URL"),
        ("jwks_url: '/jwks.json'", "not an `https` URL"),
        ("jwks_url: 'https://user@a/b'", "user name"),
        ("secret: s, jwks_url: 'https://a/b'", "two sources: `secret` and `jwks_url`"),
    ] {
        let message = fault(&format!("auth: {{type: jwt, {keys}}}"));
        assert!(message.contains(part), "{keys}: {message}");
    }
}

#[test]
fn no_claim_takes_the_place_of_a_header_that_others_go_by() {
    for header in ["Host", "Authorization", "Content_Length", "X-Forwarded-For", "X-Consumer-Name", "Upgrade"]
    {
        let message = fault(&format!("auth: {{type: jwt, secret: s, claims_to_headers: {{sub: {header}}}}}"));
        assert!(message.contains("no claim may be sent as"), "{header}: {message}");
    }
    let twice = "auth: {type: jwt, secret: s, claims_to_headers: {a: X-A, b: x-a}}";
    assert!(fault(twice).contains("two claims"));
    assert!(fault("auth: {type: jwt, secret: s, leeway: 6m}").contains("more than 5m"));
    assert!(fault("auth: {type: jwt, secret: s, from: body}").contains("no place for a token"));
}

#[test]
fn a_masked_secret_is_no_secret() {
    for text in ["auth: {type: jwt, secret: '***'}", "auth: {type: apikey, keys: [{name: a, key: '***'}]}"] {
        assert!(fault(text).contains("in place of a secret"), "{text}");
    }
}

fn user_fault(hash: &str) -> String {
    fault(&format!("auth: {{type: basic, users: [{{name: a, hash: '{hash}'}}]}}"))
}

#[test]
fn only_a_hash_that_is_slow_enough_and_not_too_slow_is_one() {
    for hash in [
        BCRYPT,
        &BCRYPT.replace("$2a$10", "$2b$14"),
        &BCRYPT.replace("$2a$10", "$2y$12"),
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$ArpGEeGowXJQRpH+SOKuMdPCaX3VeIDsYK/YxcD6msI",
        "$argon2i$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$ArpGEeGowXJQRpH+SOKuMdPCaX3VeIDsYK/YxcD6msI",
    ] {
        filter(&format!("auth: {{type: basic, users: [{{name: a, hash: '{hash}'}}]}}"));
    }
    let argon2 =
        |head: &str| format!("{head}$c29tZXNhbHRzb21lc2FsdA$ArpGEeGowXJQRpH+SOKuMdPCaX3VeIDsYK/YxcD6msI");
    for (hash, part) in [
        ("***".to_owned(), "in place of a secret"),
        (String::new(), "not the hash of a password"),
        ("hunter2".to_owned(), "not the hash of a password"),
        ("$apr1$kKGHHBmy$3oz".to_owned(), "not the hash of a password"),
        ("$6$rounds=5000$a$b".to_owned(), "not the hash of a password"),
        (BCRYPT.replace("$2a$", "$2x$"), "not the hash of a password"),
        (BCRYPT[..59].to_owned(), "begins as a hash of bcrypt"),
        (BCRYPT.replace("$10$", "$ab$"), "begins as a hash of bcrypt"),
        (BCRYPT.replace("$10$", "$09$"), "with the cost 9 is broken too quickly"),
        (BCRYPT.replace("$10$", "$15$"), "with the cost 15 takes seconds"),
        ("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA".to_owned(), "begins as a hash of Argon2"),
        (argon2("$argon2d$v=19$m=19456,t=2,p=1"), "not for passwords"),
        (argon2("$argon2id$v=16$m=19456,t=2,p=1"), "not for passwords"),
        (argon2("$argon2id$v=19$m=4096,t=9,p=1"), "with m=4096 and t=9 is broken too quickly"),
        (argon2("$argon2id$v=19$m=19456,t=1,p=1"), "is broken too quickly"),
        (argon2("$argon2id$v=19$m=262144,t=2,p=1"), "too much memory"),
        (argon2("$argon2id$v=19$m=131072,t=9,p=1"), "takes seconds"),
    ] {
        let message = user_fault(&hash);
        assert!(message.contains(part), "{hash}: {message}");
        assert!(!message.contains("hunter2") && !message.contains("WvvTPHK"), "{message}");
    }
}

#[test]
fn users_can_be_told_apart() {
    let users = |users: &str| fault(&format!("auth: {{type: basic, users: [{users}]}}"));
    let user = |name: &str| format!("{{name: '{name}', hash: '{BCRYPT}'}}");
    assert!(users("").contains("nobody would be let in"));
    assert!(users(&format!("{}, {}", user("a"), user("a"))).contains("two users are named `a`"));
    for name in ["", "a:b", " a", "a "] {
        assert!(users(&user(name)).contains("cannot be the name of a user"), "{name:?}");
    }
    let realm =
        |realm: &str| fault(&format!("auth: {{type: basic, realm: '{realm}', users: [{}]}}", user("a")));
    for bad in ["", "a\"b", "a\\b", "ł"] {
        assert!(realm(bad).contains("cannot be a realm"), "{bad:?}");
    }
}
