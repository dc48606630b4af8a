//! Exchanges with targets of HTTP/2 over real sockets: by the library's own server, and by frames that go wrong.

use crate::test_support::{Peer, Served, Target, behind_interims, serve_table};
use ::h2::server::SendResponse;
use ::h2::{Reason, RecvStream, server};
use bytes::Bytes;
use http::header::HeaderMap;
use http::{HeaderValue, Request, Response};
use parking_lot::Mutex;
use policy::config::GatewayConfig;
use policy::table::RouteTable;
use serde_json::{Value, json};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tokio::net::TcpListener;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n";
const LAST: &str = "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// One route to targets that speak HTTP/2, with more keys.
fn serve(addresses: &[SocketAddr], keys: Value) -> Served {
    let targets: Vec<_> = addresses.iter().map(|at| json!({"addr": format!("http://{at}")})).collect();
    let mut route = json!({"name": "all", "prefix": "/", "targets": targets, "protocol": "h2"});
    route.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let config: GatewayConfig = serde_json::from_value(json!({"routes": [route]})).unwrap();
    serve_table(RouteTable::build(&config, None).unwrap())
}

// ---- the library's server

/// The head of a request, how much body it had, and what came behind.
type Seen = (http::request::Parts, usize, Option<HeaderMap>);

/// A target that answers each request by a function; how many connections it has had.
struct Http2 {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Http2 {
    fn start<F, Fut>(streams: u32, answer: F) -> Self
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    count.fetch_add(1, Ordering::Relaxed);
                    let answer = answer.clone();
                    tokio::task::spawn_local(async move {
                        let mut builder = server::Builder::new();
                        let mut connection =
                            builder.max_concurrent_streams(streams).handshake(stream).await.unwrap();
                        while let Some(Ok((request, respond))) = connection.accept().await {
                            tokio::task::spawn_local(answer(request, respond));
                        }
                    });
                }
            });
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Reads a body to its end, as fast as it comes.
async fn drain(mut body: RecvStream) -> (usize, Option<HeaderMap>) {
    let mut length = 0;
    while let Some(Ok(data)) = body.data().await {
        length += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    (length, body.trailers().await.unwrap())
}

async fn send(send: &mut ::h2::SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        match std::future::poll_fn(|cx| send.poll_capacity(cx)).await {
            Some(Ok(room)) => send.send_data(data.split_to(room.min(data.len())), false).unwrap(),
            _ => return,
        }
    }
}

#[test]
fn a_request_says_in_http2_what_it_said_in_http1() {
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let keep = seen.clone();
    let target = Http2::start(10, move |request, mut respond| {
        let keep = keep.clone();
        async move {
            let (parts, body) = request.into_parts();
            let (length, trailers) = drain(body).await;
            keep.lock().push((parts, length, trailers));
            let response = Response::builder().header("x-kind", "two").body(()).unwrap();
            let mut sending = respond.send_response(response, false).unwrap();
            sending.send_data(Bytes::from_static(b"hello"), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("7"));
            sending.send_trailers(trailers).unwrap();
        }
    });
    let served = serve(&[target.address], json!({}));
    let mut client = served.client(
        "POST /a?b=c HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: te, keep-alive, x-hop\r\nX-Hop: 1\r\n\
         Keep-Alive: 5\r\nCookie: a=1; b=2\r\nTransfer-Encoding: chunked\r\nTrailer: x-in\r\n\r\n\
         5\r\nhello\r\n0\r\nX-In: yes\r\nX-Unannounced: no\r\n\r\n",
    );
    let answer = client.until("hello");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("x-kind: two"), "{answer}");
    client.send("GET /second HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    let rest = client.into_rest();
    assert!(rest.matches("HTTP/1.1 200 ").count() == 2, "{rest}");

    let seen = seen.lock();
    let [(first, length, trailers), (second, none, _)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(
        (first.method.as_str(), first.uri.to_string()),
        ("POST", format!("http://{}/a?b=c", target.address))
    );
    let field = |name: &str| first.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!((field("te"), field("cookie")), (Some("trailers"), Some("a=1; b=2")));
    assert_eq!((field("x-forwarded-for"), field("via")), (Some("127.0.0.1"), Some("1.1 test")));
    assert!(field("x-request-id").is_some() && field("content-length").is_none());
    for name in ["host", "connection", "keep-alive", "x-hop", "transfer-encoding"] {
        assert_eq!(field(name), None, "{name}");
    }
    let trailers = trailers.as_ref().unwrap();
    assert_eq!((*length, trailers.len(), &trailers["x-in"]), (5, 1, &HeaderValue::from_static("yes")));
    assert_eq!((second.uri.path(), *none), ("/second", 0));
    assert_eq!(target.connections(), 1, "both requests are streams of one connection");
}

#[test]
fn large_bodies_go_both_ways_at_once_through_windows_that_are_smaller() {
    const SIZE: usize = 8 << 20;
    let target = Http2::start(10, |request, mut respond| async move {
        let mut sending = respond.send_response(Response::new(()), false).unwrap();
        let upload = tokio::task::spawn_local(drain(request.into_body()));
        send(&mut sending, Bytes::from(vec![b'd'; SIZE])).await;
        let (length, _) = upload.await.unwrap();
        assert_eq!(length, SIZE);
        sending.send_data(Bytes::from_static(b"whole"), true).unwrap();
    });
    let served = serve(&[target.address], json!({}));
    let mut client = served.client(&format!(
        "POST / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n"
    ));
    let mut uploading = client.also();
    let upload = thread::spawn(move || uploading.send(&"u".repeat(SIZE)));
    let bytes = client.until_bytes(|bytes| bytes.ends_with(b"whole\r\n0\r\n\r\n"));
    assert_eq!(bytes.iter().filter(|byte| **byte == b'd').count() / SIZE, 1);
    upload.join().unwrap();
}

#[test]
fn connections_are_shared_until_they_are_full_and_no_longer() {
    let (gate, opened) = tokio::sync::watch::channel(false);
    let target = Http2::start(2, move |_, mut respond| {
        let mut opened = opened.clone();
        async move {
            opened.wait_for(|open| *open).await.unwrap();
            respond.send_response(Response::new(()), true).unwrap();
        }
    });
    let served = serve(&[target.address], json!({"max_connections": 2, "max_connections_wait": "100ms"}));
    // its settings are known once it has answered
    gate.send(true).unwrap();
    served.client(GET).until("200 OK");
    gate.send(false).unwrap();
    let mut held: Vec<Peer> = (0..4).map(|_| served.client(GET)).collect();
    let state = served.gateway.table().unwrap().upstreams[0].targets[0].state.clone();
    while state.in_flight.load(Ordering::Relaxed) < 4 || target.connections() < 2 {
        thread::yield_now();
    }
    let refused = served.client(LAST).into_rest();
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("pool_exhausted"), "{refused}");
    gate.send(true).unwrap();
    held.iter_mut().for_each(|client| drop(client.until("200 OK")));
    assert_eq!((target.connections(), state.connections.load(Ordering::Relaxed)), (2, 2));
}

#[test]
fn a_websocket_is_refused_where_there_is_no_http1() {
    let target = Http2::start(2, |_, _| async {});
    let served = serve(&[target.address], json!({}));
    let answer = served
        .client(
            "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        )
        .until("\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("upgrade_refused"), "{answer}");
    assert_eq!(target.connections(), 0);
}

#[test]
fn a_stream_that_is_refused_is_retried_elsewhere_where_that_is_wanted() {
    let refusing = Http2::start(10, |_, mut respond| async move {
        respond.send_reset(Reason::REFUSED_STREAM);
    });
    let good = Http2::start(10, |_, mut respond| async move {
        respond.send_response(Response::new(()), true).unwrap();
    });
    let plain = serve(&[refusing.address], json!({}));
    let answer = plain.client(LAST).into_rest();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("stream_refused"), "{answer}");
    let retry = json!({"filters": [{"retry": {"max_retries": 1, "retry_on": ["refused_stream"]}}]});
    let retrying = serve(&[refusing.address, good.address], retry);
    // also of a method that is never sent twice
    let post = "POST / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    for _ in 0..4 {
        let answer = retrying.client(post).into_rest();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[test]
fn a_reset_is_a_reset_and_spares_the_connection() {
    let target = Http2::start(10, |request, mut respond| async move {
        match request.uri().path() {
            "/reset" => respond.send_reset(Reason::INTERNAL_ERROR),
            _ => drop(respond.send_response(Response::new(()), true)),
        }
    });
    let served = serve(&[target.address], json!({}));
    let mut client = served.client("GET /reset HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let answer = client.until("}");
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_reset"), "{answer}");
    client.send(LAST);
    let rest = client.into_rest();
    assert!(rest.contains("HTTP/1.1 200 OK"), "{rest}");
    assert_eq!(target.connections(), 1);
}

#[test]
fn a_client_that_leaves_resets_its_stream_and_nothing_else() {
    let (gone, is_gone) = std::sync::mpsc::channel();
    let target = Http2::start(10, move |request, mut respond| {
        let gone = gone.clone();
        async move {
            let mut sending =
                respond.send_response(Response::new(()), request.uri().path() != "/endless").unwrap();
            if request.uri().path() == "/endless" {
                sending.send_data(Bytes::from_static(b"begin"), false).unwrap();
                let reason = std::future::poll_fn(|cx| sending.poll_reset(cx)).await.unwrap();
                gone.send(reason).unwrap();
            }
        }
    });
    let served = serve(&[target.address], json!({}));
    let mut client = served.client("GET /endless HTTP/1.1\r\nHost: a.example\r\n\r\n");
    client.until("begin");
    drop(client);
    assert_eq!(is_gone.recv().unwrap(), Reason::CANCEL);
    assert!(served.client(LAST).into_rest().starts_with("HTTP/1.1 200 "));
    assert_eq!(target.connections(), 1);
}

// ---- frames

const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// `:status: 200`
const OK: u8 = 0x88;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(1, flags, stream, block)
}

/// A field that is not indexed.
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// Waits for the head of the stream's request.
fn until_request(peer: &mut Peer, stream: u32) {
    peer.until_bytes(|bytes| frames(bytes).any(|(kind, on)| (kind, on) == (1, stream)));
}

/// The kinds of the whole frames behind the preface, and their streams.
fn frames(bytes: &[u8]) -> impl Iterator<Item = (u8, u32)> + '_ {
    let mut rest = bytes.get(24..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (head, after) = rest.split_at_checked(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        rest = after.get(length..)?;
        Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
    })
}

/// A client whose request is its last, and its target, which has the request's head.
fn asked() -> ((Served, Target), Peer, Peer) {
    let target = Target::new();
    let served = serve(&[target.address()], json!({}));
    let client = served.client(LAST);
    let mut peer = target.accept();
    peer.send_bytes(SETTINGS);
    until_request(&mut peer, 1);
    ((served, target), client, peer)
}

/// The final response that the client gets when the target says this to its request.
fn answer_to(said: &[u8]) -> String {
    let (_alive, client, mut peer) = asked();
    // what is no response ends the connection, maybe before it is whole
    peer.send_while_taken(said);
    behind_interims(&client.into_rest()).to_owned()
}

#[test]
fn a_response_is_a_response_whatever_surrounds_it() {
    let whole = headers(END_STREAM | END_HEADERS, 1, &[OK]);
    let interim = headers(END_HEADERS, 1, &field(":status", "103"));
    let ping = frame(6, 0, 0, b"12345678");
    for said in [
        whole.clone(),
        [interim.repeat(16), whole.clone()].concat(),
        [ping.repeat(10_000), whole.clone()].concat(),
        [SETTINGS.repeat(10_000), whole.clone()].concat(),
        // an unknown kind of frame
        [frame(99, 0, 1, b"?"), whole].concat(),
        [headers(0, 1, &[OK]), frame(9, END_HEADERS, 1, &field("a", "b")), frame(0, END_STREAM, 1, b"")]
            .concat(),
    ] {
        let answer = answer_to(&said);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[test]
fn interim_responses_are_passed_on_at_once() {
    let (_alive, mut client, mut peer) = asked();
    let interim = |status| [field(":status", status), field("link", "</a.css>")].concat();
    peer.send_bytes(&headers(END_HEADERS, 1, &interim("100")));
    peer.send_bytes(&headers(END_HEADERS, 1, &interim("103")));
    assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    peer.send_bytes(&headers(END_STREAM | END_HEADERS, 1, &[OK]));
    assert!(behind_interims(&client.into_rest()).starts_with("HTTP/1.1 200 "));
}

#[test]
fn what_is_no_response_is_a_502() {
    let head = |fields: &[u8]| headers(END_STREAM | END_HEADERS, 1, &[&[OK], fields].concat());
    let mut flood = headers(0, 1, &[OK]);
    for at in 0..5000 {
        flood.extend(frame(9, 0, 1, &field(&format!("x-{at}"), &"y".repeat(100))));
    }
    for said in [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec(),
        head(&field("connection", "close")),
        head(&field("transfer-encoding", "chunked")),
        head(&field("Upper", "case")),
        head(&[field("content-length", "2"), field("content-length", "3")].concat()),
        head(&field("content-length", "+2")),
        headers(END_STREAM | END_HEADERS, 1, &field("a", "b")),
        headers(END_HEADERS, 1, &field(":status", "103")).repeat(17),
        [headers(END_HEADERS, 1, &field(":status", "101")), headers(END_STREAM | END_HEADERS, 1, &[OK])]
            .concat(),
        // DATA without HEADERS
        frame(0, END_STREAM, 1, b"hello"),
        // a stream that was never opened
        headers(END_STREAM | END_HEADERS, 2, &[OK]),
        // too large to be a frame
        vec![255, 255, 255, 0, 0, 0, 0, 0, 1],
        // what HPACK does not know
        headers(END_STREAM | END_HEADERS, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        // PUSH_PROMISE was forbidden
        frame(5, END_HEADERS, 1, &[0, 0, 0, 2, OK]),
        flood,
    ] {
        let answer = answer_to(&said);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{:?}: {answer}", &said[..said.len().min(40)]);
    }
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_is_broken_off() {
    let (_alive, mut client, mut peer) = asked();
    peer.send_bytes(&headers(END_HEADERS, 1, &[&[OK][..], &field("content-length", "10")].concat()));
    client.until("content-length: 10\r\n");
    peer.send_bytes(&frame(0, END_STREAM, 1, b"short"));
    let answer = client.into_rest();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(body.len() < 10, "{answer}");
}

#[test]
fn a_connection_that_goes_away_loses_no_request_that_was_not_looked_at() {
    let target = Target::new();
    let served = serve(&[target.address()], json!({}));
    let mut client = served.client(GET);
    let mut first = target.accept();
    first.send_bytes(SETTINGS);
    until_request(&mut first, 1);
    first.send_bytes(&headers(END_STREAM | END_HEADERS, 1, &[OK]));
    client.until("200 OK");
    client.send(GET);
    until_request(&mut first, 3);
    // GOAWAY: stream 1 was the last
    first.send_bytes(&frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    let mut second = target.accept();
    second.send_bytes(SETTINGS);
    until_request(&mut second, 1);
    second.send_bytes(&headers(END_STREAM | END_HEADERS, 1, &[OK]));
    client.until_times("200 OK", 2);
}

#[test]
fn also_a_body_is_sent_again_that_was_not_looked_at() {
    let target = Target::new();
    let served = serve(&[target.address()], json!({}));
    let mut client = served.client(GET);
    let mut first = target.accept();
    first.send_bytes(SETTINGS);
    until_request(&mut first, 1);
    first.send_bytes(&headers(END_STREAM | END_HEADERS, 1, &[OK]));
    client.until("200 OK");
    client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhello");
    // DATA
    first.until_bytes(|bytes| frames(bytes).any(|frame| frame == (0, 3)));
    first.send_bytes(&frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    let mut second = target.accept();
    second.send_bytes(SETTINGS);
    client.send("again");
    let bytes = second.until_bytes(|bytes| bytes.ends_with(b"again"));
    assert!(bytes.windows(5).any(|window| window == b"hello"), "all of it comes again");
    second.send_bytes(&headers(END_STREAM | END_HEADERS, 1, &[OK]));
    client.until_times("200 OK", 2);
}

#[test]
fn a_connection_that_goes_away_finishes_what_it_has_begun() {
    let target = Target::new();
    let served = serve(&[target.address()], json!({}));
    let mut client = served.client(GET);
    let mut first = target.accept();
    first.send_bytes(SETTINGS);
    until_request(&mut first, 1);
    first.send_bytes(&frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    let mut other = served.client(GET);
    let mut second = target.accept();
    second.send_bytes(SETTINGS);
    until_request(&mut second, 1);
    first.send_bytes(&headers(END_STREAM | END_HEADERS, 1, &[OK]));
    client.until("200 OK");
    second.send_bytes(&headers(END_STREAM | END_HEADERS, 1, &[OK]));
    other.until("200 OK");
}

#[test]
fn a_connection_that_breaks_before_the_response_is_a_502() {
    let (_alive, client, peer) = asked();
    drop(peer);
    let answer = client.into_rest();
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_reset"), "{answer}");
}
