//! What lines are written to: a file that may be moved away, or one of the standard outputs.

use policy::filter::logging::LogOutput;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Less what the umask of the process takes away.
const MODE: u32 = 0o640;

/// An open output.
#[derive(Debug)]
pub(super) enum LogFile {
    /// Written past std's buffer, which would write each line by itself.
    Stdout(File),
    /// By std, so that no line of the data plane's own log gets into the middle.
    Stderr,
    File {
        file: File,
        /// By which it is known again, whatever it is called.
        identity: Identity,
    },
}

/// Device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

impl LogFile {
    /// A file is created where there is none, and written at its end.
    pub(super) fn open(output: &LogOutput) -> io::Result<Self> {
        match output {
            LogOutput::Stdout => {
                let stdout = io::stdout().as_fd().try_clone_to_owned()?;
                Ok(Self::Stdout(stdout.into()))
            }
            LogOutput::Stderr => Ok(Self::Stderr),
            LogOutput::File(path) => Self::open_path(path),
        }
    }

    fn open_path(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(MODE)
            // opening a FIFO that nobody reads would wait for a reader
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(path)?;
        let identity = Identity::of(&file.metadata()?);
        Ok(Self::File { file, identity })
    }

    /// Whether the path now leads to another file, or to none.
    pub(super) fn was_moved(&self, output: &LogOutput) -> bool {
        match (self, output) {
            (Self::File { identity, .. }, LogOutput::File(path)) => fs::metadata(path).map_or_else(
                |error| error.kind() == io::ErrorKind::NotFound,
                |found| Identity::of(&found) != *identity,
            ),
            _ => false,
        }
    }

    /// Writes all of it; `bytes` is what is left, which is not empty after an error.
    pub(super) fn write(&mut self, bytes: &mut &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(file) | Self::File { file, .. } => {
                let mut to = &*file;
                write(bytes, |some| to.write(some), || until_writable(file.as_fd()))
            }
            Self::Stderr => {
                let stderr = &mut io::stderr().lock();
                write(bytes, |some| stderr.write(some), || until_writable(io::stderr().as_fd()))
            }
        }
    }
}

fn write(
    bytes: &mut &[u8],
    mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    wait: impl Fn() -> io::Result<()>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => *bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait()?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// For pipes and terminals that somebody has set to be asked and not to be waited for.
fn until_writable(output: BorrowedFd<'_>) -> io::Result<()> {
    match poll(&mut [PollFd::new(&output, PollFlags::OUT)], None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
