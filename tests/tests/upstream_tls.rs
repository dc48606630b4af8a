//! Targets by TLS: real servers that must prove who they are, and are told who the client is.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use std::fs;
use tests::authority::{Authority, Files};
use tests::client::{RawClient, get};
use tests::config;
use tests::fleet::Fleet;
use tests::peers::present;
use tests::servers::Server;
use tests::upstream::Upstream;
use tests::wait::{eventually, soon};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// nginx that proves itself so, and says over which protocols it was asked.
async fn nginx(identity: &Files, more: &str) -> Server {
    let Files { cert, key } = identity;
    Server::nginx(&format!(
        "listen ADDRESS ssl http2;\nssl_certificate {};\nssl_certificate_key {};\n\
         ssl_protocols TLSv1.2 TLSv1.3;\n{more}\n\
         location = /who {{ return 200 \"$server_protocol $ssl_protocol $ssl_server_name $host\"; }}\n\
         location = /session {{ return 200 \"$ssl_session_reused $connection\"; }}\n\
         location = /client {{ return 200 \"$ssl_client_verify $ssl_client_s_dn\"; }}\n",
        cert.display(),
        key.display()
    ))
    .await
}

/// A route to a server with more keys, each a line.
fn route(name: &str, server: &Server, keys: &[String]) -> String {
    let keys: String = keys.iter().map(|key| format!("    {key}\n")).collect();
    format!(
        "  - name: {name}\n    prefix: /{name}\n    strip_prefix: true\n    targets: [{{addr: \"https://{}\"}}]\n{keys}",
        server.address()
    )
}

async fn fleet(routes: &[String]) -> Fleet {
    Fleet::start(1, |port| config::server(port, "") + "routes:\n" + &routes.concat()).await
}

async fn text(fleet: &Fleet, path: &str) -> (u16, String) {
    let reply = get(fleet.address(0), path).await.expect("a reply");
    (reply.status.as_u16(), String::from_utf8_lossy(&reply.body).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_proves_who_it_is_before_it_gets_a_request() {
    if !present(&["nginx"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let [ours, theirs] = ["ours", "theirs"].map(|name| Authority::new(&directory.path().join(name)));
    let server = nginx(&ours.server("server", &["127.0.0.1", "a.internal"]), "").await;
    let ca = |authority: &Authority| format!("ca: {}", authority.file().display());
    let fleet = fleet(&[
        route("auto", &server, &[format!("tls: {{{}}}", ca(&ours))]),
        route("http1", &server, &[format!("tls: {{{}}}", ca(&ours)), "protocol: http1".to_owned()]),
        route("named", &server, &[format!("tls: {{{}, server_name: a.internal}}", ca(&ours))]),
        route("misnamed", &server, &[format!("tls: {{{}, server_name: b.internal}}", ca(&ours))]),
        route("foreign", &server, &[format!("tls: {{{}}}", ca(&theirs))]),
        route("system", &server, &[]),
        route("unverified", &server, &["tls: {insecure_skip_verify: true}".to_owned()]),
    ])
    .await;
    let host = server.address().ip();
    for (path, expected) in [
        ("/auto/who", format!("HTTP/2.0 TLSv1.3  {host}")),
        ("/http1/who", format!("HTTP/1.1 TLSv1.3  {host}")),
        ("/named/who", format!("HTTP/2.0 TLSv1.3 a.internal {host}")),
        ("/unverified/who", format!("HTTP/2.0 TLSv1.3  {host}")),
    ] {
        assert_eq!(text(&fleet, path).await, (200, expected), "{path}");
    }
    for path in ["/misnamed/who", "/foreign/who", "/system/who"] {
        let reply = get(fleet.address(0), path).await.expect("a reply");
        assert_eq!((reply.status.as_u16(), reply.json()["reason"].as_str()), (502, Some("tls_certificate")));
        assert!(reply.header("proxy-status").contains("error=tls_certificate_error"), "{path}");
    }
    eventually("status says so", async || {
        let output = fleet.ctl(["status", "targets", "-o", "json"]).await;
        let targets = output.json()["items"].as_array().cloned().unwrap_or_default();
        let of = |name: &str| targets.iter().find(|target| target["upstream"] == name).cloned();
        let (Some(foreign), Some(unverified)) = (of("foreign"), of("unverified")) else {
            return Err(output.text());
        };
        let told =
            foreign["reason"].as_str().is_some_and(|reason| reason.contains("invalid peer certificate"));
        if told && unverified["unverified"] == true { Ok(()) } else { Err(output.text()) }
    })
    .await;
    let validated = fleet.ctl(["validate", "-f", fleet.config_path().to_str().expect("a path")]).await;
    assert!(validated.text().contains("GW1905"), "{}", validated.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_proves_who_it_is_and_resumes_its_sessions() {
    if !present(&["nginx"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path());
    let more = format!(
        "ssl_client_certificate {};\nssl_verify_client optional;\nkeepalive_timeout 0;",
        authority.file().display()
    );
    let server = nginx(&authority.server("server", &["127.0.0.1"]), &more).await;
    let client = authority.client("gateway", "gateway");
    let ca = authority.file();
    let ca = ca.display();
    let (cert, key) = (client.cert.display(), client.key.display());
    let fleet = fleet(&[
        route(
            "proved",
            &server,
            &[format!("tls: {{ca: {ca}, cert: {cert}, key: {key}}}"), "protocol: http1".to_owned()],
        ),
        route("unproved", &server, &[format!("tls: {{ca: {ca}}}"), "protocol: http1".to_owned()]),
    ])
    .await;
    assert!(text(&fleet, "/proved/client").await.1.starts_with("SUCCESS"));
    assert!(text(&fleet, "/unproved/client").await.1.starts_with("NONE"));
    // each request has a connection of its own; some worker has seen a ticket by now
    eventually("a session is resumed", async || match text(&fleet, "/unproved/session").await.1 {
        said if said.starts_with("r ") => Ok(()),
        said => Err(said),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_no_use_are_refused_with_their_names_and_nothing_changes() {
    let target = Upstream::echo("echo").await;
    let fleet = Fleet::start(1, |port| config::forward_all(port, target.address())).await;
    let before = fleet.settled().await;
    let broken = fleet.directory().join("broken.pem");
    fs::write(&broken, "no certificate\n").expect("a file");
    for ca in ["/no/such/ca.pem", broken.to_str().expect("a path")] {
        let config = config::server(fleet.port(), "")
            + &format!(
                "routes:\n  - name: all\n    prefix: /\n    targets: [{{addr: \"https://127.0.0.1:9\"}}]\n    tls: {{ca: {ca}}}\n"
            );
        let refused = fleet.apply(&config, &[]).await.exits(4);
        assert!(refused.text().contains("GW2004") && refused.text().contains(ca), "{}", refused.text());
    }
    assert_eq!(fleet.settled().await, before);
    assert_eq!(text(&fleet, "/").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_and_websockets_pass_by_tls() {
    const SIZE: usize = 64 << 20;
    if !present(&["nginx"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(directory.path());
    let (ws, echo) = (Upstream::websocket().await, Upstream::echo("echo").await);
    let more = format!(
        "client_max_body_size 0;\n\
         location /ws {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
         proxy_set_header Connection $connection_upgrade; }}\n\
         location /echo {{ proxy_pass http://{}; proxy_request_buffering off; }}",
        ws.address(),
        echo.address()
    );
    let server = nginx(&authority.server("server", &["127.0.0.1"]), &more).await;
    let large = fs::File::create(server.directory().join("large")).expect("a file");
    large.set_len(SIZE as u64).expect("a length");
    let tls = format!("tls: {{ca: {}}}", authority.file().display());
    let mut fleet = fleet(&[
        route("auto", &server, std::slice::from_ref(&tls)),
        route("http1", &server, &[tls, "protocol: http1".to_owned()]),
    ])
    .await;
    let address = fleet.address(0);
    for protocol in ["auto", "http1"] {
        let reply = get(address, &format!("/{protocol}/large")).await.expect("a reply");
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, SIZE), "{protocol}");
        let mut upload = RawClient::connect(address).await;
        upload
            .send(format!("POST /{protocol}/echo HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"))
            .await;
        let piece = vec![b'u'; 1 << 20];
        for _ in 0..SIZE >> 20 {
            upload.send(&piece).await;
        }
        assert_eq!(upload.response().await.status, 200, "{protocol}");

        // by HTTP/1.1 also where other requests go by HTTP/2
        let stream = TcpStream::connect(address).await.expect("connect");
        let url = format!("ws://{address}/{protocol}/ws");
        let (mut socket, response) =
            soon("a WebSocket", tokio_tungstenite::client_async(url, stream)).await.expect("a WebSocket");
        assert_eq!(response.status(), 101);
        for text in ["hello", &"x".repeat(1 << 20)] {
            socket.send(Message::text(text)).await.expect("send a message");
            let echo = soon("the echo", socket.next()).await.expect("still open").expect("a message");
            assert_eq!(echo.into_text().expect("text").as_str(), text);
        }
    }
    let most = fleet.data_plane(0).memory_kib("VmHWM");
    assert!(most < 100 << 10, "{most} KiB for bodies of 64 MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_learns_who_the_client_is() {
    if !present(&["haproxy"]) {
        return;
    }
    let server = Server::haproxy(
        "  bind ADDRESS accept-proxy\n  \
         http-request return status 200 content-type text/plain lf-string \"%[src]:%[src_port] %[dst]:%[dst_port] %[fc_http_major]\"",
    )
    .await;
    let at = server.address();
    let route = |name: &str, keys: &str| {
        format!("  - {{name: {name}, prefix: /{name}, targets: [{{addr: \"http://{at}\"}}], {keys}}}\n")
    };
    let fleet = fleet(&[
        route("one", "send_proxy_protocol: v1"),
        route("two", "send_proxy_protocol: v2, health_check: {path: /, interval: 100ms}"),
        route("three", "send_proxy_protocol: v2, protocol: h2"),
    ])
    .await;
    let mut clients = Vec::new();
    for source in [1, 2, 3] {
        clients.push(RawClient::connect_from(source, fleet.address(0)).await);
    }
    // more than once: the connections of one client are not the other's
    for _ in 0..3 {
        for (path, protocol) in [("/one", 1), ("/two", 1), ("/three", 2)] {
            for client in &mut clients {
                client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
                let response = client.response().await;
                let body = String::from_utf8_lossy(&response.body).into_owned();
                let expected = format!("{} {} {protocol}", client.local(), fleet.address(0));
                assert_eq!((response.status, body), (200, expected), "{path}");
            }
        }
    }
    eventually("the probes are good", async || {
        let output = fleet.ctl(["status", "targets", "-o", "json"]).await;
        let targets: Value = output.json()["items"].clone();
        let two = targets.as_array().and_then(|all| all.iter().find(|target| target["upstream"] == "two"));
        let well = two.is_some_and(|two| two["probes"].as_u64() > Some(1) && two["probeFailures"] == 0);
        if well { Ok(()) } else { Err(output.text()) }
    })
    .await;
}
