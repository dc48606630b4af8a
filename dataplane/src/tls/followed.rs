//! Files that are read anew when they change; while the new ones are no good, what was good before is kept.

use super::stamp::Stamps;
use parking_lot::Mutex;
use policy::config::leaf::FilePath;

/// What is known of some files.
#[derive(Debug)]
pub(crate) struct Followed(Mutex<Looked>);

/// What was found when the files were last looked at.
#[derive(Debug)]
struct Looked {
    stamps: Stamps,
    /// They may not be those of what was read.
    doubtful: bool,
    /// Why what they hold now is not used.
    fault: Option<String>,
}

/// What looking at the files has led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reloaded {
    /// They are those that were seen before, or as good or bad as those.
    Unchanged,
    /// They are used from now on.
    Used,
    /// They cannot be, for this; what was used before still is.
    Refused(String),
}

impl Looked {
    /// Before their content is read: what changes in between is seen the next time.
    fn new(stamps: Stamps) -> Self {
        Self { doubtful: stamps.are_fresh(), stamps, fault: None }
    }
}

impl Followed {
    /// As they are now, when whoever follows them is about to read them.
    pub(crate) fn of<'a>(files: impl Iterator<Item = &'a FilePath>) -> Self {
        Self(Mutex::new(Looked::new(Stamps::of(files))))
    }

    /// Why the files, as they are now, are not used.
    pub(crate) fn fault(&self) -> Option<String> {
        self.0.lock().fault.clone()
    }

    /// Reads them if they are others than before. `read` tells whether what they hold is other than what is used, or what
    /// is wrong with it.
    pub(crate) fn reload<'a>(
        &self,
        files: impl Iterator<Item = &'a FilePath>,
        read: impl FnOnce() -> Result<bool, String>,
    ) -> Reloaded {
        let stamps = Stamps::of(files);
        {
            let looked = self.0.lock();
            if !looked.doubtful && looked.stamps == stamps {
                return Reloaded::Unchanged;
            }
        }
        self.read_with(stamps, read)
    }

    /// The same, whether they have changed or not.
    pub(crate) fn read<'a>(
        &self,
        files: impl Iterator<Item = &'a FilePath>,
        read: impl FnOnce() -> Result<bool, String>,
    ) -> Reloaded {
        self.read_with(Stamps::of(files), read)
    }

    fn read_with(&self, stamps: Stamps, read: impl FnOnce() -> Result<bool, String>) -> Reloaded {
        let looked = Looked::new(stamps);
        let read = read();
        let fault = read.as_ref().err().cloned();
        let before = std::mem::replace(&mut *self.0.lock(), Looked { fault: fault.clone(), ..looked });
        let is_news = before.fault != fault;
        match read {
            Ok(changed) if changed || is_news => Reloaded::Used,
            Err(why) if is_news => Reloaded::Refused(why),
            Ok(_) | Err(_) => Reloaded::Unchanged,
        }
    }
}
