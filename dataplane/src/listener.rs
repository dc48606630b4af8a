//! Listening sockets: reserved when a snapshot is prepared, listening once it is committed.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
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
    /// The bound address, with the real port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts listening; the result has one listener per worker.
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
