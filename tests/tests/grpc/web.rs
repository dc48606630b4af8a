//! gRPC-Web by a plain HTTP/1.1 client, as a page has it, to a server that speaks gRPC alone.

use crate::{comes_to, fleet, route};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{HeaderMap, Request};
use std::net::SocketAddr;
use tests::calls::CallServer;
use tests::client::send;

/// A message as it stands in a body.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// The messages of a body, and the trailers that are its last.
fn unframed(mut body: &[u8]) -> (Vec<Vec<u8>>, String) {
    let mut messages = Vec::new();
    while let [flags, a, b, c, d, rest @ ..] = body {
        let (message, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        body = rest;
        if *flags == 0x80 {
            assert_eq!(body, b"", "nothing follows the trailers");
            return (messages, String::from_utf8_lossy(message).into_owned());
        }
        messages.push(message.to_vec());
    }
    panic!("no trailers behind {messages:?}");
}

/// Pieces of base64, each with its own padding.
fn unencoded(text: &[u8]) -> Vec<u8> {
    let groups: Vec<&[u8]> = text.chunks(4).collect();
    groups.iter().flat_map(|group| BASE64.decode(group).expect("base64")).collect()
}

async fn call(gateway: SocketAddr, method: &str, text: bool, message: &[u8]) -> (HeaderMap, Vec<u8>) {
    let kind = if text { "application/grpc-web-text+proto" } else { "application/grpc-web+proto" };
    let body = if text { BASE64.encode(framed(message)).into_bytes() } else { framed(message) };
    let request = Request::post(format!("/test.Echo/{method}"))
        .header("content-type", kind)
        .header("origin", "https://a.example")
        .header("x-grpc-web", "1")
        .body(Bytes::from(body).into())
        .expect("a request");
    let reply = send(gateway, request).await.expect("a response");
    // the server does not say in what its messages are encoded
    let told = kind.strip_suffix("+proto").unwrap_or(kind);
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, told), "{method}");
    (reply.headers, if text { unencoded(&reply.body) } else { reply.body.to_vec() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_calls_a_server_that_speaks_grpc_alone() {
    let server = CallServer::start().await;
    let filters = "filters: [{grpc_web: {}}, {cors: {allow_origins: [\"https://a.example\"]}}]";
    let fleet = fleet(&[route("echo", "prefix: /test.Echo", server.address(), filters)]).await;
    let gateway = fleet.address(0);
    for text in [false, true] {
        let (head, body) = call(gateway, "Echo", text, b"hello").await;
        let (messages, trailers) = unframed(&body);
        assert_eq!(
            (messages, trailers.contains("grpc-status: 0\r\n")),
            (vec![b"hello".to_vec()], true),
            "{trailers}"
        );
        assert_eq!(head["access-control-allow-origin"], "https://a.example");

        let (_, body) = call(gateway, "Spread", text, &[7; 70_000]).await;
        let (messages, _) = unframed(&body);
        assert_eq!((messages.len(), messages.concat().len()), (10, 700_000));

        let (_, body) = call(gateway, "FailLate", text, b"5").await;
        let (messages, trailers) = unframed(&body);
        assert_eq!(messages, [b"so far so good"]);
        assert!(
            trailers.contains("grpc-status: 5\r\n") && trailers.contains("x-trailing: of the server\r\n")
        );

        // nothing but the end: in the head, which the page may read
        let (head, body) = call(gateway, "Fail", text, b"5").await;
        assert_eq!((&head["grpc-status"], &*body), (&http::HeaderValue::from_static("5"), &b""[..]));
        let exposed: Vec<_> = head.get_all("access-control-expose-headers").iter().collect();
        assert!(exposed.iter().any(|names| *names == "grpc-status"), "{exposed:?}");
    }
    comes_to(&fleet, "echo", "OK", 4).await;
    comes_to(&fleet, "echo", "NOT_FOUND", 4).await;
}
