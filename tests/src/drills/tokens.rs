//! Verifying tokens takes the processor: a client that gets a new token for every request is told to keep it.

use super::target::Target;
use super::{shown, signal, step, total};
use crate::client::get;
use crate::config;
use crate::fleet::Fleet;
use crate::load::pipelined;
use futures_util::future::try_join_all;
use http::StatusCode;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// The issuer's key.
const KEY: &[u8] = include_bytes!("../../../dataplane/policy/src/auth/jwt/testdata/p384.pem");
const ALGORITHM: Algorithm = Algorithm::ES384;
const FLAME_GRAPH: &str = "/debug/pprof/flamegraph?seconds=1";
/// Requests measured.
const REQUESTS: usize = 1000;
/// So many tokens are in use when clients keep them.
const CLIENTS: usize = 16;
/// Verifying is dear when a request with a new token takes so many times the processor time of one without.
const DEAR: f64 = 1.3;

pub(super) async fn run() {
    let key = EncodingKey::from_ec_pem(KEY).expect("a key of P-384");
    let jwk = Jwk::from_encoding_key(&key, ALGORITHM).expect("the public key");
    let target = Target::start("api", &[]).await;
    let filter = format!("filters: [{{auth: {{type: jwt, jwks: '{}'}}}}]", json!({"keys": [jwk]}));
    let fleet = Fleet::start(2, |port| {
        config::server(port, "") + "routes:\n" + &config::route("api", &[target.address], &[&filter])
    })
    .await;
    let tokens: &'static [String] =
        (0..CLIENTS + REQUESTS).map(|number| token(&key, number)).collect::<Vec<_>>().leak();
    let (kept, new) = tokens.split_at(CLIENTS);
    // connections, buffers and the first use of everything
    cost(&fleet, kept).await;

    step("SYMPTOM", "the data planes are busier than usual, for as many requests as usual");
    let (dear, profile) = tokio::join!(cost(&fleet, new), profile(fleet.admin_address(0)));
    println!("processor time of a request: {dear:.0} µs");
    step("SIGNAL", "process_cpu_seconds_total over gateway_requests_total; a profile says where it goes");
    signal(&fleet, "process_cpu_seconds_total", &[], |values| matches!(values, [spent] if *spent > 0.0))
        .await;
    signal(&fleet, "gateway_requests_total", &[r#"route="api""#], |values| values.iter().sum::<f64>() > 0.0)
        .await;
    shown(&format!("curl -s 'http://{}{FLAME_GRAPH}' > where.svg", fleet.admin_address(0)), &profile);

    step(
        "CAUSE",
        "no token comes twice, so each signature is verified: a client fetches a new one for every request",
    );
    step("DO", "have it keep its token until shortly before `exp`: what holds is remembered for a minute");
    let cheap = cost(&fleet, kept).await;
    step("RECOVERY", &format!("processor time of a request: {cheap:.0} µs, where it was {dear:.0} µs"));
    assert!(dear > cheap * DEAR, "new tokens: {dear} µs a request, kept ones: {cheap} µs");
}

fn token(key: &EncodingKey, number: usize) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let claims =
        json!({"sub": format!("client-{number}"), "exp": (now + Duration::from_secs(600)).as_secs()});
    encode(&Header::new(ALGORITHM), &claims, key).expect("a token")
}

/// Processor time of the fleet for each of as many requests as are measured, in microseconds.
async fn cost(fleet: &Fleet, tokens: &'static [String]) -> f64 {
    let before = total(fleet, "process_cpu_seconds_total", &[]).await;
    let addresses = fleet.addresses();
    let share = REQUESTS / addresses.len();
    let request = move |number: usize| {
        let token = &tokens[number % tokens.len()];
        format!("GET /api HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer {token}\r\n\r\n")
    };
    let asked = addresses
        .iter()
        .enumerate()
        .map(|(at, address)| pipelined(*address, at * share..(at + 1) * share, request));
    try_join_all(asked).await.expect("every request is let in");
    (total(fleet, "process_cpu_seconds_total", &[]).await - before) * 1e6 / REQUESTS as f64
}

/// The functions of the gateway that a second's flame graph shows in the way of a token; or why there is none.
async fn profile(admin: SocketAddr) -> String {
    let reply = get(admin, FLAME_GRAPH).await.expect("an answer");
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    if reply.status != StatusCode::OK {
        return text;
    }
    // <title>FUNCTION (SAMPLES samples, SHARE%)</title>
    let frames = text.split("<title>").skip(1).filter_map(|rest| rest.split_once("</title>"));
    let frames: Vec<_> = frames.map(|(title, _)| title).filter(|title| title.contains("jwt")).collect();
    assert!(!frames.is_empty(), "no token is verified in the profile:\n{text}");
    frames.join("\n")
}
