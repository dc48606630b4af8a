//! What becomes of a message on its way: headers, framing, bodies, interim responses; to fakes and to nginx.

use http::Request;
use http_body_util::Full;
use std::process::Command;
use tests::client::{RawClient, RawResponse, get, send};
use tests::config;
use tests::fleet::{Fleet, Setup};
use tests::ports::lease;
use tests::process::Process;
use tests::upstream::{After, Upstream};
use tests::wait::eventually;

async fn in_front_of(upstream: &Upstream, server: &str) -> Fleet {
    Fleet::start(1, |port| {
        config::forward_all(port, upstream.address()).replace("routes:", &format!("{server}routes:"))
    })
    .await
}

async fn exchange(fleet: &Fleet, request: &str) -> RawResponse {
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send(request).await;
    if request.starts_with("HEAD") { client.response_to_head().await } else { client.response().await }
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarding_headers_of_an_untrusted_client_are_replaced() {
    let upstream = Upstream::echo("target").await;
    let fleet = in_front_of(&upstream, "").await;
    exchange(
        &fleet,
        "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8\r\nX-Real-IP: 7.7.7.7\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\nX_Forwarded_For: 6.6.6.6\r\nProxy: http://evil\r\n\r\n",
    )
    .await;
    let got = upstream.requests().pop().expect("one request");
    assert_eq!(got.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(got.header("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(got.header("x-forwarded-proto"), Some("http"));
    assert_eq!(got.header("x-forwarded-host"), Some("a.test"));
    assert_eq!(got.header("x_forwarded_for"), None, "many servers read _ as -");
    assert_eq!(got.header("proxy"), None, "CGI would read it as HTTP_PROXY");
    assert!(got.header("via").is_some_and(|via| via.starts_with("1.1 ")), "{:?}", got.headers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_names_the_client_and_is_added_to_the_list() {
    let upstream = Upstream::echo("target").await;
    let fleet = in_front_of(&upstream, "  trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]\n").await;
    exchange(
        &fleet,
        "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 1.1.1.1, 9.9.9.9, 10.0.0.7\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: public.test\r\n\r\n",
    )
    .await;
    let got = upstream.requests().pop().expect("one request");
    // one line or several: the same list (RFC 9110, section 5.3)
    let hops: Vec<_> =
        got.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
    assert_eq!(hops.join(", "), "1.1.1.1, 9.9.9.9, 10.0.0.7, 127.0.0.1");
    assert_eq!(got.header("x-real-ip"), Some("9.9.9.9"), "the right-most untrusted hop");
    assert_eq!(got.header("x-forwarded-proto"), Some("https"));
    assert_eq!(got.header("x-forwarded-host"), Some("public.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_headers_end_here_in_both_directions() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Inner\r\nKeep-Alive: timeout=5\r\n\
         X-Inner: 1\r\nProxy-Authenticate: Basic\r\nX-Outer: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nhi",
        After::KeepOpen,
    )
    .await;
    let fleet = in_front_of(&upstream, "").await;
    let response = exchange(
        &fleet,
        "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 300\r\n\
         Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: trailers, gzip\r\nX-Yours: 2\r\n\r\n",
    )
    .await;
    let sent = String::from_utf8(upstream.bytes()).expect("ASCII").to_ascii_lowercase();
    for gone in ["x-mine", "keep-alive:", "proxy-connection", "gzip"] {
        assert!(!sent.contains(gone), "{gone} was forwarded:\n{sent}");
    }
    assert!(sent.contains("\r\nx-yours: 2\r\n"), "{sent}");
    for gone in ["x-inner", "keep-alive"] {
        assert_eq!(response.header(gone), None, "{:?}", response.headers);
    }
    assert_eq!(response.header("x-outer"), Some("2"));
    assert_eq!(response.count("set-cookie"), 2, "{:?}", response.headers);
    assert_eq!(response.body, b"hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_without_a_body_keep_the_connection_in_step() {
    let cases: [(&str, &'static str, u16, Option<&str>); 5] = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", 200, Some("1234")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", 304, None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, Some("0")),
    ];
    for (method, answer, status, length) in cases {
        let upstream = Upstream::answering(answer, After::KeepOpen).await;
        let fleet = in_front_of(&upstream, "").await;
        let mut client = RawClient::connect(fleet.address(0)).await;
        for round in 0..3 {
            client.send(format!("{method} /{round} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
            let response =
                if method == "HEAD" { client.response_to_head().await } else { client.response().await };
            assert_eq!(response.status, status, "{answer:?}");
            assert_eq!(response.header("content-length"), length, "{answer:?}: {:?}", response.headers);
            assert!(response.body.is_empty());
        }
    }
}

/// The body counted as still to come: neither connection was used again, and the client's next chunked request refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_trailers_has_ended_with_them() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
    let upstream = Upstream::answering(answer, After::KeepOpen).await;
    let setup = Setup { workers: 1, ..Setup::default() };
    let fleet = Fleet::start_with(setup, |port| config::forward_all(port, upstream.address())).await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    for turn in 1..=3 {
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n")
            .await;
        let response = client.response().await;
        assert_eq!((response.status, response.trailers.len()), (200, 1), "turn {turn}: {response:?}");
    }
    assert_eq!(upstream.connections().len(), 1, "one connection served all three");
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_bodies_and_trailers_pass_in_both_directions() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         4\r\nWiki\r\n5\r\npedia\r\n0\r\nX-Sum: abc\r\n\r\n",
        After::KeepOpen,
    )
    .await;
    let fleet = in_front_of(&upstream, "").await;
    let response = exchange(
        &fleet,
        "POST / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check\r\n\r\n\
         3;ext=1\r\nfoo\r\n3\r\nbar\r\n0\r\nX-Check: 1\r\n\r\n",
    )
    .await;
    assert!(response.chunked);
    assert_eq!(response.text(), "Wikipedia");
    assert_eq!(response.trailers, [("x-sum".to_owned(), "abc".to_owned())]);

    let echo = Upstream::echo("target").await;
    let fleet = in_front_of(&echo, "").await;
    exchange(
        &fleet,
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check\r\n\r\n\
         6\r\nfoobar\r\n0\r\nX-Check: 1\r\nContent-Length: 5\r\n\r\n",
    )
    .await;
    let got = echo.requests().pop().expect("one request");
    assert_eq!(&got.body[..], b"foobar");
    assert_eq!(got.trailers.get("x-check").map(|v| v.as_bytes()), Some(&b"1"[..]), "{got:?}");
    assert!(!got.trailers.contains_key("content-length"), "framing must not come in a trailer");
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_responses_reach_the_client_before_the_final_one() {
    let upstream = Upstream::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        After::KeepOpen,
    )
    .await;
    let fleet = in_front_of(&upstream, "").await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        let response = client.response().await;
        assert_eq!((response.status, response.text().as_str()), (200, "ok"));
        assert_eq!(response.interim, [103, 102]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_100_continue_is_answered_before_the_body_is_sent() {
    let upstream = Upstream::echo("target").await;
    let fleet = in_front_of(&upstream, "").await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(client.interim().await, 100);
    client.send("hello").await;
    let response = client.response().await;
    assert_eq!((response.status, &response.json()["body"]), (200, &"hello".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_gets_an_unchunked_response_and_the_end_of_the_connection() {
    let upstream = Upstream::download(1000, Some(5), None).await;
    let fleet = in_front_of(&upstream, "").await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!(response.status, 200);
    assert!(!response.chunked, "{:?}", response.headers);
    assert_eq!(response.body.len(), 5000);
    client.until_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::echo("target").await;
    let fleet = in_front_of(&upstream, "").await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    let requests: String = (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a.test\r\n\r\n")).collect();
    client.send(requests).await;
    for n in 0..20 {
        assert_eq!(client.response().await.json()["target"], format!("/{n}"));
    }
}

/// A response must not wait until the request that follows it has come whole.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_pipelined_request_does_not_hold_the_response_before_it() {
    let upstream = Upstream::echo("target").await;
    let fleet = in_front_of(&upstream, "").await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("GET /first HTTP/1.1\r\nHost: a.test\r\n\r\nGET /second HTTP/1.1\r\nHo").await;
    assert_eq!(client.response().await.json()["target"], "/first");
    client.send("st: a.test\r\n\r\n").await;
    assert_eq!(client.response().await.json()["target"], "/second");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_target_are_reused() {
    let upstream = Upstream::echo("target").await;
    let fleet = in_front_of(&upstream, "").await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    for _ in 0..20 {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        assert_eq!(client.response().await.status, 200);
    }
    assert_eq!(upstream.connections().len(), 1, "one client connection is served by one worker and its pool");
}

/// A target that closes a kept connection while a request is on its way must not cost the client an error.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_closes_idle_connections_loses_no_request() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", After::Close).await;
    let fleet = in_front_of(&upstream, "").await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    for round in 0..100 {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        assert_eq!(client.response().await.status, 200, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_is_served_as_a_target() {
    if !tests::peers::present(&["nginx"]) {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let port = lease(1);
    let root = directory.path().display();
    std::fs::create_dir(directory.path().join("www")).expect("create www");
    std::fs::write(directory.path().join("www/large"), vec![b'x'; 3 << 20]).expect("write a file");
    let config = format!(
        "daemon off; master_process off; pid {root}/pid; error_log stderr warn;\n\
         events {{ worker_connections 128; }}\n\
         http {{\n  access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;\n\
         uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; gzip on; gzip_proxied any; gzip_types *; gzip_min_length 1;\n\
         server {{ listen 127.0.0.1:{port}; root {root}/www;\n\
         location = /who {{ return 200 \"$http_x_forwarded_for $request_uri\\n\"; }} }} }}\n",
        port = port.port
    );
    let file = directory.path().join("nginx.conf");
    std::fs::write(&file, config).expect("write nginx.conf");
    let _nginx =
        Process::spawn("nginx", Command::new("nginx").arg("-p").arg(directory.path()).arg("-c").arg(&file));
    let target = std::net::SocketAddr::from(([127, 0, 0, 1], port.port));
    eventually("nginx answers", async || get(target, "/who").await.map_err(|error| error.to_string())).await;

    let fleet = Fleet::start(1, |port| config::forward_all(port, target)).await;
    let reply = get(fleet.address(0), "/who?x=1").await.expect("a reply");
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"127.0.0.1 /who?x=1\n"[..]));
    let reply = get(fleet.address(0), "/large").await.expect("a reply");
    assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 3 << 20));
    let range =
        Request::get("/large").header("Range", "bytes=10-19").body(Full::default()).expect("a request");
    let reply = send(fleet.address(0), range).await.expect("a reply");
    assert_eq!((reply.status.as_u16(), reply.body.len()), (206, 10));
    let gzip =
        Request::get("/large").header("Accept-Encoding", "gzip").body(Full::default()).expect("a request");
    let reply = send(fleet.address(0), gzip).await.expect("a reply");
    assert_eq!((reply.header("content-encoding"), reply.body.starts_with(&[0x1f, 0x8b])), ("gzip", true));
    assert_eq!(get(fleet.address(0), "/none").await.expect("a reply").status, 404);
}
