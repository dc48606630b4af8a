//! Clients that are slow on purpose, and many at once: each is ended by its deadline, and the others do not notice.

use super::Range;
use std::net::SocketAddr;
use std::time::Duration;
use tests::client::{RawClient, get};
use tests::config;
use tests::fleet::Fleet;
use tests::load::{Load, Plan};
use tests::upstream::Upstream;
use tests::wait::{eventually, soon};
use tokio::task::JoinSet;

/// Between two pieces of a slow client: far below every idle timeout, so that only a deadline for the whole ends it.
const PACE: Duration = Duration::from_millis(200);

const DEADLINES: &str = "  header_timeout: 1s\n  read_timeout: 2s\n  write_timeout: 2s\n  idle_timeout: 5s\n";

/// Sends `head`, and then `piece` again and again, until the gateway has had enough; its last word.
async fn drip(address: SocketAddr, head: &'static str, piece: &'static str) -> String {
    let mut client = RawClient::connect(address).await;
    client.send(head).await;
    let mut pace = tokio::time::interval(PACE);
    loop {
        tokio::select! {
            _ = pace.tick() => client.send(piece).await,
            answer = client.try_response() => {
                return answer.map_or_else(|_| "closed".to_owned(), |answer| answer.outcome());
            }
        }
    }
}

/// So many slow clients at once, and a few that are not; how each slow one ended.
async fn attack(range: &Range, clients: usize, head: &'static str, piece: &'static str) -> Vec<String> {
    let address = range.fleet.address(0);
    let others = Load::start(address, &Plan::get("/sentinel"));
    let mut attackers = JoinSet::new();
    for _ in 0..clients {
        attackers.spawn(drip(address, head, piece));
    }
    let ended = soon("every slow client is ended", attackers.join_all()).await;
    others.goes_on_for(10).await;
    let told = others.stop().await;
    assert!(told.keys().all(|outcome| outcome == "200"), "the others: {told:?}");
    ended
}

/// 2 000 at once: what one costs, they cost together.
#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_end_by_their_deadline_and_nobody_waits_for_them() {
    let range = Range::open(DEADLINES).await;
    let ended = attack(&range, 2000, "GET /h HTTP/1.1\r\nHost: a.test\r\n", "X-A: b\r\n").await;
    let odd: Vec<_> = ended.iter().filter(|outcome| *outcome != "408 request_timeout").collect();
    assert!(odd.is_empty(), "{odd:?}");
    let slow = range.upstream.requests().into_iter().filter(|request| request.target == "/h").count();
    assert_eq!(slow, 0, "none of them was a request");
}

/// Ten bytes now and then: no pause is long enough for an idle timeout.
#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_end_by_their_deadline_and_nobody_waits_for_them() {
    let range = Range::open(DEADLINES).await;
    for head in [
        "POST /h HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n",
        "POST /h HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let piece = if head.contains("chunked") { "5\r\nhello\r\n" } else { "0123456789" };
        let ended = attack(&range, 200, head, piece).await;
        let odd: Vec<_> = ended.iter().filter(|outcome| *outcome != "408 request_timeout").collect();
        assert!(odd.is_empty(), "{odd:?}");
    }
    let slow = range.upstream.requests().into_iter().filter(|request| request.target == "/h").count();
    assert_eq!(slow, 0, "none of them became a request");
}

/// Connections that say nothing at all are idle ones.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_end_by_the_idle_timeout() {
    let range = Range::open("  idle_timeout: 1s\n").await;
    let mut silent = JoinSet::new();
    for _ in 0..200 {
        let address = range.fleet.address(0);
        silent.spawn(async move { RawClient::connect(address).await.until_closed().await });
    }
    let said = soon("every silent client is ended", silent.join_all()).await;
    assert!(said.iter().all(Vec::is_empty), "there was nothing to answer");
}

/// Whoever does not read makes the target wait, not the gateway hoard; and is ended.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_cost_no_memory_and_are_ended() {
    const CLIENTS: usize = 50;
    let (endless, upstream) =
        (Upstream::download(64 << 10, None, None).await, Upstream::echo("target").await);
    let mut fleet = Fleet::start(1, |port| {
        config::server(port, DEADLINES)
            + "routes:\n"
            + &config::route("large", &[endless.address()], &[])
            + &config::route("sentinel", &[upstream.address()], &[])
    })
    .await;
    let address = fleet.address(0);
    let before = fleet.data_plane(0).memory_kib("VmRSS");
    let others = Load::start(address, &Plan::get("/sentinel"));
    let mut readers = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        let mut client = RawClient::connect(address).await;
        client.send("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        readers.push(client);
    }
    eventually("what the target has produced stands still", async || {
        let produced = endless.produced();
        tokio::time::sleep(PACE).await;
        match endless.produced() {
            same if same == produced && same > 0 => Ok(()),
            more => Err(format!("{produced}, then {more} bytes")),
        }
    })
    .await;
    let each = (fleet.data_plane(0).memory_kib("VmRSS").saturating_sub(before)) / CLIENTS as u64;
    assert!(each < 1024, "{each} KiB of memory for each client that does not read");
    // unread: whoever reads goes on
    eventually("their connections are closed", async || match fleet.data_plane(0).open_files() {
        few if few < CLIENTS => Ok(()),
        many => Err(format!("{many} open files")),
    })
    .await;
    drop(readers);
    others.goes_on_for(10).await;
    let told = others.stop().await;
    assert!(told.keys().all(|outcome| outcome == "200"), "the others: {told:?}");
}

/// All clients of an instance that has died come back in the moment it does.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_may_come_back_at_once() {
    const CLIENTS: usize = 500;
    let upstream = Upstream::echo("target").await;
    // the target, too, has to accept them all
    let mut fleet =
        Fleet::start(1, |port| config::forward_all(port, upstream.address()) + "    connect_timeout: 20s\n")
            .await;
    let address = fleet.address(0);
    for _ in 0..2 {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(async move {
                let mut client = RawClient::connect(address).await;
                client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
                (client.response().await.outcome(), client)
            });
        }
        let served = soon("every client is served", clients.join_all()).await;
        let odd: Vec<_> =
            served.iter().map(|(outcome, _)| outcome).filter(|outcome| *outcome != "200").collect();
        assert!(odd.is_empty(), "{odd:?}");
        fleet.kill_data_plane(0);
        fleet.start_data_plane(0).await;
        eventually("it serves again", async || match get(address, "/").await {
            Ok(reply) if reply.status == 200 => Ok(()),
            Ok(reply) => Err(reply.status.to_string()),
            Err(error) => Err(error.to_string()),
        })
        .await;
    }
}
