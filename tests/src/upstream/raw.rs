//! Targets that speak bytes: answers as written, silence, resets, a listener that accepts nobody.

use super::{KEPT_PER_CONNECTION, Upstream};
use bytes::Bytes;
use parking_lot::Mutex;
use socket2::{Domain, SockRef, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// What a target does with the connection after its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Waits for the next request.
    KeepOpen,
    /// Closes in good order.
    Close,
    /// Sends a RST.
    Reset,
}

/// A connection to a fake target that keeps what it reads.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    kept: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, kept: Arc<Mutex<Vec<u8>>>) -> Self {
        Self { stream, kept }
    }

    /// Reads one request, head and body, as it came; `None` when the connection ends first.
    pub async fn request(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let end_of_head = loop {
            if let Some(at) = find(&bytes, b"\r\n\r\n") {
                break at + 4;
            }
            self.more(&mut bytes).await?;
        };
        let head = String::from_utf8_lossy(&bytes[..end_of_head]).to_ascii_lowercase();
        if head.contains("\r\ntransfer-encoding:") {
            while !ends_in_last_chunk(&bytes[end_of_head..]) {
                self.more(&mut bytes).await?;
            }
        } else if let Some(length) = content_length(&head) {
            while bytes.len() < end_of_head + length {
                self.more(&mut bytes).await?;
            }
        }
        Some(bytes)
    }

    /// Ends the connection with a RST in place of a FIN.
    pub fn reset(self) {
        self.reset_on_close();
    }

    /// The end of this connection, whenever it comes, will be a RST.
    pub(super) fn reset_on_close(&self) {
        // a linger of zero discards what is unsent and resets
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    async fn more(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        match self.read_buf(bytes).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

fn content_length(lower_case_head: &str) -> Option<usize> {
    lower_case_head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()
}

/// The last chunk and perhaps trailers; no scenario has these bytes within its data.
fn ends_in_last_chunk(body: &[u8]) -> bool {
    (body.starts_with(b"0\r\n") || find(body, b"\r\n0\r\n").is_some()) && body.ends_with(b"\r\n\r\n")
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

impl Upstream {
    /// Answers every request with these bytes, whatever they are.
    pub async fn answering(answer: impl Into<Bytes>, after: After) -> Self {
        let answer = answer.into();
        Self::accepting(move |mut wire, _| {
            let answer = answer.clone();
            async move {
                while wire.request().await.is_some() {
                    if wire.write_all(&answer).await.is_err() {
                        return;
                    }
                    match after {
                        After::KeepOpen => continue,
                        After::Reset => return wire.reset(),
                        After::Close => {
                            let _ = wire.shutdown().await;
                            return;
                        }
                    }
                }
            }
        })
        .await
    }

    /// Reads for ever and never answers.
    pub async fn silent() -> Self {
        Self::accepting(|mut wire, _| async move {
            let mut sink = vec![0; 64 * 1024];
            while wire.read(&mut sink).await.is_ok_and(|read| read > 0) {}
        })
        .await
    }

    /// Closes every connection as soon as it is made.
    pub async fn closing() -> Self {
        Self::accepting(|wire, _| async move { drop(wire) }).await
    }

    /// Reads a request and resets the connection.
    pub async fn resetting() -> Self {
        Self::answering("", After::Reset).await
    }

    /// Echoes every WebSocket message.
    pub async fn websocket() -> Self {
        use futures_util::{SinkExt, StreamExt};
        Self::accepting(|wire, _| async move {
            let Ok(mut socket) = tokio_tungstenite::accept_async(wire).await else { return };
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() || message.is_binary() {
                    let Ok(()) = socket.send(message).await else { return };
                }
            }
        })
        .await
    }
}

/// A listener whose queue is full: the kernel drops further SYNs, so connecting to it takes for ever.
#[derive(Debug)]
pub struct Backlogged {
    address: SocketAddr,
    _listener: Socket,
    _waiting: Vec<Socket>,
}

impl Backlogged {
    /// Opens one and fills its queue.
    pub fn open() -> io::Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        listener.listen(0)?;
        let address = listener.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let waiting = (0..4)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                // in progress, or for those beyond the queue for ever so
                let _ = socket.connect(&address.into());
                Ok(socket)
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { address, _listener: listener, _waiting: waiting })
    }

    /// Where nobody gets through.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let mut kept = self.kept.lock();
        let room = KEPT_PER_CONNECTION.saturating_sub(kept.len());
        let new = &buffer.filled()[before..];
        kept.extend_from_slice(&new[..new.len().min(room)]);
        drop(kept);
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
