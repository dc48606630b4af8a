//! Hostile HTTP/1.1 over raw sockets, against a target that keeps every byte it is sent.
//!
//! The messages stand in tables, each with its name and its fate. Each is followed on its connection by a probe for
//! `/smuggled`: what comes after a refused message must never be taken for a request.

mod answers;
mod case;
mod control;
mod framing;
mod heads;
mod hops;
mod identity;
mod injection;
mod limits;
mod oracle;
mod paths;
mod slow;
mod strict;

use case::{Case, Want};
use std::fmt::Write as _;
use std::time::Duration;
use tests::client::{RawClient, RawResponse, get};
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::Upstream;

/// Follows every case on its connection.
const PROBE: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// Longer than every deadline of the gateways below.
const PATIENCE: Duration = Duration::from_secs(6);

/// What clients claim to be in every case that claims anything: never seen by a target.
const CLAIMED: &[u8] = b"6.6.6.6";

/// A gateway and the target behind it.
struct Range {
    fleet: Fleet,
    upstream: Upstream,
}

/// What became of one message.
struct Seen {
    /// The gateway closed the connection, as the probe asks, or by itself.
    ended: bool,
    responses: Vec<RawResponse>,
    at_target: Vec<u8>,
    /// Targets of the requests that arrived whole.
    whole: Vec<String>,
}

impl Range {
    /// With more lines in the `server` section.
    async fn open(server: &str) -> Self {
        let upstream = Upstream::echo("target").await;
        let fleet = Fleet::start(1, |port| {
            config::server(port, server)
                + "routes:\n  - name: all\n    prefix: /\n    hosts: [a.test]\n"
                + &config::targets(&[upstream.address()])
                + "  - name: sentinel\n    prefix: /sentinel\n"
                + &config::targets(&[upstream.address()])
        })
        .await;
        Self { fleet, upstream }
    }

    async fn play(&self, bytes: &[u8]) -> Seen {
        let before: Vec<usize> = self.upstream.connections().iter().map(Vec::len).collect();
        let requests = self.upstream.requests().len();
        let mut client = RawClient::connect(self.fleet.address(0)).await;
        client.send([bytes, PROBE].concat()).await;
        let mut responses = Vec::new();
        let answers = async {
            while let Ok(response) = client.try_response().await {
                responses.push(response);
            }
        };
        let ended = tokio::time::timeout(PATIENCE, answers).await.is_ok();
        let connections = self.upstream.connections();
        let new = |(at, bytes): (usize, &Vec<u8>)| bytes[before.get(at).copied().unwrap_or(0)..].to_vec();
        let at_target = connections.iter().enumerate().flat_map(new).collect();
        let whole =
            self.upstream.requests().into_iter().skip(requests).map(|request| request.target).collect();
        Seen { ended, responses, at_target, whole }
    }

    /// Plays every case; what is wrong with any is told at the end.
    async fn play_all(&self, cases: &[Case]) {
        let mut wrong = String::new();
        for Case { name, bytes, want } in cases {
            let seen = self.play(bytes).await;
            if let Err(why) = seen.verdict(*want) {
                let _ = writeln!(wrong, "{name}: {why}\n    {}", shown(bytes));
            }
            // whatever happened, the gateway goes on serving others
            let alive = get(self.fleet.address(0), "/sentinel").await;
            assert_eq!(alive.expect("the gateway lives").status, 200, "after {name}");
        }
        // nothing came later than it was looked for
        let strangers = |target: &&String| *target != "/sentinel" && *target != "/smuggled";
        let targets: Vec<String> = self.upstream.requests().into_iter().map(|got| got.target).collect();
        let sent = cases.iter().filter(|case| matches!(case.want, Want::Sent(_))).count();
        if targets.iter().filter(strangers).count() != sent {
            let _ = writeln!(wrong, "{sent} messages were to be forwarded, the target got {targets:?}");
        }
        assert!(wrong.is_empty(), "\n{wrong}");
    }
}

impl Seen {
    fn outcomes(&self) -> Vec<String> {
        self.responses.iter().map(RawResponse::outcome).collect()
    }

    fn verdict(&self, want: Want) -> Result<(), String> {
        if !self.ended {
            return Err(format!("still open after {PATIENCE:?}, answered {:?}", self.outcomes()));
        }
        match want {
            Want::Refused(status, reason) => self.refused(status, reason),
            Want::Sent(target) => self.sent(target),
            Want::Cut => self.cut(),
        }
    }

    fn refused(&self, status: u16, reason: &str) -> Result<(), String> {
        let [response] = &self.responses[..] else { return Err(format!("answered {:?}", self.outcomes())) };
        if (response.status, response.reason()) != (status, reason) {
            return Err(format!("answered {}, not {status} {reason}", response.outcome()));
        }
        match self.at_target[..] {
            [] => Ok(()),
            _ => Err(format!("the target got {}", shown(&self.at_target))),
        }
    }

    fn sent(&self, target: &str) -> Result<(), String> {
        let told = || format!("answered {:?}, the target got {}", self.outcomes(), shown(&self.at_target));
        let messages = strict::messages(&self.at_target).map_err(|why| format!("{why}; {}", told()))?;
        let got: Vec<&str> = messages.iter().map(|message| message.target.as_str()).collect();
        if self.at_target.windows(CLAIMED.len()).any(|window| window == CLAIMED) {
            return Err(format!("what the client claims was passed on; {}", told()));
        }
        if self.responses.iter().any(|response| response.status != 200) || self.responses.len() != got.len() {
            return Err(told());
        }
        // the probe is a request of its own unless the message before it ends the connection
        match got[..] {
            [first] | [first, "/smuggled"] if first == target => Ok(()),
            _ => Err(format!("{target:?} was to be forwarded; {}", told())),
        }
    }

    fn cut(&self) -> Result<(), String> {
        match (&self.responses[..], &self.whole[..]) {
            ([], []) => Ok(()),
            ([response], []) if (400..500).contains(&response.status) => Ok(()),
            _ => Err(format!("answered {:?}, the target got {:?}", self.outcomes(), self.whole)),
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    format!("{:.300}", bytes.escape_ascii().to_string())
}

/// Limits that no case of the tables but those of `limits` comes near, and deadlines short enough for a test.
const PLAIN: &str = "  header_timeout: 1s\n  read_timeout: 2s\n  idle_timeout: 2s\n";

#[tokio::test(flavor = "multi_thread")]
async fn messages_whose_end_is_in_doubt() {
    Range::open(PLAIN).await.play_all(&framing::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_none() {
    Range::open(PLAIN).await.play_all(&heads::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_are_read_in_two_ways() {
    Range::open(PLAIN).await.play_all(&paths::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_for_one_hop_and_claims_of_the_client() {
    Range::open(PLAIN).await.play_all(&hops::cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_beyond_the_limits() {
    Range::open(&(PLAIN.to_owned() + limits::SERVER)).await.play_all(&limits::cases()).await;
}

/// The body of a request that was answered without reading it is not the next request.
#[tokio::test(flavor = "multi_thread")]
async fn an_unread_body_is_never_a_request() {
    let range = Range::open(PLAIN).await;
    let inner = "GET /inner HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for body in [inner.to_owned(), inner.repeat(10_000)] {
        let head = format!("POST /h HTTP/1.1\r\nHost: nobody.test\r\nContent-Length: {}\r\n\r\n", body.len());
        let seen = range.play((head + &body).as_bytes()).await;
        assert_eq!(seen.responses.first().map(|response| response.status), Some(404));
        assert!(seen.responses.len() <= 2, "the body was answered");
        assert!(!seen.whole.contains(&"/inner".to_owned()), "{:?}", seen.whole);
    }
}

/// What the battery is worth: one table, no name twice.
#[test]
fn every_case_has_a_name_of_its_own() {
    let cases = all();
    let mut names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 200, "{} cases", cases.len());
}

fn all() -> Vec<Case> {
    [framing::cases(), heads::cases(), paths::cases(), hops::cases(), limits::cases()].concat()
}
