//! A client's connection: its socket, or TLS over it.

use crate::tls::MaybeTls;
use policy::config::listener::HttpProtocol;
use rustls::ServerConnection;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncBufRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What a client sends its requests by.
pub(crate) type ClientStream = MaybeTls<TlsStream<TcpStream>>;

impl ClientStream {
    /// To which address of ours the client has connected.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(socket) => socket.local_addr(),
            Self::Tls(stream) => stream.get_ref().0.local_addr(),
        }
    }

    /// Which version of HTTP was negotiated by ALPN (RFC 7301); none in plain text, and for a client that named none.
    pub(crate) fn negotiated(&self) -> Option<HttpProtocol> {
        match self.tls()?.alpn_protocol()? {
            crate::tls::ALPN_H2 => Some(HttpProtocol::H2),
            _ => Some(HttpProtocol::Http1),
        }
    }

    /// What the handshake has found out.
    pub(crate) fn tls(&self) -> Option<&ServerConnection> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => Some(stream.get_ref().1),
        }
    }

    /// Whether anything has happened on the socket since it was last read; while nothing has, a look at a flag.
    pub(crate) fn poll_socket_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(cx),
            Self::Tls(stream) => stream.get_ref().0.poll_read_ready(cx),
        }
    }

    /// Looks at what has arrived of plain text; how much that is, and 0 when there never will be anything. Of TLS no more
    /// is to be seen than that [`ClientStream::poll_arrived`] is ready.
    pub(crate) fn poll_peek(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<usize> {
        match self {
            // not poll_read_ready: a new socket counts as ready until it was asked
            Self::Plain(socket) => {
                socket.poll_peek(cx, &mut ReadBuf::new(bytes)).map(|peeked| peeked.unwrap_or(0))
            }
            Self::Tls(_) => Poll::Pending,
        }
    }

    /// Ready when there is a byte to read, or (with `false`) there never will be. Nothing is taken.
    pub(crate) fn poll_arrived(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match self {
            Self::Plain(_) => self.poll_peek(cx, &mut [0]).map(|arrived| arrived > 0),
            // a record may have come that is not the client's word, but that of its TLS
            Self::Tls(stream) => {
                let filled = Pin::new(&mut **stream).poll_fill_buf(cx);
                filled.map(|filled| filled.is_ok_and(|bytes| !bytes.is_empty()))
            }
        }
    }
}
