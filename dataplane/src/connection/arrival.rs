//! What comes before HTTP on a listener that asks for more than a TCP connection: a header of the PROXY protocol, and the
//! handshake of TLS.

use super::stream::ClientStream;
use crate::listener::{ListenerId, ListenerSettings, TurnedAway};
use crate::tls::Terminator;
use bytes::Bytes;
use policy::config::listener::ProxyProtocol;
use policy::proxy_protocol::{self, Begin};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// A connection that has not come to HTTP yet, as its worker sees it.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// By which it came.
    pub(crate) listener: ListenerId,
    closing: Cell<bool>,
    closed: Notify,
    ended: Notify,
}

/// What a client may still take to come to HTTP whose listener has closed.
const LAST_CALL: Duration = Duration::from_secs(1);

/// A connection that has come to HTTP.
pub(crate) struct Arrived {
    pub(crate) stream: ClientStream,
    /// From where the client has come.
    pub(crate) peer: SocketAddr,
    /// What was read of its first request.
    pub(crate) read_ahead: Bytes,
}

/// A connection that comes to nothing.
pub(crate) struct Turned {
    pub(crate) why: TurnedAway,
    /// For the log.
    pub(crate) detail: String,
    /// To be told so in plain text.
    pub(crate) plain: Option<TcpStream>,
}

impl Turned {
    fn by(why: TurnedAway, detail: impl Into<String>) -> Self {
        Self { why, detail: detail.into(), plain: None }
    }

    fn gone(error: &io::Error) -> Self {
        Self::by(TurnedAway::Gone, error.to_string())
    }
}

impl Arrival {
    pub(crate) fn new(listener: ListenerId) -> Self {
        Self { listener, closing: Cell::new(false), closed: Notify::new(), ended: Notify::new() }
    }

    /// Its listener closes: it is served, but not for long.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        self.closed.notify_one();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// End now.
    pub(crate) fn abort(&self) {
        self.ended.notify_one();
    }

    /// Waits until it is told to end.
    pub(crate) async fn aborted(&self) {
        self.ended.notified().await;
    }

    async fn last_call(&self) {
        self.closed.notified().await;
        tokio::time::sleep(LAST_CALL).await;
    }

    /// What comes of the connection, unless it is told to end or takes too long.
    pub(crate) async fn receive(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        settings: &ListenerSettings,
        patience: Duration,
    ) -> Result<Arrived, Turned> {
        tokio::select! {
            received = tokio::time::timeout(patience, receive(stream, peer, settings)) => {
                received.unwrap_or_else(|_| Err(Turned::by(TurnedAway::TimedOut, "it took too long")))
            }
            () = self.last_call() => Err(Turned::by(TurnedAway::TimedOut, "its listener has closed")),
            () = self.aborted() => Err(Turned::by(TurnedAway::TimedOut, "it was given up")),
        }
    }
}

async fn receive(
    mut stream: TcpStream,
    peer: SocketAddr,
    settings: &ListenerSettings,
) -> Result<Arrived, Turned> {
    let believed = settings.believes(peer);
    let (source, read_ahead) = match settings.proxy_protocol {
        ProxyProtocol::Required if !believed => {
            return Err(Turned::by(TurnedAway::ProxyProtocolPeer, "nobody who may send a PROXY header"));
        }
        ProxyProtocol::Required | ProxyProtocol::Optional if believed => {
            announced(&mut stream, settings.proxy_protocol).await?
        }
        // what looks like a header is the client's own word
        ProxyProtocol::Required | ProxyProtocol::Optional | ProxyProtocol::Off => (None, Bytes::new()),
    };
    let peer = source.unwrap_or(peer);
    match &settings.tls {
        Some(terminator) => {
            let stream = handshake(stream, &read_ahead, terminator).await?;
            Ok(Arrived { stream, peer, read_ahead: Bytes::new() })
        }
        None => Ok(Arrived { stream: ClientStream::Plain(stream), peer, read_ahead }),
    }
}

/// Reads a header of the PROXY protocol and not a byte more: from where it says that the client has come, and what was
/// taken of a connection that has no header.
async fn announced(
    stream: &mut TcpStream,
    demand: ProxyProtocol,
) -> Result<(Option<SocketAddr>, Bytes), Turned> {
    let malformed = |error| Turned::by(TurnedAway::ProxyProtocol, format!("{error}"));
    let (mut taken, mut window) = (Vec::new(), [0; 256]);
    loop {
        let peeked = stream.peek(&mut window).await.map_err(|error| Turned::gone(&error))?;
        if peeked == 0 {
            return Err(Turned::by(TurnedAway::Gone, "closed before the PROXY header was whole"));
        }
        let before = taken.len();
        taken.extend_from_slice(&window[..peeked]);
        let begin = proxy_protocol::parse(&taken).map_err(malformed)?;
        let belongs = match begin {
            Begin::Undecided => peeked,
            Begin::Header { length, .. } => length - before,
            Begin::Otherwise => 0,
        };
        stream.read_exact(&mut window[..belongs]).await.map_err(|error| Turned::gone(&error))?;
        match begin {
            Begin::Undecided => {}
            Begin::Header { source, .. } => return Ok((source, Bytes::new())),
            Begin::Otherwise if demand == ProxyProtocol::Required => {
                return Err(Turned::by(TurnedAway::ProxyProtocol, "there is no PROXY header"));
            }
            Begin::Otherwise => {
                taken.truncate(before);
                return Ok((None, taken.into()));
            }
        }
    }
}

/// `taken`: what of the client's first bytes is not in the socket any more. No handshake begins so, but a request may.
async fn handshake(stream: TcpStream, taken: &[u8], terminator: &Terminator) -> Result<ClientStream, Turned> {
    let mut first = [0];
    let peeked = stream.peek(&mut first).await.map_err(|error| Turned::gone(&error))?;
    let first = taken.first().or(first[..peeked].first());
    match first {
        None => return Err(Turned::by(TurnedAway::Gone, "closed before the handshake")),
        Some(byte) if byte.is_ascii_uppercase() => {
            let turned = Turned::by(TurnedAway::PlainText, "a request in plain text");
            return Err(Turned { plain: Some(stream), ..turned });
        }
        Some(_) if !taken.is_empty() => return Err(Turned::by(TurnedAway::TlsFailed, "it is no handshake")),
        Some(_) => {}
    }
    let Some(live) = terminator.live() else {
        return Err(Turned::by(TurnedAway::NoCertificate, "no certificate could be read yet"));
    };
    match TlsAcceptor::from(live.server.clone()).accept(stream).await {
        Ok(stream) => Ok(ClientStream::Tls(Box::new(stream))),
        // what was said does not hold; everything else is the connection that broke
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Turned::by(TurnedAway::TlsFailed, error.to_string()))
        }
        Err(error) => Err(Turned::gone(&error)),
    }
}
