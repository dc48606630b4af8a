//! What the kernel's events say about our file: that something happened, and whether a writer still has it open.

use crate::source::WatchedFile;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use parking_lot::Mutex;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[derive(Debug, Default)]
pub(super) struct Signs {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The file's names; an event's path is the watched directory's and the entry's.
    names: Vec<(PathBuf, OsString)>,
    last: Last,
}

/// The last thing that happened to the file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// What tells nothing of writers.
    #[default]
    Other,
    /// Something was written to it.
    Written,
    /// A writer has closed it.
    Closed,
    /// Another one was renamed into its place.
    Renamed,
}

impl Signs {
    /// Sets what the file is called: as given, and behind its symlinks.
    pub(super) fn name(&self, file: &WatchedFile, paths: Vec<PathBuf>) {
        let entry = |path: PathBuf| {
            let name = path.file_name().or(file.path().file_name())?.to_owned();
            Some((super::directory(&path), name))
        };
        self.state.lock().names = paths.into_iter().filter_map(entry).collect();
    }

    pub(super) fn writer_is_open(&self) -> bool {
        self.state.lock().last == Last::Written
    }

    pub(super) fn writer_has_closed(&self) -> bool {
        self.state.lock().last == Last::Closed
    }

    /// Whether a file was renamed into the place of ours since this was asked last, and is as it was then: it came whole.
    pub(super) fn take_renamed(&self) -> bool {
        let last = &mut self.state.lock().last;
        let renamed = *last == Last::Renamed;
        if renamed {
            *last = Last::Other;
        }
        renamed
    }

    /// Takes an event in; true if the file is worth a look.
    pub(super) fn note(&self, event: notify::Result<notify::Event>) -> bool {
        let mut state = self.state.lock();
        let Ok(event) = event else {
            state.last = Last::Other;
            return true;
        };
        if event.need_rescan() {
            // events were lost, the one of the close perhaps among them
            state.last = Last::Other;
            return true;
        }
        let is_ours = event.paths.iter().any(|path| state.is_ours(path));
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) if is_ours => state.last = Last::Written,
            EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) if is_ours => {
                state.last = Last::Renamed;
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) if is_ours => state.last = Last::Closed,
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
                if is_ours =>
            {
                state.last = Last::Other;
            }
            _ => {}
        }
        // our own reading opens and closes the file: that is no sign of a change
        !matches!(
            event.kind,
            EventKind::Access(
                AccessKind::Open(_)
                    | AccessKind::Read
                    | AccessKind::Close(AccessMode::Read)
                    | AccessKind::Any
            )
        )
    }
}

impl State {
    fn is_ours(&self, path: &Path) -> bool {
        let dir = super::directory(path);
        self.names.iter().any(|(ours, name)| *ours == dir && path.file_name() == Some(name.as_os_str()))
    }
}
