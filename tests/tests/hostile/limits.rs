//! Messages that are sound and too large.

use super::case::{Case, HEAD_TOO_LARGE, HOST, SENT, TOO_LARGE, TOO_LONG, Want};

/// The limits that these cases are about.
pub const SERVER: &str =
    "  max_target_bytes: 256\n  max_header_bytes: 4KiB\n  max_headers: 20\n  max_body_bytes: 100\n";

pub fn cases() -> Vec<Case> {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let head = |fields: String| format!("GET /h HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    let post =
        |framing: &str, body: &str| format!("POST /h HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n{body}");
    let fields = |count: usize| (0..count).map(|n| format!("X-{n}: 1\r\n")).collect::<String>();
    let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "x".repeat(size));
    let chunked = |body: String| post("Transfer-Encoding: chunked", &body);
    let long = "x".repeat(5000);
    vec![
        Case::made("a target one byte too long", get(&format!("/{}", "x".repeat(256))), TOO_LONG),
        Case::made("a query one byte too long", get(&format!("/h?{}", "x".repeat(254))), TOO_LONG),
        Case::made("a target longer than a head may be", get(&format!("/{long}")), HEAD_TOO_LARGE),
        Case::made("a target of slashes", get(&"/".repeat(256)), Want::Sent("/")),
        Case::made("a target of escapes too long", get(&format!("/{}", "%41".repeat(86))), TOO_LONG),
        Case::made(
            "a method longer than a head may be",
            format!("{long} /h HTTP/1.1\r\n\r\n"),
            HEAD_TOO_LARGE,
        ),
        Case::made("a field longer than a head may be", head(format!("X-A: {long}\r\n")), HEAD_TOO_LARGE),
        Case::made("a name longer than a head may be", head(format!("{long}: b\r\n")), HEAD_TOO_LARGE),
        Case::made(
            "a host longer than DNS has names",
            head(String::new()).replace("a.test", &"aa.".repeat(127)),
            HOST,
        ),
        Case::made("a cookie longer than a head may be", head(format!("Cookie: {long}\r\n")), HEAD_TOO_LARGE),
        Case::made("empty lines longer than a head may be", "\r\n".repeat(5000), HEAD_TOO_LARGE),
        Case::made("one field too many", head(fields(20)), HEAD_TOO_LARGE),
        Case::made("as many fields as there may be", head(fields(19)), SENT),
        Case::made("the same field too often", head("X-A: 1\r\n".repeat(20)), HEAD_TOO_LARGE),
        Case::made("a length one byte too large", post("Content-Length: 101", &"x".repeat(101)), TOO_LARGE),
        Case::made("a length much too large", post("Content-Length: 9223372036854775807", "x"), TOO_LARGE),
        Case::made("a length that may be", post("Content-Length: 100", &"x".repeat(100)), SENT),
        Case::made("chunks one byte too large", chunked(chunk(60) + &chunk(41) + "0\r\n\r\n"), Want::Cut),
        Case::made("a chunk much too large", chunked("7fffffffffffffff\r\nx".to_owned()), Want::Cut),
        Case::made("chunks that may be", chunked(chunk(60) + &chunk(40) + "0\r\n\r\n"), SENT),
        Case::made("chunks of one byte, too many", chunked(chunk(1).repeat(101) + "0\r\n\r\n"), Want::Cut),
        Case::made("a chunk extension without end", chunked(format!("5;{}", "x".repeat(100_000))), Want::Cut),
        Case::made(
            "chunk extensions without end",
            chunked(format!("1;{}\r\nx\r\n", "x".repeat(1000)).repeat(90)),
            Want::Cut,
        ),
        Case::made("a trailer without end", chunked(format!("0\r\nX-A: {}", "x".repeat(100_000))), Want::Cut),
        Case::made(
            "trailers without end",
            chunked(format!("0\r\n{}", "X-A: b\r\n".repeat(10_000))),
            Want::Cut,
        ),
        Case::made("a chunk size with zeros without end", chunked("0".repeat(100_000)), Want::Cut),
    ]
}
