//! Exchanges over real sockets: what the target says decides what the client gets, and whether the connection goes on.

use crate::test_support::{Peer, Served, Target, behind_interims, serve};
use serde_json::json;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn started() -> (Served, Target) {
    let target = Target::new();
    (serve(&[&target], json!({}), json!([])), target)
}

/// The client's final answer when the target says this and closes, or goes on.
fn answer_to(said: &str, closes: bool) -> String {
    let (served, target) = started();
    let mut client = served.client("GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    let mut upstream = target.accept();
    upstream.until("\r\n\r\n");
    upstream.send(said);
    if closes {
        drop(upstream);
        return behind_interims(&client.into_rest()).to_owned();
    }
    behind_interims(&client.until_that(|got| behind_interims(got).contains("\r\n\r\n"))).to_owned()
}

/// Whether a second request comes on the connection of the first, whose response was this.
fn goes_on_after(request: &str, response: &str) -> bool {
    let (served, target) = started();
    let mut client = served.client(request);
    let mut upstream = target.accept();
    upstream.until("\r\n\r\n");
    upstream.send(response);
    client.until("\r\n\r\n");
    drop(client);
    let _second = served.client("GET /second HTTP/1.1\r\nHost: a.example\r\n\r\n");
    upstream.continues_to("GET /second ")
}

/// 2000 of them went by, and there might have been any number.
#[test]
fn a_flood_of_interim_responses_is_no_response() {
    let answer = answer_to(&HINTS.repeat(17), false);
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[test]
fn a_few_interim_responses_are_passed_on_in_every_exchange_of_a_connection() {
    let (served, target) = started();
    let mut client = served.client(GET);
    let mut upstream = target.accept();
    for exchange in 1..=3 {
        upstream.until_times("\r\n\r\n", exchange);
        upstream.send(&HINTS.repeat(16));
        upstream.send(WHOLE);
        let answers = client.until_times("\r\n\r\nok", exchange);
        assert_eq!(
            answers.matches("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n").count(),
            16 * exchange
        );
        client.send(GET);
    }
}

#[test]
fn what_an_interim_response_says_of_the_connection_or_of_a_body_stays_here() {
    let (served, target) = started();
    let mut client = served.client(GET);
    let mut upstream = target.accept();
    upstream.until("\r\n\r\n");
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n");
    upstream.send("HTTP/1.1 103 Soon\r\nConnection: X, close\r\nX: y\r\nKeep-Alive: z\r\nContent-Length: 9\r\nA: b\r\n\r\n");
    // at once, though nothing else is known yet
    assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n");
    upstream.send(WHOLE);
    assert!(behind_interims(&client.until("\r\n\r\nok")).starts_with("HTTP/1.1 200 "));
    client.send(GET);
    upstream.until_times("\r\n\r\n", 2);
}

/// hyper begins with the next request while the end of a response still waits for the socket, if the last of the request
/// came only then; and a second interim response came into the first where that waited for the socket.
#[test]
fn an_interim_response_never_comes_amid_another_response() {
    let last = "GET /last HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    /// Whether something comes in it or not, what the client gets must be in order.
    const MOMENT: Duration = Duration::from_millis(50);
    // one of these is little more than the sockets take
    for length in (20..=48).map(|eighths| eighths << 17) {
        let (served, target) = started();
        let mut client = served.client("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\n1");
        let (said, goes_on) = mpsc::channel();
        let (_never, pause) = mpsc::channel::<()>();
        let link = "<".repeat(60_000);
        let hints = format!("HTTP/1.1 103 Early Hints\r\nlink: {link}\r\n\r\n");
        let upstream = thread::spawn(move || {
            let mut upstream = target.accept();
            upstream.until("\r\n\r\n1");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            upstream.send(&(head + &"x".repeat(length)));
            let _ = said.send(());
            if !upstream.continues_to("GET /last ") {
                upstream = target.accept();
                upstream.until("GET /last ");
            }
            for _ in 0..6 {
                upstream.send(&format!("HTTP/1.1 103 Soon\r\nLink: {link}\r\n\r\n"));
                // most likely the gateway takes them one by one
                let _ = pause.recv_timeout(MOMENT / 10);
            }
            upstream.send(WHOLE);
            let _ = said.send(());
        });
        // what the sockets do not take whole comes only when some of it was read
        let _ = goes_on.recv_timeout(MOMENT);
        client.send(&["23", last].concat());
        let _ = goes_on.recv_timeout(MOMENT);
        let got = client.into_rest();
        upstream.join().unwrap();
        let (_, body) = got.split_once("\r\n\r\n").unwrap();
        let (first, rest) = body.split_at(length);
        assert_eq!(first.trim_matches('x'), "", "of {length} bytes");
        let second = rest.trim_start_matches(&hints);
        let start = second.get(..40).unwrap_or(second);
        assert!(second.starts_with("HTTP/1.1 200 ") && second.ends_with("\r\n\r\nok"), "{length}: {start}");
    }
}

#[test]
fn clients_of_http_1_0_get_no_interim_responses() {
    let (served, target) = started();
    let client = served.client("GET /x HTTP/1.0\r\nHost: a.example\r\n\r\n");
    let mut upstream = target.accept();
    upstream.until("\r\n\r\n");
    upstream.send(&[HINTS, WHOLE].concat());
    let got = client.into_rest();
    assert!(got.starts_with("HTTP/1.0 200 ") || got.starts_with("HTTP/1.1 200 "), "{got}");
}

#[test]
fn what_is_no_response_or_two_in_one_is_a_502() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101));
    for said in [
        "\0\r\n\r\n",
        "HTTP/1.1 20x OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 600 Much\r\nContent-Length: 0\r\n\r\n",
        &long,
        &many,
    ] {
        let answer = answer_to(said, false);
        let said = said.get(..60).unwrap_or(said);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{said:?}: {answer}");
    }
}

#[test]
fn a_target_that_closes_without_a_response_is_a_502() {
    for said in ["", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
        let answer = answer_to(said, true);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{said:?}: {answer}");
        assert!(answer.contains("upstream_reset"), "{said:?}: {answer}");
    }
}

#[test]
fn a_body_that_breaks_off_never_looks_whole() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
        chunked,
        &format!("{chunked}5\r\nhelloX\r\n0\r\n\r\n"),
    ] {
        let answer = answer_to(said, true);
        // the end may have come before the beginning went out
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200 "), "{said:?}: {answer}");
        assert!(!answer.ends_with("0\r\n\r\n"), "{said:?}: {answer}");
    }
}

#[test]
fn a_body_without_a_length_ends_with_its_connection() {
    let answer = answer_to("HTTP/1.1 200 OK\r\nX: y\r\n\r\nto the end", true);
    assert!(answer.contains("to the end"), "{answer}");
    let answer = answer_to("HTTP/1.0 200 OK\r\n\r\nto the end", true);
    assert!(answer.contains("to the end"), "{answer}");
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let (served, target) = started();
    let mut client = served.client(GET);
    let mut upstream = target.accept();
    upstream.until("\r\n\r\n");
    for byte in format!("\r\n{HINTS}{WHOLE}").chars() {
        upstream.send(&byte.to_string());
    }
    let got = client.until("\r\n\r\nok");
    assert!(got.starts_with("HTTP/1.1 103 "), "{got}");
    assert!(behind_interims(&got).starts_with("HTTP/1.1 200 "), "{got}");
}

#[test]
fn a_connection_goes_on_when_both_sides_know_where_they_are() {
    let head = GET.replace("GET", "HEAD");
    for (request, response) in [
        (GET, WHOLE),
        (GET, "HTTP/1.1 204 None\r\n\r\n"),
        (GET, "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n"),
        (GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\n\r\n"),
        (GET, "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok"),
        (head.as_str(), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
    ] {
        assert!(goes_on_after(request, response), "{response:?}");
    }
}

/// What a target says too much must never be read as the answer to somebody else's request.
#[test]
fn a_connection_is_closed_when_anything_is_left_on_it() {
    let head = GET.replace("GET", "HEAD");
    for (request, response) in [
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        ),
        (GET, "HTTP/1.1 204 None\r\nContent-Length: 2\r\n\r\nok"),
        (GET, "HTTP/1.1 304 Same\r\n\r\nbody"),
        (GET, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
        (GET, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore"),
        (head.as_str(), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ] {
        assert!(!goes_on_after(request, response), "{response:?}");
    }
}

#[test]
fn what_a_target_says_unasked_on_an_idle_connection_ends_it() {
    let (served, target) = started();
    let mut client = served.client(GET);
    let mut upstream = target.accept();
    upstream.until("\r\n\r\n");
    upstream.send(WHOLE);
    client.until("\r\n\r\nok");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    upstream.into_rest();
    client.send(GET);
    let mut second = target.accept();
    second.until("\r\n\r\n");
    second.send(WHOLE);
    let answers = client.until_times("\r\n\r\nok", 2);
    assert!(!answers.contains("evil"), "{answers}");
}

fn large(peer: &mut Peer, size: usize) -> String {
    let body = "0123456789abcdef".repeat(size / 16);
    peer.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    body
}

#[test]
fn a_large_body_passes_as_it_is_and_the_connection_goes_on() {
    let (served, target) = started();
    let mut client = served.client(GET);
    let mut upstream = target.accept();
    for exchange in 1..=2 {
        upstream.until_times("\r\n\r\n", exchange);
        let (sender, body) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| large(&mut upstream, 3 << 20));
            let end = "0123456789abcdef".repeat(4);
            let got = client.until_that(|text| text.len() > (exchange * 3) << 20 && text.ends_with(&end));
            (sending.join().expect("sent"), got)
        });
        assert!(body.ends_with(&sender), "the body differs");
        client.send(GET);
    }
}
