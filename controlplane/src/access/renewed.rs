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
    /// Why they are not what is in force.
    fault: Option<String>,
}

impl<T: OfFiles> Renewed<T> {
    /// # Errors
    /// The files cannot be used, with their names.
    pub(crate) fn new(files: Vec<PathBuf>) -> anyhow::Result<Self> {
        let contents = contents(&files).map_err(anyhow::Error::msg)?;
        let first = read(&files, &contents).map_err(anyhow::Error::msg)?;
        let seen = Mutex::new(Seen { contents, fault: None });
        Ok(Self { files, current: ArcSwap::from_pointee(first), seen })
    }

    /// What is in force.
    pub(crate) fn get(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Takes up what the files hold now, and says so; `what` they are.
    pub(crate) fn look(&self, what: &str) {
        let mut seen = self.seen.lock();
        let found = match contents(&self.files) {
            Ok(contents) if contents == seen.contents => return,
            Ok(contents) => {
                let found = read(&self.files, &contents);
                seen.contents = contents;
                found
            }
            Err(fault) => Err(fault),
        };
        match found {
            Ok(new) => {
                self.current.store(Arc::new(new));
                seen.fault = None;
                tracing::info!(what, files = ?self.files, "renewed files are in force");
            }
            Err(fault) if seen.fault.as_ref() != Some(&fault) => {
                tracing::error!(what, fault, "renewed files cannot be used: the last good ones are in force");
                seen.fault = Some(fault);
            }
            Err(_) => {}
        }
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
