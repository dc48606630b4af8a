//! The watched file: read whole or not at all, replaced whole or not at all.

use crate::candidate::MAX_SOURCE_BYTES;
use crate::digest::sha256_hex;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that says what the fleet runs.
#[derive(Debug, Clone)]
pub(crate) struct WatchedFile {
    path: PathBuf,
}

/// What the file held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) text: Arc<str>,
    pub(crate) sha256: String,
    pub(crate) stamp: Stamp,
}

/// What tells one state of the file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    #[cfg(unix)]
    inode: (u64, u64),
    /// Moves with every write, even when the modification time is set back.
    #[cfg(unix)]
    changed: (i64, i64),
    modified: Option<std::time::SystemTime>,
    len: u64,
}

impl WatchedFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// As the operator named it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The name for a person and for diagnostics.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The file itself, behind every symlink.
    pub(crate) fn target(&self) -> io::Result<PathBuf> {
        fs::canonicalize(&self.path)
    }

    pub(crate) fn stamp(&self) -> io::Result<Stamp> {
        fs::metadata(&self.path).map(|metadata| Stamp::of(&metadata))
    }

    /// Reads it all.
    pub(crate) fn read(&self) -> io::Result<Reading> {
        let file = File::open(&self.path)?;
        let stamp = Stamp::of(&file.metadata()?);
        let mut text = String::new();
        file.take(MAX_SOURCE_BYTES as u64 + 1).read_to_string(&mut text)?;
        if text.len() > MAX_SOURCE_BYTES {
            let limit = MAX_SOURCE_BYTES / (1024 * 1024);
            return Err(io::Error::other(format!("larger than {limit} MiB")));
        }
        let sha256 = sha256_hex(text.as_bytes());
        Ok(Reading { text: text.into(), sha256, stamp })
    }

    /// Writes the text beside the file and to the disk, so that nothing but a rename is left to do once the fleet has
    /// committed. What makes the file read-only for us makes this fail.
    pub(crate) fn stage(&self, text: &str) -> io::Result<Staged> {
        let target = self.target()?;
        let metadata = fs::metadata(&target)?;
        let over = Stamp::of(&metadata);
        if metadata.permissions().readonly() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is marked read-only"));
        }
        let dir = target.parent().unwrap_or(Path::new("/"));
        let mut staged = tempfile::Builder::new().prefix(".gateway-").suffix(".tmp").tempfile_in(dir)?;
        staged.write_all(text.as_bytes())?;
        staged.as_file().set_permissions(metadata.permissions())?;
        keep_owner(staged.path(), &metadata);
        staged.as_file().sync_all()?;
        Ok(Staged { staged, target, over, file: self.clone() })
    }
}

/// A new text for the file, not yet in its place; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Staged {
    staged: tempfile::NamedTempFile,
    target: PathBuf,
    file: WatchedFile,
    /// What it is meant to replace.
    over: Stamp,
}

/// What became of a staged text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    InPlace,
    /// Somebody has changed the file since it was staged; that edit is not overwritten.
    Overtaken,
}

impl Staged {
    /// Puts it in the file's place.
    pub(crate) fn publish(self) -> io::Result<Published> {
        if self.file.stamp()? != self.over {
            return Ok(Published::Overtaken);
        }
        self.staged.persist(&self.target)?;
        let dir = self.target.parent().unwrap_or(Path::new("/"));
        File::open(dir)?.sync_all()?;
        Ok(Published::InPlace)
    }
}

impl Stamp {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;
        Self {
            #[cfg(unix)]
            inode: (metadata.dev(), metadata.ino()),
            #[cfg(unix)]
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            modified: metadata.modified().ok(),
            len: metadata.len(),
        }
    }
}

/// Run as another user than the file's, we may not be allowed to: the mode alone is kept then.
fn keep_owner(path: &Path, metadata: &Metadata) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if let Err(error) = std::os::unix::fs::chown(path, Some(metadata.uid()), Some(metadata.gid())) {
            tracing::debug!(%error, "the config file changes its owner");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, WatchedFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway.yaml");
        fs::write(&path, text).unwrap();
        (dir, WatchedFile::new(path))
    }

    #[test]
    fn a_published_text_replaces_the_file_and_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt as _;
        let (dir, file) = file("old");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
        let staged = file.stage("new").unwrap();
        assert_eq!(&*file.read().unwrap().text, "old");
        assert_eq!(staged.publish().unwrap(), Published::InPlace);
        assert_eq!(&*file.read().unwrap().text, "new");
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_symlink_stays_one_and_its_target_is_replaced() {
        let (dir, file) = file("old");
        let link = dir.path().join("link.yaml");
        std::os::unix::fs::symlink(file.path(), &link).unwrap();
        WatchedFile::new(link.clone()).stage("new").unwrap().publish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(&*file.read().unwrap().text, "new");
    }

    #[test]
    fn a_dropped_text_leaves_nothing_behind() {
        let (dir, file) = file("old");
        drop(file.stage("new").unwrap());
        assert_eq!(&*file.read().unwrap().text, "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_edit_made_meanwhile_is_not_overwritten() {
        let (_dir, file) = file("old");
        let staged = file.stage("new").unwrap();
        fs::write(file.path(), "edited").unwrap();
        assert_eq!(staged.publish().unwrap(), Published::Overtaken);
        assert_eq!(&*file.read().unwrap().text, "edited");
    }

    #[test]
    fn a_read_only_file_is_not_replaced() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, file) = file("old");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o444)).unwrap();
        let refusal = file.stage("new").unwrap_err();
        assert!(refusal.to_string().contains("read-only"), "{refusal}");
    }

    #[test]
    fn every_write_changes_the_stamp_and_a_second_look_does_not() {
        let (_dir, file) = file("old");
        let before = file.stamp().unwrap();
        assert_eq!(file.stamp().unwrap(), before);
        assert_eq!(file.read().unwrap().stamp, before);
        file.stage("new").unwrap().publish().unwrap();
        assert_ne!(file.stamp().unwrap(), before, "same length, another file");
    }

    #[test]
    fn what_is_not_text_is_an_error() {
        let (_dir, file) = file("");
        fs::write(file.path(), [0xff, 0xfe]).unwrap();
        assert_eq!(file.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
