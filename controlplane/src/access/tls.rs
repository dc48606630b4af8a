//! The control plane's own certificate, and connections by TLS, of which no stranger holds many or any for long.

use super::renewed::{OfFiles, Renewed};
use http::Extensions;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A client that is not done by then is no client. Data planes wait a little longer, and then come again.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(4);
/// Handshakes at a time, far above what a fleet that comes back needs at once. One more ends the oldest.
const HANDSHAKES: usize = 256;
/// By then a call must have been admitted, or the connection ends.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept that failed, for lack of files most likely.
const BREATH: Duration = Duration::from_millis(100);

/// The certificate that is shown, with all that TLS needs.
pub(crate) struct Identity(Arc<ServerConfig>);

impl OfFiles for Identity {
    /// A chain of certificates and its key, both in PEM.
    fn read(contents: &[Vec<u8>]) -> Result<Self, String> {
        let [chain, key] = contents else { return Err("a certificate and its key are wanted".to_owned()) };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|error| format!("the certificate is not valid PEM: {error}"))?;
        if chain.is_empty() {
            return Err("there is no certificate in PEM".to_owned());
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| format!("there is no private key in PEM that is not encrypted: {error}"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| format!("certificate and key cannot be used: {error}"))?;
        // gRPC is HTTP/2
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// Clients that have shown that they speak TLS; ends when nobody takes them any more.
pub(crate) fn connections(
    listener: TcpListener,
    identity: Arc<Renewed<Identity>>,
) -> ReceiverStream<io::Result<Connection>> {
    let (arrived, arrivals) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut handshakes: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = arrived.closed() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(BREATH).await;
                    continue;
                }
            };
            if handshakes.len() >= HANDSHAKES {
                handshakes.retain(|one| !one.is_finished());
            }
            if handshakes.len() >= HANDSHAKES
                && let Some(oldest) = handshakes.pop_front()
            {
                oldest.abort();
            }
            let acceptor = TlsAcceptor::from(Arc::clone(&identity.get().0));
            let handshake = tokio::spawn(shake(stream, acceptor, arrived.clone()));
            handshakes.push_back(handshake.abort_handle());
        }
    });
    ReceiverStream::new(arrivals)
}

async fn shake(stream: TcpStream, acceptor: TlsAcceptor, arrived: mpsc::Sender<io::Result<Connection>>) {
    // what is sent is a message, and whole
    let _ = stream.set_nodelay(true);
    let peer = stream.peer_addr().ok();
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        // nobody takes it while the control plane ends
        Ok(Ok(stream)) => drop(arrived.send(Ok(Connection::new(stream, peer))).await),
        Ok(Err(error)) => tracing::debug!(?peer, %error, "no TLS"),
        Err(_) => tracing::debug!(?peer, "no TLS in time"),
    }
}

/// Who is at the other end of a connection; in the extensions of its requests.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    peer: Option<SocketAddr>,
    admitted: Arc<AtomicBool>,
}

impl Visitor {
    /// One of its calls was admitted: it may stay.
    pub(super) fn admit(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }
}

/// The other end of the connection that a request came by, with or without TLS.
pub(crate) fn peer(extensions: &Extensions) -> Option<SocketAddr> {
    let by_tls = extensions.get().and_then(|visitor: &Visitor| visitor.peer);
    by_tls.or_else(|| extensions.get::<TcpConnectInfo>()?.remote_addr())
}

/// A connection by TLS that ends if nothing is admitted on it.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    visitor: Visitor,
    /// None once it may stay.
    admission: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    fn new(stream: TlsStream<TcpStream>, peer: Option<SocketAddr>) -> Self {
        let visitor = Visitor { peer, admitted: Arc::default() };
        Self { stream, visitor, admission: Some(Box::pin(sleep(ADMISSION_TIMEOUT))) }
    }

    /// Also where it is only written to: while a client does not take what it is sent, h2 does not read.
    fn check_admission(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(admission) = &mut self.admission else { return Ok(()) };
        if self.visitor.admitted.load(Ordering::Relaxed) {
            self.admission = None;
        } else if admission.as_mut().poll(cx).is_ready() {
            tracing::debug!(peer = ?self.visitor.peer, "nothing was admitted in time");
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Connected for Connection {
    type ConnectInfo = Visitor;

    fn connect_info(&self) -> Visitor {
        self.visitor.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_admission(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.check_admission(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_admission(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
