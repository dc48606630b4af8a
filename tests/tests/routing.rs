//! Which route takes a request, and which of its targets: over a control plane and real data planes.

use http::Request;
use http_body_util::Full;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use tests::client::{RawClient, get, send};
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::Upstream;

/// A route of the table below: its name (also that of its target) and its YAML.
const ROUTES: &[(&str, &str)] = &[
    ("any", "prefix: /api"),
    ("users", "prefix: /api/users"),
    ("user", "path: \"/api/users/{id}\""),
    ("me", "path: /api/users/me"),
    ("orders", "prefix: /api/orders, methods: [GET, POST]"),
    ("beta", "prefix: /api/users, query: [{name: beta, value: \"1\"}]"),
    ("v2", "prefix: /api/users, headers: [{name: X-Version, value: \"2\"}]"),
    ("shop", "prefix: /, hosts: [shop.example.com]"),
    ("wild", "prefix: /, hosts: [\"*.example.com\"]"),
    ("kept", "prefix: /kept, preserve_host: true"),
    ("stripped", "prefix: /strip/this, strip_prefix: true"),
    ("rewritten", "prefix: /old, rewrite: /new/home"),
];

/// Method, host, target, extra header → the route that takes it, or the status.
const REQUESTS: &[(&str, &str, &str, &str, &str)] = &[
    ("GET", "a.test", "/api", "", "any"),
    ("GET", "a.test", "/api/", "", "any"),
    ("GET", "a.test", "/api/x/y", "", "any"),
    ("GET", "a.test", "/apix", "", "404"),
    ("GET", "a.test", "/", "", "404"),
    ("GET", "a.test", "/API", "", "404"),
    ("GET", "a.test", "/api/users", "", "users"),
    ("GET", "a.test", "/api/users/7/posts", "", "users"),
    ("GET", "a.test", "/api/users/7", "", "user"),
    ("GET", "a.test", "/api/users/me", "", "me"),
    ("GET", "a.test", "/api/usersx", "", "any"),
    ("GET", "a.test", "/api/%75sers/me", "", "me"),
    ("GET", "a.test", "/api/x/../users/me", "", "me"),
    ("GET", "a.test", "/api/users/a/b?beta=1", "", "beta"),
    ("GET", "a.test", "/api/users/a/b?x=y&beta=1", "", "beta"),
    ("GET", "a.test", "/api/users/a/b?beta=2", "", "users"),
    ("GET", "a.test", "/api/users/a/b", "X-Version: 2", "v2"),
    ("GET", "a.test", "/api/users/a/b", "x-version: 2", "v2"),
    ("GET", "a.test", "/api/users/a/b", "X-Version: 3", "users"),
    ("POST", "a.test", "/api/orders/1", "", "orders"),
    ("DELETE", "a.test", "/api/orders/1", "", "405"),
    ("GET", "shop.example.com", "/x", "", "shop"),
    ("GET", "SHOP.example.com:8080", "/x", "", "shop"),
    ("GET", "www.example.com", "/x", "", "wild"),
    ("GET", "a.b.example.com", "/x", "", "wild"),
    ("GET", "example.com", "/x", "", "404"),
    ("GET", "example.com", "/api", "", "any"),
    ("GET", "a.test", "/kept/x", "", "kept"),
];

async fn routing_fleet() -> (Fleet, BTreeMap<&'static str, Upstream>) {
    let mut upstreams = BTreeMap::new();
    for (name, _) in ROUTES {
        upstreams.insert(*name, Upstream::echo(name).await);
    }
    let fleet = Fleet::start(1, |port| {
        let mut text = config::server(port, "");
        text.push_str("routes:\n");
        for (name, yaml) in ROUTES {
            let address = upstreams[name].address();
            let _ = writeln!(text, "  - {{name: {name}, {yaml}, targets: [{{addr: \"http://{address}\"}}]}}");
        }
        text
    })
    .await;
    (fleet, upstreams)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_takes_the_route_that_precedence_says() {
    let (fleet, _upstreams) = routing_fleet().await;
    let mut wrong = Vec::new();
    for (method, host, target, header, expected) in REQUESTS {
        let mut client = RawClient::connect(fleet.address(0)).await;
        let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
        client
            .send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{header}Content-Length: 0\r\n\r\n"))
            .await;
        let response = client.response().await;
        let got = match response.status {
            200 => response.json()["upstream"].as_str().unwrap_or_default().to_owned(),
            other => other.to_string(),
        };
        if got != *expected {
            wrong.push(format!("{method} {host} {target} {header:?}: {got}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_gets_the_path_its_route_makes() {
    let (fleet, upstreams) = routing_fleet().await;
    let cases = [
        ("stripped", "/strip/this", "/"),
        ("stripped", "/strip/this/", "/"),
        ("stripped", "/strip/this/a/b?q=%2F&r", "/a/b?q=%2F&r"),
        ("stripped", "/strip/this?q", "/?q"),
        ("rewritten", "/old", "/new/home"),
        ("rewritten", "/old/a%20b?c=d", "/new/home/a%20b?c=d"),
        // the target sees the path that was matched, never another one
        ("any", "/api/./a/../b?x=../y", "/api/b?x=../y"),
        ("any", "/api/%61", "/api/a"),
        ("any", "/api/%E4%BD%A0?%e4", "/api/%E4%BD%A0?%e4"),
    ];
    for (route, sent, expected) in cases {
        upstreams[route].forget();
        let mut client = RawClient::connect(fleet.address(0)).await;
        client.send(format!("GET {sent} HTTP/1.1\r\nHost: a.test\r\n\r\n")).await;
        assert_eq!(client.response().await.status, 200, "{sent}");
        let got: Vec<_> = upstreams[route].requests().into_iter().map(|request| request.target).collect();
        assert_eq!(got, [expected], "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_gets_its_own_host_unless_the_route_preserves_the_clients() {
    let (fleet, upstreams) = routing_fleet().await;
    for (path, route) in [("/api/x", "any"), ("/kept/x", "kept")] {
        let mut client = RawClient::connect(fleet.address(0)).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: Client.Test:81\r\n\r\n")).await;
        assert_eq!(client.response().await.status, 200);
        let request = upstreams[route].requests().pop().expect("one request");
        let host = request.header("host").expect("a Host").to_ascii_lowercase();
        let expected =
            if route == "kept" { "client.test:81".into() } else { upstreams[route].address().to_string() };
        assert_eq!(host, expected);
        assert_eq!(
            request.header("x-forwarded-host").map(str::to_ascii_lowercase).as_deref(),
            Some("client.test:81")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_method_is_told_the_allowed_ones() {
    let (fleet, _upstreams) = routing_fleet().await;
    let request = Request::delete("/api/orders/1").body(Full::default()).expect("a request");
    let reply = send(fleet.address(0), request).await.expect("a reply");
    assert_eq!(reply.status, 405);
    let mut allowed: Vec<_> = reply.header("allow").split(", ").collect();
    allowed.retain(|method| *method != "HEAD" && *method != "OPTIONS");
    assert_eq!(allowed, ["GET", "POST"]);
}

/// The shipped file, on the scenario's ports, served alike by every data plane of a fleet.
#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_routing_config_is_served_by_three_data_planes() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/routing.yaml"))
        .expect("configs/routing.yaml");
    let first = Upstream::echo("first").await;
    let second = Upstream::echo("second").await;
    let orders = Upstream::echo("orders").await;
    let fleet = Fleet::start(3, |port| {
        text.replace("port: 8080", &format!("port: {port}\n  drain_delay: 0s"))
            .replace("127.0.0.1:8081", &first.address().to_string())
            .replace("127.0.0.1:8082", &second.address().to_string())
            .replace("127.0.0.1:8083", &orders.address().to_string())
    })
    .await;
    for address in fleet.addresses() {
        for upstream in [&first, &second, &orders] {
            upstream.forget();
        }
        for n in 0..40 {
            let reply = get(address, &format!("/api/v1/users/{n}")).await.expect("a reply");
            assert_eq!(reply.status, 200);
            assert_eq!(reply.json()["target"], format!("/{n}"), "the prefix is stripped");
        }
        assert_eq!((first.requests().len(), second.requests().len()), (30, 10), "3:1 on {address}");
        assert_eq!(
            get(address, "/api/v1/orders/5").await.expect("a reply").json()["target"],
            "/api/v1/orders/5"
        );
        assert_eq!(get(address, "/elsewhere").await.expect("a reply").status, 404);
    }
}

/// Each balancer's promise, counted on the targets' side.
#[tokio::test(flavor = "multi_thread")]
async fn balancers_share_the_requests_as_configured() {
    let targets = [Upstream::echo("a").await, Upstream::echo("b").await, Upstream::echo("c").await];
    let inline = |weights: [u32; 3]| {
        let mut text = String::from("[");
        for (target, weight) in targets.iter().zip(weights) {
            let _ = write!(text, "{{addr: \"http://{}\", weight: {weight}}}, ", target.address());
        }
        text + "]"
    };
    let fleet = Fleet::start(1, |port| {
        let mut text = config::server(port, "") + "routes:\n";
        for (name, balancer, weights) in [
            ("even", "round_robin", [1, 1, 1]),
            ("smooth", "weighted_round_robin", [5, 1, 1]),
            ("drained", "weighted_round_robin", [3, 0, 1]),
            ("hashed", "consistent_hash, hash_on: \"header:X-User\"", [1, 1, 1]),
            ("idle", "least_request", [1, 1, 1]),
        ] {
            let _ = writeln!(
                text,
                "  - {{name: {name}, prefix: /{name}, balancer: {balancer}, targets: {}}}",
                inline(weights)
            );
        }
        text
    })
    .await;
    let counts = async |path: &str, users: &[&str], requests: usize| {
        targets.iter().for_each(Upstream::forget);
        for n in 0..requests {
            let request = Request::get(path).header("X-User", users[n % users.len()]);
            let reply = send(fleet.address(0), request.body(Full::default()).expect("a request")).await;
            assert_eq!(reply.expect("a reply").status, 200);
        }
        targets.each_ref().map(|target| target.requests().len())
    };
    assert_eq!(counts("/even", &["-"], 30).await, [10, 10, 10]);
    assert_eq!(counts("/smooth", &["-"], 35).await, [25, 5, 5]);
    assert_eq!(counts("/drained", &["-"], 40).await, [30, 0, 10]);
    assert_eq!(counts("/idle", &["-"], 30).await.iter().sum::<usize>(), 30);
    for user in ["alice", "bob", "carol", "dave"] {
        let spread = counts("/hashed", &[user], 6).await;
        assert_eq!(spread.iter().max(), Some(&6), "one user, one target: {spread:?}");
    }
    let users: Vec<String> = (0..60).map(|n| format!("user-{n}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let spread = counts("/hashed", &users, 60).await;
    assert!(spread.iter().all(|count| *count > 5), "sixty users spread over all targets: {spread:?}");
}

#[tokio::test]
async fn a_route_may_answer_without_a_target() {
    let fleet = Fleet::start(1, |port| {
        format!(
            "server: {{port: {port}}}\n\
             routes:\n\
             - {{name: away, hosts: [old.test], prefix: /, redirect: {{to: \"https://www.test{{path}}\"}}}}\n\
             - {{name: moved, prefix: /old, rewrite: /new, redirect: {{to: \"{{path}}\", status: 301}}}}\n\
             - {{name: robots, path: /robots.txt, respond: {{body: \"Disallow: /\\n\"}}}}\n"
        )
    })
    .await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("GET //a/../x?y=1 HTTP/1.1\r\nHost: old.test\r\n\r\n").await;
    let away = client.response().await;
    assert_eq!((away.status, away.header("location")), (308, Some("https://www.test/x?y=1")));
    client.send("GET /old//evil.test HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let moved = client.response().await;
    assert_eq!((moved.status, moved.header("location")), (301, Some("/new/evil.test")));
    client.send("GET /robots.txt HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let robots = client.response().await;
    assert_eq!((robots.status, robots.text().as_str()), (200, "Disallow: /\n"));
    assert_eq!(robots.header("content-type"), Some("text/plain; charset=utf-8"));
    // nobody reads this body, so what follows it is no request
    client.send("PUT /robots.txt HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\n").await;
    let unread = client.response().await;
    assert_eq!((unread.status, unread.header("connection")), (200, Some("close")));
    let routes = fleet.ctl(["status", "routes", "-o", "json"]).await;
    let routes: serde_json::Value = serde_json::from_str(&routes.stdout).unwrap();
    let told: Vec<_> = routes["items"].as_array().unwrap().iter().map(|one| &one["answer"]).collect();
    assert_eq!(told, ["redirect 308 https://www.test{path}", "redirect 301 {path}", "respond 200"]);
}
