//! `split`: exact shares over all workers, who is sent elsewhere, and what an edit of the weights leaves alone.

use crate::{ask, metric, table};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tests::client::RawClient;
use tests::fleet::Fleet;
use tests::upstream::{Mood, Target};

async fn fleet(targets: &[(&str, &Target)], routes: &str) -> Fleet {
    let upstreams: Vec<_> = targets.iter().map(|(name, target)| (*name, target.address())).collect();
    Fleet::start(1, |port| table(port, &upstreams, routes)).await
}

/// How many of so many requests each target answered, each on a connection of its own.
async fn shares(address: SocketAddr, path: &str, requests: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        *shares.entry(ask(address, path, "").await.text()).or_default() += 1;
    }
    shares
}

fn counted(shares: &[(&str, usize)]) -> BTreeMap<String, usize> {
    shares.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

const CANARY: &str = r#"
  - name: r
    prefix: /
    split:
      - {upstream: stable, weight: 95}
      - {upstream: canary, weight: 5, when: [{header: X-Canary, value: "1"}, {cookie: canary, value: always}]}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_shares_are_exact_over_all_workers_and_whoever_asks_gets_the_canary() {
    let (stable, canary) = (Target::start("stable").await, Target::start("canary").await);
    let logging = "global_filters: [{logging: {output: stdout}}]\n";
    let mut fleet = fleet(&[("stable", &stable), ("canary", &canary)], &format!("{CANARY}{logging}")).await;
    let address = fleet.address(0);
    assert_eq!(shares(address, "/", 300).await, counted(&[("stable", 285), ("canary", 15)]));

    for headers in ["X-Canary: 1\r\n", "Cookie: a=b; canary=always\r\n"] {
        for _ in 0..5 {
            assert_eq!(ask(address, "/", headers).await.text(), "canary", "{headers}");
        }
    }
    // and they took no turns
    assert_eq!(shares(address, "/", 100).await, counted(&[("stable", 95), ("canary", 5)]));

    assert_eq!(ask(address, "/logged", "X-Canary: 1\r\n").await.status, 200);
    let line = fleet.data_plane(0).logged("the line of the request", |line| {
        line.contains("/logged").then(|| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
    });
    assert_eq!(line.await["upstream"], "canary");
    let attempts = |upstream| metric_of(&fleet, upstream);
    assert_eq!((attempts("stable").await, attempts("canary").await), (285 + 95, 15 + 10 + 5 + 1));

    let routes = fleet.ctl(["status", "routes"]).await;
    assert!(routes.exits(0).text().contains("stable:95,canary:5"));
    let explained = fleet.ctl(["explain", "GET", "http://a.test/", "-H", "X-Canary: 1"]).await;
    assert!(explained.exits(0).text().contains("canary: the header x-canary is 1"));
}

async fn metric_of(fleet: &Fleet, upstream: &str) -> u64 {
    metric(fleet, "gateway_target_requests_total", &[("upstream", upstream)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_with_its_share_while_weights_change_around_it() {
    let (stable, canary) = (Target::start("stable").await, Target::start("canary").await);
    let routes = |stable: u32, canary: u32| {
        format!(
            "  - name: r\n    prefix: /\n    hash_on: cookie:session\n    split: [{{upstream: stable, weight: {stable}}}, {{upstream: canary, weight: {canary}}}]\n"
        )
    };
    let upstreams = [("stable", stable.address()), ("canary", canary.address())];
    let fleet = Fleet::start(1, |port| table(port, &upstreams, &routes(50, 50))).await;
    let address = fleet.address(0);
    let of =
        async |session: usize| ask(address, "/", &format!("Cookie: session=s{session}\r\n")).await.text();
    let mut before = Vec::new();
    for session in 0..40 {
        before.push(of(session).await);
        assert_eq!(of(session).await, before[session], "the same session, the same share");
    }
    let of_canary = before.iter().filter(|share| *share == "canary").count();
    assert!((5..35).contains(&of_canary), "{before:?}");

    // a connection to each target is open, and stays so
    let connections = (stable.connections(), canary.connections());
    fleet.apply(&table(fleet.port(), &upstreams, &routes(60, 40)), &[]).await.exits(0);
    let mut moved = 0;
    for (session, share) in before.iter().enumerate() {
        moved += usize::from(of(session).await != *share);
    }
    assert!(moved < 15, "{moved} of 40 moved");
    assert_eq!((stable.connections(), canary.connections()), connections);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_keeps_its_share_and_stops_nobody_else() {
    let (stable, canary) = (Target::start("stable").await, Target::start("canary").await);
    let breaker = "    filters:\n      - circuit_breaker: {threshold: 2, timeout: 1h, scope: target}\n      - retry: {max_retries: 2, retry_on: [503], budget: 100%}\n";
    let routes = "  - name: r\n    prefix: /\n    split: [{upstream: stable, weight: 3}, {upstream: canary, weight: 1}]\n";
    let fleet = fleet(&[("stable", &stable), ("canary", &canary)], &format!("{routes}{breaker}")).await;
    let address = fleet.address(0);
    canary.be(Mood::Status(503)).await;
    let mut ended = BTreeMap::new();
    for _ in 0..40 {
        let response = ask(address, "/", "").await;
        *ended.entry((response.status, response.reason().to_owned())).or_insert(0) += 1;
    }
    // a retry stays with the canary, whose breaker is open after its first request
    let expected = [((200, ""), 30), ((503, ""), 1), ((503, "circuit_open"), 9)];
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|((status, reason), count)| ((status, reason.to_owned()), count)).collect();
    assert_eq!(ended, expected);
    assert_eq!(canary.arrivals().len(), 2, "the first attempt and one retry");
    assert_eq!(stable.arrivals().len(), 30);
    let state = |target: SocketAddr| metric_of_breaker(&fleet, target);
    assert_eq!((state(stable.address()).await, state(canary.address()).await), (0, 1));
}

async fn metric_of_breaker(fleet: &Fleet, target: SocketAddr) -> u64 {
    let target = format!("http://{target}");
    metric(fleet, "gateway_circuit_breaker_state", &[("route", "r"), ("target", &target)]).await
}

/// From one upstream to a split and on to the new version, while a request is on its way the whole time.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_is_rolled_out_without_a_lost_request() {
    let (stable, canary) = (Target::start("stable").await, Target::start("canary").await);
    let upstreams = [("stable", stable.address()), ("canary", canary.address())];
    let one = |name: &str| format!("  - name: r\n    prefix: /\n    upstream: {name}\n");
    let split = |weight: u32| {
        let rest = 100 - weight;
        format!(
            "  - name: r\n    prefix: /\n    split: [{{upstream: stable, weight: {rest}}}, {{upstream: canary, weight: {weight}}}]\n"
        )
    };
    let fleet = Fleet::start(1, |port| table(port, &upstreams, &one("stable"))).await;
    stable.be_at("/slow", Mood::Hanging);
    let mut slow = RawClient::connect(fleet.address(0)).await;
    slow.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    tests::wait::eventually("the slow request is there", async || match stable.got("/slow") {
        1 => Ok(()),
        other => Err(format!("{other}")),
    })
    .await;
    for (step, expected) in [
        (split(10), counted(&[("stable", 18), ("canary", 2)])),
        (split(50), counted(&[("stable", 10), ("canary", 10)])),
        (one("canary"), counted(&[("canary", 20)])),
    ] {
        fleet.apply(&table(fleet.port(), &upstreams, &step), &[]).await.exits(0);
        assert_eq!(shares(fleet.address(0), "/", 20).await, expected, "{step}");
    }
    stable.be_at("/slow", Mood::Healthy);
    assert_eq!(slow.response().await.text(), "stable");
}
