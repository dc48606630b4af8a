//! What RFC 9113 demands of a server, in the order of its sections: the cases of h2spec and a few more.

use super::case::{Case, MALFORMED, OK, PROTOCOL, SIZE, Want, fields, frames, head, pieces, post};
use tests::client::Frame;
use tests::client::frames::{code, flag, kind, request};
use tests::client::hpack;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const UNKNOWN: u16 = 0xff;

/// The largest frame that the gateway says it takes.
pub const MAX_FRAME: usize = 16 * 1024;
/// So many streams may be open at once.
pub const MAX_STREAMS: u32 = 10;

pub fn cases() -> Vec<Case> {
    [framing(), states(), frame_types(), flow_control(), messages(), compression()]
        .into_iter()
        .flatten()
        .collect()
}

fn get() -> Frame {
    Frame::get(1, "/h")
}

fn block() -> Vec<u8> {
    hpack::encode(&request("GET", "/h"))
}

fn priority(stream: u32, on: u32, weight: u8) -> Frame {
    Frame::new(kind::PRIORITY, 0, stream, [&on.to_be_bytes()[..], &[weight]].concat())
}

/// §3.4, §4.
fn framing() -> Vec<Case> {
    let large = "x".repeat(MAX_FRAME);
    vec![
        frames("a GET", &[get()], OK),
        frames("a POST", &[post(&[]), Frame::data(1, flag::END_STREAM, "body")], OK),
        frames("3.4 settings are acknowledged", &[Frame::settings(&[])], Want::Fine),
        frames("4.1 a frame of an unknown type", &[Frame::new(0x16, 0, 0, [7; 8]), get()], OK),
        frames(
            "4.1 the same on a stream",
            &[post(&[]), Frame::new(0x16, 0xff, 1, [7; 8]), Frame::data(1, 1, "")],
            OK,
        ),
        frames(
            "4.1 flags that are not defined",
            &[Frame::new(kind::PING, 0x16, 0, *b"whatever")],
            Want::Pong,
        ),
        frames("4.1 the reserved bit", &[Frame::new(kind::PING, 0, 1 << 31, *b"whatever")], Want::Pong),
        frames(
            "4.2 DATA of the largest size",
            &[post(&[]), Frame::data(1, flag::END_STREAM, large.as_str())],
            OK,
        ),
        frames("4.2 DATA above it", &[post(&[]), Frame::data(1, 0, large.clone() + "x")], SIZE),
        frames("4.2 HEADERS above it", &[Frame::headers(1, 1, &[("x-large", large.as_str())])], SIZE),
        frames("4.2 a frame of 16 MiB", &[Frame::new(kind::HEADERS, 4, 1, vec![0; (1 << 24) - 1])], SIZE),
        frames("4.3 a block that is none", &[Frame::new(kind::HEADERS, 5, 1, [0xff; 8])], COMPRESSION),
        frames("4.3 a block in pieces", &pieces(1, flag::END_STREAM, &block(), 5), OK),
        frames(
            "4.3 PRIORITY within a block",
            &[pieces(1, 1, &block(), 2)[0].clone(), priority(1, 0, 7), pieces(1, 1, &block(), 2)[1].clone()],
            PROTOCOL,
        ),
        frames(
            "4.3 HEADERS within a block",
            &[pieces(1, 1, &block(), 2)[0].clone(), Frame::get(3, "/h")],
            PROTOCOL,
        ),
        frames(
            "5.5 a frame of an unknown type within a block",
            &[pieces(1, 1, &block(), 2)[0].clone(), Frame::new(0x16, 0, 1, [7; 8])],
            PROTOCOL,
        ),
    ]
}

/// §5.
fn states() -> Vec<Case> {
    let closed = |frame: Frame, want| {
        let name = match frame.kind {
            kind::DATA => "5.1 closed: DATA",
            kind::HEADERS => "5.1 closed: HEADERS",
            _ => "5.1 closed: CONTINUATION",
        };
        frames(name, &[post(&[]), Frame::reset(1, code::CANCEL), frame], want)
    };
    // h2 takes it for an error of the connection where §5.1 has one of the stream
    let many: Vec<_> =
        (0..=MAX_STREAMS).map(|n| Frame::headers(2 * n + 1, 0, &request("POST", "/h"))).collect();
    let on_itself = [&1u32.to_be_bytes()[..], &[7], &block()].concat();
    vec![
        frames("5.1 idle: PRIORITY", &[priority(1, 0, 255), get()], OK),
        frames("5.1 idle: DATA", &[Frame::data(1, 1, "body")], PROTOCOL),
        frames("5.1 idle: RST_STREAM", &[Frame::reset(1, code::CANCEL)], PROTOCOL),
        frames("5.1 idle: WINDOW_UPDATE", &[Frame::window_update(1, 100)], PROTOCOL),
        frames("5.1 idle: CONTINUATION", &[Frame::new(kind::CONTINUATION, 4, 1, block())], PROTOCOL),
        frames("5.1 half closed: WINDOW_UPDATE", &[get(), Frame::window_update(1, 100)], OK),
        frames("5.1 half closed: PRIORITY", &[get(), priority(1, 0, 7)], OK),
        frames("5.1 half closed: RST_STREAM", &[get(), Frame::reset(1, code::CANCEL)], Want::Fine),
        frames("5.1 half closed: DATA", &[Frame::get(1, "/held"), Frame::data(1, 1, "body")], PROTOCOL),
        frames("5.1 half closed: HEADERS", &[Frame::get(1, "/held"), get()], PROTOCOL),
        frames(
            "5.1 half closed: CONTINUATION",
            &[Frame::get(1, "/held"), Frame::new(kind::CONTINUATION, 4, 1, block())],
            Want::Closed,
        ),
        closed(Frame::data(1, 1, "body"), Want::Fine),
        closed(Frame::headers(1, 1, &request("GET", "/h")), PROTOCOL),
        closed(Frame::new(kind::CONTINUATION, 4, 1, block()), Want::Closed),
        frames(
            "5.1 closed: PRIORITY",
            &[post(&[]), Frame::reset(1, code::CANCEL), priority(1, 0, 7)],
            Want::Fine,
        ),
        frames("5.1.1 a stream of even number", &[Frame::get(2, "/h")], PROTOCOL),
        frames("5.1.1 a stream of a smaller number", &[Frame::get(5, "/h"), Frame::get(3, "/h")], PROTOCOL),
        frames("5.1.2 a stream too many", &many, Want::RefusedOn(2 * MAX_STREAMS + 1)),
        frames(
            "5.3.1 HEADERS that depend on themselves",
            &[Frame::new(kind::HEADERS, 0x25, 1, on_itself)],
            MALFORMED,
        ),
        frames("5.3.1 PRIORITY that depends on itself", &[post(&[]), priority(1, 1, 7)], MALFORMED),
    ]
}

/// §6.
fn frame_types() -> Vec<Case> {
    let settings = |id, value| [Frame::settings(&[(id, value)]), get()];
    let padded = |kind: u8, flags: u8, padding: u8, content: &[u8]| {
        let payload = [&[padding][..], content, &vec![0; usize::from(padding)]].concat();
        Frame::new(kind, flags | flag::PADDED, 1, payload)
    };
    let with_priority = [&[0x80, 0, 0, 0, 7][..], &block()].concat();
    let on =
        |kind: u8, flags: u8, stream: u32, length: usize| Frame::new(kind, flags, stream, vec![0; length]);
    vec![
        frames("6.1 DATA on the connection", &[Frame::data(0, 1, "body")], PROTOCOL),
        frames("6.1 DATA with padding", &[post(&[]), padded(kind::DATA, 1, 6, b"body")], OK),
        frames(
            "6.1 DATA with more padding than payload",
            &[post(&[]), Frame::new(kind::DATA, 9, 1, [9, 1, 2])],
            PROTOCOL,
        ),
        frames(
            "6.1 DATA without the length of its padding",
            &[post(&[]), on(kind::DATA, 9, 1, 0)],
            Want::Closed,
        ),
        frames("6.2 HEADERS with padding", &[padded(kind::HEADERS, 5, 6, &block())], OK),
        frames("6.2 HEADERS with a priority", &[Frame::new(kind::HEADERS, 0x25, 1, with_priority)], OK),
        frames("6.2 HEADERS on the connection", &[Frame::get(0, "/h")], PROTOCOL),
        frames(
            "6.2 HEADERS with more padding than payload",
            &[Frame::new(kind::HEADERS, 0xd, 1, [99, 0, 0])],
            PROTOCOL,
        ),
        frames("6.3 PRIORITY on the connection", &[priority(0, 1, 7)], PROTOCOL),
        frames("6.3 PRIORITY of another length", &[post(&[]), on(kind::PRIORITY, 0, 1, 4)], Want::Closed),
        frames("6.4 RST_STREAM on the connection", &[Frame::reset(0, code::CANCEL)], PROTOCOL),
        frames("6.4 RST_STREAM of another length", &[post(&[]), on(kind::RST_STREAM, 0, 1, 3)], Want::Closed),
        frames("6.5 SETTINGS that acknowledge and set", &[on(kind::SETTINGS, 1, 0, 6)], Want::Closed),
        frames("6.5 SETTINGS on a stream", &[on(kind::SETTINGS, 0, 1, 6)], PROTOCOL),
        frames("6.5 SETTINGS of another length", &[on(kind::SETTINGS, 0, 0, 3)], Want::Closed),
        frames("6.5.2 push that is neither on nor off", &settings(ENABLE_PUSH, 2), PROTOCOL),
        frames("6.5.2 a window beyond all bounds", &settings(INITIAL_WINDOW_SIZE, 1 << 31), Want::Closed),
        frames("6.5.2 frames that are too small", &settings(MAX_FRAME_SIZE, 16383), PROTOCOL),
        frames("6.5.2 frames that are too large", &settings(MAX_FRAME_SIZE, 1 << 24), PROTOCOL),
        frames("6.5.2 a setting that nobody knows", &settings(UNKNOWN, 1), OK),
        frames("6.5.2 no streams of the server's", &settings(MAX_CONCURRENT_STREAMS, 0), OK),
        frames(
            "6.5.3 settings twice in a row",
            &[
                Frame::settings(&[(INITIAL_WINDOW_SIZE, 1)]),
                Frame::settings(&[(INITIAL_WINDOW_SIZE, 70000)]),
                get(),
            ],
            OK,
        ),
        frames(
            "6.6 PUSH_PROMISE of a client",
            &[get(), Frame::new(kind::PUSH_PROMISE, 4, 1, [&2u32.to_be_bytes()[..], &block()].concat())],
            PROTOCOL,
        ),
        frames("6.7 PING", &[Frame::ping(*b"whatever")], Want::Pong),
        frames("6.7 an answer to no PING", &[Frame::new(kind::PING, flag::ACK, 0, *b"whatever")], Want::Fine),
        frames("6.7 PING on a stream", &[Frame::new(kind::PING, 0, 1, *b"whatever")], PROTOCOL),
        frames("6.7 PING of another length", &[on(kind::PING, 0, 0, 6)], Want::Closed),
        frames("6.8 GOAWAY, and what was begun is finished", &[get(), on(kind::GOAWAY, 0, 0, 8)], OK),
        frames(
            "6.8 GOAWAY with an unknown code",
            &[get(), Frame::new(kind::GOAWAY, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0xff])],
            OK,
        ),
        frames("6.8 GOAWAY on a stream", &[on(kind::GOAWAY, 0, 1, 8)], PROTOCOL),
        frames(
            "6.10 CONTINUATION behind the end of a block",
            &[post(&[]), Frame::new(kind::CONTINUATION, 4, 1, block())],
            PROTOCOL,
        ),
        frames(
            "6.10 CONTINUATION on the connection",
            &[pieces(1, 1, &block(), 2)[0].clone(), Frame::new(kind::CONTINUATION, 4, 0, block())],
            PROTOCOL,
        ),
        frames(
            "6.10 CONTINUATION on another stream",
            &[pieces(1, 1, &block(), 2)[0].clone(), Frame::new(kind::CONTINUATION, 4, 3, block())],
            PROTOCOL,
        ),
        frames(
            "6.10 CONTINUATION behind DATA",
            &[post(&[]), Frame::data(1, 0, "body"), Frame::new(kind::CONTINUATION, 4, 1, block())],
            PROTOCOL,
        ),
        frames("7 RST_STREAM with an unknown code", &[post(&[]), Frame::reset(1, 0xff)], Want::Fine),
    ]
}

/// §6.9.
fn flow_control() -> Vec<Case> {
    let most = (1 << 31) - 1;
    vec![
        frames("6.9 WINDOW_UPDATE of nothing, for the connection", &[Frame::window_update(0, 0)], PROTOCOL),
        frames(
            "6.9 WINDOW_UPDATE of nothing, for a stream",
            &[post(&[]), Frame::window_update(1, 0)],
            MALFORMED,
        ),
        frames(
            "6.9 WINDOW_UPDATE of another length",
            &[Frame::new(kind::WINDOW_UPDATE, 0, 0, [0; 3])],
            Want::Closed,
        ),
        frames(
            "6.9.1 a window of the connection beyond all bounds",
            &[Frame::window_update(0, most), Frame::window_update(0, most)],
            Want::ConnectionError(code::FLOW_CONTROL_ERROR),
        ),
        frames(
            "6.9.1 a window of a stream beyond all bounds",
            &[post(&[]), Frame::window_update(1, most), Frame::window_update(1, most)],
            Want::StreamError(code::FLOW_CONTROL_ERROR),
        ),
        frames(
            "6.9.2 a window that opens byte by byte",
            &[
                Frame::settings(&[(INITIAL_WINDOW_SIZE, 0)]),
                get(),
                Frame::window_update(1, 1),
                Frame::window_update(1, 1000),
            ],
            OK,
        ),
        frames(
            "6.9.2 a window that becomes negative and opens again",
            &[
                Frame::settings(&[(INITIAL_WINDOW_SIZE, 3)]),
                get(),
                Frame::settings(&[(INITIAL_WINDOW_SIZE, 2)]),
                Frame::settings(&[(INITIAL_WINDOW_SIZE, 1000)]),
            ],
            OK,
        ),
        frames(
            "6.9.2 a window that the settings open",
            &[
                Frame::settings(&[(INITIAL_WINDOW_SIZE, 0)]),
                get(),
                Frame::settings(&[(INITIAL_WINDOW_SIZE, 1000)]),
            ],
            OK,
        ),
    ]
}

/// §8.
fn messages() -> Vec<Case> {
    let [method, scheme, authority, path] = request("GET", "/h");
    let body = |length: &str, pieces: &[&str]| {
        let mut all = vec![post(&[("content-length", length)])];
        all.extend(pieces.iter().map(|piece| Frame::data(1, 0, *piece)));
        if let Some(last) = all.last_mut() {
            last.flags |= flag::END_STREAM;
        }
        all
    };
    let trailers = |fields: &[(&str, &str)], flags| {
        [post(&[]), Frame::data(1, 0, "x"), Frame::headers(1, flags, fields)]
    };
    vec![
        frames("8.1 a second head that ends nothing", &trailers(&[("x-a", "b")], 0), MALFORMED),
        frames("8.1 trailers", &trailers(&[("x-a", "b")], flag::END_STREAM), OK),
        // h2 drops it where §8.1 would have it refused; it reaches nobody
        frames("8.1 a pseudo-header field in trailers", &trailers(&[method], flag::END_STREAM), OK),
        fields("8.2 a name in upper case", &[("X-A", "b")], MALFORMED),
        fields("8.2.1 a name with a space", &[("x a", "b")], MALFORMED),
        fields("8.2.1 a name with a colon", &[("x:a", "b")], MALFORMED),
        fields("8.2.1 a name without a letter", &[("", "b")], MALFORMED),
        fields("8.2.1 a value with a line's end", &[("x-a", "b\r\nx-b: c")], MALFORMED),
        fields("8.2.1 a value with NUL", &[("x-a", "b\0")], MALFORMED),
        fields(
            "8.2.1 a value that begins with a space",
            &[("x-a", " b")],
            Want::Answer("400 invalid_header"),
        ),
        fields("8.2.2 connection", &[("connection", "keep-alive")], MALFORMED),
        fields("8.2.2 keep-alive", &[("keep-alive", "timeout=5")], MALFORMED),
        fields("8.2.2 proxy-connection", &[("proxy-connection", "keep-alive")], MALFORMED),
        fields("8.2.2 transfer-encoding", &[("transfer-encoding", "chunked")], MALFORMED),
        fields("8.2.2 upgrade", &[("upgrade", "websocket")], MALFORMED),
        fields("8.2.2 te of trailers", &[("te", "trailers")], OK),
        fields("8.2.2 te of anything else", &[("te", "trailers, deflate")], MALFORMED),
        fields("8.3 a pseudo-header field that nobody knows", &[(":test", "ok")], MALFORMED),
        fields("8.3 one of a response", &[(":status", "200")], MALFORMED),
        head(
            "8.3 a pseudo-header field behind others",
            &[method, scheme, authority, ("x-a", "b"), path],
            MALFORMED,
        ),
        head("8.3 no method", &[scheme, authority, path], MALFORMED),
        head("8.3 no scheme", &[method, authority, path], MALFORMED),
        head("8.3 no path", &[method, scheme, authority], MALFORMED),
        head("8.3 an empty path", &[method, scheme, authority, (":path", "")], MALFORMED),
        head("8.3 two methods", &[method, method, scheme, authority, path], MALFORMED),
        head("8.3 two schemes", &[method, scheme, scheme, authority, path], MALFORMED),
        head("8.3 two paths", &[method, scheme, authority, path, path], MALFORMED),
        head("8.3 two authorities", &[method, scheme, authority, authority, path], MALFORMED),
        head("8.3.1 no authority and no host", &[method, scheme, path], Want::Answer("400 invalid_host")),
        head("8.3.1 a host and no authority", &[method, scheme, path, ("host", "a.test")], OK),
        fields("8.3.1 a host that agrees", &[("host", "a.test")], OK),
        fields("8.3.1 a host that does not", &[("host", "b.test")], Want::Answer("400 invalid_host")),
        fields(
            "8.3.1 two hosts",
            &[("host", "a.test"), ("host", "a.test")],
            Want::Answer("400 invalid_host"),
        ),
        head(
            "8.3.1 userinfo",
            &[method, scheme, (":authority", "u@a.test"), path],
            Want::Answer("400 invalid_host"),
        ),
        head("8.3.1 a path with a space", &[method, scheme, authority, (":path", "/a b")], MALFORMED),
        head(
            "8.3.1 a path that is a URL",
            &[method, scheme, authority, (":path", "http://b.test/")],
            MALFORMED,
        ),
        head("8.3.1 a path without a slash", &[method, scheme, authority, (":path", "h")], MALFORMED),
        head(
            "8.3.1 a scheme of another protocol",
            &[method, (":scheme", "ftp"), authority, path],
            Want::Answer("400 invalid_target"),
        ),
        frames("8.1.1 a length that is right", &body("4", &["bo", "dy"]), OK),
        frames("8.1.1 a length that is not reached", &body("9", &["body"]), MALFORMED),
        frames("8.1.1 a length that is exceeded", &body("1", &["body"]), MALFORMED),
        frames("8.1.1 a length over several frames", &body("9", &["bo", "dy"]), MALFORMED),
        frames("8.1.1 a length and no body", &body("9", &[]), MALFORMED),
        fields("8.1.1 two lengths", &[("content-length", "0"), ("content-length", "1")], MALFORMED),
        head(
            "8.5 CONNECT",
            &[(":method", "CONNECT"), (":authority", "a.test:80")],
            Want::Answer("501 method_not_served"),
        ),
        head("8.5 CONNECT with a path", &[(":method", "CONNECT"), authority, scheme, path], MALFORMED),
        head("8.5 TRACE", &request("TRACE", "/h"), Want::Answer("501 method_not_served")),
        fields("a protocol without CONNECT", &[(":protocol", "websocket")], MALFORMED),
        head(
            "RFC 8441: a protocol that is not known",
            &[(":method", "CONNECT"), (":protocol", "connect-udp"), scheme, authority, path],
            Want::Answer("501 method_not_served"),
        ),
    ]
}

/// RFC 7541; what h2 has no other code for is a protocol error.
const COMPRESSION: Want = Want::Closed;

fn compression() -> Vec<Case> {
    let raw = |name, more: &[u8], want| {
        let payload = [&block()[..], more].concat();
        frames(name, &[Frame::new(kind::HEADERS, 5, 1, payload)], want)
    };
    vec![
        frames(
            "HPACK 6.1 indexed fields",
            &[Frame::new(kind::HEADERS, 5, 1, [&[0x82, 0x86, 0x84, 0x41, 6][..], b"a.test"].concat())],
            OK,
        ),
        raw("HPACK 6.2.1 a literal with indexing", &[&[0x40, 3][..], b"x-a", &[1], b"b"].concat(), OK),
        raw("HPACK 6.2.2 a literal without", &[&[0x00, 3][..], b"x-a", &[1], b"b"].concat(), OK),
        raw("HPACK 6.2.3 a literal never indexed", &[&[0x10, 3][..], b"x-a", &[1], b"b"].concat(), OK),
        raw(
            "HPACK 5.2 a value in Huffman's code",
            &[&[0x00, 3][..], b"x-a", &[0x82, 0x64, 0x02]].concat(),
            OK,
        ),
        frames(
            "HPACK 6.3 a new size of the table",
            &[Frame::new(kind::HEADERS, 5, 1, [&[0x20][..], &block()].concat())],
            OK,
        ),
        raw("HPACK 2.3.3 an index beyond the tables", &[0xff, 0x7f], COMPRESSION),
        raw("HPACK 6.1 index 0", &[0x80], COMPRESSION),
        raw("HPACK 4.2 a new size at the end", &[0x20], COMPRESSION),
        frames(
            "HPACK 6.3 a size above the limit",
            &[Frame::new(kind::HEADERS, 5, 1, [&[0x3f, 0xe2, 0x1f][..], &block()].concat())],
            COMPRESSION,
        ),
        raw(
            "HPACK 5.2 Huffman's code with a whole byte of padding",
            &[&[0x00, 3][..], b"x-a", &[0x83, 0x64, 0x02, 0xff]].concat(),
            COMPRESSION,
        ),
        // h2 does not look at padding that is shorter than a byte
        raw("HPACK 5.2 padding with zeroes", &[&[0x00, 3][..], b"x-a", &[0x82, 0x64, 0x00]].concat(), OK),
        raw(
            "HPACK 5.2 the end of a string within it",
            &[&[0x00, 3][..], b"x-a", &[0x84, 0xff, 0xff, 0xff, 0xff]].concat(),
            COMPRESSION,
        ),
        frames("HPACK a table of the client's", &[Frame::settings(&[(HEADER_TABLE_SIZE, 0)]), get()], OK),
    ]
}
