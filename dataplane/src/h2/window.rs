//! The windows of HTTP/2, on whichever side of the gateway: how much the other one takes (RFC 9113 §5.2).

use ::h2::SendStream;
use bytes::Bytes;
use std::task::{Context, Poll, ready};

/// For how much of `wanted` the windows of the other side have room; `None` when the stream is over.
pub(crate) fn poll_room(
    cx: &mut Context<'_>,
    stream: &mut SendStream<Bytes>,
    wanted: usize,
) -> Poll<Option<usize>> {
    stream.reserve_capacity(wanted);
    loop {
        match stream.capacity() {
            0 => match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(None),
            },
            room => return Poll::Ready(Some(room)),
        }
    }
}
