//! Hostile HTTP/1.1 over raw sockets, against a target that keeps every byte it is sent.
//!
//! Each case is followed on its connection by a probe for `/smuggled`: what comes after a refused message must never be
//! taken for a request.

mod cases;
mod strict;

use cases::{AMBIGUOUS_BODIES, EITHER, LENGTH_AND_CODING, REFUSED};
use std::fmt::Write as _;
use std::time::Duration;
use tests::client::{RawClient, RawResponse, get};
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::Upstream;

/// Follows every case on its connection.
const PROBE: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// Longer than every deadline of the gateway below.
const PATIENCE: Duration = Duration::from_secs(6);

/// What became of one case.
struct Seen {
    /// The gateway closed the connection, as the probe asks, or by itself.
    ended: bool,
    responses: Vec<RawResponse>,
    at_target: Vec<u8>,
    whole_requests: Vec<String>,
}

async fn gateway() -> (Fleet, Upstream) {
    let upstream = Upstream::echo("target").await;
    let fleet = Fleet::start(1, |port| {
        config::server(port, "  header_timeout: 1s\n  read_timeout: 2s\n  idle_timeout: 2s\n")
            + "routes:\n  - name: all\n    prefix: /\n    hosts: [a.test]\n"
            + &config::targets(&[upstream.address()])
            + "  - name: sentinel\n    prefix: /sentinel\n"
            + &config::targets(&[upstream.address()])
    })
    .await;
    (fleet, upstream)
}

async fn play(fleet: &Fleet, upstream: &Upstream, bytes: &[u8]) -> Seen {
    upstream.forget();
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send([bytes, PROBE].concat()).await;
    let mut responses = Vec::new();
    let answers = async {
        while let Ok(response) = client.try_response().await {
            responses.push(response);
        }
    };
    let ended = tokio::time::timeout(PATIENCE, answers).await.is_ok();
    let at_target = upstream.bytes();
    let whole_requests = upstream.requests().into_iter().map(|request| request.target).collect();
    // whatever happened, the gateway goes on serving others
    let alive = get(fleet.address(0), "/sentinel").await;
    assert_eq!(alive.expect("the gateway lives").status, 200, "after {}", shown(bytes));
    let late = upstream.requests().into_iter().find(|request| request.target == "/smuggled");
    assert!(late.is_none() || responses.len() > 1, "a probe nobody was answered for: {}", shown(bytes));
    Seen { ended, responses, at_target, whole_requests }
}

fn shown(bytes: &[u8]) -> String {
    format!("{:.300}", bytes.escape_ascii().to_string())
}

/// A refusal: one 4xx, 501 or 505 and the end, or the end alone.
fn refused(seen: &Seen) -> Result<(), String> {
    let statuses: Vec<u16> = seen.responses.iter().map(|response| response.status).collect();
    match statuses[..] {
        _ if !seen.ended => Err(format!("still open after {PATIENCE:?}, answered {statuses:?}")),
        [] | [400..=499 | 501 | 505] => Ok(()),
        _ => Err(format!("answered {statuses:?}")),
    }
}

async fn assert_refused(cases: &[&[u8]]) {
    let (fleet, upstream) = gateway().await;
    let mut wrong = String::new();
    for bytes in cases {
        let seen = play(&fleet, &upstream, bytes).await;
        let verdict = refused(&seen).and(match seen.at_target[..] {
            [] => Ok(()),
            _ => Err(format!("the target got {}", shown(&seen.at_target))),
        });
        if let Err(why) = verdict {
            let _ = writeln!(wrong, "{}\n    {why}", shown(bytes));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_refused_message_reaches_the_target() {
    assert_refused(REFUSED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_with_a_transfer_coding_is_refused() {
    assert_refused(LENGTH_AND_CODING).await;
}

/// A streaming proxy may have passed the head on; the target must never see the message end.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_broken_framing_never_becomes_a_request() {
    let (fleet, upstream) = gateway().await;
    let mut wrong = String::new();
    for body in AMBIGUOUS_BODIES {
        let head = b"POST /h HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let seen = play(&fleet, &upstream, &[&head[..], body].concat()).await;
        let verdict = refused(&seen).and(match seen.whole_requests[..] {
            [] => Ok(()),
            _ => Err(format!("the target got {:?}", seen.whole_requests)),
        });
        if let Err(why) = verdict {
            let _ = writeln!(wrong, "{}\n    {why}", shown(body));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_messages_are_refused_or_forwarded_clean() {
    let (fleet, upstream) = gateway().await;
    let mut wrong = String::new();
    for bytes in EITHER {
        let seen = play(&fleet, &upstream, bytes).await;
        let verdict = strict::messages(&seen.at_target).and_then(|messages| {
            let odd: Vec<_> = messages.iter().filter(|message| message.target != "/smuggled").collect();
            match odd.len() {
                _ if !seen.ended => Err(format!("still open after {PATIENCE:?}")),
                0 if seen.responses.first().is_none_or(|response| response.status >= 400) => Ok(()),
                1 if seen.responses.first().is_some_and(|response| response.status < 400) => Ok(()),
                n => Err(format!(
                    "{n} messages for {:?}",
                    seen.responses.iter().map(|r| r.status).collect::<Vec<_>>()
                )),
            }
        });
        if let Err(why) = verdict {
            let _ = writeln!(wrong, "{}\n    {why}\n    target: {}", shown(bytes), shown(&seen.at_target));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The body of a request that was answered without reading it is not the next request.
#[tokio::test(flavor = "multi_thread")]
async fn an_unread_body_is_never_a_request() {
    let (fleet, upstream) = gateway().await;
    let inner = "GET /inner HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for body in [inner.to_owned(), inner.repeat(10_000)] {
        let head = format!("POST /h HTTP/1.1\r\nHost: nobody.test\r\nContent-Length: {}\r\n\r\n", body.len());
        let seen = play(&fleet, &upstream, (head + &body).as_bytes()).await;
        assert_eq!(seen.responses.first().map(|response| response.status), Some(404));
        assert!(seen.responses.len() <= 2, "the body was answered");
        assert!(!seen.whole_requests.contains(&"/inner".to_owned()), "{:?}", seen.whole_requests);
    }
}

/// Nothing a client sends may look as if it came from the gateway, or forge who the client is.
#[tokio::test(flavor = "multi_thread")]
async fn connection_cannot_name_away_what_the_gateway_sets() {
    let (fleet, upstream) = gateway().await;
    let request =
        b"GET /h HTTP/1.1\r\nHost: a.test\r\nConnection: close, X-Real-IP, Via\r\nX-Real-IP: 6.6.6.6\r\n\r\n";
    upstream.forget();
    let mut client = RawClient::connect(fleet.address(0)).await;
    client.send(request).await;
    let response = client.response().await;
    if response.status == 200 {
        let got = upstream.requests().pop().expect("one request");
        assert_eq!(got.header("x-real-ip"), Some("127.0.0.1"));
        assert!(got.header("via").is_some());
    } else {
        assert_eq!(response.status, 400);
        assert!(upstream.bytes().is_empty());
    }
}
