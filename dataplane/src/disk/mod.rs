//! The last committed snapshot and the standing orders on disk, so that a restart serves by them without any control
//! plane.
//!
//! One file each, replaced as a whole: a reader sees the old one or the new one, never a mixture, whatever dies when.

use proto::v1::{Orders, Snapshot};
use sha2::{Digest as _, Sha256};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use tempfile::TempPath;

const STAGED: &str = ".staged";
const ASIDE: &str = "corrupt";
const LOCK: &str = "lock";
const CHECKSUM_LEN: usize = 32;

/// One kind of file.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    /// What the file is and its format; then the sha256 of the rest, then the rest: an encoded message.
    magic: &'static [u8],
}

const SNAPSHOT: Kind = Kind { name: "snapshot", magic: b"mini-gateway snapshot 1\n" };
const ORDERS: Kind = Kind { name: "orders", magic: b"mini-gateway orders 1\n" };

/// The state directory of one data plane, locked while this lives and has not let go.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
    lock: File,
}

/// Why there is nothing to start from.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read now; it may be later.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written; it has been renamed to `aside`.
    #[error("{} is corrupt ({reason}), set aside as {}", path.display(), aside.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// Where it is now.
        aside: PathBuf,
    },
}

impl Disk {
    /// Makes the directory where it is missing, for this user alone, and takes it for this process.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join(LOCK))?;
        let disk = Self { dir, lock };
        disk.take()?;
        disk.sweep()?;
        Ok(disk)
    }

    /// Takes the directory for this process, again after [`Disk::let_go`].
    pub fn take(&self) -> io::Result<()> {
        match self.lock.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another data plane uses this state directory",
            )),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// Leaves the directory to another process; nothing may be written from here on.
    pub fn let_go(&self) -> io::Result<()> {
        self.lock.unlock()
    }

    /// Where the snapshot is kept.
    pub fn path(&self) -> PathBuf {
        self.dir.join(SNAPSHOT.name)
    }

    /// The snapshot committed last, if there was one.
    pub fn load(&self) -> Result<Option<Snapshot>, LoadError> {
        self.read(&SNAPSHOT)
    }

    /// The standing orders that were in force last, if there were any.
    pub fn load_orders(&self) -> Result<Option<Orders>, LoadError> {
        self.read(&ORDERS)
    }

    fn read<M: prost::Message + Default>(&self, kind: &Kind) -> Result<Option<M>, LoadError> {
        let path = self.dir.join(kind.name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LoadError::Unreadable { path, source }),
        };
        decode(kind, &bytes).map(Some).map_err(|reason| set_aside(path, reason))
    }

    /// Writes a snapshot beside the current one; [`Staged::commit`] puts it in its place, dropping it removes it.
    ///
    /// The slow half of storing, so that nothing waits for it between a commit and the swap.
    pub fn stage(&self, snapshot: &Snapshot) -> io::Result<Staged> {
        self.write(&SNAPSHOT, snapshot)
    }

    /// Replaces the standing orders; when this returns they survive a power cut.
    pub fn store_orders(&self, orders: &Orders) -> io::Result<()> {
        self.write(&ORDERS, orders)?.commit()
    }

    fn write(&self, kind: &Kind, message: &impl prost::Message) -> io::Result<Staged> {
        // tempfile creates it 0600
        let mut file = tempfile::Builder::new().prefix(kind.name).suffix(STAGED).tempfile_in(&self.dir)?;
        file.write_all(&encode(kind, message))?;
        file.as_file().sync_all()?;
        Ok(Staged { file: file.into_temp_path(), path: self.dir.join(kind.name), dir: self.dir.clone() })
    }

    /// What a process that died between staging and committing has left behind.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.ends_with(STAGED)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// A snapshot that is on disk and not yet the one to start from.
#[derive(Debug)]
pub struct Staged {
    file: TempPath,
    path: PathBuf,
    dir: PathBuf,
}

impl Staged {
    /// Makes it the one to start from; when this returns it survives a power cut.
    pub fn commit(self) -> io::Result<()> {
        self.file.persist(self.path).map_err(|e| e.error)?;
        File::open(&self.dir)?.sync_all()
    }
}

fn set_aside(path: PathBuf, reason: String) -> LoadError {
    let aside = path.with_extension(ASIDE);
    match fs::rename(&path, &aside) {
        Ok(()) => LoadError::Corrupt { path, reason, aside },
        Err(source) => LoadError::Unreadable { path, source },
    }
}

fn encode(kind: &Kind, message: &impl prost::Message) -> Vec<u8> {
    let payload = message.encode_to_vec();
    [kind.magic, &Sha256::digest(&payload), &payload].concat()
}

fn decode<M: prost::Message + Default>(kind: &Kind, file: &[u8]) -> Result<M, String> {
    let rest = file.strip_prefix(kind.magic).ok_or("it is not of this format")?;
    let (checksum, payload) = rest.split_at_checked(CHECKSUM_LEN).ok_or("it is cut off")?;
    if checksum != Sha256::digest(payload).as_slice() {
        return Err("its checksum does not match".to_owned());
    }
    M::decode(payload).map_err(|e| format!("it does not decode: {e}"))
}

#[cfg(test)]
mod tests;
