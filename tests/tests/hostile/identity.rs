//! Who asks cannot be forged, and paths cannot be walked around: what a route asks for holds for everything it takes.

use super::shown;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::json;
use std::fmt::Write as _;
use tests::client::RawClient;
use tests::config::{self, route};
use tests::fleet::Fleet;
use tests::upstream::Upstream;

const SECRET: &str = "correct horse battery staple";

fn b64(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token of these texts with a signature that is right.
fn token(head: &str, claims: &str) -> String {
    let message = format!("{}.{}", b64(head), b64(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    format!("{message}.{}", crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a signature"))
}

const HEAD: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

struct Gate {
    fleet: Fleet,
    target: Upstream,
}

impl Gate {
    async fn open() -> Self {
        let target = Upstream::echo("target").await;
        let at = [target.address()];
        let jwt = format!(
            "filters: [{{auth: {{type: jwt, secret: {SECRET}, issuers: [me], audiences: [gateway], \
             claims_to_headers: {{role: X-Role}}, exclude_paths: [/token/public]}}}}]"
        );
        let key = "filters: [{auth: {type: apikey, keys: [{name: bob, key: k3y}]}}, \
                   {headers: {request: {set: {X-Edge: edge}, remove: [X-Debug]}}}]";
        let query = format!(
            "filters: [{{auth: {{type: jwt, secret: {SECRET}, from: 'query:t', require_exp: false}}}}]"
        );
        let fleet = Fleet::start(1, |port| {
            let routes =
                [route("token", &at, &[&jwt]), route("key", &at, &[key]), route("query", &at, &[&query])];
            config::server(port, "") + "routes:\n" + &routes.concat()
        })
        .await;
        Self { fleet, target }
    }

    /// Status and reason; and whatever reached the target, head and all.
    async fn ask(&self, request: impl AsRef<[u8]>) -> (String, Vec<u8>) {
        let before = self.target.bytes().len();
        let mut client = RawClient::connect(self.fleet.address(0)).await;
        client.send(request).await;
        let outcome = client.try_response().await.map_or_else(
            |error| error.to_string(),
            |got| {
                assert!(got.status != 401 || got.header("www-authenticate").is_some(), "{got:?}");
                got.outcome()
            },
        );
        // one connection after the other carries one message
        (outcome, self.target.bytes().split_off(before.min(self.target.bytes().len())))
    }
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}Connection: close\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_prove_nothing() {
    let gate = Gate::open().await;
    let claims =
        json!({"iss": "me", "aud": "gateway", "sub": "alice", "exp": 4_000_000_000u64, "role": "user"});
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        token(HEAD, &claims.to_string())
    };
    let text = claims.to_string();
    let good = token(HEAD, &text);
    let signature = good.rsplit('.').next().unwrap_or_default();
    let headed = |head: &str| token(head, &text);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let rows: Vec<(&str, String)> = vec![
        ("no token", String::new()),
        ("another scheme", "Authorization: Basic YTpi\r\n".to_owned()),
        ("a scheme alone", "Authorization: Bearer\r\n".to_owned()),
        ("an empty token", bearer("")),
        ("two dots", bearer("..")),
        ("alg none", bearer(&format!("{}.{}.", b64(r#"{"alg":"none"}"#), b64(&text)))),
        ("alg None", bearer(&format!("{}.{}.", b64(r#"{"alg":"None"}"#), b64(&text)))),
        ("alg none with a signature", bearer(&headed(r#"{"alg":"none"}"#))),
        ("no alg", bearer(&headed("{}"))),
        ("alg that is a list", bearer(&headed(r#"{"alg":["HS256"]}"#))),
        ("another family's algorithm", bearer(&headed(r#"{"alg":"RS256"}"#))),
        ("another size of hash", bearer(&headed(r#"{"alg":"HS512"}"#))),
        ("alg twice", bearer(&headed(r#"{"alg":"HS256","alg":"none"}"#))),
        ("a critical extension", bearer(&headed(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#))),
        ("kid that is no text", bearer(&headed(r#"{"alg":"HS256","kid":7}"#))),
        ("a head that is a list", bearer(&headed(r#"["HS256"]"#))),
        (
            "a signature of another token",
            bearer(&format!("{}.{}.{signature}", b64(HEAD), b64(&text.replace("user", "admin")))),
        ),
        ("no signature", bearer(&good.replace(signature, ""))),
        ("a part more", bearer(&format!("{good}.x"))),
        ("padding", bearer(&format!("{good}="))),
        ("a byte behind it", bearer(&format!("{good}!"))),
        ("a line break in base64", bearer(&good.replacen('.', "%0a.", 1))),
        ("expired", bearer(&with("exp", json!(1_000_000_000)))),
        ("exp that is a text", bearer(&with("exp", json!("4000000000")))),
        ("exp that is null", bearer(&with("exp", json!(null)))),
        ("exp below zero", bearer(&with("exp", json!(-1)))),
        ("exp beyond all numbers", bearer(&token(HEAD, &text.replace("4000000000", "1e999")))),
        ("no exp", bearer(&token(HEAD, r#"{"iss":"me","aud":"gateway"}"#))),
        ("not yet valid", bearer(&with("nbf", json!(4_000_000_000u64)))),
        ("issued in the future", bearer(&with("iat", json!(4_000_000_000u64)))),
        ("another issuer", bearer(&with("iss", json!("you")))),
        ("issuers", bearer(&with("iss", json!(["me"])))),
        ("another audience", bearer(&with("aud", json!("somebody")))),
        ("an audience within a list within a list", bearer(&with("aud", json!([["gateway"]])))),
        ("a claim twice", bearer(&token(HEAD, &text.replacen('{', r#"{"role":"admin","#, 1)))),
        ("a claim with a line break", bearer(&with("role", json!("admin\r\nX-Role: root")))),
        ("a subject with a NUL", bearer(&with("sub", json!("alice\u{0}")))),
        ("a subject that is no text", bearer(&with("sub", json!({"name": "alice"})))),
        (
            "claims that are deep",
            bearer(&token(HEAD, &format!("{{\"a\":{}{}}}", "[".repeat(4000), "]".repeat(4000)))),
        ),
        ("claims that are a list", bearer(&token(HEAD, "[]"))),
        ("claims and something behind them", bearer(&token(HEAD, &format!("{text}{{}}")))),
        ("a token of 20 KiB", bearer(&"x".repeat(20_000))),
        ("two tokens", format!("{}{}", bearer(&good), bearer(&good))),
        ("a token and another scheme", format!("{}Authorization: Basic YTpi\r\n", bearer(&good))),
        ("a list of tokens", bearer(&format!("{good}, Bearer {good}"))),
        (
            "a token in a header of another name",
            format!("X-Authorization: Bearer {good}\r\nAuthorization_: Bearer {good}\r\n"),
        ),
    ];
    let mut wrong = String::new();
    for (name, fields) in &rows {
        let (outcome, at_target) = gate.ask(get("/token", fields)).await;
        if outcome != "401 unauthenticated" || !at_target.is_empty() {
            let _ = writeln!(wrong, "{name}: {outcome}, the target got {}", shown(&at_target));
        }
    }
    // where a key is said to be is not looked at, and a name that is a path is a name
    for (name, fields) in [
        ("kid that is a path", bearer(&headed(r#"{"alg":"HS256","kid":"../../../dev/null"}"#))),
        ("kid that is SQL", bearer(&headed(r#"{"alg":"HS256","kid":"' UNION SELECT 'x"}"#))),
        (
            "a key of its own",
            bearer(&headed(
                r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AA"},"jku":"http://127.0.0.1:1/","x5u":"http://127.0.0.1:1/"}"#,
            )),
        ),
        ("the scheme in lower case", format!("authorization: bearer {good}\r\n")),
        ("the token alone", bearer(&good)),
    ] {
        let (outcome, at_target) = gate.ask(get("/token", &fields)).await;
        let told = String::from_utf8_lossy(&at_target).to_ascii_lowercase();
        if outcome != "200"
            || !told.contains("\r\nx-consumer-name: alice\r\n")
            || !told.contains("\r\nx-role: user\r\n")
        {
            let _ = writeln!(wrong, "{name}: {outcome}, the target got {told}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What is excluded is a whole segment of the one normal path, and nothing beside or above it.
#[tokio::test(flavor = "multi_thread")]
async fn excluded_paths_open_nothing_else() {
    let gate = Gate::open().await;
    let mut wrong = String::new();
    for (path, outcome) in [
        ("/token/public", "200"),
        ("/token/public/", "200"),
        ("/token/public/a", "200"),
        ("//token//public", "200"),
        ("/token/%70ublic", "200"),
        ("/token/private/../public", "200"),
        ("/token/publicity", "401 unauthenticated"),
        ("/token/public.html", "401 unauthenticated"),
        ("/token/public;x", "401 unauthenticated"),
        ("/token/public%3bx", "401 unauthenticated"),
        ("/token/public%20", "401 unauthenticated"),
        ("/token/PUBLIC", "401 unauthenticated"),
        ("/token/public/..", "401 unauthenticated"),
        ("/token/public/../private", "401 unauthenticated"),
        ("/token/public/%2e%2e/private", "401 unauthenticated"),
        ("/token/public/.%2e/private", "401 unauthenticated"),
        ("/token/public//../private", "401 unauthenticated"),
        ("/token/%2570ublic", "401 unauthenticated"),
        ("/token?/public", "401 unauthenticated"),
        ("/token#/public", "401 unauthenticated"),
        ("/token/public/..;/private", "400 invalid_target"),
        ("/token/public%2f..%2fprivate", "400 invalid_target"),
        ("/token/public\\..\\private", "400 invalid_target"),
        ("/token/public%00/private", "400 invalid_target"),
        ("/token/%c0%ae%c0%ae/private", "400 invalid_target"),
        ("/nowhere/../token/private", "401 unauthenticated"),
        ("/nowhere/../../token/private", "400 invalid_target"),
    ] {
        let (got, at_target) = gate.ask(get(path, "")).await;
        if got != outcome || (outcome == "200") == at_target.is_empty() {
            let _ = writeln!(wrong, "{path}: {got}, the target got {}", shown(&at_target));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What the target is told of a caller is the gateway's word alone: in no field, by no spelling, nor behind the body.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_says_for_the_gateway_who_asks() {
    let gate = Gate::open().await;
    let trailer = "POST /key HTTP/1.1\r\nHost: a.test\r\nX-API-Key: k3y\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n";
    let mut wrong = String::new();
    for (name, request) in [
        ("its name", get("/key", "X-API-Key: k3y\r\nX-Consumer-Name: 6.6.6.6\r\n")),
        (
            "its name with an underscore",
            get("/key", "X-API-Key: k3y\r\nX_Consumer_Name: 6.6.6.6\r\nX-Consumer_Name: 6.6.6.6\r\n"),
        ),
        (
            "any name of the kind",
            get("/key", "X-API-Key: k3y\r\nX-Consumer-Groups: 6.6.6.6\r\nx_consumer_id: 6.6.6.6\r\n"),
        ),
        ("what is set", get("/key", "X-API-Key: k3y\r\nX-Edge: 6.6.6.6\r\nX_Edge: 6.6.6.6\r\n")),
        ("what is removed", get("/key", "X-API-Key: k3y\r\nX-Debug: 6.6.6.6\r\nX_Debug: 6.6.6.6\r\n")),
        (
            "a name that Connection names",
            get("/key", "X-API-Key: k3y\r\nX-Consumer-Name: 6.6.6.6\r\n")
                .replace("close", "close, X-Consumer-Name"),
        ),
        (
            "a trailer",
            format!(
                "{trailer}Trailer: X-Consumer-Name, x_consumer_name\r\n\r\n0\r\nX-Consumer-Name: 6.6.6.6\r\nx_consumer_name: 6.6.6.6\r\n\r\n"
            ),
        ),
        (
            "a trailer of what is set",
            format!(
                "{trailer}Trailer: X-Edge, X_Edge\r\n\r\n0\r\nX-Edge: 6.6.6.6\r\nX_Edge: 6.6.6.6\r\n\r\n"
            ),
        ),
        (
            "a trailer of what is removed",
            format!("{trailer}Trailer: X-Debug\r\n\r\n0\r\nX-Debug: 6.6.6.6\r\n\r\n"),
        ),
        ("a trailer that is not announced", format!("{trailer}\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")),
    ] {
        let (outcome, at_target) = gate.ask(&request).await;
        let told = String::from_utf8_lossy(&at_target).to_ascii_lowercase();
        let ours = ["\r\nx-consumer-name: bob\r\n", "\r\nx-edge: edge\r\n"];
        if outcome != "200"
            || told.contains("6.6.6.6")
            || ours.iter().any(|ours| told.matches(ours).count() != 1)
        {
            let _ = writeln!(wrong, "{name}: {outcome}, the target got {told}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_open_nothing_and_keys_that_stay_here() {
    let gate = Gate::open().await;
    let mut wrong = String::new();
    for (name, path, fields) in [
        ("no key", "/key", ""),
        ("a wrong key", "/key", "X-API-Key: k3x\r\n"),
        ("a key and a space within", "/key", "X-API-Key: k3 y\r\n"),
        ("a key in capitals", "/key", "X-API-Key: K3Y\r\n"),
        ("the key twice", "/key", "X-API-Key: k3y\r\nX-API-Key: k3y\r\n"),
        ("a key and another", "/key", "X-API-Key: k3y\r\nX-API-Key: x\r\n"),
        ("a key with an underscore", "/key", "X_API_Key: k3y\r\n"),
        ("a key in the query of a header's route", "/key?api_key=k3y", ""),
        ("an empty key", "/key", "X-API-Key:\r\n"),
    ] {
        let (outcome, at_target) = gate.ask(get(path, fields)).await;
        if outcome != "401 unauthenticated" || !at_target.is_empty() {
            let _ = writeln!(wrong, "{name}: {outcome}, the target got {}", shown(&at_target));
        }
    }
    let good = token(HEAD, "{}");
    for query in [
        "t=x".to_owned(),
        format!("t={good}&t={good}"),
        format!("t={good}&%74=x"),
        format!("a=b;t={good}"),
        format!("T={good}"),
        format!("t%00={good}"),
    ] {
        let (outcome, at_target) = gate.ask(get(&format!("/query?{query}"), "")).await;
        if outcome != "401 unauthenticated" || !at_target.is_empty() {
            let _ = writeln!(wrong, "{query}: {outcome}, the target got {}", shown(&at_target));
        }
    }
    for query in
        [format!("t={good}"), format!("a=1&%74={good}&b=2"), format!("t={}", good.replace('.', "%2E"))]
    {
        let (outcome, at_target) = gate.ask(get(&format!("/query?{query}"), "")).await;
        let told = String::from_utf8_lossy(&at_target);
        let signature = good.rsplit('.').next().unwrap_or_default();
        if outcome != "200" || told.contains(signature) {
            let _ = writeln!(wrong, "{query}: {outcome}, the target got {told}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
