//! Heads of requests: from bytes over the checks to the route.

use super::{Nearly, bytes, fuzz};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use policy::config::listener::DEFAULT_LISTENER;
use policy::config::load::{Surroundings, check as checked};
use policy::forwarded::client_address;
use policy::headers::{Inbound, clean_response, is_plainly_chunked, parse_host};
use policy::request;
use policy::table::RouteTable;
use std::io;
use std::sync::LazyLock;

const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "/",
    "%2e",
    "%2f",
    "..",
    "?",
    "#",
    "@",
    "[::1]",
    "\u{0}",
    "\u{7f}",
    "Host: b.test\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close, X-A\r\n",
    "Trailer: X\r\n",
    "X-Forwarded-For: 10.0.0.1, 192.0.2.1:80, [2001:db8::1]\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: websocket\r\n",
    "http://a.test",
    "HTTP/1.0",
    "TE: trailers\r\n",
    "X_Real_IP: 1\r\n",
    "Origin: http://b.test\r\n",
    "_",
    "\u{e9}",
];

const HEADS: &[&str] = &[
    "GET /api/v1/users/7?a=b&c HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: x\r\n\r\n",
    "POST http://a.test/orders HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Consumer-Name\r\n\r\n",
    "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "OPTIONS /a HTTP/1.1\r\nHost: a.test:80\r\nOrigin: https://app.test\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
    "PUT /a;b/../c HTTP/1.0\r\nHost: [2001:db8::1]:80\r\nContent-Length: 5\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.2\r\n\
     X_Forwarded_For: 6.6.6.6\r\nForwarded: for=x\r\nVia: 1.1 other\r\n\r\n",
];

/// As hyper makes it of a head; `None` where hyper would refuse it.
fn parts(head: &[u8]) -> Option<Parts> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut fields);
    if !parsed.parse(head).ok()?.is_complete() {
        return None;
    }
    let version = if parsed.version == Some(0) { http::Version::HTTP_10 } else { http::Version::HTTP_11 };
    let mut request = Request::builder().method(parsed.method?).uri(parsed.path?).version(version);
    for field in parsed.headers.iter() {
        request = request.header(field.name, field.value);
    }
    Some(request.body(()).ok()?.into_parts().0)
}

static TABLE: LazyLock<RouteTable> = LazyLock::new(|| {
    let config = r#"
server: {trusted_proxies: [10.0.0.0/8]}
routes:
  - {name: users, hosts: [api.example.com], path: "/api/{version}/users/{id}", targets: [{addr: "http://127.0.0.1:1"}]}
  - {name: stripped, prefix: /orders, strip_prefix: true, targets: [{addr: "http://127.0.0.1:1"}]}
  - {name: rewritten, prefix: /a, rewrite: /b, methods: [GET, PUT], targets: [{addr: "http://127.0.0.1:1"}],
     filters: [{headers: {request: {set: {X-Who: "{client_ip}"}, remove: [X-Sum]}}},
               {auth: {type: apikey, exclude_paths: [/a/open], keys: [{name: bob, key: k3y}]}}]}
  - {name: query, prefix: /, query: [{name: a, value: b}], headers: [{name: X-A, value: b}], targets: [{addr: "http://127.0.0.1:1"}]}
global_filters: [{cors: {allow_origins: ["https://*.test"], allow_methods: [PUT]}}]
"#;
    let surroundings = Surroundings { env: &|_| None, read_file: &|_| Err(io::ErrorKind::NotFound.into()) };
    checked(config, &surroundings).expect("a config").table
});

/// Whatever passes the checks has one host, one path and no field that is not the client's to send.
#[test]
fn heads() {
    let seeds = bytes(HEADS);
    fuzz!("heads", Nearly, |nearly| {
        let head = nearly.of(&seeds, WORDS);
        let plainly_chunked = is_plainly_chunked(&head);
        let Some(mut parts) = parts(&head) else { return };
        let Ok(path) = request::normalised_path(&parts.method, &parts.uri, 8192) else { return };
        let path = path.into_owned();
        let Ok(inbound) = Inbound::examine(&parts.headers, &parts.method, parts.version) else { return };
        assert!(!plainly_chunked || inbound.chunked, "what is chunked for one is so for the other");
        let Ok(host) = request::host_of(&parts) else { return };
        assert_eq!(parse_host(host.name.as_bytes()).as_ref().map(|host| &host.name), Ok(&host.name));
        request::host_header(&parts, &host).expect("a host is a value");
        let peer = "10.0.0.1".parse().expect("an address");
        let client = client_address(peer, &parts.headers, &TABLE.server.trusted_proxies);
        let route = TABLE.route_of(&parts, DEFAULT_LISTENER, &host, &path).ok();

        inbound.strip(&mut parts.headers, client.peer_is_trusted);
        for name in parts.headers.keys().map(HeaderName::as_str) {
            assert!(
                !matches!(
                    name,
                    "connection" | "keep-alive" | "proxy" | "proxy-connection" | "transfer-encoding"
                ),
                "{name}"
            );
            assert!(!name.contains('_') || !name.replace('_', "-").starts_with("x-forwarded-"), "{name}");
        }
        let announced = parts.headers.get_all("trailer").iter().filter_map(|value| value.to_str().ok());
        for name in announced.flat_map(|text| text.split(',')) {
            let name = name.trim().to_ascii_lowercase().replace('_', "-");
            let forged = name.starts_with("x-consumer-") || name.starts_with("x-forwarded-");
            assert!(!forged && !name.contains([' ', '\t']), "{name}");
            assert!(
                !matches!(&*name, "host" | "content-length" | "cookie" | "te" | "authorization"),
                "{name}"
            );
        }
        if let Some(route) = route.and_then(|at| TABLE.routes.get(at)) {
            let path = std::borrow::Cow::Owned(path);
            if let Ok(Some(uri)) = route.rewrite.apply(&parts.uri, path) {
                assert!(uri.path().starts_with('/') && uri.authority().is_none(), "{uri}");
            }
        }
    });
}

/// What a target says is refused, or comes out with one framing at most and nothing for one hop.
#[test]
fn responses() {
    let seeds = bytes(&[
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close, X-A\r\nX-A: b\r\nKeep-Alive: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\r\n",
    ]);
    fuzz!("responses", Nearly, |nearly| {
        let head = nearly.of(&seeds, WORDS);
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut fields);
        if parsed.parse(&head).is_err() {
            return;
        }
        let field = |field: &httparse::Header<'_>| {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(field.value).ok()?))
        };
        let mut headers: HeaderMap = parsed.headers.iter().filter_map(field).collect();
        if clean_response(&mut headers, false).is_ok() {
            assert!(headers.get_all("content-length").iter().count() <= 1);
            for gone in ["transfer-encoding", "connection", "keep-alive", "upgrade", "te"] {
                assert!(!headers.contains_key(gone), "{gone}");
            }
        }
    });
}

#[test]
fn hosts() {
    let seeds = bytes(&["api.example.com:8080", "[2001:db8::1]:80", "a_b.test."]);
    let words = [":", ".", "..", "[", "]", "%25eth0", "@", ",", "80", "99999", "xn--", "::"];
    fuzz!("hosts", Nearly, |nearly| {
        let text = nearly.of(&seeds, &words);
        let Ok(host) = parse_host(&text) else { return };
        assert!(!host.name.is_empty() && !host.name.ends_with('.') && !host.name.contains(['@', ',', '/']));
        assert_eq!(parse_host(host.name.as_bytes()).expect("a name is a host").name, host.name);
    });
}
