//! Whether files are still those that were read.

use policy::config::leaf::FilePath;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Which files stand at some paths; none where there is none.
///
/// A path is followed to its end, so what Kubernetes does, a link that is swapped to another folder, is seen. The time of
/// change cannot be set by anybody, unlike that of modification.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<Stamp>>);

/// The clock of a file system goes by ticks of some milliseconds.
const TICK_SECONDS: i64 = 1;

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamps {
    pub(super) fn of<'a>(files: impl Iterator<Item = &'a FilePath>) -> Self {
        let stamp = |path: &'a FilePath| {
            let file = fs::metadata(path.as_path()).ok()?;
            let changed = (file.ctime(), file.ctime_nsec());
            Some(Stamp { device: file.dev(), inode: file.ino(), size: file.size(), changed })
        };
        Self(files.map(stamp).collect())
    }

    /// Whether a file was changed so lately that it may change once more and keep its stamp.
    pub(super) fn are_fresh(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.0.iter().flatten().any(|stamp| now - stamp.changed.0 <= TICK_SECONDS)
    }
}
