//! What AWS's classifier of requests calls severe is not forwarded: in none of the tables, and in no message that is
//! thrown together from their parts.

use super::case::Want;
use super::{PLAIN, Range, all, shown, strict};
use fastrand::Rng;
use http_desync_guardian::RequestSafetyTier;
use http_desync_guardian::request_analyzer::HttpRequestData;
use std::fmt::Write as _;

/// Messages thrown together.
const MESSAGES: usize = 400;

/// By its head alone: more the classifier does not look at.
fn is_severe(message: &[u8]) -> bool {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n").map_or(message.len(), |at| at + 4);
    HttpRequestData::analyze_raw_request(&message[..end]).tier == RequestSafetyTier::Severe
}

#[test]
fn nothing_severe_is_forwarded_by_the_tables() {
    let mut wrong = String::new();
    for case in all() {
        if matches!(case.want, Want::Sent(_)) && is_severe(&case.bytes) {
            let _ = writeln!(wrong, "{}\n    {}", case.name, shown(&case.bytes));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

const REQUEST_LINES: &[&str] = &[
    "POST /h HTTP/1.1",
    "POST /h HTTP/1.1",
    "POST /h HTTP/1.1",
    "GET /h HTTP/1.1",
    "POST /h HTTP/1.0",
    "POST /h HTTP/1.1 ",
    "POST  /h HTTP/1.1",
    "POST http://a.test/h HTTP/1.1",
    "post /h http/1.1",
];

const FIELDS: &[&str] = &[
    "Content-Length: 5",
    "Content-Length: 0",
    "content-length:5",
    "Content-Length: 05",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Content-Length : 5",
    "Content_Length: 5",
    "\tContent-Length: 5",
    "X-A: b\nContent-Length: 5",
    "Transfer-Encoding: chunked",
    "transfer-encoding:chunked",
    "Transfer-Encoding: chunked ",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: CHUNKED",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer_Encoding: chunked",
    " Transfer-Encoding: chunked",
    "Transfer-Encoding\r\n : chunked",
    "X-A: b\x0bTransfer-Encoding: chunked",
    "X-A: b\rTransfer-Encoding: chunked",
    "X-A: b\nTransfer-Encoding: chunked",
    "Connection: keep-alive",
    "Connection: Content-Length",
    "Expect: 100-continue",
    "Host: b.test",
    "X: Y",
];

const ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r\n ", "\r\n\t", "\n\r", "\r"];

const BODIES: &[&str] = &[
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "0\r\n\r\nGET /inner HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "5\nhello\n0\n\n",
    "",
];

fn message(rng: &mut Rng) -> Vec<u8> {
    let end = |rng: &mut Rng| if rng.u8(..) < 200 { "\r\n" } else { ENDS[rng.usize(..ENDS.len())] };
    let mut text = String::new();
    text += REQUEST_LINES[rng.usize(..REQUEST_LINES.len())];
    text += end(rng);
    text += "Host: a.test";
    text += end(rng);
    for _ in 0..rng.usize(1..4) {
        text += FIELDS[rng.usize(..FIELDS.len())];
        text += end(rng);
    }
    text += end(rng);
    text += BODIES[rng.usize(..BODIES.len())];
    text.into_bytes()
}

/// Whatever is made of the parts: it is refused, or the target gets what nobody can read in two ways, and for each
/// message to it the client gets one answer.
#[tokio::test(flavor = "multi_thread")]
async fn messages_thrown_together_are_refused_or_clean() {
    let seed =
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let range = Range::open(&PLAIN.replace("1s", "200ms").replace("2s", "400ms")).await;
    let mut wrong = String::new();
    for _ in 0..MESSAGES {
        let bytes = message(&mut rng);
        let seen = range.play(&bytes).await;
        let verdict = strict::messages(&seen.at_target);
        let why = match &verdict {
            _ if !seen.ended => "the connection stays open".to_owned(),
            // a body that never ends was on its way when it was given up
            Err(_) if seen.whole.is_empty() && !is_severe(&bytes) => continue,
            Err(why) => why.clone(),
            Ok(messages) if !messages.is_empty() && is_severe(&bytes) => "severe, and forwarded".to_owned(),
            Ok(messages) if messages.len() > seen.responses.len() => "more requests than answers".to_owned(),
            Ok(_) => continue,
        };
        let _ = writeln!(wrong, "{why}\n    {}\n    {:?}", shown(&bytes), seen.outcomes());
    }
    assert!(wrong.is_empty(), "SEED={seed}\n{wrong}");
}
