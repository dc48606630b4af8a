//! A stream to a target: a socket, or TLS on one.

use crate::tls::MaybeTls;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What bytes to and from a target go through.
pub(crate) type Stream = MaybeTls<TlsStream<TcpStream>>;

impl Stream {
    /// Writes as much as is taken at once.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => match stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                written => Poll::Ready(written),
            },
            Self::Tls(stream) => Pin::new(stream).poll_write(&mut nobody(), bytes),
        }
    }

    /// Writes what TLS has kept back, as far as it is taken at once.
    pub(crate) fn try_flush(&mut self) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(&mut nobody()),
        }
    }

    /// Whether nothing has come since the last read, not even the end; costs no system call where that is so.
    pub(crate) fn is_silent(&mut self) -> bool {
        if let Self::Plain(stream) = self
            && stream.poll_read_ready(&mut nobody()).is_pending()
        {
            return true;
        }
        // also a socket of which the last read filled its buffer counts as ready; and what comes by TLS may be a
        // ticket for the next session, which is nothing said
        let mut byte = [0];
        Pin::new(self).poll_read(&mut nobody(), &mut ReadBuf::new(&mut byte)).is_pending()
    }
}

/// Whom nobody has to wake: what could not be done at once is tried again by somebody who waits for it.
fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
