//! Listening sockets that somebody else has opened for this process: systemd, or the process whose place it takes.

use crate::listener::Reserved;
use parking_lot::Mutex;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// They are used instead of new ones where the config names their address.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    /// Kept for good: systemd listens on them as long as its unit says so, whatever the config does.
    from_systemd: Vec<TcpListener>,
    /// Until the table of the predecessor is restored.
    from_predecessor: Mutex<Vec<TcpListener>>,
}

impl Inherited {
    /// What systemd has passed to this process (sd_listen_fds(3)), if anything.
    ///
    /// # Errors
    /// One of them is no listening TCP socket.
    pub(crate) fn from_systemd() -> io::Result<Self> {
        let mut passed = listenfd::ListenFd::from_env();
        let sockets = (0..passed.len()).filter_map(|at| passed.take_tcp_listener(at).transpose());
        Ok(Self { from_systemd: sockets.collect::<io::Result<_>>()?, from_predecessor: Mutex::default() })
    }

    /// The same, and what a predecessor had.
    pub(crate) fn and_of_predecessor(mut self, sockets: Vec<TcpListener>) -> Self {
        *self.from_predecessor.get_mut() = sockets;
        self
    }

    /// All sockets of an address; none when nobody has opened it for us.
    pub(crate) fn reserve(&self, address: SocketAddr, workers: usize) -> io::Result<Option<Reserved>> {
        let of_predecessor = self.from_predecessor.lock();
        let sockets = at(address, &of_predecessor)?;
        let sockets = if sockets.is_empty() { at(address, &self.from_systemd)? } else { sockets };
        if sockets.is_empty() { Ok(None) } else { Reserved::adopt(address, sockets, workers).map(Some) }
    }

    /// The socket of an address, for something that is no listener of the config.
    pub(crate) fn single(&self, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        Ok(at(address, &self.from_systemd)?.pop())
    }

    /// Closes what the predecessor had and nobody has asked for.
    pub(crate) fn forget_predecessor(&self) {
        self.from_predecessor.lock().clear();
    }

    /// Of systemd's, for the log.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.from_systemd.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }
}

fn at(address: SocketAddr, sockets: &[TcpListener]) -> io::Result<Vec<TcpListener>> {
    let here = sockets.iter().filter(|socket| socket.local_addr().is_ok_and(|here| here == address));
    here.map(TcpListener::try_clone).collect()
}
