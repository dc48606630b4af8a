//! Targets whose responses never come to the point.

use crate::test_support::{Target, serve};
use serde_json::json;

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// 2000 of them went by, and there might have been any number.
#[test]
fn a_flood_of_interim_responses_is_no_response() {
    let target = Target::new();
    let served = serve(&[&target], json!({}), json!([]));
    let mut client = served.client(GET);
    let mut upstream = target.accept();
    upstream.until("\r\n\r\n");
    upstream.send(&HINTS.repeat(17));
    let answer = client.until("invalid_response");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    upstream.into_rest();
}

#[test]
fn a_few_interim_responses_are_read_over_in_every_exchange_of_a_connection() {
    let target = Target::new();
    let served = serve(&[&target], json!({}), json!([]));
    let mut client = served.client(GET);
    let mut upstream = target.accept();
    for exchange in 1..=3 {
        upstream.until_times("\r\n\r\n", exchange);
        upstream.send(&HINTS.repeat(16));
        upstream.send(WHOLE);
        let answers = client.until_times("\r\n\r\nok", exchange);
        assert!(!answers.contains("103"), "{answers}");
        client.send(GET);
    }
}
