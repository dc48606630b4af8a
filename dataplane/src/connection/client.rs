//! What is known of a client for as long as it is connected, and what its listener demands of it.

use super::stream::ClientStream;
use crate::listener::{ListenerSettings, ListenerState};
use crate::worker::Worker;
use http::HeaderValue;
use policy::client_certificate::ClientCertificate;
use policy::config::ServerConfig;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often a connection is looked at even when nothing can be overdue.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// What the listener demands of a connection; fixed when it is accepted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Limits {
    pub(crate) read_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) header_timeout: Duration,
    pub(crate) max_header_bytes: usize,
    pub(crate) max_headers: usize,
    pub(crate) max_target_bytes: usize,
    pub(crate) max_body_bytes: u64,
    pub(crate) max_connections: u64,
    pub(crate) max_concurrent_streams: u32,
    /// Zero asks nobody for a sign of life.
    pub(crate) ping_interval: Duration,
}

impl From<&ServerConfig> for Limits {
    fn from(server: &ServerConfig) -> Self {
        let bytes = |size: policy::config::leaf::ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
        Self {
            read_timeout: server.read_timeout.get(),
            write_timeout: server.write_timeout.get(),
            idle_timeout: server.idle_timeout.get(),
            header_timeout: server.header_timeout.get(),
            max_header_bytes: bytes(server.max_header_bytes),
            max_headers: server.max_headers as usize,
            max_target_bytes: bytes(server.max_target_bytes),
            max_body_bytes: server.max_body_bytes.0,
            max_connections: server.max_connections,
            max_concurrent_streams: server.max_concurrent_streams,
            ping_interval: server.ping_interval.get(),
        }
    }
}

impl Limits {
    /// How far ahead the timer may be set: no deadline can be nearer after something has begun, and a connection that
    /// falls idle is noticed soon.
    pub(super) fn shortest(&self) -> Duration {
        self.read_timeout
            .min(self.write_timeout)
            .min(self.idle_timeout)
            .min(self.header_timeout)
            .min(CHECK_EVERY)
    }
}

/// A connected client; of HTTP/2, all streams of its connection share one.
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Arc<ListenerState>,
    /// What held for the listener when the connection was accepted.
    pub(crate) settings: Arc<ListenerSettings>,
    pub(crate) peer: SocketAddr,
    /// What it has shown, and what holds.
    pub(crate) client_certificate: Option<ClientCertificate>,
    /// The address of ours that the client has connected to.
    pub(crate) local: SocketAddr,
    /// The peer's address as a header value, made once.
    pub(crate) peer_header: HeaderValue,
    /// What a target is told of a client that nobody vouches for, as whole lines, made once.
    pub(crate) introduction: Box<[u8]>,
    limits: Rc<Limits>,
}

impl Client {
    pub(crate) fn new(
        worker: Rc<Worker>,
        listener: Arc<ListenerState>,
        settings: Arc<ListenerSettings>,
        peer: SocketAddr,
        limits: Rc<Limits>,
    ) -> Self {
        let peer_header = HeaderValue::try_from(peer.ip().to_canonical().to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let introduction = introduction(&peer_header, settings.scheme(), worker.gateway.via());
        let (client_certificate, local) = (None, listener.address);
        Self {
            worker,
            listener,
            settings,
            peer,
            client_certificate,
            local,
            introduction,
            peer_header,
            limits,
        }
    }

    /// The same by the address that the client has come to, where the listener has them all.
    pub(crate) fn arrived_by(self, stream: &ClientStream) -> Self {
        let all = self.local.ip().is_unspecified();
        let local = if all { stream.local_addr().unwrap_or(self.local) } else { self.local };
        Self { local, ..self }
    }

    /// The same of which the handshake has said who it is.
    pub(crate) fn with_certificate(self, client_certificate: Option<ClientCertificate>) -> Self {
        Self { client_certificate, ..self }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }
}

fn introduction(peer: &HeaderValue, scheme: &str, via: &HeaderValue) -> Box<[u8]> {
    let (peer, via) = (peer.as_bytes(), via.as_bytes());
    let lines: [&[u8]; 9] = [
        b"x-forwarded-for: ",
        peer,
        b"\r\nx-real-ip: ",
        peer,
        b"\r\nx-forwarded-proto: ",
        scheme.as_bytes(),
        b"\r\nvia: ",
        via,
        b"\r\n",
    ];
    lines.concat().into()
}
