//! Request bodies that are sent again, over real connections.

use crate::test_support::{Peer, Served, Target, serve};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

/// Serves two targets, the first of which is asked first.
fn two_targets() -> (Served, Target, Target) {
    let (first, second) = (Target::new(), Target::new());
    let retry = json!({"max_retries": 1, "retry_on": ["502", "503"], "max_body": "1KiB"});
    (serve(&[&first, &second], json!({}), json!([{"retry": retry}])), first, second)
}

fn request(method: &str, body: &str) -> String {
    format!("{method} /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn ok(upstream: &mut Peer) {
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

fn body_of(message: &str) -> &str {
    message.split_once("\r\n\r\n").expect("a head").1
}

#[test]
fn a_body_that_a_target_broke_off_goes_whole_to_the_next() {
    let (served, first, second) = two_targets();
    let body = "0123456789".repeat(100);
    let mut client = served.client(&request("PUT", &body));
    first.accept().until("0123456789");
    let mut upstream = second.accept();
    let message = upstream.until(&body);
    assert!(message.contains("content-length: 1000\r\n"), "{message}");
    assert_eq!(body_of(&message), body);
    ok(&mut upstream);
    client.until("ok");
}

#[test]
fn a_body_that_is_still_coming_goes_on_to_the_next_target_alone() {
    let (served, first, second) = two_targets();
    let mut client =
        served.client("PUT /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("5\r\nbegun\r\n");
    let mut early = first.accept();
    early.until("begun");
    early.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let mut upstream = second.accept();
    upstream.until("5\r\nbegun\r\n");
    client.send("4\r\nmore\r\n0\r\n\r\n");
    let message = upstream.until("0\r\n\r\n");
    assert_eq!(body_of(&message), "5\r\nbegun\r\n4\r\nmore\r\n0\r\n\r\n");
    let rest = early.into_rest();
    assert!(rest.ends_with("5\r\nbegun\r\n"), "nothing more, and not as if it were whole: {rest}");
    ok(&mut upstream);
    client.until("ok");
}

#[test]
fn a_body_of_which_more_was_sent_than_is_kept_is_not_sent_again() {
    let (served, first, second) = two_targets();
    let body = "0123456789".repeat(200);
    let mut client = served.client(&request("PUT", &body));
    let mut upstream = first.accept();
    upstream.until(&body);
    drop(upstream);
    let answer = client.until("upstream_reset");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");

    // the next request is the first that the second target hears of
    let mut next = served.client(&request("GET", ""));
    let mut upstream = second.accept();
    assert!(upstream.until("\r\n\r\n").starts_with("GET /x "));
    ok(&mut upstream);
    next.until("ok");
}

#[test]
fn a_post_is_not_sent_again_once_a_target_has_seen_it() {
    let (served, first, _second) = two_targets();
    let mut client = served.client(&request("POST", "0123456789"));
    first.accept().until("0123456789");
    assert!(client.until("upstream_reset").starts_with("HTTP/1.1 502 "));
}

#[test]
fn a_post_is_sent_to_the_next_target_when_the_first_takes_no_connection() {
    let (served, first, second) = two_targets();
    drop(first);
    let mut client = served.client(&request("POST", "0123456789"));
    let mut upstream = second.accept();
    assert_eq!(body_of(&upstream.until("0123456789")), "0123456789");
    ok(&mut upstream);
    client.until("ok");
}

/// What the first target does once it has read enough.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Hangup,
    Busy,
    Nonsense,
}

impl Failure {
    fn happens_to(self, mut upstream: Peer) -> Option<Peer> {
        match self {
            Self::Hangup => return None,
            Self::Busy => upstream.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"),
            Self::Nonsense => upstream.send("SSH-2.0-OpenSSH_9.2\r\n"),
        }
        Some(upstream)
    }
}

fn chunked(pieces: &[String]) -> String {
    let chunks: String = pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
    chunks + "0\r\n\r\n"
}

/// The chunks' data, as far as they have come.
fn unchunked(mut body: &str) -> (String, bool) {
    let mut data = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("a length");
        let Some(chunk) = rest.get(..length) else { break };
        if length == 0 {
            return (data, true);
        }
        data.push_str(chunk);
        body = rest.get(length + 2..).unwrap_or("");
    }
    (data, false)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_second_target_gets_what_the_client_sent_however_the_first_has_failed(
        pieces in vec("[a-z]{1,200}", 1..5),
        sent_first in 0usize..5,
        failure in prop_oneof![Just(Failure::Hangup), Just(Failure::Busy), Just(Failure::Nonsense)],
    ) {
        let (served, first, second) = two_targets();
        let sent_first = sent_first.min(pieces.len());
        let message = chunked(&pieces);
        let cut = chunked(&pieces[..sent_first]).len() - "0\r\n\r\n".len();
        let mut client =
            served.client("PUT /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(&message[..cut]);
        let mut upstream = first.accept();
        let begun = pieces[..sent_first].concat();
        upstream.until_that(|text| text.contains("\r\n\r\n") && unchunked(body_of(text)).0 == begun);
        let dead = failure.happens_to(upstream);

        let mut upstream = second.accept();
        client.send(&message[cut..]);
        let got = upstream.until_that(|text| text.contains("\r\n\r\n") && unchunked(body_of(text)).1);
        prop_assert_eq!(unchunked(body_of(&got)), (pieces.concat(), true));
        ok(&mut upstream);
        client.until("\r\n\r\nok");
        if let Some(dead) = dead {
            let rest = dead.into_rest();
            prop_assert_eq!(unchunked(body_of(&rest)), (begun, false), "it went on reading");
        }
    }
}
