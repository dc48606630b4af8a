//! Tokens and the keys that they are checked with.

use super::{Nearly, bytes, fuzz};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use policy::auth::jwt::Keys;
use policy::auth::{AuthContext, Authenticator, Decision};
use policy::clock::Now;
use policy::config::load::{Surroundings, check as checked};
use std::io;
use std::sync::{Arc, LazyLock};

const WORDS: &[&str] = &[
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    ".",
    "==",
    "alg",
    "none",
    "HS256",
    "RS256",
    "kid",
    "../../etc/passwd",
    "' OR 1=1",
    "jwk",
    "jku",
    "x5u",
    "crit",
    "exp",
    "1e999",
    "-1",
    "null",
    "true",
    "\\u0000",
    "\\ud800",
    "[[[[[[[[",
    "\u{0}",
    "\u{e9}",
    "Bearer ",
    "b64",
];

/// Not within the targets: bolero wants them to be sound after a panic, which locks and atomics do not promise.
static AUTH: LazyLock<Arc<Authenticator>> = LazyLock::new(|| {
    let config = "routes: [{name: r, prefix: /, targets: [{addr: \"http://127.0.0.1:1\"}], \
                  filters: [{auth: {type: jwt, secret: correct horse battery staple, claims_to_headers: {role: X-Role}}}]}]";
    let surroundings = Surroundings { env: &|_| None, read_file: &|_| Err(io::ErrorKind::NotFound.into()) };
    let table = checked(config, &surroundings).expect("a config").table;
    table.routes[0].chain.auth.clone().expect("an authenticator")
});

fn is_let_in(authorization: &[u8]) -> bool {
    let Ok(request) = Request::get("/").header("authorization", authorization).body(()) else { return false };
    let cx = AuthContext { now: Now::default(), unix_seconds: 1_000_000 };
    matches!(AUTH.check(&mut request.into_parts().0, "/", &cx), Decision::Pass(_))
}

/// Nobody who does not know the secret is let in.
#[test]
fn tokens() {
    let seeds = bytes(&[
        r#"Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6MTAwMDA2MH0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"#,
        "Bearer ..",
    ]);
    fuzz!("tokens", Nearly, |nearly| {
        assert!(!is_let_in(&nearly.of(&seeds, WORDS)));
    });
}

/// The same with heads and claims of which the text is changed, not its base64.
#[test]
fn token_parts() {
    let heads = bytes(&[
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"none","kid":"a","jwk":{"kty":"oct","k":"AA"}}"#,
    ]);
    let claims = bytes(&[r#"{"sub":"alice","exp":1000060,"aud":["a"],"role":"admin","nbf":1.5}"#]);
    fuzz!("token_parts", (Nearly, Nearly, Nearly), |(head, body, signature)| {
        let parts = [head.of(&heads, WORDS), body.of(&claims, WORDS), signature.of(&[Vec::new()], WORDS)];
        let parts = parts.map(|part| URL_SAFE_NO_PAD.encode(part));
        assert!(!is_let_in(format!("Bearer {}", parts.join(".")).as_bytes()));
    },);
}

#[test]
fn key_sets() {
    let seeds = bytes(&[
        r#"{"keys":[{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp","e":"AQAB","use":"sig"}]}"#,
        r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"a"}]}"#,
        r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA","key_ops":["verify"]}]}"#,
    ]);
    fuzz!("key_sets", Nearly, |nearly| {
        if let Ok(keys) = Keys::from_jwks(&nearly.of(&seeds, WORDS)) {
            assert!(!keys.is_empty());
        }
    });
}
