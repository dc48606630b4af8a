//! HTTP/2 with clients: what the protocol demands, what is carried through, what attackers send, and the end.

mod case;
mod conformance;
mod floods;
mod messages;
mod parting;
mod peers;
mod tunnels;

use case::{Case, Want};
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;
use tempfile::TempDir;
use tests::client::frames::{code, flag, kind};
use tests::client::{Frame, FrameClient};
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::Upstream;

/// The file of the access log.
const LOG: &str = "access.log";

/// Longer than anything a case waits for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway and what stands behind it.
struct Range {
    fleet: Fleet,
    upstream: Upstream,
    /// Behind `/held`: takes requests and never answers.
    _silent: Upstream,
    log: TempDir,
}

impl Range {
    /// With more lines in the `server` section.
    async fn open(server: &str) -> Self {
        let (upstream, silent) = (Upstream::echo("target").await, Upstream::silent().await);
        let log = TempDir::new().expect("a directory");
        let lines = log.path().join(LOG);
        let fleet = Fleet::start(1, |port| {
            config::server(port, server)
                + "routes:\n"
                + &config::route("held", &[silent.address()], &[])
                + "  - name: all\n    prefix: /\n"
                + &config::targets(&[upstream.address()])
                + &format!("global_filters: [{{logging: {{output: {}}}}}]\n", lines.display())
        })
        .await;
        Self { fleet, upstream, _silent: silent, log }
    }

    /// The lines of the access log so far.
    fn logged(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.log.path().join(LOG)).unwrap_or_default();
        // what has no end yet is being written
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The most that the data plane has ever needed.
    fn memory_kib(&mut self) -> u64 {
        self.fleet.data_plane(0).memory_kib("VmHWM")
    }

    async fn client(&self) -> FrameClient {
        FrameClient::connect(self.fleet.address(0)).await
    }

    /// Plays every case; what is wrong with any is told at the end.
    async fn play_all(&self, cases: &[Case]) {
        let mut wrong = String::new();
        for Case { name, bytes, want } in cases {
            let mut client = self.client().await;
            client.send(bytes).await;
            let mut seen = Seen::default();
            let verdict = async {
                while !seen.satisfies(*want) {
                    match client.next().await {
                        Some(frame) => seen.frames.push(frame),
                        None if seen.closed => return,
                        None => seen.closed = true,
                    }
                    if *want == Want::Fine && !seen.settled {
                        seen.settled = client.try_settled().await && client.try_settled().await;
                    }
                }
            };
            let in_time = tokio::time::timeout(PATIENCE, verdict).await.is_ok();
            if !seen.satisfies(*want) {
                let late = if in_time { "" } else { "no more came; " };
                let _ = writeln!(wrong, "{name}: {late}wanted {want:?}, got {:?}", seen.told());
            }
            // whatever happened, the gateway goes on serving others
            assert_eq!(self.client().await.get(1, "/sentinel").await.outcome(), "200", "after {name}");
        }
        assert!(wrong.is_empty(), "\n{wrong}");
    }
}

/// What has come so far.
#[derive(Default)]
struct Seen {
    frames: Vec<Frame>,
    closed: bool,
    /// The peer has looked at everything, twice.
    settled: bool,
}

impl Seen {
    fn satisfies(&self, want: Want) -> bool {
        let codes = |of: u8| self.frames.iter().filter(move |frame| frame.kind == of);
        match want {
            Want::Fine => self.settled,
            Want::Closed => self.closed,
            Want::ConnectionError(wanted) => {
                self.closed && codes(kind::GOAWAY).any(|frame| frame.code() == Some(wanted))
            }
            Want::StreamError(wanted) => {
                let mut ends =
                    codes(kind::RST_STREAM).chain(self.frames.iter().filter(|one| one.kind == kind::GOAWAY));
                ends.any(|frame| frame.code() == Some(wanted))
            }
            Want::RefusedOn(stream) => codes(kind::RST_STREAM)
                .any(|frame| frame.stream == stream && frame.code() == Some(code::REFUSED_STREAM)),
            Want::Pong => codes(kind::PING).any(|frame| frame.has(flag::ACK) && frame.payload == b"whatever"),
            Want::Answer(outcome) => self.answer(1).as_deref() == Some(outcome),
        }
    }

    /// The outcome of a response that is whole.
    fn answer(&self, stream: u32) -> Option<String> {
        let of_stream = || self.frames.iter().filter(|frame| frame.stream == stream);
        let ends =
            |frame: &Frame| matches!(frame.kind, kind::DATA | kind::HEADERS) && frame.has(flag::END_STREAM);
        of_stream().find(|frame| ends(frame))?;
        let head = of_stream().find(|frame| frame.kind == kind::HEADERS)?;
        Some(tests::client::frames::StreamResponse::of(&head.payload).outcome())
    }

    /// For people.
    fn told(&self) -> Vec<String> {
        let one = |frame: &Frame| match (frame.kind, frame.code()) {
            (kind::HEADERS, _) => format!("HEADERS on {}: {:?}", frame.stream, self.answer(frame.stream)),
            (kind, Some(code)) => format!("frame {kind} on {} with code {code}", frame.stream),
            (kind, None) => format!("frame {kind} on {}", frame.stream),
        };
        let end = self.closed.then(|| "closed".to_owned());
        self.frames.iter().map(one).chain(end).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_is_spoken_as_rfc_9113_says() {
    let range = Range::open(&format!("  max_concurrent_streams: {}\n", conformance::MAX_STREAMS)).await;
    range.play_all(&conformance::cases()).await;
    let strangers: Vec<_> = range.upstream.requests().into_iter().map(|got| got.target).collect();
    // and one whose path has an index in HPACK
    assert!(strangers.iter().all(|target| ["/h", "/sentinel", "/"].contains(&&**target)), "{strangers:?}");
}

/// What the battery is worth: no name twice.
#[test]
fn every_case_has_a_name_of_its_own() {
    let cases = conformance::cases();
    let mut names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 130, "{} cases", cases.len());
}
