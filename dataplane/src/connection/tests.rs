//! Request bodies that are not over when the response is, and connections that end while a response is on its way.

use crate::test_support::{Peer, Served, Target, serve};
use serde_json::{Value, json};
use std::thread;

const PUT: &str = "PUT /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\n0123456789";
const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// What an attacker would put at the end of a body.
const EVIL: &str = "GET /evil HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// A client that has sent a part of a body, and the target that has got it and answers.
fn half_sent(served: &Served, target: &Target, answer: &str) -> (Peer, Peer) {
    let client = served.client(PUT);
    let mut upstream = target.accept();
    upstream.until("0123456789");
    upstream.send(answer);
    (client, upstream)
}

fn started(server: Value) -> (Served, Target) {
    let target = Target::new();
    (serve(&[&target], server, json!([])), target)
}

/// It held the client and the target for as long as the response lasted.
#[test]
fn a_request_body_that_stops_behind_a_begun_response_is_not_waited_for() {
    let (served, target) = started(json!({"read_timeout": "300ms"}));
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let (mut client, upstream) = half_sent(&served, &target, begun);
    client.until("hello");
    let answer = client.into_rest();
    assert!(answer.ends_with("5\r\nhello\r\n"), "cut off, and to be seen as such: {answer}");
    upstream.into_rest();
}

/// It was given the idle timeout, and a part of it that came counted as the head of a request: 408 behind the response.
#[test]
fn a_request_body_that_stops_behind_a_whole_response_is_not_waited_for() {
    let (served, target) = started(json!({"read_timeout": "300ms"}));
    let (mut client, upstream) = half_sent(&served, &target, WHOLE);
    client.until("ok");
    client.send("more");
    let answer = client.into_rest();
    assert!(answer.ends_with("\r\n\r\nok"), "one response and no more: {answer}");
    upstream.into_rest();
}

/// The connection counted as idle once the response was sent; after a second without a byte hyper's state was put away,
/// and the rest of the body served as a request.
#[test]
fn what_comes_late_of_a_request_body_is_no_request() {
    let (served, target) = started(json!({"idle_timeout": "1500ms"}));
    let (mut client, mut upstream) = half_sent(&served, &target, WHOLE);
    client.until("ok");
    // another connection falls idle after it, and is gone: so much time has passed
    let other = served.client("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    target.accept().send(WHOLE);
    other.into_rest();

    client.send(EVIL);
    upstream.until(&format!("0123456789{EVIL}"));
    client.send(&"x".repeat(90 - EVIL.len()));
    client.send("GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n");
    target.accept().until("GET /next ");
}

#[test]
fn what_comes_of_a_request_body_that_nobody_reads_is_no_request() {
    let (served, target) = started(json!({}));
    let (mut client, upstream) = half_sent(&served, &target, WHOLE);
    client.until("ok");
    drop(upstream);
    client.send(EVIL);
    let answers = client.into_rest();
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
}

#[test]
fn a_connection_goes_on_after_a_body_that_was_longer_than_its_response() {
    let (served, target) = started(json!({}));
    let (mut client, mut upstream) = half_sent(&served, &target, WHOLE);
    client.until("ok");
    let rest = "y".repeat(90);
    client.send(&rest);
    upstream.until(&rest);
    client.send("GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut next = target.accept();
    next.until("GET /next ");
    next.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext");
    client.until("next");
}

/// Only what came of the head after the request before it was looked at, and hyper tells of no `Content-Length` beside
/// `Transfer-Encoding`.
#[test]
fn two_lengths_are_refused_though_the_first_came_with_the_request_before() {
    let (served, target) = started(json!({}));
    let first = "GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let begun = "POST /b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n";
    let mut client = served.client(&format!("{first}{begun}"));
    let mut upstream = target.accept();
    upstream.until("\r\n\r\n");
    upstream.send(WHOLE);
    client.until("ok");
    client.send("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    let answers = client.until("invalid_framing");
    assert!(answers.contains("HTTP/1.1 400 "), "{answers}");
}

/// Nothing is refused for how it happens to arrive.
#[test]
fn a_chunked_request_is_served_after_any_other() {
    let (served, target) = started(json!({}));
    let head = "POST /x HTTP/1.1\r\nHost: a.example\r\n";
    let messages = [
        format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
        format!("{head}Content-Length: 2\r\n\r\nab"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n".to_owned(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"),
    ];
    let mut client = served.client("");
    for (exchange, message) in (1..).zip(&messages) {
        let cut = message.len() - 3;
        client.send(&message[..cut]);
        client.send(&message[cut..]);
        let mut upstream = target.accept();
        upstream.until(&format!("\r\n\r\n{}", message.split_once("\r\n\r\n").expect("a head").1));
        upstream.send(&WHOLE.replace("Content", "Connection: close\r\nContent"));
        client.until_times("\r\n\r\nok", exchange);
    }
}

const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf";

/// A client whose request has arrived at the target, and the target's side of it.
fn asked(served: &Served, target: &Target) -> (Peer, Peer) {
    let client = served.client("GET /first HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let mut upstream = target.accept();
    upstream.until("\r\n\r\n");
    (client, upstream)
}

/// hyper was told to close while the response was on its way, and the request that followed it was lost.
#[test]
fn a_request_behind_a_response_that_began_before_a_drain_is_answered() {
    let (served, target) = started(json!({}));
    let (mut client, mut upstream) = asked(&served, &target);
    upstream.send(HALF);
    let begun = client.until("half");
    assert!(!begun.contains("connection: close"), "{begun}");
    served.close();
    client.send("GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n");
    upstream.send("rest");
    client.until("halfrest");
    upstream.until("GET /next ");
    upstream.send(WHOLE);
    let answers = client.into_rest();
    let (_, last) = answers.split_once("halfrest").expect("two responses");
    assert!(last.contains("connection: close\r\n") && last.ends_with("\r\n\r\nok"), "{answers}");
}

#[test]
fn a_connection_ends_behind_a_response_that_began_before_a_drain() {
    let (served, target) = started(json!({}));
    let (mut client, mut upstream) = asked(&served, &target);
    upstream.send(HALF);
    client.until("half");
    served.close();
    upstream.send("rest");
    assert!(client.into_rest().ends_with("halfrest"));
}

/// A response counted as over once hyper had all of it, and its connection as idle: a client that was slow to take the last
/// few hundred KiB lost them to a drain, or to idle_timeout.
#[test]
fn a_client_that_reads_slowly_gets_the_end_of_a_response_during_a_drain() {
    const STEP: usize = 384 * 1024;
    let (served, target) = started(json!({}));
    // what the kernel takes of a response before hyper has to keep some is not known: one of these is in between
    let asked: Vec<_> = (1..=16).map(|steps| (asked(&served, &target), steps * STEP)).collect();
    // not before all are connected: a busy worker may take longer for a connection than it may
    let slow: Vec<_> = asked
        .into_iter()
        .map(|((client, mut upstream), length)| {
            let body = "x".repeat(length);
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
            (client, length, thread::spawn(move || upstream.send(&response)))
        })
        .collect();
    let idle = served.client("");
    served.close();
    idle.into_rest();
    for (client, length, target) in slow {
        let answer = client.into_bytes();
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
        assert_eq!(answer.len() - head, length);
        target.join().expect("sent");
    }
}
