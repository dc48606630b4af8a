//! Work without requests, and requests without end: each is bounded on its connection, which is told why it ends.

use super::Range;
use super::case::{pieces, post};
use tests::client::frames::{PREFACE, code, flag, kind, request};
use tests::client::{Frame, FrameClient, get, hpack};
use tests::config;
use tests::fleet::Fleet;
use tests::upstream::Upstream;
use tests::wait::eventually;

/// Sends more of it until the peer takes no more or says that it ends; the code with which it does.
async fn until_calm(client: &mut FrameClient, mut next: impl FnMut(u32) -> Vec<Frame>) -> Option<u32> {
    client.polite = false;
    for round in 0..100_000 {
        let bytes: Vec<u8> = next(round).iter().flat_map(Frame::bytes).collect();
        if client.try_send(bytes).await.is_err() {
            break;
        }
        if let Some(code) = client.gone() {
            return Some(code);
        }
    }
    client.until_gone().await
}

/// How often connections were closed for this reason.
async fn closed_for(range: &Range, reason: &str) -> u64 {
    let page = get(range.fleet.admin_address(0), "/metrics").await.expect("a page").text();
    let line = format!("gateway_http2_connections_closed_total{{reason=\"{reason}\"}} ");
    let value =
        page.lines().find_map(|one| one.strip_prefix(&line)).unwrap_or_else(|| panic!("no {line} in {page}"));
    value.parse().expect("a number")
}

const CALM: Option<u32> = Some(code::ENHANCE_YOUR_CALM);

#[tokio::test(flavor = "multi_thread")]
async fn frames_without_content_are_bounded() {
    let range = Range::open("").await;
    let again = |frame: Frame| move |_| vec![frame.clone(); 100];
    let floods: [(&str, Frame); 6] = [
        ("PING", Frame::ping([7; 8])),
        ("SETTINGS", Frame::settings(&[(0xff, 1)])),
        ("PRIORITY", Frame::new(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 7])),
        ("WINDOW_UPDATE", Frame::window_update(0, 1)),
        ("RST_STREAM of a closed stream", Frame::reset(1, code::CANCEL)),
        ("of a type that nobody knows", Frame::new(0x77, 0, 0, "")),
    ];
    let mut closed = 0;
    for (name, frame) in floods {
        // of what the gateway does not read any more comes a reset, which can overtake its GOAWAY
        for tries_left in (0..3).rev() {
            let mut client = range.client().await;
            assert_eq!(client.get(1, "/h").await.outcome(), "200", "{name}");
            let told = until_calm(&mut client, again(frame.clone())).await;
            closed += 1;
            assert_eq!(closed_for(&range, "control_frame_flood").await, closed, "{name}");
            if told == CALM {
                break;
            }
            assert!(told.is_none() && tries_left > 0, "{name}: {told:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_data_is_bounded() {
    let range = Range::open("").await;
    let mut client = range.client().await;
    client.frames(&[Frame::headers(1, 0, &request("POST", "/held"))]).await;
    assert_eq!(until_calm(&mut client, |_| vec![Frame::data(1, 0, ""); 10]).await, CALM);
}

/// DATA of one byte each, which nobody reads, would cost hundreds of times their content to keep.
#[tokio::test(flavor = "multi_thread")]
async fn short_data_that_nobody_reads_is_bounded() {
    let stuck = Upstream::accepting(|wire, _| async move {
        std::future::pending::<()>().await;
        drop(wire);
    })
    .await;
    let mut fleet = Fleet::start(1, |port| config::forward_all(port, stuck.address())).await;
    let before = fleet.data_plane(0).memory_kib("VmHWM");
    let mut client = FrameClient::connect(fleet.address(0)).await;
    client.frames(&[Frame::headers(1, 0, &request("POST", "/"))]).await;
    assert_eq!(until_calm(&mut client, |_| vec![Frame::data(1, 0, "x"); 1000]).await, CALM);
    let grown = fleet.data_plane(0).memory_kib("VmHWM") - before;
    assert!(grown < 16 * 1024, "{grown} KiB for one connection");
}

/// CVE-2023-44487: requests that are given up as soon as they are made.
#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_are_bounded() {
    let range = Range::open("").await;
    let rapid = |path: &'static str| {
        move |round| {
            let pair = |n| {
                let stream = 2 * (round * 10 + n) + 1;
                [Frame::get(stream, path), Frame::reset(stream, code::CANCEL)]
            };
            (0..10).flat_map(pair).collect()
        }
    };
    let mut client = range.client().await;
    assert_eq!(until_calm(&mut client, rapid("/held")).await, CALM, "in one piece");

    // one by one, each after it was begun
    let mut client = range.client().await;
    let mut code = None;
    for n in 0..2000 {
        let stream = 2 * n + 1;
        client.frames(&[Frame::get(stream, "/held")]).await;
        if !client.try_settled().await {
            break;
        }
        client.frames(&[Frame::reset(stream, code::CANCEL)]).await;
        code = client.gone();
        if code.is_some() {
            assert!(n >= 200, "after {n} only");
            break;
        }
    }
    assert_eq!(code.or(client.until_gone().await), CALM, "one by one");
    assert_eq!(closed_for(&range, "rapid_reset").await, 1);
}

/// A client may give up some of its requests for as long as it likes.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cancels_now_and_then_is_served_on() {
    let range = Range::open("").await;
    let mut client = range.client().await;
    client.frames(&[Frame::window_update(0, 1 << 20)]).await;
    for n in 0..300 {
        let (given_up, stream) = (4 * n + 1, 4 * n + 3);
        client.frames(&[Frame::get(given_up, "/held")]).await;
        client.settled().await;
        client.frames(&[Frame::reset(given_up, code::CANCEL)]).await;
        assert_eq!(client.get(stream, "/h").await.outcome(), "200");
    }
}

/// CVE-2025-8671: the client breaks the protocol on its streams, so that the gateway resets them.
#[tokio::test(flavor = "multi_thread")]
async fn provoked_resets_are_bounded() {
    let range = Range::open("").await;
    let mut client = range.client().await;
    let provoke = |round: u32| {
        let stream = 2 * round + 1;
        let fields = [&request("POST", "/held")[..], &[("content-length", "1")]].concat();
        vec![Frame::headers(stream, 0, &fields), Frame::data(stream, 0, "two")]
    };
    assert_eq!(until_calm(&mut client, provoke).await, CALM);
    assert_eq!(closed_for(&range, "enhance_your_calm").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_are_refused_and_not_without_end() {
    let range = Range::open("  max_concurrent_streams: 3\n").await;
    let mut client = range.client().await;
    let held: Vec<_> = (0..3).map(|n| Frame::get(2 * n + 1, "/held")).collect();
    client.frames(&held).await;
    let refused = client.get(7, "/h").await;
    assert_eq!((refused.status, refused.reset), (0, Some(code::REFUSED_STREAM)));
    client.frames(&[Frame::reset(1, code::CANCEL)]).await;
    client.settled().await;
    assert_eq!(client.get(9, "/h").await.outcome(), "200", "there is room again");
    client.frames(&[Frame::get(11, "/held")]).await;
    let more = |round: u32| vec![Frame::get(2 * round + 13, "/h")];
    assert_eq!(until_calm(&mut client, more).await, CALM);
}

/// CVE-2024-27316 and its like.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_block_without_end_is_bounded() {
    let mut range = Range::open("").await;
    let before = range.memory_kib();
    let mut client = range.client().await;
    client
        .frames(&[Frame::new(kind::HEADERS, flag::END_STREAM, 1, hpack::encode(&request("GET", "/h")))])
        .await;
    let more = hpack::encode(&[("x-more", "x".repeat(1000).as_str())]);
    assert_eq!(
        until_calm(&mut client, |_| vec![Frame::new(kind::CONTINUATION, 0, 1, more.clone())]).await,
        CALM
    );
    let mut client = range.client().await;
    client
        .frames(&[Frame::new(kind::HEADERS, flag::END_STREAM, 1, hpack::encode(&request("GET", "/h")))])
        .await;
    assert_eq!(until_calm(&mut client, |_| vec![Frame::new(kind::CONTINUATION, 0, 1, ""); 10]).await, CALM);
    assert!(range.memory_kib() - before < 16 * 1024);
}

/// A header block that is small on the wire and large in memory: one field in the table, named again and again.
#[tokio::test(flavor = "multi_thread")]
async fn an_hpack_bomb_is_bounded() {
    let mut range = Range::open("").await;
    let before = range.memory_kib();
    let mut client = range.client().await;
    let large = "x".repeat(4000);
    let mut bomb = hpack::encode(&request("GET", "/h"));
    bomb.extend([0x40, 1, b'x']);
    hpack::integer(large.len(), 7, 0, &mut bomb);
    bomb.extend(large.as_bytes());
    // the first entry of the table
    bomb.extend(vec![0xbe; 10_000]);
    client.frames(&pieces(1, flag::END_STREAM, &bomb, 2)).await;
    assert_eq!(client.until_gone().await, CALM);
    assert!(range.memory_kib() - before < 16 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_to_its_end_is_not_waited_for() {
    let range = Range::open("  header_timeout: 300ms\n").await;
    for begun in
        [pieces(1, 0, &hpack::encode(&request("POST", "/h")), 2)[0].bytes(), post(&[]).bytes()[..20].to_vec()]
    {
        let mut client = range.client().await;
        // an acknowledgement within the block would be an offence of its own
        client.polite = false;
        client.send(&begun).await;
        assert_eq!(client.until_gone().await, CALM);
    }
    assert_eq!(closed_for(&range, "header_timeout").await, 2);
    let mut client = FrameClient::silent(range.fleet.address(0)).await;
    client.send(&PREFACE[..10]).await;
    assert!(client.until_closed_bytes().await.starts_with(b"HTTP/1.1 408"), "it could have been anything");
}

/// A client that gives no room for its response, and one that gives a byte now and then to none.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_stays_shut_is_not_waited_for() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let range = Range::open("  write_timeout: 400ms\n").await;
    let mut client = FrameClient::connect_with(range.fleet.address(0), &[(INITIAL_WINDOW_SIZE, 0)]).await;
    client.frames(&[Frame::get(1, "/h"), Frame::get(3, "/h")]).await;
    for stream in [1, 3] {
        let response = client.response(stream).await;
        assert_eq!((response.status, response.body.len(), response.reset), (200, 0, Some(code::CANCEL)));
    }
    // the connection itself is as good as before
    client.frames(&[Frame::get(5, "/h"), Frame::window_update(5, 1000)]).await;
    assert_eq!(client.response(5).await.outcome(), "200");
    eventually("both are told of as cut off", async || {
        let log = range.logged();
        let cut = log.iter().filter(|line| line["reason"] == "write_timeout").count();
        if cut == 2 { Ok(()) } else { Err(format!("{log:?}")) }
    })
    .await;
}

/// It reads nothing at all, and asks for more than its kernel takes in.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_disconnected() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let large = Upstream::download(64 << 20, None, None).await;
    let fleet = Fleet::start(1, |port| {
        config::forward_all(port, large.address())
            .replace("drain_delay", "write_timeout: 400ms\n  drain_delay")
    })
    .await;
    let mut client =
        FrameClient::connect_with(fleet.address(0), &[(INITIAL_WINDOW_SIZE, (1 << 31) - 1)]).await;
    client.frames(&[Frame::window_update(0, (1 << 31) - 1 - 65535), Frame::get(1, "/h")]).await;
    eventually("the connection is closed for it", async || {
        let page = get(fleet.admin_address(0), "/metrics").await.map_err(|error| error.to_string())?.text();
        let closed = page.contains("gateway_http2_connections_closed_total{reason=\"write_timeout\"} 1\n");
        if closed { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    client.until_closed_bytes().await;
}
