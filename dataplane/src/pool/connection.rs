//! One HTTP/1.1 connection to a target: hyper's sender here, hyper's connection in a task of its own on this thread.
//!
//! The task of its own is worth more than the wake-ups it costs. When many requests are ready at once, all of them are
//! read before the first is written, so a target is woken for a batch and not for each one.

use super::lane::LanePermit;
use super::socket::{AwaitsResponse, TargetIo};
use crate::body::RequestBody;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use std::future::Future;
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::task::spawn_local;

/// The head of a response; larger ones, and those of more than hyper's 100 fields, are refused with 502.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;

/// A connection and the permit to hold it.
pub(crate) struct UpstreamConnection {
    sender: http1::SendRequest<RequestBody>,
    awaits_response: AwaitsResponse,
    /// Shared with the connection's task: given back when both are done with the socket.
    _permit: Rc<LanePermit>,
}

impl UpstreamConnection {
    pub(crate) async fn handshake(stream: TcpStream, permit: LanePermit) -> hyper::Result<Self> {
        let awaits_response = AwaitsResponse::default();
        let io = TargetIo::new(stream, awaits_response.clone());
        let (sender, connection) = http1::Builder::new()
            // head and small body in one buffer: one write instead of a gather of several
            .writev(false)
            .max_header_size(MAX_RESPONSE_HEAD)
            .handshake(io)
            .await?;
        let permit = Rc::new(permit);
        let held = permit.clone();
        spawn_local(async move {
            let _held = held;
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to a target ended with an error");
            }
        });
        Ok(Self { sender, awaits_response, _permit: permit })
    }

    /// Sends a request. One of which nothing was written comes back in the error.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        self.awaits_response.set(true);
        self.sender.try_send_request(request)
    }

    /// Whether the last exchange is wholly over and the target has not closed.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}
