//! Targets that speak HTTP/2: nginx, and tonic's servers of gRPC.

use http::{Request, header};
use http_body_util::Full;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tests::client::{RawClient, get, send};
use tests::config;
use tests::fleet::Fleet;
use tests::load::{Load, Plan};
use tests::peers::present;
use tests::servers::Server;
use tests::upstream::{GrpcHealth, Upstream};
use tests::wait::eventually;
use tonic_health::ServingStatus;

/// A fleet whose one route leads to a server without TLS.
async fn fleet(server: &Server, keys: &str) -> Fleet {
    let target = server.address();
    Fleet::start(1, |port| {
        config::server(port, "")
            + &format!(
                "routes:\n  - {{name: all, prefix: /, targets: [{{addr: \"http://{target}\"}}], protocol: h2{keys}}}\n"
            )
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_though_the_target_closes_connections_all_the_time() {
    if !present(&["nginx"]) {
        return;
    }
    // GOAWAY after every ten requests
    let server = Server::nginx(
        "listen ADDRESS http2;\nkeepalive_requests 10;\nlocation / { return 200 \"$server_protocol $connection\"; }",
    )
    .await;
    let fleet = fleet(&server, "").await;
    let load = Load::start(
        fleet.address(0),
        &Plan { clients: 16, pace: Duration::from_millis(1), ..Plan::get("/") },
    );
    load.goes_on_for(5_000).await;
    let tally = load.stop().await;
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200"], "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_share_connections() {
    if !present(&["nginx"]) {
        return;
    }
    let server =
        Server::nginx("listen ADDRESS http2;\nlocation / { return 200 \"$server_protocol $connection\"; }")
            .await;
    let fleet = fleet(&server, "").await;
    let address = fleet.address(0);
    let mut connections = BTreeSet::new();
    for _ in 0..10 {
        let asked: Vec<_> = (0..20).map(|_| tokio::spawn(async move { get(address, "/").await })).collect();
        for reply in asked {
            let reply = reply.await.expect("a client").expect("a reply");
            let said = String::from_utf8_lossy(&reply.body).into_owned();
            let (protocol, connection) = said.split_once(' ').expect("two words");
            assert_eq!(protocol, "HTTP/2.0");
            connections.insert(connection.to_owned());
        }
    }
    assert!(connections.len() <= 2, "one for each worker: {connections:?}");
    eventually("the operator sees how long the target takes", async || {
        get(address, "/").await.map_err(|error| error.to_string())?;
        let output = fleet.ctl(["top", "--once", "-o", "json"]).await;
        match output.json()["targets"][0]["p99Seconds"].as_f64() {
            Some(seconds) if seconds > 0.0 => Ok(()),
            _ => Err(output.text()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_any_size_pass_in_little_memory() {
    const SIZE: u64 = 512 << 20;
    if !present(&["nginx"]) {
        return;
    }
    let echo = Upstream::counting().await;
    let server = Server::nginx(&format!(
        "listen ADDRESS http2;\nclient_max_body_size 0;\n\
         location /upload {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_request_buffering off; }}",
        echo.address()
    ))
    .await;
    let large = std::fs::File::create(server.directory().join("large")).expect("a file");
    large.set_len(SIZE).expect("a length");
    let mut fleet = fleet(&server, "").await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response_to_head().await.status, 200);
    let mut left = SIZE as usize;
    while left > 0 {
        left -= client.bytes(left.min(1 << 20)).await.len();
    }
    client.send(format!("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n")).await;
    let piece = vec![b'u'; 1 << 20];
    for _ in 0..SIZE >> 20 {
        client.send(&piece).await;
    }
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (200, SIZE.to_string()));
    let most = fleet.data_plane(0).memory_kib("VmHWM");
    assert!(most < 64 << 10, "{most} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_grpc_is_called_and_probed() {
    let target = GrpcHealth::start().await;
    target.set("shop", ServingStatus::NotServing).await;
    let fleet = Fleet::start(1, |port| {
        config::server(port, "")
            + &format!(
                "routes:\n  - name: grpc\n    prefix: /\n    protocol: h2\n    targets: [{{addr: \"http://{}\"}}]\n    \
                 health_check: {{type: grpc, interval: 50ms}}\n",
                target.address()
            )
    })
    .await;
    // Check of the service `shop`: a message of six bytes
    let message = [&[0, 0, 0, 0, 6, 0x0a, 4][..], b"shop"].concat();
    let request = Request::post("/grpc.health.v1.Health/Check")
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::CONNECTION, "te")
        .body(Full::from(message))
        .expect("a request");
    let reply = send(fleet.address(0), request).await.expect("a reply");
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "application/grpc"));
    // status = NOT_SERVING
    assert_eq!(&reply.body[..], [0, 0, 0, 0, 2, 8, 2]);
    eventually("the probes are good", async || {
        let output = fleet.ctl(["status", "targets", "-o", "json"]).await;
        let target: Value = output.json()["items"][0].clone();
        let well = target["probes"].as_u64() > Some(1) && target["probeFailures"] == 0;
        if well { Ok(()) } else { Err(output.text()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_speak_http2_where_requests_do() {
    if !present(&["nginx"]) {
        return;
    }
    let server =
        Server::nginx("listen ADDRESS http2;\nlocation /health { return 200 \"$server_protocol $host\"; }")
            .await;
    let fleet = fleet(
        &server,
        ", health_check: {interval: 50ms, host: shop.internal, body_contains: HTTP/2.0 shop.internal}",
    )
    .await;
    eventually("the probes are good", async || {
        let output = fleet.ctl(["status", "targets", "-o", "json"]).await;
        let target: Value = output.json()["items"][0].clone();
        let well = target["probes"].as_u64() > Some(1) && target["probeFailures"] == 0;
        if well { Ok(()) } else { Err(output.text()) }
    })
    .await;
}
