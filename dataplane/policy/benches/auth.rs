//! What it costs to find out who a request is from: a token that is remembered, one that is not, and one that is forged.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::request::Parts;
use jsonwebtoken::{EncodingKey, Header, encode};
use policy::auth::jwt::KeySets;
use policy::auth::{AuthContext, Authenticator, Decision};
use policy::clock::Now;
use policy::config::GatewayConfig;
use policy::filter::FilterConfig;
use policy::filter::auth::AuthConfig;
use serde_json::json;
use std::hint::black_box;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SECRET: &str = "correct horse battery staple, 32 bytes and more";
const NOW: u64 = 1_700_000_000;

fn authenticator() -> Arc<Authenticator> {
    let auth = json!({"type": "jwt", "secret": SECRET, "claims_to_headers": {"role": "X-Role"}});
    let config: GatewayConfig =
        serde_json::from_value(json!({"routes": [], "global_filters": [{"auth": auth}]})).unwrap();
    let configs: Vec<&AuthConfig> = config
        .global_filters
        .iter()
        .map(|filter| match filter {
            FilterConfig::Auth(auth) => auth,
            other => panic!("{other:?}"),
        })
        .collect();
    Authenticator::new(&configs, None, &KeySets::default())
}

/// Some 300 bytes, as issuers send them.
fn token(number: u64) -> String {
    let claims = json!({
        "iss": "https://issuer.example/", "sub": format!("user-{number}"), "aud": "orders", "iat": NOW, "exp": NOW + 3600,
        "role": "admin", "scope": "orders:read orders:write",
    });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// As a browser sends it.
fn request(token: &str) -> Parts {
    let request = http::Request::get("/orders/1")
        .header("host", "api.example.com")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64)")
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, br")
        .header("accept-language", "en")
        .header("cookie", "theme=dark; session=abcdef")
        .header("authorization", format!("Bearer {token}"))
        .header("x-request-id", "0191f1a0");
    request.body(()).unwrap().into_parts().0
}

fn bench(c: &mut Criterion) {
    let cx = AuthContext { now: Now::from_nanos(1), unix_seconds: NOW };
    let mut group = c.benchmark_group("auth");
    group.bench_function("request alone", |bencher| {
        let parts = request(&token(0));
        bencher.iter_batched_ref(
            || parts.clone(),
            |parts| black_box(parts.headers.len()),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("cached", |bencher| {
        let (auth, parts) = (authenticator(), request(&token(0)));
        bencher.iter_batched_ref(
            || parts.clone(),
            |parts| assert!(matches!(auth.check(parts, "/orders/1", &cx), Decision::Pass(Some(_)))),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("HS256 not cached", |bencher| {
        let auth = authenticator();
        let mut number = 0;
        bencher.iter_batched_ref(
            || {
                number += 1;
                request(&token(number))
            },
            |parts| assert!(matches!(auth.check(parts, "/orders/1", &cx), Decision::Pass(Some(_)))),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("forged", |bencher| {
        let (auth, mut forged) = (authenticator(), token(0));
        forged.pop();
        forged.push('A');
        let parts = request(&forged);
        bencher.iter_batched_ref(
            || parts.clone(),
            |parts| assert!(matches!(auth.check(parts, "/orders/1", &cx), Decision::Refuse(_))),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
