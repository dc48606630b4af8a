//! `mirror`: what is copied, and that no mirror, whatever it does, costs the client anything.

use crate::{ask, metric, table};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tests::client::{RawClient, RawResponse};
use tests::fleet::Fleet;
use tests::upstream::{Mood, Target};
use tests::wait::eventually;

/// One route to `main`, with these settings of its mirror besides the upstream.
async fn fleet(main: &Target, shadow: &Target, settings: &str, filters: &str) -> Fleet {
    let upstreams = [("main", main.address()), ("shadow", shadow.address())];
    let routes = format!(
        "  - name: r\n    prefix: /\n    upstream: main\n    mirror: {{upstream: shadow{settings}}}\n    filters: [{filters}]\n"
    );
    Fleet::start(1, |port| table(port, &upstreams, &routes)).await
}

async fn send(address: SocketAddr, request: &str) -> RawResponse {
    let mut client = RawClient::connect(address).await;
    client.send(request).await;
    client.response().await
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn mirrored(fleet: &Fleet, outcome: &str) -> u64 {
    metric(fleet, "gateway_mirrored_requests_total", &[("route", "r"), ("outcome", outcome)]).await
}

/// Waits until so many copies have ended so.
async fn comes_to(fleet: &Fleet, outcome: &str, count: u64) {
    eventually(&format!("{count} copies with {outcome}"), async || match mirrored(fleet, outcome).await {
        seen if seen == count => Ok(()),
        seen => Err(format!("{seen}")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_what_the_target_got_but_for_its_mark() {
    let (main, shadow) = (Target::start("main").await, Target::start("shadow").await);
    let strip = "headers: {request: {set: {X-Set: \"1\"}}}";
    let fleet = fleet(&main, &shadow, "", &format!("{{{strip}}}")).await;
    let address = fleet.address(0);
    let chunked = "PUT /c HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let get = "GET /g?a=1 HTTP/1.1\r\nHost: a.test\r\nX-Mirrored: no\r\n\r\n";
    for request in [get, &post("/p", "hello"), chunked] {
        assert_eq!(send(address, request).await.text(), "main");
    }
    comes_to(&fleet, "success", 3).await;
    let (got, copies) = (main.arrivals(), shadow.arrivals());
    assert_eq!((got.len(), copies.len()), (3, 3));
    for original in got.iter().map(|arrival| &arrival.request) {
        let copy = copies.iter().map(|arrival| &arrival.request);
        let mut copy = copy.filter(|copy| copy.target == original.target);
        let copy = copy.next().unwrap_or_else(|| panic!("no copy of {}", original.target));
        assert_eq!((&copy.method, &copy.body), (&original.method, &original.body));
        assert_eq!(copy.header("x-mirrored"), Some("true"));
        assert_ne!(original.header("x-mirrored"), Some("true"));
        for same in ["x-request-id", "x-forwarded-for", "x-forwarded-host", "x-set", "via"] {
            assert!(original.header(same).is_some(), "{same}");
            assert_eq!(copy.header(same), original.header(same), "{same}");
        }
        assert_eq!(copy.header("host"), Some(&*shadow.address().to_string()));
    }
    let of_clients = metric(&fleet, "gateway_requests_total", &[("method", "GET")]).await;
    assert_eq!(of_clients, 1, "copies are not counted among the requests of clients");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_fails_in_any_way_costs_the_client_nothing() {
    let (main, shadow) = (Target::start("main").await, Target::start("shadow").await);
    let fleet = fleet(&main, &shadow, ", timeout: 300ms", "").await;
    let address = fleet.address(0);
    // connections to both are open
    for _ in 0..10 {
        assert_eq!(ask(address, "/", "").await.text(), "main");
    }
    comes_to(&fleet, "success", 10).await;

    let (mut failures, mut timeouts) = (0, 0);
    for mood in [
        Mood::Status(500),
        Mood::Resetting,
        Mood::Refusing,
        Mood::Hanging,
        Mood::Stuck,
        Mood::Slow(Duration::from_secs(3600)),
    ] {
        shadow.be(mood).await;
        let began = Instant::now();
        for at in 0..10 {
            let request = if at % 2 == 0 { post("/", "hello") } else { post("/", &"x".repeat(20_000)) };
            assert_eq!(send(address, &request).await.text(), "main", "{mood:?}");
        }
        let took = began.elapsed();
        match mood {
            Mood::Status(_) | Mood::Resetting | Mood::Refusing => failures += 10,
            _ => {
                timeouts += 10;
                // one after the other they would have waited ten times as long
                assert!(took < Duration::from_millis(1500), "{took:?} with {mood:?}");
            }
        }
        comes_to(&fleet, "failure", failures).await;
        comes_to(&fleet, "timeout", timeouts).await;
    }
    shadow.be(Mood::Healthy).await;
    assert_eq!(ask(address, "/", "").await.text(), "main");
    comes_to(&fleet, "success", 11).await;
    let failed = metric(&fleet, "gateway_requests_total", &[("method", "POST"), ("status", "200")]).await;
    assert_eq!(failed, 60, "to the clients all went well");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_and_too_many_copies_are_left_out() {
    let (main, shadow) = (Target::start("main").await, Target::start("shadow").await);
    let fleet = fleet(&main, &shadow, ", max_body: 1KiB, max_in_flight: 3, timeout: 1h", "").await;
    let address = fleet.address(0);
    let large = "x".repeat(1025);
    let chunked = format!(
        "POST /large HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{large}\r\n0\r\n\r\n"
    );
    assert_eq!(send(address, &post("/large", &large)).await.text(), "main");
    assert_eq!(send(address, &chunked).await.text(), "main");
    assert_eq!(send(address, &post("/fits", &large[1..])).await.text(), "main");
    comes_to(&fleet, "too_large", 2).await;
    comes_to(&fleet, "success", 1).await;
    assert_eq!((shadow.got("/large"), shadow.got("/fits")), (0, 1));

    shadow.be(Mood::Hanging).await;
    for _ in 0..8 {
        assert_eq!(ask(address, "/", "").await.text(), "main");
    }
    comes_to(&fleet, "overflow", 5).await;
    eventually("the mirror has three", async || match shadow.in_flight() {
        3 => Ok(()),
        other => Err(format!("{other}")),
    })
    .await;
    shadow.be(Mood::Healthy).await;
    comes_to(&fleet, "success", 4).await;
    assert_eq!(ask(address, "/", "").await.text(), "main");
    comes_to(&fleet, "success", 5).await;
}

/// A request is copied once, however often it is tried; one whose body never comes to its end is not.
#[tokio::test(flavor = "multi_thread")]
async fn retries_are_not_copied_and_neither_is_half_a_request() {
    let (main, shadow) = (Target::start("main").await, Target::start("shadow").await);
    let retry = "{retry: {max_retries: 2, retry_on: [503], budget: 100%, methods: [POST]}}";
    let fleet = fleet(&main, &shadow, "", retry).await;
    main.be(Mood::Status(503)).await;
    assert_eq!(send(fleet.address(0), &post("/p", "hello")).await.outcome(), "503");
    comes_to(&fleet, "success", 1).await;
    assert_eq!((main.got("/p"), shadow.got("/p")), (3, 1));
    assert_eq!(shadow.arrivals()[0].request.body, "hello");

    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("POST /half HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf").await;
    drop(client);
    comes_to(&fleet, "incomplete", 1).await;
    assert_eq!(shadow.got("/half"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_has_its_own_health() {
    let (main, shadow) = (Target::start("main").await, Target::start("shadow").await);
    let fleet = Fleet::start(1, |port| {
        format!(
            "{}upstreams:\n  - {{name: main, targets: [{{addr: \"http://{}\"}}]}}\n  - name: shadow\n    targets: [{{addr: \"http://{}\"}}]\n    outlier: {{consecutive_errors: 3, base_ejection: 1h, max_ejection: 1h, max_ejection_percent: 100}}\n    on_all_unhealthy: fail_closed\nroutes:\n  - {{name: r, prefix: /, upstream: main, mirror: {{upstream: shadow}}}}\n",
            tests::config::server(port, ""),
            main.address(),
            shadow.address()
        )
    })
    .await;
    shadow.be(Mood::Status(500)).await;
    for at in 1..=6 {
        assert_eq!(ask(fleet.address(0), "/", "").await.text(), "main");
        comes_to(&fleet, "failure", at).await;
    }
    assert_eq!(shadow.arrivals().len(), 3, "then it is ejected");
    let health = |upstream| crate::health(&fleet, upstream);
    assert_eq!((health("main").await, health("shadow").await), (1, 0));
}
