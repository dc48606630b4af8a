//! `rate_limit`: who is refused, who waits, and what they are told.

use crate::{
    Drained, Volley, addresses, ask, ask_with, drain, gateway, get, only, outcomes, reported, table,
};
use std::time::Instant;
use tests::client::RawClient;
use tests::config::{self, route};
use tests::fleet::Fleet;
use tests::upstream::Target;

#[track_caller]
fn assert_bucket(drained: &Drained, burst: usize) {
    let Drained { passed, refused, refilled } = drained;
    assert_eq!(refused.outcome(), "429 rate_limited");
    assert!(
        (burst..=burst + refilled).contains(passed),
        "{passed} passed a burst of {burst}, refilled {refilled}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_burst_429_tells_when_to_come_back() {
    let target = Target::start("target").await;
    let at = addresses(&[&target]);
    let fleet = gateway(&[
        route("ietf", &at, &["filters: [{rate_limit: {qps: 1, burst: 5}}]"]),
        route("legacy", &at, &["filters: [{rate_limit: {qps: 1, burst: 5, headers: legacy}}]"]),
        route("silent", &at, &["filters: [{rate_limit: {qps: 1, burst: 5, headers: off}}]"]),
    ])
    .await;
    for path in ["/ietf", "/legacy", "/silent"] {
        let drained = drain(1.0, async || ask(&fleet, path).await).await;
        assert_bucket(&drained, 5);
        assert_eq!(target.got(path), drained.passed, "a refused request reached the target");

        let refused = drained.refused;
        let told = |name: &str| refused.header(name).unwrap_or_default().to_owned();
        assert_eq!(told("retry-after"), "1", "{path}");
        assert_eq!(refused.json()["reason"], "rate_limited");
        assert_eq!(told("ratelimit").contains("r=0;t=1"), path == "/ietf", "{refused:?}");
        assert_eq!(told("ratelimit-policy").contains("q="), path == "/ietf", "{refused:?}");
        assert_eq!(told("x-ratelimit-remaining") == "0", path == "/legacy", "{refused:?}");
        assert_eq!(told("x-ratelimit-limit").is_empty(), path != "/legacy", "{refused:?}");
        assert_eq!(told("x-ratelimit-reset").is_empty(), path != "/legacy", "{refused:?}");
    }
}

/// Two workers decide at once, and not one request too many passes.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_exact_over_all_workers() {
    let target = Target::start("target").await;
    let at = addresses(&[&target]);
    let fleet = gateway(&[
        route("bucket", &at, &["filters: [{rate_limit: {qps: 1, burst: 20}}]"]),
        route("window", &at, &["filters: [{rate_limit: {qps: 1, algorithm: sliding_window, window: 20s}}]"]),
    ])
    .await;
    for path in ["/bucket", "/window"] {
        let started = Instant::now();
        let answers = Volley::fire(&fleet, path, 100).end().await;
        let refilled = started.elapsed().as_secs() as usize + 1;
        let passed = answers.iter().filter(|answer| *answer == "200").count();
        assert!((20..=20 + refilled).contains(&passed), "{path}: {passed} passed, refilled {refilled}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_has_a_bucket_of_its_own() {
    let target = Target::start("target").await;
    let at = addresses(&[&target]);
    let fleet = gateway(&[
        route("ip", &at, &["filters: [{rate_limit: {qps: 1, burst: 5, key: client_ip}}]"]),
        route("header", &at, &["filters: [{rate_limit: {qps: 1, burst: 5, key: \"header:X-Key\"}}]"]),
    ])
    .await;
    for source in [2, 3] {
        let send = async || {
            let mut client = RawClient::connect_from(source, fleet.address(0)).await;
            client.send(get("/ip", "")).await;
            client.response().await
        };
        assert_bucket(&drain(1.0, send).await, 5);
    }
    for key in ["X-Key: a\r\n", "X-Key: b\r\n"] {
        assert_bucket(&drain(1.0, async || ask_with(fleet.address(0), "/header", key).await).await, 5);
    }
}

/// Behind a trusted proxy the client is whom that names; of IPv6 a client has the whole /64.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_known_by_its_address_whoever_forwards_it() {
    let target = Target::start("target").await;
    let filters = "filters: [{rate_limit: {qps: 1, burst: 5, key: client_ip}}]";
    let fleet = Fleet::start(1, |port| {
        config::server(port, "  trusted_proxies: [127.0.0.1/32]\n")
            + "routes:\n"
            + &route("r", &addresses(&[&target]), &[filters])
    })
    .await;
    let send = async |source, client: &str| {
        let mut connection = RawClient::connect_from(source, fleet.address(0)).await;
        connection.send(get("/r", &format!("X-Forwarded-For: {client}\r\n"))).await;
        connection.response().await
    };
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"] {
        assert_bucket(&drain(1.0, async || send(1, client).await).await, 5);
    }
    let neighbour = drain(1.0, async || send(1, "2001:db8::2").await).await;
    assert!(neighbour.passed < 5, "{} passed from a drained /64", neighbour.passed);
    // who is not trusted is himself, whatever he says
    assert_bucket(&drain(1.0, async || send(2, "192.0.2.3").await).await, 5);
    let again = drain(1.0, async || send(2, "192.0.2.4").await).await;
    assert!(again.passed < 5, "{} passed by a made-up address", again.passed);
}

/// However many values a header takes, so many are remembered.
#[tokio::test(flavor = "multi_thread")]
async fn keys_beyond_the_cap_are_forgotten() {
    const KEYS: usize = 5000;
    let target = Target::start("target").await;
    let filters = "filters: [{rate_limit: {qps: 1, burst: 1, key: \"header:X-Key\", max_keys: 1000}}]";
    let fleet = gateway(&[route("r", &addresses(&[&target]), &[filters])]).await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    for first in (0..KEYS).step_by(100) {
        let requests: String =
            (first..first + 100).map(|key| get("/r", &format!("X-Key: {key}\r\n"))).collect();
        client.send(requests).await;
        for _ in 0..100 {
            assert_eq!(client.response().await.outcome(), "200", "one request of each key");
        }
    }
    let limit = reported(&fleet, "limits", &[("route", "r"), ("kind", "rate_limit")], |limit| {
        limit["passed"] == KEYS
    })
    .await;
    let (keys, evicted) = (limit["keys"].as_u64().unwrap_or(0), limit["evicted"].as_u64().unwrap_or(0));
    assert!((500..=1000).contains(&keys), "{limit:#}");
    // a bucket that was full again by the time it had to go is no loss, and not counted
    assert!(evicted > 0 && keys + evicted <= KEYS as u64, "{limit:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_all_routes_and_that_of_one_both_hold() {
    let target = Target::start("target").await;
    let at = addresses(&[&target]);
    let routes =
        [route("own", &at, &["filters: [{rate_limit: {qps: 1, burst: 5}}]"]), route("none", &at, &[])];
    let fleet = Fleet::start(1, |port| {
        table(port, &routes) + "global_filters:\n  - rate_limit: {qps: 1, burst: 30}\n"
    })
    .await;
    let own = drain(1.0, async || ask(&fleet, "/own").await).await;
    assert_bucket(&own, 5);
    let all = drain(1.0, async || ask(&fleet, "/none").await).await;
    assert_eq!(all.refused.outcome(), "429 rate_limited");
    let (passed, refilled) = (own.passed + all.passed, own.refilled + all.refilled);
    // the request that `/own` refused may have taken of the global bucket as well
    assert!(
        (29..=30 + refilled).contains(&passed),
        "{passed} passed the global burst of 30, refilled {refilled}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaky_bucket_lets_requests_wait_for_their_turn() {
    const QPS: usize = 20;
    let target = Target::start("target").await;
    let filters = format!(
        "filters: [{{rate_limit: {{qps: {QPS}, burst: 5, algorithm: leaky_bucket, max_wait: 10s}}}}]"
    );
    let fleet = gateway(&[route("leaky", &addresses(&[&target]), &[&filters])]).await;
    let started = Instant::now();
    let answers = Volley::fire(&fleet, "/leaky", 40).end().await;
    let took = started.elapsed().as_secs_f64();
    let passed = answers.iter().filter(|answer| *answer == "200").count();
    assert_eq!(answers.iter().filter(|answer| *answer == "429 rate_limited").count(), 40 - passed);
    assert_eq!(target.got("/leaky"), passed);
    let leaked = (took * QPS as f64).ceil() as usize;
    assert!((5..=5 + 1 + leaked).contains(&passed), "{passed} passed in {took} s");
    // the first goes at once, every other one 1/QPS after the one before; the gateway's clock may lag by some ms
    let least = (passed - 1) as f64 / QPS as f64;
    assert!(took > least - 0.02, "{passed} in {took} s, not shaped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sliding_window_counts_what_lies_within_it() {
    let target = Target::start("target").await;
    let filters = "filters: [{rate_limit: {qps: 1, algorithm: sliding_window, window: 20s}}]";
    let fleet = gateway(&[route("window", &addresses(&[&target]), &[filters])]).await;
    let drained = drain(1.0, async || ask(&fleet, "/window").await).await;
    assert_bucket(&drained, 20);
    let policy = drained.refused.header("ratelimit-policy").unwrap_or_default().to_owned();
    assert!(policy.contains("q=20;w=20"), "{policy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_limit_changes_no_answer_and_counts() {
    let target = Target::start("target").await;
    let filters = "filters: [{rate_limit: {qps: 1, burst: 2, shadow: true}}]";
    let fleet = gateway(&[route("shadow", &addresses(&[&target]), &[filters])]).await;
    let started = Instant::now();
    assert_eq!(outcomes(&fleet, "/shadow", 30).await, only("200", 30));
    let response = ask(&fleet, "/shadow").await;
    assert!(response.headers.iter().all(|(name, _)| !name.contains("ratelimit")), "{:?}", response.headers);
    let least = 31_u64.saturating_sub(2 + started.elapsed().as_secs() + 1);
    let limit = reported(&fleet, "limits", &[("route", "shadow"), ("kind", "rate_limit")], |limit| {
        limit["wouldLimit"].as_u64().is_some_and(|count| count >= least)
    })
    .await;
    assert_eq!((&limit["refused"], &limit["shadow"]), (&0.into(), &true.into()), "{limit:#}");
}
