//! Listening sockets: reserved when a snapshot is prepared, listening once it is committed.

use crate::tls::Terminator;
use arc_swap::ArcSwap;
use ipnet::IpNet;
use policy::config::listener::{HttpProtocol, ProxyProtocol};
use policy::table::Listener;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Connections the kernel completes and keeps for us until we accept them.
const BACKLOG: i32 = 4096;

/// At least one socket per worker, all bound to one address, none listening yet: the port is ours, nobody is served on it.
#[derive(Debug)]
pub struct Reserved {
    address: SocketAddr,
    sockets: Vec<Socket>,
}

/// Binds `address` once per worker.
///
/// The first socket is bound *without* `SO_REUSEPORT`, so that it fails when any other process has the port, even one
/// that would share it; only then is it opened for our other workers. Two data planes never share a port by accident.
///
/// # Errors
/// What `bind` and `listen` say: the address is in use, not ours, or not permitted.
pub fn reserve(address: SocketAddr, workers: usize) -> io::Result<Reserved> {
    let first = socket(address)?;
    first.set_reuse_address(true)?;
    first.bind(&address.into())?;
    if address.port() != 0 {
        claim(&first)?;
    }
    first.set_reuse_port(true)?;
    let bound = first.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        let other = socket(bound)?;
        // the first one bound over connections in TIME_WAIT; those of a program without SO_REUSEPORT need this, too
        other.set_reuse_address(true)?;
        other.set_reuse_port(true)?;
        other.bind(&bound.into())?;
        other.set_reuse_address(false)?;
        sockets.push(other);
    }
    Ok(Reserved { address: bound, sockets })
}

/// Makes the bound port ours alone.
///
/// `SO_REUSEADDR` is needed to bind over the connections in TIME_WAIT that our predecessor has left, but Linux also
/// lets two sockets with it share a port until one of them listens: two data planes told to prepare the same port at
/// the same moment would both believe to have it. So it listens for an instant, which only one of them can, and gives
/// the option up before it stops: after that the other can neither bind nor listen. A port that the kernel chose (for
/// port 0) needs none of this, and would not survive it.
fn claim(bound: &Socket) -> io::Result<()> {
    bound.listen(1)?;
    bound.set_reuse_address(false)?;
    bound.shutdown(Shutdown::Both)
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Reserved {
    /// Sockets that listen already, opened by somebody else. There are at least as many as workers: one that several
    /// have is cloned.
    pub(crate) fn adopt(address: SocketAddr, sockets: Vec<TcpListener>, workers: usize) -> io::Result<Self> {
        let mut sockets: Vec<Socket> = sockets.into_iter().map(Socket::from).collect();
        sockets.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
        for again in sockets.len()..workers {
            let clone = sockets[again % sockets.len()].try_clone()?;
            sockets.push(clone);
        }
        Ok(Self { address, sockets })
    }

    /// The bound address, with the real port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts listening; the result has one listener per worker, or more.
    pub(crate) fn listen(self) -> io::Result<Vec<TcpListener>> {
        self.sockets
            .into_iter()
            .map(|socket| {
                // inherited by the connections: what they leave in TIME_WAIT must not keep our successor out
                socket.set_reuse_address(true)?;
                socket.listen(BACKLOG)?;
                Ok(socket.into())
            })
            .collect()
    }
}

/// Names an open listener of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(u64);

impl ListenerId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What the workers share about one listener.
#[derive(Debug)]
pub struct ListenerState {
    /// Which.
    pub id: ListenerId,
    /// Where.
    pub address: SocketAddr,
    /// Client connections that came by it, over all workers.
    pub connections: AtomicU64,
    /// What holds for connections that come from now on.
    pub(crate) settings: ArcSwap<ListenerSettings>,
    /// Connections that ended before they could ask for anything.
    pub(crate) turned_away: TurnedAwayCounts,
    /// Handshakes of TLS that succeeded.
    pub(crate) handshakes: HandshakeCounts,
}

impl ListenerState {
    /// Without connections.
    pub(crate) fn new(address: SocketAddr, settings: Arc<ListenerSettings>) -> Self {
        Self {
            id: ListenerId::next(),
            address,
            connections: AtomicU64::new(0),
            settings: ArcSwap::new(settings),
            turned_away: TurnedAwayCounts::default(),
            handshakes: HandshakeCounts::default(),
        }
    }
}

/// What the config says of a listener; a connection keeps what was there when it was accepted.
#[derive(Debug)]
pub(crate) struct ListenerSettings {
    /// Its name in the config.
    pub(crate) name: Arc<str>,
    /// What it answers whatever is asked.
    pub(crate) rules: Arc<Listener>,
    /// Which versions of HTTP clients may speak.
    pub(crate) protocols: Protocols,
    /// Whether connections begin with a header of the PROXY protocol.
    pub(crate) proxy_protocol: ProxyProtocol,
    /// Whose header is believed.
    proxy_protocol_from: Box<[IpNet]>,
    /// How they speak TLS, if they do.
    pub(crate) tls: Option<Arc<Terminator>>,
}

impl ListenerSettings {
    pub(crate) fn new(rules: &Arc<Listener>, tls: Option<Arc<Terminator>>) -> Self {
        let config = &rules.config;
        Self {
            rules: Arc::clone(rules),
            name: config.name.as_str().into(),
            protocols: Protocols::of(&config.protocols),
            proxy_protocol: config.proxy_protocol,
            proxy_protocol_from: config.proxy_protocol_from.as_slice().into(),
            tls,
        }
    }

    /// Whether HTTP is the first thing on a connection.
    pub(crate) fn begins_with_http(&self) -> bool {
        self.tls.is_none() && self.proxy_protocol == ProxyProtocol::Off
    }

    /// Whether a header of the PROXY protocol of this peer is believed.
    pub(crate) fn believes(&self, peer: SocketAddr) -> bool {
        let peer = peer.ip().to_canonical();
        self.proxy_protocol_from.iter().any(|block| block.contains(&peer))
    }

    /// How clients speak to it, as in a URL.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// A set of versions of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Protocols {
    /// HTTP/2.
    pub(crate) h2: bool,
    /// HTTP/1.0 and HTTP/1.1.
    pub(crate) http1: bool,
}

impl Protocols {
    fn of(config: &[HttpProtocol]) -> Self {
        let has = |protocol| config.contains(&protocol);
        Self { h2: has(HttpProtocol::H2), http1: has(HttpProtocol::Http1) }
    }
}

/// Why a connection ended before it could ask for anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// No header of the PROXY protocol where there must be one, or one that is broken.
    ProxyProtocol,
    /// The same of a peer whose header would not be believed.
    ProxyProtocolPeer,
    /// What comes before a request took longer than `header_timeout`, or had to make room for others.
    TimedOut,
    /// The client and we could not agree, or it broke TLS.
    TlsFailed,
    /// No certificate could be read yet.
    NoCertificate,
    /// Plain HTTP where TLS is spoken.
    PlainText,
    /// TLS where plain HTTP is spoken.
    UnexpectedTls,
    /// The client went away.
    Gone,
    /// The listener holds `max_connections` clients, and to tell so would cost a handshake.
    TooMany,
}

impl TurnedAway {
    /// Each once.
    pub(crate) const ALL: [Self; 9] = [
        Self::ProxyProtocol,
        Self::ProxyProtocolPeer,
        Self::TimedOut,
        Self::TlsFailed,
        Self::NoCertificate,
        Self::PlainText,
        Self::UnexpectedTls,
        Self::Gone,
        Self::TooMany,
    ];

    /// In metrics and logs.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::TlsFailed => "tls_failed",
            Self::ProxyProtocol => "proxy_protocol",
            Self::ProxyProtocolPeer => "proxy_protocol_peer",
            Self::TimedOut => "timeout",
            Self::NoCertificate => "no_certificate",
            Self::PlainText => "plain_text",
            Self::UnexpectedTls => "unexpected_tls",
            Self::Gone => "gone",
            Self::TooMany => "too_many_connections",
        }
    }
}

/// How many were turned away for each reason.
#[derive(Debug, Default)]
pub(crate) struct TurnedAwayCounts([AtomicU64; TurnedAway::ALL.len()]);

impl TurnedAwayCounts {
    pub(crate) fn count(&self, why: TurnedAway) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Each reason with its count.
    pub(crate) fn all(&self) -> impl Iterator<Item = (TurnedAway, u64)> {
        TurnedAway::ALL.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// Handshakes by version, and by whether they resumed a session.
#[derive(Debug, Default)]
pub(crate) struct HandshakeCounts([AtomicU64; 4]);

impl HandshakeCounts {
    pub(crate) fn count(&self, connection: &ServerConnection) {
        let newer = connection.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        self.0[usize::from(newer) * 2 + usize::from(resumed)].fetch_add(1, Ordering::Relaxed);
    }

    /// Version, whether a session was resumed, and how many.
    pub(crate) fn all(&self) -> [(&'static str, bool, u64); 4] {
        let count = |at: usize| self.0[at].load(Ordering::Relaxed);
        [("1.2", false, count(0)), ("1.2", true, count(1)), ("1.3", false, count(2)), ("1.3", true, count(3))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::TcpStream;
    use std::sync::Barrier;

    /// A loopback address whose port was free a moment ago.
    fn free_address() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address")
    }

    #[test]
    fn a_port_is_ours_alone_from_the_reservation_on() {
        for workers in [1, 3] {
            let address = free_address();
            let first = reserve(address, workers).expect("reserve");
            assert_eq!(reserve(address, 1).expect_err("reserved only").kind(), io::ErrorKind::AddrInUse);
            let listening = first.listen().expect("listen");
            assert_eq!(listening.len(), workers);
            assert_eq!(reserve(address, 2).expect_err("listening").kind(), io::ErrorKind::AddrInUse);
            drop(listening);
            reserve(address, 2).expect("free again");
        }
    }

    #[test]
    fn of_several_that_reserve_at_once_at_most_one_has_the_port() {
        for _ in 0..50 {
            let address = free_address();
            let start = Barrier::new(4);
            let try_it = || {
                start.wait();
                reserve(address, 2).ok()
            };
            let winners = std::thread::scope(|scope| {
                let racing: Vec<_> = (0..4).map(|_| scope.spawn(try_it)).collect();
                racing.into_iter().filter_map(|one| one.join().expect("no panic")).collect::<Vec<_>>()
            });
            assert!(winners.len() <= 1, "{winners:?}");
        }
    }

    #[test]
    fn a_fleet_on_one_machine_has_one_port_on_many_addresses() {
        let address = free_address();
        let neighbour = SocketAddr::from(([127, 0, 0, 2], address.port()));
        let _first = reserve(address, 2).expect("reserve").listen().expect("listen");
        let _second = reserve(neighbour, 2).expect("reserve").listen().expect("listen");
        let every = SocketAddr::from(([0, 0, 0, 0], address.port()));
        assert_eq!(reserve(every, 1).expect_err("all addresses").kind(), io::ErrorKind::AddrInUse);
    }

    /// Serves one connection and closes it first: that side is the one that waits.
    fn leave_time_wait(listener: &TcpListener) {
        let mut client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        listener.set_nonblocking(false).expect("blocking");
        drop(listener.accept().expect("accept"));
        assert_eq!(client.read(&mut [0]).expect("end of stream"), 0);
    }

    #[test]
    fn connections_in_time_wait_do_not_keep_a_successor_out() {
        let address = free_address();
        let listening = reserve(address, 1).expect("reserve").listen().expect("listen");
        leave_time_wait(&listening[0]);
        drop(listening);
        reserve(address, 2).expect("reserve again").listen().expect("listen again");
    }

    /// Another server is stopped and the gateway takes its place: that one did not share its port.
    #[test]
    fn connections_in_time_wait_of_another_program_do_not_keep_us_out() {
        let other = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = other.local_addr().expect("address");
        leave_time_wait(&other);
        drop(other);
        reserve(address, 3).expect("reserve").listen().expect("listen");
    }

    #[test]
    fn port_0_takes_a_free_one_for_every_worker() {
        let reserved = reserve("127.0.0.1:0".parse().expect("address"), 3).expect("reserve");
        let address = reserved.address();
        assert_ne!(address.port(), 0);
        for listener in reserved.listen().expect("listen") {
            assert_eq!(listener.local_addr().expect("address"), address);
        }
    }
}
