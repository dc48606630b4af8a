//! How connections to others are made: to targets as their upstream says, and to issuers of tokens and collectors.

mod client;
mod https;
mod names;
mod stream;
mod transports;

pub(crate) use client::TlsClient;
pub(crate) use https::{Connector, connector, plain_connector, words};
pub(crate) use names::Origin;
pub(crate) use policy::proxy_protocol::OnBehalf;
pub(crate) use stream::Stream;
pub(crate) use transports::Transports;

use crate::tls::{ALPN_H2, ALPN_HTTP1};
use names::Name;
use policy::config::transport::{SendProxyProtocol, UpstreamProtocol};
use policy::rejection::Rejection;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How one target is reached.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    place: Place,
    port: u16,
    security: Security,
    protocol: UpstreamProtocol,
    send_proxy_protocol: SendProxyProtocol,
}

/// Where it is.
#[derive(Debug, Clone)]
enum Place {
    Address(IpAddr),
    Name(Arc<Name>),
}

/// How the target is known to be who it should be, and others are kept from reading along.
#[derive(Debug, Clone)]
enum Security {
    /// Not at all.
    Plain,
    Tls {
        client: Arc<TlsClient>,
        server_name: ServerName<'static>,
        verified: bool,
    },
    /// By a name that no certificate can have.
    Unusable(Arc<str>),
}

/// Which HTTP a target may choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    Http1,
    Http2,
    Either,
}

/// A new connection, ready for the first byte.
pub(crate) struct Dialled {
    pub(crate) stream: Stream,
    /// HTTP/2 is spoken on it.
    pub(crate) http2: bool,
    /// Where it leads, of a target that has a name.
    pub(crate) origin: Option<Origin>,
}

/// A connection was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the name is not resolved: {0}")]
    Name(String),
    #[error(transparent)]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(String),
    #[error("TLS: {0}")]
    Certificate(rustls::Error),
}

impl DialError {
    /// What a client is told.
    pub(crate) fn rejection(&self) -> Rejection {
        match self {
            Self::Name(_) => Rejection::NameUnresolved,
            Self::Connect(_) => Rejection::ConnectFailed,
            Self::Tls(_) => Rejection::TlsFailed,
            Self::Certificate(_) => Rejection::TlsCertificate,
        }
    }
}

impl Transport {
    /// The same at another port of the same host.
    pub(crate) fn at_port(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }

    /// Which HTTP there is for a request; `None` where the request asks for another protocol and there is no HTTP/1.1
    /// in which it could.
    pub(crate) fn offer(&self, upgrade: bool) -> Option<Offer> {
        match (self.protocol, &self.security) {
            (UpstreamProtocol::H2, _) => (!upgrade).then_some(Offer::Http2),
            (UpstreamProtocol::Auto, Security::Tls { .. }) if !upgrade => Some(Offer::Either),
            (UpstreamProtocol::Auto | UpstreamProtocol::Http1, _) => Some(Offer::Http1),
        }
    }

    /// TLS by which nobody finds out who answers.
    pub(crate) fn is_unverified(&self) -> bool {
        matches!(self.security, Security::Tls { verified: false, .. })
    }

    /// The name that it is looked up by, if it has one.
    pub(crate) fn name(&self) -> Option<&Arc<Name>> {
        match &self.place {
            Place::Address(_) => None,
            Place::Name(name) => Some(name),
        }
    }

    /// A new connection. Over TLS the target chooses from what is offered, otherwise the offer is taken for granted.
    ///
    /// `patience` is what the caller has; a name with several addresses shares it out.
    pub(crate) async fn dial(
        &self,
        on_behalf: OnBehalf,
        offer: Offer,
        patience: Duration,
    ) -> Result<Dialled, DialError> {
        let (mut stream, origin) = self.connect(patience).await?;
        let announcement = policy::proxy_protocol::announcement(self.send_proxy_protocol, on_behalf);
        if !announcement.is_empty() {
            stream.write_all(&announcement).await.map_err(DialError::Connect)?;
        }
        match &self.security {
            Security::Plain => {
                Ok(Dialled { stream: Stream::Plain(stream), http2: offer == Offer::Http2, origin })
            }
            Security::Unusable(why) => Err(DialError::Tls(why.to_string())),
            Security::Tls { client, server_name, verified: _ } => {
                let connector = TlsConnector::from(client.config().map_err(DialError::Tls)?);
                let handshake = connector.with_alpn(offer.alpn()).connect(server_name.clone(), stream);
                let stream = handshake.await.map_err(handshake_error)?;
                let http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
                if offer == Offer::Http2 && !http2 {
                    return Err(DialError::Tls("the target does not agree to HTTP/2".to_owned()));
                }
                Ok(Dialled { stream: Stream::Tls(Box::new(stream)), http2, origin })
            }
        }
    }

    async fn connect(&self, patience: Duration) -> Result<(TcpStream, Option<Origin>), DialError> {
        let name = match &self.place {
            Place::Address(address) => {
                let stream = connect((*address, self.port).into()).await.map_err(DialError::Connect)?;
                return Ok((stream, None));
            }
            Place::Name(name) => name,
        };
        let deadline = Instant::now() + patience;
        let addresses = name.in_turn().await.map_err(DialError::Name)?;
        let mut failure = io::ErrorKind::NotFound.into();
        for (at, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / (addresses.len() - at) as u32;
            match timeout(share, connect((*address, self.port).into())).await {
                Ok(Ok(stream)) => return Ok((stream, Some(Origin::new(Arc::clone(name), *address)))),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(DialError::Connect(failure))
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Offer {
    fn alpn(self) -> Vec<Vec<u8>> {
        let names: &[&[u8]] = match self {
            Self::Http1 => &[ALPN_HTTP1],
            Self::Http2 => &[ALPN_H2],
            Self::Either => &[ALPN_H2, ALPN_HTTP1],
        };
        names.iter().map(|name| name.to_vec()).collect()
    }
}

fn handshake_error(error: io::Error) -> DialError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error @ rustls::Error::InvalidCertificate(_)) => DialError::Certificate(error.clone()),
        Some(error) => DialError::Tls(error.to_string()),
        None => DialError::Tls(format!("the target broke off the handshake: {error}")),
    }
}

#[cfg(test)]
mod tests;
