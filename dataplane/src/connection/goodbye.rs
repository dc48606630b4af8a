//! The end of a client connection: a last answer where hyper gave none, then a close that does not destroy it.

use super::head;
use super::session::Session;
use super::stream::ClientStream;
use crate::exchange::Exchange;
use bytes::BytesMut;
use http::Response;
use policy::rejection::Rejection;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What is still taken from a client that was refused while it was sending, so that its kernel does not meet our close
/// with a reset that would overtake the answer (RFC 9112 §9.6).
const LINGER_BYTES: usize = 64 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(1);

/// Answers without hyper; what the client sent is not looked at again.
pub(crate) async fn refuse(stream: &mut ClientStream, rejection: &Rejection, session: &Rc<Session>) {
    let mut exchange = Exchange::headless(session.clone());
    exchange.log_has_room().await;
    let mut response = exchange.refuse(rejection);
    let name = exchange.edge().request_id.header.0.clone();
    response.headers_mut().insert(name, exchange.request_id.clone());
    let bytes = serialize(&response);
    // whoever does not take these few bytes at once gets a closed connection
    let _ = tokio::time::timeout(LINGER_TIME, stream.write_all(&bytes)).await;
}

/// Closes a connection on which nothing more is said. In plain text the end of the socket says it all; in TLS it has to be
/// said, or the client could not tell it from an attack.
pub(crate) async fn close(mut stream: ClientStream) {
    if stream.tls().is_some() {
        // whoever does not take these few bytes at once gets a closed connection
        let _ = tokio::time::timeout(LINGER_TIME, stream.shutdown()).await;
    }
}

/// Closes the sending side, takes in a little of what still comes, then closes.
pub(crate) async fn linger(mut stream: ClientStream) {
    let drain = async {
        stream.shutdown().await?;
        let mut buffer = vec![0; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    // a reset or a slow client here changes nothing: the answer was sent, the connection ends
    let _ = tokio::time::timeout(LINGER_TIME, drain).await;
}

/// An HTTP/1.1 response with `Connection: close`.
fn serialize(response: &Response<String>) -> BytesMut {
    let body = response.body();
    let mut bytes = Vec::with_capacity(512);
    head::write(response.status(), response.headers(), &mut bytes);
    let rest = format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    bytes.extend_from_slice(rest.as_bytes());
    BytesMut::from(&*bytes)
}
