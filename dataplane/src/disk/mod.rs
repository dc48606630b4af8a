//! The last committed snapshot on disk, so that a restart serves it without any control plane.
//!
//! One file, replaced as a whole: a reader sees the old one or the new one, never a mixture, whatever dies when.

use prost::Message as _;
use proto::v1::Snapshot;
use sha2::{Digest as _, Sha256};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempPath;

const FILE: &str = "snapshot";
const ASIDE: &str = "snapshot.corrupt";
const STAGED: &str = ".staged";
const LOCK: &str = "lock";

/// What the file is and its format; then the sha256 of the rest, then the rest: an encoded [`Snapshot`].
const MAGIC: &[u8] = b"mini-gateway snapshot 1\n";
const CHECKSUM_LEN: usize = 32;

/// The state directory of one data plane, locked while this lives.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
    _lock: File,
}

/// Why there is no snapshot to start from.
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
    #[error("the snapshot on disk is corrupt ({reason}), set aside as {}", aside.display())]
    Corrupt {
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
        match lock.try_lock() {
            Ok(()) => {
                let disk = Self { dir, _lock: lock };
                disk.sweep()?;
                Ok(disk)
            }
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another data plane uses this state directory",
            )),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// Where the snapshot is kept.
    pub fn path(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// The snapshot committed last, if there was one.
    pub fn load(&self) -> Result<Option<Snapshot>, LoadError> {
        let path = self.path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LoadError::Unreadable { path, source }),
        };
        decode(&bytes).map(Some).map_err(|reason| self.set_aside(&path, reason))
    }

    fn set_aside(&self, path: &Path, reason: String) -> LoadError {
        let aside = self.dir.join(ASIDE);
        match fs::rename(path, &aside) {
            Ok(()) => LoadError::Corrupt { reason, aside },
            Err(source) => LoadError::Unreadable { path: path.to_owned(), source },
        }
    }

    /// Writes a snapshot beside the current one; [`Staged::commit`] puts it in its place, dropping it removes it.
    ///
    /// The slow half of storing, so that nothing waits for it between a commit and the swap.
    pub fn stage(&self, snapshot: &Snapshot) -> io::Result<Staged> {
        // tempfile creates it 0600
        let mut file = tempfile::Builder::new().prefix(FILE).suffix(STAGED).tempfile_in(&self.dir)?;
        file.write_all(&encode(snapshot))?;
        file.as_file().sync_all()?;
        Ok(Staged { file: file.into_temp_path(), dir: self.dir.clone() })
    }

    /// What a process that died between staging and committing has left behind.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(FILE) && name.ends_with(STAGED))
            {
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
    dir: PathBuf,
}

impl Staged {
    /// Makes it the one to start from; when this returns it survives a power cut.
    pub fn commit(self) -> io::Result<()> {
        self.file.persist(self.dir.join(FILE)).map_err(|e| e.error)?;
        File::open(&self.dir)?.sync_all()
    }
}

fn encode(snapshot: &Snapshot) -> Vec<u8> {
    let payload = snapshot.encode_to_vec();
    [MAGIC, &Sha256::digest(&payload), &payload].concat()
}

fn decode(file: &[u8]) -> Result<Snapshot, String> {
    let rest = file.strip_prefix(MAGIC).ok_or("it is not a snapshot of this format")?;
    let (checksum, payload) = rest.split_at_checked(CHECKSUM_LEN).ok_or("it is cut off")?;
    if checksum != Sha256::digest(payload).as_slice() {
        return Err("its checksum does not match".to_owned());
    }
    Snapshot::decode(payload).map_err(|e| format!("it does not decode: {e}"))
}

#[cfg(test)]
mod tests;
