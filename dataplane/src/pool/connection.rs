//! One HTTP/1.1 connection to a target: hyper's sender and connection, driven together by whoever uses them.

use super::lane::LanePermit;
use crate::body::RequestBody;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::task::{Context, Poll};
use tokio::net::TcpStream;

/// The head of a response; larger ones are refused with 502.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;
const MAX_RESPONSE_HEADERS: usize = 200;

/// A connection and the permit to hold it.
pub(crate) struct UpstreamConnection {
    sender: http1::SendRequest<RequestBody>,
    connection: http1::Connection<TokioIo<TcpStream>, RequestBody>,
    permit: LanePermit,
}

/// A socket taken back from hyper after a 101.
pub(crate) struct Connected {
    pub(crate) stream: TcpStream,
    /// What the target sent behind its 101.
    pub(crate) read_ahead: Bytes,
    pub(crate) permit: LanePermit,
}

impl UpstreamConnection {
    pub(crate) async fn handshake(stream: TcpStream, permit: LanePermit) -> hyper::Result<Box<Self>> {
        let (sender, connection) = http1::Builder::new()
            // head and small body in one buffer: one write instead of a gather of several
            .writev(false)
            .max_header_size(MAX_RESPONSE_HEAD)
            .max_headers(MAX_RESPONSE_HEADERS)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Box::new(Self { sender, connection, permit }))
    }

    /// Queues a request; it is written as the connection is driven. A request of which nothing was written comes back
    /// in the error.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        self.sender.try_send_request(request)
    }

    /// Lets the connection read and write; ready when it has ended.
    ///
    /// Without shutting the socket down: after a 101 it belongs to the tunnel, and otherwise it is closed when dropped.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.poll_without_shutdown(cx).map(drop)
    }

    /// Whether the last exchange is over and the target has not closed, as far as was seen when it was last driven.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Drives the connection and tells whether it can take a request now.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx).is_pending() && self.is_ready()
    }

    pub(crate) fn into_connected(self) -> Connected {
        let Self { sender: _, connection, permit } = self;
        let http1::Parts { io, read_buf, .. } = connection.into_parts();
        Connected { stream: io.into_inner(), read_ahead: read_buf, permit }
    }
}
