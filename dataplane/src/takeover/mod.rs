//! A new process takes the place of an old one on the same host, and no client notices: the listening sockets change
//! hands by a Unix socket in the state directory, with them all connections that are still in their queues.
//!
//! The old process has a [`Door`]. The new one knocks, and the old one stops obeying the control plane and unlocks the
//! state directory: from now on nothing it serves changes. It hands its sockets over; both accept on them until the new
//! one serves the same version and says so. Then the old one drains. A new process that dies before that costs
//! nothing: the old one goes on as if nobody had knocked.
//!
//! What is in memory is not handed over: rate limits begin full, breakers closed, pools empty.

mod messages;

use messages::{Equipment, receive, send};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::spawn_blocking;

const NAME: &str = "takeover.sock";
/// What the new process says first: another format would have another number.
const GREETING: &[u8] = b"mini-gateway takeover 1\n";
const READY: u8 = b'R';
/// How long one side waits for a word of the other, which has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a new process may take until it serves.
const START: Duration = Duration::from_secs(60);

/// Where a new process knocks; there as long as this lives.
#[derive(Debug)]
pub(crate) struct Door {
    listener: UnixListener,
}

/// A new process that has knocked.
#[derive(Debug)]
pub(crate) struct Successor(UnixStream);

/// An old process that still serves.
#[derive(Debug)]
pub(crate) struct Predecessor {
    stream: UnixStream,
    /// What it serves; 0 for nothing.
    pub(crate) version: u64,
}

impl Door {
    /// In the state directory, whose lock the caller holds: what stands there is a dead process's. Within a runtime.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let path = path(state_dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        // whoever may connect may serve in our place
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener })
    }

    /// The next process that wants to take over.
    pub(crate) async fn knock(&self) -> Successor {
        loop {
            let knocked = match self.listener.accept().await {
                Ok((stream, _)) => stream.into_std(),
                Err(error) => Err(error),
            };
            let greeted = match knocked {
                Ok(stream) => {
                    spawn_blocking(|| greeted(stream)).await.unwrap_or_else(|died| Err(died.into()))
                }
                Err(error) => Err(error),
            };
            match greeted {
                Ok(stream) => return Successor(stream),
                Err(error) => {
                    tracing::warn!(%error, "somebody knocked who cannot take over");
                    // out of descriptors, perhaps: accepting again at once would only burn the core
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

fn greeted(mut stream: UnixStream) -> io::Result<UnixStream> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting)?;
    if greeting == GREETING { Ok(stream) } else { Err(io::Error::other("it speaks another protocol")) }
}

impl Successor {
    /// Hands it what it needs and waits until it serves.
    ///
    /// # Errors
    /// It is gone, or does not serve in time: then it shall never do.
    pub(crate) async fn equip(
        self,
        version: u64,
        sockets: Vec<TcpListener>,
        admin: TcpListener,
    ) -> io::Result<()> {
        let Self(mut stream) = self;
        let equipped = spawn_blocking(move || {
            send(&stream, version, &Equipment { sockets, admin })?;
            stream.set_read_timeout(Some(START))?;
            let mut word = [0];
            stream.read_exact(&mut word)?;
            if word == [READY] { Ok(()) } else { Err(io::Error::other("it said something else than that")) }
        });
        equipped.await.unwrap_or_else(|died| Err(died.into()))
    }
}

impl Predecessor {
    /// Knocks at the door of the process that has the state directory; `None` when there is none.
    pub(crate) fn find(state_dir: &Path) -> io::Result<Option<(Self, Equipment)>> {
        let mut stream = match UnixStream::connect(path(state_dir)) {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(GREETING)?;
        let (version, equipment) = receive(&stream)?;
        Ok(Some((Self { stream, version }, equipment)))
    }

    /// Tells it that we serve: it drains.
    pub(crate) fn relieve(mut self) -> io::Result<()> {
        self.stream.write_all(&[READY])
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(NAME)
}

#[cfg(test)]
mod tests;
