//! Targets that answer with what is no answer: the client gets a 502, or a response that visibly ends too early, and
//! nobody ever gets what was meant for another. A connection with anything odd on it is not used again.

use super::shown;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tests::client::{RawClient, RawResponse};
use tests::config;
use tests::fleet::{Fleet, Setup};
use tests::upstream::{After, Upstream, Wire};
use tests::wait::eventually;
use tokio::io::AsyncWriteExt;

/// An answer: what it is, its bytes, what the target does then, and what the client gets.
type Row = (&'static str, &'static [u8], After, Want);

#[derive(Debug, Clone, Copy)]
enum Want {
    /// A 502 with this reason.
    Bad(&'static str),
    /// What had begun breaks off.
    Broken,
    /// This status and this body, on a connection that is not used again.
    Clean(u16, &'static str),
    /// The same, and the connection is sound.
    Sound(u16, &'static str),
}
use Want::{Bad, Broken, Clean, Sound};

const INVALID: Want = Bad("invalid_response");
const RESET: Want = Bad("upstream_reset");
const KEEP: After = After::KeepOpen;

#[rustfmt::skip] // a table is read by its rows
const ANSWERS: &[Row] = &[
    // heads
    ("no HTTP", b"garbage\r\n\r\n", KEEP, INVALID),
    ("NULs", b"\x00\x00\x00\x00\r\n\r\n", KEEP, INVALID),
    ("TLS", b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", KEEP, INVALID),
    ("a request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", KEEP, INVALID),
    ("a version in lower case", b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    ("another version", b"HTTP/3.7 200 OK\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    ("a status of 700", b"HTTP/1.1 700 What\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    ("a status of 000", b"HTTP/1.1 000 What\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    ("a status of two digits", b"HTTP/1.1 99 What\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    ("a status of four digits", b"HTTP/1.1 2000 What\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    ("a status that is no number", b"HTTP/1.1 2x0 What\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    ("101 without being asked", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", KEEP, INVALID),
    ("101 without being asked, to HTTP/2", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", KEEP, INVALID),
    ("a NUL in a value", b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    ("a bare CR in a value", b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    ("a control character in a value", b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    ("a space before the colon", b"HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    ("a folded line", b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    ("a line without a colon", b"HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    // lengths and codings
    ("a length and a coding", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", KEEP, INVALID),
    ("a coding and a length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", KEEP, INVALID),
    ("two unequal lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", KEEP, INVALID),
    ("two equal lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", KEEP, INVALID),
    ("a list of lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", KEEP, INVALID),
    ("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", KEEP, INVALID),
    ("a length with a plus", b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc", KEEP, INVALID),
    ("an empty length", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nabc", KEEP, INVALID),
    ("a length of 2^64 + 3", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551619\r\n\r\nabc", KEEP, INVALID),
    ("gzip", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", KEEP, INVALID),
    ("gzip before chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", KEEP, INVALID),
    ("chunked in two lines", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", KEEP, INVALID),
    ("xchunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", KEEP, INVALID),
    // nothing, or not all
    ("no answer", b"", After::Close, RESET),
    ("no answer and a reset", b"", After::Reset, RESET),
    ("half a head", b"HTTP/1.1 200 OK\r\nContent-Le", After::Close, RESET),
    ("half a head and a reset", b"HTTP/1.1 200 OK\r\nContent-Le", After::Reset, RESET),
    ("half a body", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", After::Close, Broken),
    ("half a body and a reset", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", After::Reset, Broken),
    ("half a chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf", After::Close, Broken),
    ("no last chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", After::Close, Broken),
    ("a last chunk without its end", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n", After::Close, Broken),
    ("half a body until the end, and a reset", b"HTTP/1.1 200 OK\r\n\r\nhalf", After::Reset, Broken),
    // chunks
    ("a chunk size that is no number", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhalf\r\n0\r\n\r\n", KEEP, Broken),
    ("a chunk size with a sign", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+4\r\nhalf\r\n0\r\n\r\n", KEEP, Broken),
    ("a chunk size of 17 digits", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nhalf\r\n0\r\n\r\n", KEEP, Broken),
    ("a chunk without an end", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf0\r\n\r\n", KEEP, Broken),
    ("a chunk longer than its size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfXX\r\n0\r\n\r\n", KEEP, Broken),
    ("a trailer that is no field", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nbad\r\n\r\n", KEEP, Broken),
    // more than there should be
    ("bytes behind the body", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalfmore", KEEP, Clean(200, "half")),
    ("bytes behind the last chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n\r\nmore", KEEP, Clean(200, "half")),
    ("a second response", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalfHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", KEEP, Clean(200, "half")),
    ("a second response behind no body", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", KEEP, Clean(200, "")),
    ("204 with a body", b"HTTP/1.1 204 No Content\r\n\r\nevil", KEEP, Clean(204, "")),
    ("204 with a body and its length", b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil", KEEP, Clean(204, "")),
    ("204 in chunks", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n", KEEP, Clean(204, "")),
    ("304 with a body", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil", KEEP, Clean(304, "")),
    ("interim responses without end", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", KEEP, INVALID),
    // odd, and sound
    ("two interim responses", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalf", KEEP, Sound(200, "half")),
    ("no reason", b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nhalf", KEEP, Sound(200, "half")),
    ("lines that end in LF", b"HTTP/1.1 200 OK\nContent-Length: 4\n\nhalf", KEEP, Sound(200, "half")),
    ("a body until the end", b"HTTP/1.1 200 OK\r\n\r\nhalf", After::Close, Clean(200, "half")),
    ("fields for one hop", b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 4\r\n\r\nhalf", KEEP, Sound(200, "half")),
    ("a last word", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nhalf", KEEP, Clean(200, "half")),
    ("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nhalf", KEEP, Clean(200, "half")),
    ("an unknown status", b"HTTP/1.1 299 Fine\r\nContent-Length: 4\r\n\r\nhalf", KEEP, Sound(299, "half")),
    ("framing in a trailer", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n4\r\nhalf\r\n0\r\nContent-Length: 9\r\n\r\n", KEEP, Sound(200, "half")),
];

const NEXT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext";

/// `/7` gets the seventh answer, everything else a sound one.
async fn answer(mut wire: Wire) {
    while let Some(request) = wire.request().await {
        let path = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap_or_default().to_owned();
        let row = path.trim_start_matches('/').parse::<usize>().ok().and_then(|at| ANSWERS.get(at));
        let (bytes, after) = row.map_or((NEXT, KEEP), |(_, bytes, after, _)| (*bytes, *after));
        if wire.write_all(bytes).await.is_err() {
            return;
        }
        match after {
            After::KeepOpen => {}
            After::Reset => return wire.reset(),
            After::Close => return drop(wire.shutdown().await),
        }
    }
}

/// With one worker, so that whatever is used again is used by the next request.
async fn gateway(upstream: &Upstream) -> Fleet {
    let setup = Setup { workers: 1, ..Setup::default() };
    Fleet::start_with(setup, |port| config::forward_all(port, upstream.address())).await
}

async fn ask(fleet: &Fleet, path: &str) -> std::io::Result<RawResponse> {
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    client.try_response().await
}

fn verdict(want: Want, got: &std::io::Result<RawResponse>) -> Result<(), String> {
    let fits = match (want, got) {
        (Bad(reason), Ok(got)) => got.status == 502 && got.reason() == reason,
        // the head of a response and its broken body may come at once
        (Broken, Ok(got)) => got.status == 502,
        (Broken, Err(_)) => true,
        (Clean(status, body) | Sound(status, body), Ok(got)) => {
            got.status == status
                && got.text() == body
                && got.trailers.is_empty()
                && got.header("x-hop").is_none()
        }
        (_, Err(_)) => false,
    };
    let told = got.as_ref().map(|got| format!("{} {:?}", got.outcome(), got.text()));
    if fits { Ok(()) } else { Err(format!("{want:?} was to come, and came {told:?}")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_cannot_do_more_than_fail() {
    let upstream = Upstream::accepting(|wire, _| answer(wire)).await;
    let fleet = gateway(&upstream).await;
    let mut wrong = String::new();
    for (at, (name, bytes, _, want)) in ANSWERS.iter().enumerate() {
        let got = ask(&fleet, &format!("/{at}")).await;
        if let Err(why) = verdict(*want, &got) {
            let _ = writeln!(wrong, "{name}: {why}\n    {}", shown(bytes));
        }
        let next = ask(&fleet, "/next").await.expect("an answer to the next client");
        if (next.status, next.text().as_str()) != (200, "next") {
            let _ = writeln!(wrong, "{name}: the next client got {} {:?}", next.outcome(), next.text());
        }
        let asked = format!("GET /{at} ").into_bytes();
        let used =
            upstream.connections().into_iter().find(|bytes| contains(bytes, &asked)).unwrap_or_default();
        let again = position(&used, b"GET /next") > position(&used, &asked);
        if again != matches!(want, Sound(..)) {
            let _ =
                writeln!(wrong, "{name}: its connection was {}used again", if again { "" } else { "not " });
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    position(bytes, wanted).is_some()
}

/// Of the last one.
fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).rposition(|window| window == wanted)
}

/// Heads beyond what anybody needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_is_a_502() {
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    for head in [
        format!("HTTP/1.1 200 OK\r\nX-Large: {}\r\n", "x".repeat(300 * 1024)),
        format!("HTTP/1.1 200 OK\r\n{}", fields(20_000)),
        format!("HTTP/1.1 200 OK\r\n{}", fields(150)),
        format!("HTTP/1.1 200 {}\r\n", "x".repeat(300 * 1024)),
        "\r\n".repeat(300 * 1024),
    ] {
        let upstream = Upstream::answering(head.clone() + "Content-Length: 0\r\n\r\n", KEEP).await;
        let fleet = gateway(&upstream).await;
        let got = ask(&fleet, "/").await.expect("an answer");
        assert_eq!(got.outcome(), "502 invalid_response", "{}", shown(head.as_bytes()));
    }
}

/// What a target says on a connection that nobody asks on is nobody's answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_unasked_response_on_an_idle_connection_reaches_nobody() {
    let said = Arc::new(AtomicUsize::new(0));
    let saying = Arc::clone(&said);
    let upstream = Upstream::accepting(move |mut wire, _| {
        let said = Arc::clone(&saying);
        async move {
            // once, then the connection must be given up
            if wire.request().await.is_none() || wire.write_all(NEXT).await.is_err() {
                return;
            }
            // not in one read with the answer
            tokio::time::sleep(Duration::from_millis(5)).await;
            let _ = wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await;
            said.fetch_add(1, Ordering::SeqCst);
            while wire.request().await.is_some() {
                let _ = wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").await;
            }
        }
    })
    .await;
    let fleet = gateway(&upstream).await;
    for asked in 1..=20 {
        let got = ask(&fleet, "/").await.expect("an answer");
        assert_eq!((got.status, got.text().as_str()), (200, "next"), "request {asked}");
        eventually("the target has said what nobody asked for", async || match said.load(Ordering::SeqCst) {
            count if count == asked => Ok(()),
            count => Err(format!("{count} of {asked} times")),
        })
        .await;
    }
}

/// HEAD has no body, whatever the target believes; an answer may come before the request has ended.
#[tokio::test(flavor = "multi_thread")]
async fn answers_to_head_and_to_half_a_request() {
    let upstream = Upstream::accepting(|mut wire, _| async move {
        let mut head = Vec::new();
        while !contains(&head, b"\r\n\r\n") {
            if tokio::io::AsyncReadExt::read_buf(&mut wire, &mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let _ = wire.write_all(b"HTTP/1.1 400 No\r\nContent-Length: 4\r\n\r\nhalf").await;
        // the body is never read
        std::future::pending::<()>().await;
    })
    .await;
    let fleet = gateway(&upstream).await;
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let got = client.response_to_head().await;
    assert_eq!((got.status, got.header("content-length")), (400, Some("4")));
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbeginning").await;
    let got = client.response().await;
    assert_eq!((got.status, got.text().as_str()), (400, "half"));
    let got = ask(&fleet, "/").await.expect("an answer");
    assert_eq!(got.status, 400);
    assert_eq!(upstream.connections().len(), 3, "none of these connections was used again");
}
