//! Listening sockets: reserved when a snapshot is prepared, listening once it is committed.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};

/// Connections the kernel completes and keeps for us until we accept them.
const BACKLOG: i32 = 4096;

/// One socket per worker, all bound to one address, none listening yet: the port is ours, nobody is served on it.
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
/// What `bind` says: the address is in use, not ours, or not permitted.
pub fn reserve(address: SocketAddr, workers: usize) -> io::Result<Reserved> {
    let first = socket(address)?;
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let bound = first.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        let other = socket(bound)?;
        other.set_reuse_port(true)?;
        other.bind(&bound.into())?;
        sockets.push(other);
    }
    Ok(Reserved { address: bound, sockets })
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Reserved {
    /// The bound address, with the real port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts listening; the result has one listener per worker.
    pub(crate) fn listen(self) -> io::Result<Vec<TcpListener>> {
        self.sockets
            .into_iter()
            .map(|socket| {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_listens_elsewhere_is_refused_even_when_it_would_be_shared() {
        let loopback = "127.0.0.1:0".parse().expect("address");
        let first = reserve(loopback, 3).expect("reserve");
        let address = first.address();
        assert_eq!(reserve(address, 1).expect_err("reserved only").kind(), io::ErrorKind::AddrInUse);
        let listening = first.listen().expect("listen");
        assert_eq!(listening.len(), 3);
        assert_eq!(reserve(address, 2).expect_err("listening").kind(), io::ErrorKind::AddrInUse);
        drop(listening);
        reserve(address, 2).expect("free again");
    }
}
