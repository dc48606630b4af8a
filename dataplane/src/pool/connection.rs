//! One HTTP/1.1 connection to a target: hyper's sender and connection, driven together by whoever uses them.

use super::lane::LanePermit;
use crate::body::RequestBody;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::net::TcpStream;

/// The head of a response; larger ones are refused with 502.
const MAX_RESPONSE_HEAD: usize = 64 * 1024;
const MAX_RESPONSE_HEADERS: usize = 200;

/// A connection and the permit to hold it.
pub(crate) struct UpstreamConnection {
    sender: http1::SendRequest<RequestBody>,
    connection: http1::Connection<TokioIo<TcpStream>, RequestBody>,
    permit: LanePermit,
    bell: Arc<Bell>,
    /// `bell` as the waker that everything in the connection knows.
    waker: Waker,
}

/// Wakes whoever uses the connection now.
///
/// Several things inside a connection remember a waker, and some of them until the next request. With the task's own
/// waker each request would wake the task that used the connection before, and handing a request or a frame from one
/// half of hyper to the other would wake the very task that is doing it: one needless poll in three.
#[derive(Default)]
struct Bell {
    user: Mutex<Option<Waker>>,
    muted: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.muted.load(Ordering::Relaxed)
            && let Some(user) = &*self.user.lock()
        {
            user.wake_by_ref();
        }
    }
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
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        Ok(Box::new(Self { sender, connection, permit, bell, waker }))
    }

    /// From now on what happens on the connection wakes this task.
    pub(crate) fn occupy(&self, user: Waker) {
        *self.bell.user.lock() = Some(user);
    }

    /// From now on it wakes nobody.
    pub(crate) fn vacate(&self) {
        *self.bell.user.lock() = None;
    }

    /// Queues a request; it is written as the connection is driven, which the caller does next. A request of which
    /// nothing was written comes back in the error.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        let _quiet = self.bell.mute();
        self.sender.try_send_request(request)
    }

    /// Lets the connection read and write; ready when it has ended.
    pub(crate) fn drive(&mut self) -> Poll<()> {
        Pin::new(&mut self.connection).poll(&mut Context::from_waker(&self.waker)).map(drop)
    }

    /// The next frame of a response body: what has arrived already, or what driving the connection brings.
    ///
    /// Frames come only by driving, so nothing needs to wake the reader: a waker that does nothing will do.
    pub(crate) fn poll_body(&mut self, body: &mut Incoming) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let mut reader = Context::from_waker(Waker::noop());
        let arrived = {
            let _quiet = self.bell.mute();
            Pin::new(&mut *body).poll_frame(&mut reader)
        };
        if arrived.is_ready() {
            return arrived;
        }
        // asking for a frame told the connection that one is wanted: now let it read
        let _ended = self.drive();
        let _quiet = self.bell.mute();
        Pin::new(body).poll_frame(&mut reader)
    }

    /// Whether the last exchange is over and the target has not closed, as far as was seen when it was last driven.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Drives the connection and tells whether it can take a request now.
    pub(crate) fn poll_ready(&mut self) -> bool {
        self.drive().is_pending() && self.is_ready()
    }

    pub(crate) fn into_connected(self) -> Connected {
        let Self { connection, permit, .. } = self;
        let http1::Parts { io, read_buf, .. } = connection.into_parts();
        Connected { stream: io.into_inner(), read_ahead: read_buf, permit }
    }
}

impl Bell {
    /// Silent while the result lives: for calls after which the connection is driven anyway.
    fn mute(&self) -> Muted<'_> {
        self.muted.store(true, Ordering::Relaxed);
        Muted(self)
    }
}

struct Muted<'a>(&'a Bell);

impl Drop for Muted<'_> {
    fn drop(&mut self) {
        self.0.muted.store(false, Ordering::Relaxed);
    }
}
