//! The control plane's own certificate, and handshakes that hold nobody else up.

use super::renewed::{OfFiles, Renewed};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

/// A client that is not done by then is no client.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Handshakes at a time: far above what a fleet that comes back needs at once.
const HANDSHAKES: usize = 256;
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
pub(crate) fn handshakes(
    listener: TcpListener,
    identity: Arc<Renewed<Identity>>,
) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    let (arrived, arrivals) = mpsc::channel(16);
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        loop {
            let accepted = tokio::select! {
                accepted = accept(&listener, &places) => accepted,
                () = arrived.closed() => return,
            };
            let Some((stream, place)) = accepted else { continue };
            let acceptor = TlsAcceptor::from(Arc::clone(&identity.get().0));
            let arrived = arrived.clone();
            tokio::spawn(async move {
                let peer = stream.peer_addr().ok();
                let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
                drop(place);
                match shaken {
                    // nobody takes it while the control plane ends
                    Ok(Ok(stream)) => drop(arrived.send(Ok(stream)).await),
                    Ok(Err(error)) => tracing::debug!(?peer, %error, "no TLS"),
                    Err(_) => tracing::debug!(?peer, "no TLS in time"),
                }
            });
        }
    });
    ReceiverStream::new(arrivals)
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // what is sent is a message, and whole
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection was not accepted");
            tokio::time::sleep(BREATH).await;
            None
        }
    }
}
