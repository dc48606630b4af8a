//! Signatures that others have made to be got wrong: Project Wycheproof's, and what RFC 7515 shows beyond the compact
//! form that we take.

use super::key::{Key, Keys};
use super::token::Token;
use crate::rejection::Cause;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const WYCHEPROOF: &str = include_str!("../../../tests/vectors/json_web_signature_test.json");

/// Where we do not do as the file says, and why.
const EXCEPTIONS: &[(std::ops::RangeInclusive<u64>, bool, &str)] = &[
    (
        346..=346,
        false,
        "the key says that it is for PS256, and the token is PS384: RFC 7517 §4.4 has us hold to the key",
    ),
    (
        347..=347,
        false,
        "P-521: no curve that we check, and the file's own name for its algorithm, ES521, is none",
    ),
    (350..=350, false, "as 346"),
    (351..=351, false, "as 347"),
    (367..=367, true, "the text of 357, which is valid: its padding was lost when the file was made"),
    (370..=370, true, "as 367"),
    (
        372..=373,
        false,
        "a `?` is not base64url: RFC 7515 §2 has us refuse it, whatever signature stands behind it",
    ),
];

/// Whether a token's signature holds by the key of a test group: a JWK, or for what is symmetric a secret.
fn holds(jwk: &Value, jws: &str) -> bool {
    let keys = match jwk["k"].as_str() {
        Some(secret) => {
            let secret = URL_SAFE_NO_PAD.decode(secret).expect("base64url");
            Ok(Keys::one(Key::from_secret(&secret)))
        }
        None => Keys::from_jwks(json!({"keys": [jwk]}).to_string().as_bytes()),
    };
    let Ok(keys) = keys else { return false };
    Token::parse(jws.as_bytes()).is_ok_and(|token| keys.verify(&token).is_ok() && token.payload().is_ok())
}

#[test]
fn wycheproof_has_it_as_we_have() {
    let file: Value = serde_json::from_str(WYCHEPROOF).expect("JSON");
    let (mut seen, mut wrong) = (0, BTreeMap::new());
    for group in file["testGroups"].as_array().expect("groups") {
        let key = group.get("public").or(group.get("private")).expect("a key");
        for test in group["tests"].as_array().expect("tests") {
            seen += 1;
            let id = test["tcId"].as_u64().expect("a number");
            let exception = EXCEPTIONS.iter().find(|(ids, ..)| ids.contains(&id)).map(|(_, held, _)| *held);
            let valid = match &test["result"] {
                result if result == "valid" => true,
                result if result == "invalid" => false,
                other => panic!("{other}"),
            };
            assert_ne!(exception, Some(valid), "{id} is no exception any more");
            let held = holds(key, test["jws"].as_str().expect("a token"));
            if held != exception.unwrap_or(valid) {
                wrong.insert(id, format!("{}: {held}", test["comment"]));
            }
        }
    }
    assert_eq!(Some(seen), file["numberOfTests"].as_u64());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Appendix A.4 has a curve that we do not check, A.6 and A.7 have forms that no request carries. A.1 to A.3 and A.5
/// are in `tests.rs`.
#[test]
fn the_examples_of_the_standard_that_are_not_for_us() {
    let p521 = json!({"keys": [{
        "kty": "EC", "crv": "P-521",
        "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4XUQWhcfjQ6nE",
        "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
    }]});
    assert!(Keys::from_jwks(p521.to_string().as_bytes()).is_err());
    let general = r#"{"payload":"eyJpc3MiOiJqb2UifQ","signatures":[{"protected":"eyJhbGciOiJSUzI1NiJ9","signature":"AA"}]}"#;
    let flattened =
        r#"{"payload":"eyJpc3MiOiJqb2UifQ","protected":"eyJhbGciOiJFUzI1NiJ9","signature":"AA.BB.CC"}"#;
    for json in [general, flattened] {
        assert_eq!(Token::parse(json.as_bytes()).err(), Some(Cause::Malformed), "{json}");
    }
}
