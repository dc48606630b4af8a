//! What a token must be: RFC 7515's own examples, the attacks that are known, and any bytes at all.

use super::*;
use crate::clock::Now;
use crate::filter::FilterConfig;
use crate::filter::auth::AuthConfig;
use crate::filter::test_support::filter;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

const NOW: u64 = 1_000_000;
const SECRET: &str = "correct horse battery staple";

fn config(yaml: &str) -> JwtConfig {
    match filter(&format!("auth: {{type: jwt, {yaml}}}")) {
        FilterConfig::Auth(AuthConfig::Jwt(config)) => *config,
        other => panic!("{other:?}"),
    }
}

fn verifier(yaml: &str) -> Verifier {
    Verifier::new(&config(yaml), &KeySets::default())
}

/// One whose key a config could not name.
fn with_keys(yaml: &str, keys: Keys) -> Verifier {
    Verifier { keys: KeyRing::Fixed(keys), ..verifier(&format!("secret: unused, {yaml}")) }
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token whose head and claims are any text, signed as HS256.
fn signed(head: &str, claims: &str) -> String {
    let message = format!("{}.{}", b64(head), b64(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signed");
    format!("{message}.{signature}")
}

const HEAD: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn of(claims: &Value) -> String {
    signed(HEAD, &claims.to_string())
}

fn judged(verifier: &Verifier, token: &str) -> Result<Arc<Verified>, Refusal> {
    verifier.prove(token.as_bytes(), NOW)
}

#[track_caller]
fn refuses(verifier: &Verifier, token: &str, cause: Cause) {
    let result = judged(verifier, token);
    assert_eq!(result.err(), Some(Refusal::Cause(cause)), "{}", &token[..token.len().min(200)]);
    assert_eq!(verifier.cache.len(), 0, "what was refused is not remembered");
}

/// RFC 7515, appendices A.1 to A.3: the claims expired in 2011.
#[test]
fn the_examples_of_the_standard_hold() {
    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let key = URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .expect("base64url");
    let rsa = r#"{"keys":[{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}]}"#;
    let ec = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let jwks = |text: &str| Keys::from_jwks(text.as_bytes()).expect("keys");
    for (keys, head, signature) in [
        (
            Keys::one(Key::from_secret(&key)),
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            jwks(rsa),
            "eyJhbGciOiJSUzI1NiJ9",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            jwks(ec),
            "eyJhbGciOiJFUzI1NiJ9",
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
    ] {
        let verifier = with_keys("leeway: 0s", keys);
        let token = format!("{head}.{CLAIMS}.{signature}");
        assert!(verifier.prove(token.as_bytes(), 1_300_819_379).is_ok(), "{head}");
        assert_eq!(
            verifier.prove(token.as_bytes(), 1_300_819_380).err(),
            Some(Cause::Expired.into()),
            "{head}: at its second, though it is remembered"
        );
        let forged = format!("{head}.{CLAIMS}.{}", signature.replacen(&signature[..1], "A", 1));
        assert_eq!(verifier.prove(forged.as_bytes(), 1_300_819_379).err(), Some(Cause::BadSignature.into()));
    }
    // A.5: no signature
    let unsecured = format!("eyJhbGciOiJub25lIn0.{CLAIMS}.");
    refuses(&verifier(&format!("secret: {SECRET}")), &unsecured, Cause::WrongAlgorithm);
}

#[test]
fn known_attacks_are_refused() {
    let strict = verifier(&format!("secret: {SECRET}, issuers: [me], audiences: [gateway]"));
    let good = json!({"iss": "me", "aud": "gateway", "exp": NOW + 60, "sub": "alice"});
    assert!(judged(&strict, &of(&good)).is_ok());
    let strict = verifier(&format!("secret: {SECRET}, issuers: [me], audiences: [gateway]"));
    let claims = good.to_string();
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        of(&claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        of(&claims)
    };
    for alg in ["none", "None", "NONE", "nOnE", "hs256", "HS256 ", "", "RS256x", "ES512", "HS1"] {
        refuses(&strict, &signed(&format!(r#"{{"alg":"{alg}"}}"#), &claims), Cause::WrongAlgorithm);
    }
    for head in [r#"{}"#, r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, r#"{"alg":256}"#] {
        refuses(&strict, &signed(head, &claims), Cause::WrongAlgorithm);
    }
    for alg in ["RS256", "PS512", "ES256", "EdDSA"] {
        refuses(&strict, &signed(&format!(r#"{{"alg":"{alg}"}}"#), &claims), Cause::WrongAlgorithm);
    }
    for head in [
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":null}"#,
    ] {
        refuses(&strict, &signed(head, &claims), Cause::UnknownCritical);
    }
    for (token, cause) in [
        (with("exp", json!(NOW - 30)), Cause::Expired),
        (with("exp", json!(-1)), Cause::Expired),
        (with("exp", json!(0)), Cause::Expired),
        (with("exp", json!((NOW + 60).to_string())), Cause::BadClaim),
        (with("exp", json!(null)), Cause::BadClaim),
        (with("exp", json!([NOW + 60])), Cause::BadClaim),
        (without("exp"), Cause::MissingClaim),
        (with("nbf", json!(NOW + 31)), Cause::NotYetValid),
        (with("nbf", json!("now")), Cause::BadClaim),
        (with("iat", json!(NOW + 31)), Cause::NotYetValid),
        (with("iss", json!("you")), Cause::WrongIssuer),
        (with("iss", json!(["me"])), Cause::WrongIssuer),
        (without("iss"), Cause::WrongIssuer),
        (with("aud", json!("gatewa")), Cause::WrongAudience),
        (with("aud", json!([])), Cause::WrongAudience),
        (with("aud", json!({"gateway": 1})), Cause::WrongAudience),
        (without("aud"), Cause::WrongAudience),
        (with("sub", json!({"name": "alice"})), Cause::BadClaim),
        (with("sub", json!("alice\r\nX-Admin: 1")), Cause::BadClaim),
        (with("sub", json!("alice\u{0}")), Cause::BadClaim),
    ] {
        refuses(&strict, &token, cause);
    }
    // one that names its key's place is checked by ours, and nothing is fetched
    let pointing =
        r#"{"alg":"HS256","jku":"http://evil/","x5u":"http://evil/","jwk":{"kty":"oct","k":"AAAA"}}"#;
    assert!(judged(&strict, &signed(pointing, &claims)).is_ok());
    let forged = signed(pointing, &claims).rsplit_once('.').map(|(message, _)| format!("{message}.AAAA"));
    let strict = verifier(&format!("secret: {SECRET}"));
    refuses(&strict, &forged.expect("a token"), Cause::BadSignature);
}

#[test]
fn what_is_not_exactly_a_token_is_malformed() {
    let verifier = verifier(&format!("secret: {SECRET}"));
    let claims = json!({"exp": NOW + 60}).to_string();
    let good = signed(HEAD, &claims);
    let parts: Vec<&str> = good.split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        head.into(),
        format!("{head}.{body}"),
        format!("{good}.{signature}"),
        format!("{good}.."),
        format!(".{body}.{signature}"),
        format!("{head}=.{body}.{signature}"),
        format!(" {good}"),
        format!("{}+.{body}.{signature}", &head[..head.len() - 1]),
        signed(r#"{"alg":"HS256","alg":"none"}"#, &claims),
        signed(r#"{"alg":"HS256"} "#, "[]"),
        signed(r#"["HS256"]"#, &claims),
        signed(r#"{"alg":"HS256","kid":1}"#, &claims),
        signed(HEAD, r#"{"exp":99999999,"exp":1}"#),
        signed(HEAD, r#"{"exp":99999999,"a":{"b":1,"b":2}}"#),
        signed(HEAD, &format!("{claims}{claims}")),
        signed(HEAD, &format!("{{\"exp\":99999999,\"a\":{}{}}}", "[".repeat(4000), "]".repeat(4000))),
        signed(HEAD, r#"{"exp":1e999}"#),
    ] {
        refuses(&verifier, &bad, Cause::Malformed);
    }
    for bad in [
        format!("{good}A"),
        format!("{good}="),
        format!("{good}\n"),
        format!("{head}.{body}."),
        format!("{head}.{}.{signature}", b64(json!({"exp": NOW + 61}).to_string())),
    ] {
        refuses(&verifier, &bad, Cause::BadSignature);
    }
    refuses(&verifier, &"a".repeat(100 << 10), Cause::TooLong);
    let long = of(&json!({"exp": NOW + 60, "pad": "x".repeat(MAX_TOKEN)}));
    refuses(&verifier, &long, Cause::TooLong);
}

#[test]
fn the_public_key_of_an_issuer_is_nobodys_secret() {
    let pem = include_str!("testdata/rsa.pub.pem");
    let key = Key::from_pem(pem).expect("a key");
    let verifier = with_keys("", Keys::one(key));
    for secret in [pem, pem.trim(), &pem.replace('\n', "\r\n")] {
        let mut header = Header::new(Algorithm::HS256);
        header.typ = None;
        let forged = encode(&header, &json!({"exp": NOW + 60}), &EncodingKey::from_secret(secret.as_bytes()));
        refuses(&verifier, &forged.expect("a token"), Cause::WrongAlgorithm);
    }
}

#[test]
fn each_family_has_its_own_keys() {
    use Algorithm as A;
    let rsa = EncodingKey::from_rsa_pem(include_bytes!("testdata/rsa.pem")).expect("rsa");
    let p256 = EncodingKey::from_ec_pem(include_bytes!("testdata/p256.pem")).expect("p256");
    let p384 = EncodingKey::from_ec_pem(include_bytes!("testdata/p384.pem")).expect("p384");
    let ed = EncodingKey::from_ed_pem(include_bytes!("testdata/ed25519.pem")).expect("ed25519");
    let public = [
        (
            include_str!("testdata/rsa.pub.pem"),
            &[A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512][..],
        ),
        (include_str!("testdata/p256.pub.pem"), &[A::ES256]),
        (include_str!("testdata/p384.pub.pem"), &[A::ES384]),
        (include_str!("testdata/ed25519.pub.pem"), &[A::EdDSA]),
    ];
    let tokens = [
        (A::RS256, &rsa),
        (A::RS384, &rsa),
        (A::RS512, &rsa),
        (A::PS256, &rsa),
        (A::PS384, &rsa),
        (A::PS512, &rsa),
        (A::ES256, &p256),
        (A::ES384, &p384),
        (A::EdDSA, &ed),
    ]
    .map(|(algorithm, key)| {
        let token = encode(&Header::new(algorithm), &json!({"exp": NOW + 60}), key).expect("a token");
        (algorithm, token)
    });
    for (pem, algorithms) in public {
        let keys = Keys::one(Key::from_pem(pem).expect("a key"));
        for (algorithm, token) in &tokens {
            let verifier = with_keys("", keys.clone());
            assert_eq!(judged(&verifier, token).is_ok(), algorithms.contains(algorithm), "{algorithm:?}");
        }
    }
    let narrow = with_keys("", Keys::one(Key::from_pem(public[0].0).expect("a key")));
    let narrow = Verifier { algorithms: Box::new([A::PS256]), ..narrow };
    assert!(judged(&narrow, &tokens[3].1).is_ok());
    assert_eq!(judged(&narrow, &tokens[0].1).err(), Some(Cause::WrongAlgorithm.into()));
    for private in [include_str!("testdata/rsa.pem"), include_str!("testdata/p256.pem")] {
        assert_eq!(Key::from_pem(private).err(), Some(BadKey::Private));
    }
}

const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

#[test]
fn a_key_that_is_not_for_signatures_is_left_out() {
    let count =
        |key: &str| Keys::from_jwks(format!(r#"{{"keys":[{key}]}}"#).as_bytes()).map(|keys| keys.len());
    for good in
        ["", r#","use":"sig""#, r#","key_ops":["verify"]"#, r#","alg":"ES256""#, r#","x5u":"http://evil/""#]
    {
        assert_eq!(count(&format!("{{{EC}{good}}}")), Ok(1), "{good}");
    }
    for bad in [
        r#","use":"enc""#,
        r#","use":1"#,
        r#","key_ops":["sign"]"#,
        r#","key_ops":[]"#,
        r#","key_ops":"verify""#,
        r#","alg":"ES384""#,
        r#","alg":"RS256""#,
        r#","alg":"none""#,
        r#","alg":7"#,
    ] {
        assert_eq!(count(&format!("{{{EC}{bad}}}")), Err(BadKey::NoneUsable), "{bad}");
    }
    for bad in [
        r#"{"kty":"oct","k":"AAAA"}"#,
        r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
        r#"{"kty":"OKP","crv":"Ed448","x":"AAAA"}"#,
        r#"{"kty":"EC","crv":"P-384","x":"AAAA","y":"AAAA"}"#,
        r#"{}"#,
        "7",
    ] {
        assert_eq!(count(bad), Err(BadKey::NoneUsable), "{bad}");
    }
    assert_eq!(count(&vec!["{}"; 101].join(",")), Err(BadKey::TooMany(101)));
    assert_eq!(count(&format!(r#"{{"kty":"oct","k":"AAAA"}},{{{EC}}}"#)), Ok(1), "the others do not matter");
}

fn es256(kid: &str) -> String {
    let key = EncodingKey::from_ec_pem(include_bytes!("testdata/p256.pem")).expect("p256");
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(kid.to_owned());
    encode(&header, &json!({"sub": "alice", "exp": NOW + 3600}), &key).expect("a token")
}

/// The test key as a JWK under a name.
fn jwks(kid: &str) -> String {
    include_str!("testdata/p256.jwks.json").replace("KID", kid)
}

#[test]
fn a_kid_is_a_name_and_nothing_else() {
    let keys = Keys::from_jwks(jwks("2024-01").as_bytes()).expect("keys");
    let verifier = with_keys("", keys);
    for kid in ["../../dev/null", "' OR 1=1 --", "2024-01\u{0}", "", "http://evil/key", "2024-0"] {
        assert_eq!(judged(&verifier, &es256(kid)).err(), Some(Cause::UnknownKey.into()), "{kid}");
    }
    assert!(judged(&verifier, &es256("2024-01")).is_ok());
}

fn at(seconds: u64) -> Now {
    Now::default().after(Duration::from_secs(100 + seconds))
}

#[test]
fn keys_that_change_empty_the_memory_and_those_that_stay_do_not() {
    let sets = KeySets::default();
    let verifier = Verifier::new(&config("jwks_url: 'https://issuer.example/keys'"), &sets);
    let set = sets.all().remove(0);
    assert_eq!(judged(&verifier, &es256("a")).err(), Some(Refusal::KeyMissing), "nothing was fetched yet");
    let fetched = |document: &str, seconds| set.fetch_ended(Ok(document.as_bytes()), at(seconds));
    assert_eq!(fetched(&jwks("a"), 0), Ok(Loaded { keys: 1, changed: true }));
    let first = judged(&verifier, &es256("a")).expect("it holds");
    let token = es256("a");
    let first_of_token = judged(&verifier, &token).expect("it holds");
    assert!(Arc::ptr_eq(&first_of_token, &judged(&verifier, &token).expect("it holds")), "from memory");
    assert_eq!(fetched(&jwks("a"), 1), Ok(Loaded { keys: 1, changed: false }));
    assert!(Arc::ptr_eq(&first_of_token, &judged(&verifier, &token).expect("it holds")));
    for useless in ["", "{}", "<html>", r#"{"keys":[]}"#] {
        fetched(useless, 2).expect_err("no keys");
        assert!(judged(&verifier, &token).is_ok(), "the last good set stays");
    }
    set.fetch_ended(Err("status 500".into()), at(3)).expect_err("no keys");
    let view = set.view();
    assert_eq!((view.keys, view.changes, view.fetches, view.failures), (1, 1, 7, 5));
    assert_eq!(view.loaded, Some(at(1)));
    assert_eq!(view.error, Some((at(3), "status 500".to_owned())));
    assert_eq!(fetched(&jwks("b"), 4), Ok(Loaded { keys: 1, changed: true }));
    assert_eq!(
        judged(&verifier, &token).err(),
        Some(Refusal::KeyMissing),
        "a key that is gone is gone at once"
    );
    let second = judged(&verifier, &es256("b")).expect("it holds");
    assert_eq!(verifier.cache.len(), 1, "the tokens of the old keys are forgotten");
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(set.view().error, None);
}

#[test]
fn forged_names_of_keys_do_not_set_the_pace_of_fetches() {
    let set = KeySet::new("https://issuer.example/keys".parse().expect("a URL"));
    assert!(set.ask(at(0)).is_some(), "the first one asks");
    assert!(set.ask(at(0)).is_some(), "the next waits for the same fetch");
    set.fetch_began();
    assert!(set.ask(at(1)).is_some(), "as long as it is under way");
    set.fetch_ended(Err("down".into()), at(1)).expect_err("no keys");
    for second in 1..10 {
        assert!(set.ask(at(second)).is_none(), "{second}");
    }
    assert!(set.ask(at(10)).is_some(), "ten seconds later");
}

#[test]
fn what_is_remembered_is_looked_at_again_in_time_and_is_bounded() {
    let verifier = verifier(&format!("secret: {SECRET}, leeway: 0s, require_exp: false"));
    let held = |token: &str, now| verifier.prove(token.as_bytes(), now);
    let lasting = of(&json!({"sub": "a"}));
    let first = held(&lasting, NOW).expect("it holds");
    assert!(Arc::ptr_eq(&first, &held(&lasting, NOW + 59).expect("it holds")));
    assert!(!Arc::ptr_eq(&first, &held(&lasting, NOW + 60).expect("it holds")), "a minute is long enough");
    let short = of(&json!({"exp": NOW + 5}));
    held(&short, NOW).expect("it holds");
    assert_eq!(held(&short, NOW + 5).err(), Some(Cause::Expired.into()));
    for number in 0..3000 {
        held(&of(&json!({"number": number, "pad": "x".repeat(9000)})), NOW).expect("it holds");
    }
    assert!(verifier.cache.weight() <= 16 << 20, "{}", verifier.cache.weight());
    assert!(verifier.cache.len() > 500, "{}", verifier.cache.len());
}

#[test]
fn the_leeway_is_for_clocks_that_differ() {
    let verifier = verifier(&format!("secret: {SECRET}, leeway: 10s"));
    for (claims, holds) in [
        (json!({"exp": NOW - 9}), true),
        (json!({"exp": NOW - 10}), false),
        (json!({"exp": NOW as f64 - 9.5}), true),
        (json!({"exp": NOW + 9, "nbf": NOW + 10}), true),
        (json!({"exp": NOW + 9, "nbf": NOW + 11}), false),
        (json!({"exp": NOW + 9, "iat": NOW + 11}), false),
        (json!({"exp": u64::MAX}), true),
    ] {
        assert_eq!(judged(&verifier, &of(&claims)).is_ok(), holds, "{claims}");
    }
}

#[test]
fn what_the_claims_ask_for() {
    let verifier = verifier(&format!("secret: {SECRET}, required_claims: [tenant], audiences: [a, b]"));
    let with = |claims: Value| judged(&verifier, &of(&claims)).err();
    assert_eq!(with(json!({"exp": NOW + 1, "tenant": "t", "aud": ["x", "b"]})), None);
    assert_eq!(with(json!({"exp": NOW + 1, "aud": "a"})), Some(Cause::MissingClaim.into()));
    assert_eq!(with(json!({"exp": NOW + 1, "aud": "a", "tenant": null})), Some(Cause::MissingClaim.into()));
}

proptest! {
    #[test]
    fn no_bytes_are_a_token(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let verifier = verifier("secret: s");
        prop_assert!(verifier.prove(&bytes, NOW).is_err());
    }

    #[test]
    fn nothing_near_a_token_is_one(at in 0usize..200, with in "[A-Za-z0-9_.=-]{0,3}", cut in 0usize..4) {
        let verifier = verifier(&format!("secret: {SECRET}"));
        let good = of(&json!({"sub": "alice", "exp": NOW + 60}));
        let at = at % good.len();
        let changed = format!("{}{with}{}", &good[..at], &good[(at + cut).min(good.len())..]);
        prop_assert_eq!(judged(&verifier, &changed).is_ok(), changed == good, "{}", changed);
    }
}
