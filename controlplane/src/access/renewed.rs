//! What files hold, read again while it is in use.

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// What is made of the content of some files.
pub(crate) trait OfFiles: Sized {
    /// # Errors
    /// In words for an operator.
    fn read(contents: &[Vec<u8>]) -> Result<Self, String>;
}

/// The last that was good.
#[derive(Debug)]
pub(crate) struct Renewed<T> {
    files: Vec<PathBuf>,
    current: ArcSwap<T>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    contents: Vec<Vec<u8>>,
    /// Why they could not be read when last looked at.
    unreadable: Option<String>,
}

impl<T: OfFiles> Renewed<T> {
    /// # Errors
    /// The files cannot be used, with their names.
    pub(crate) fn new(files: Vec<PathBuf>) -> anyhow::Result<Self> {
        let contents = contents(&files).map_err(anyhow::Error::msg)?;
        let first = read(&files, &contents).map_err(anyhow::Error::msg)?;
        let seen = Mutex::new(Seen { contents, unreadable: None });
        Ok(Self { files, current: ArcSwap::from_pointee(first), seen })
    }

    /// What is in force.
    pub(crate) fn get(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Takes up what the files hold now, and says so; `what` they are. What is wrong is said once.
    pub(crate) fn look(&self, what: &str) {
        let mut seen = self.seen.lock();
        let contents = match contents(&self.files) {
            Ok(contents) => contents,
            Err(why) => {
                if seen.unreadable.as_ref() != Some(&why) {
                    tracing::error!(what, why, "files cannot be read: what they held is in force");
                    seen.unreadable = Some(why);
                }
                return;
            }
        };
        if seen.unreadable.take().is_some() {
            tracing::info!(what, files = ?self.files, "files can be read again");
        }
        if contents == seen.contents {
            return;
        }
        match read(&self.files, &contents) {
            Ok(new) => {
                self.current.store(Arc::new(new));
                tracing::info!(what, files = ?self.files, "renewed files are in force");
            }
            Err(why) => {
                tracing::error!(what, why, "renewed files cannot be used: the last good ones are in force");
            }
        }
        seen.contents = contents;
    }
}

fn contents(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let content = |path: &PathBuf| {
        fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    };
    files.iter().map(content).collect()
}

fn read<T: OfFiles>(files: &[PathBuf], contents: &[Vec<u8>]) -> Result<T, String> {
    let names: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
    T::read(contents).map_err(|why| format!("{}: {why}", names.join(" and ")))
}
