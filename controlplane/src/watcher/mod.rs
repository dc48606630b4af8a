//! Notices every way a file gets new contents (rename over it, truncate and write, a symlink swapped anywhere on its
//! path) and never takes a half-written one.
//!
//! The directories are watched, never the file: a rename or a Kubernetes `..data` swap silences a file watch for good.
//! What the kernel tells only wakes the watcher; what counts is the file itself, looked at twice. A slow poll is the
//! guarantee where nothing is told (network file systems, exhausted watch limits).

mod signs;

use crate::source::{Reading, Stamp, WatchedFile};
use notify::{RecursiveMode, Watcher as _};
use signs::Signs;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A file that is written in place must have been left alone this long.
const QUIET: Duration = Duration::from_millis(10);
/// The same where the kernel has told that its writer has closed it: that of a shell opens it again, if at all, at once.
const QUIET_AFTER_CLOSE: Duration = Duration::from_millis(2);
/// A busy directory does not put off the look at our file for longer.
const MAX_DEBOUNCE: Duration = Duration::from_millis(50);
const POLL: Duration = Duration::from_secs(2);
/// A writer that has the file open and has written nothing for this long is taken to be done; elsewhere than on Linux
/// nobody tells that a file was closed.
const OPEN_WRITER_PATIENCE: Duration =
    if cfg!(target_os = "linux") { Duration::from_secs(10) } else { Duration::ZERO };

/// What the watcher has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Observation {
    Read(Reading),
    Unreadable(String),
}

/// Ends the watcher when dropped.
#[derive(Debug)]
pub(crate) struct WatcherHandle {
    wake: mpsc::SyncSender<Wake>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    Touched,
    /// Tell what is there even if it is not new.
    Reread,
}

impl WatcherHandle {
    /// Tells the contents again, whether or not they changed.
    pub(crate) fn reread(&self) {
        // a full channel wakes the watcher anyway, and dropping it is what ends the process
        let _ = self.wake.try_send(Wake::Reread);
    }
}

impl Drop for WatcherHandle {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.wake.try_send(Wake::Touched);
    }
}

/// Watches on a thread of its own; `known` is what has been read already.
pub(crate) fn spawn(
    file: WatchedFile,
    known: &Reading,
    observations: tokio::sync::mpsc::Sender<Observation>,
) -> std::io::Result<WatcherHandle> {
    let (wake, woken) = mpsc::sync_channel(64);
    let signs = Arc::new(Signs::default());
    let notifier = notifier(wake.clone(), Arc::clone(&signs));
    let stop = Arc::new(AtomicBool::new(false));
    let mut watcher = Watcher {
        file,
        stop: Arc::clone(&stop),
        signs,
        notifier,
        watched: BTreeSet::new(),
        woken,
        observations,
        seen: Some(known.stamp.clone()),
        told_unreadable: None,
        unsettled: None,
    };
    watcher.watch_directories();
    // between the first reading and the first watch the file may have changed: the poll would notice, this is sooner
    let _ = wake.try_send(Wake::Touched);
    std::thread::Builder::new().name("config-watcher".to_owned()).spawn(move || watcher.run())?;
    Ok(WatcherHandle { wake, stop })
}

fn notifier(wake: mpsc::SyncSender<Wake>, signs: Arc<Signs>) -> Option<notify::RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        if signs.note(event) {
            // a full channel already holds what wakes the watcher
            let _ = wake.try_send(Wake::Touched);
        }
    };
    notify::recommended_watcher(on_event)
        .inspect_err(
            |error| tracing::warn!(%error, "no file notifications, the config is polled every 2 seconds"),
        )
        .ok()
}

struct Watcher {
    file: WatchedFile,
    stop: Arc<AtomicBool>,
    signs: Arc<Signs>,
    notifier: Option<notify::RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    woken: mpsc::Receiver<Wake>,
    observations: tokio::sync::mpsc::Sender<Observation>,
    /// The state of the file that was read last; none when it could not be.
    seen: Option<Stamp>,
    told_unreadable: Option<String>,
    /// A state that differs from it and may still change, and since when it has been so.
    unsettled: Option<(Option<Stamp>, Instant)>,
}

impl Watcher {
    fn run(mut self) {
        let mut next_poll = Instant::now() + POLL;
        loop {
            match self.woken.recv_timeout(next_poll.saturating_duration_since(Instant::now())) {
                Ok(Wake::Touched) => self.settle(),
                Ok(Wake::Reread) => self.read(),
                Err(_) => {
                    self.poll();
                    next_poll = Instant::now() + POLL;
                }
            }
            if self.stop.load(Ordering::Relaxed) || self.observations.is_closed() {
                return;
            }
            self.watch_directories();
        }
    }

    /// Waits until the file is left alone, then reads it; a writer that still has it open is waited for. A file that
    /// was renamed into its place is whole, and read at once.
    fn settle(&mut self) {
        loop {
            let Ok(before) = self.file.stamp() else { return };
            if !self.signs.take_renamed() {
                self.wait_for_quiet();
            }
            if self.signs.writer_is_open() || self.stop.load(Ordering::Relaxed) {
                return;
            }
            match self.file.stamp() {
                // a truncated file whose text is still to come; if it stays empty, the poll takes it
                Ok(after) if after.is_empty() => return,
                Ok(after) if after == before => {
                    if self.seen.as_ref() != Some(&after) {
                        self.read();
                    }
                    return;
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn wait_for_quiet(&mut self) {
        let end = Instant::now() + MAX_DEBOUNCE;
        while Instant::now() < end {
            let quiet = if self.signs.writer_has_closed() { QUIET_AFTER_CLOSE } else { QUIET };
            match self.woken.recv_timeout(quiet) {
                Ok(Wake::Touched) => {}
                Ok(Wake::Reread) => return self.read(),
                Err(_) => return,
            }
        }
    }

    /// Takes a change that nobody told of, or whose writer never closes the file, once it has lasted.
    fn poll(&mut self) {
        let stamp = self.file.stamp().ok();
        if stamp.is_some() && stamp == self.seen {
            self.unsettled = None;
            return;
        }
        let patience = if self.signs.writer_is_open() { OPEN_WRITER_PATIENCE } else { Duration::ZERO };
        match &self.unsettled {
            Some((last, since)) if *last == stamp => {
                if since.elapsed() >= patience {
                    self.read();
                }
            }
            _ => self.unsettled = Some((stamp, Instant::now())),
        }
    }

    fn read(&mut self) {
        let observation = match self.file.read() {
            // a write during the read leaves another stamp: what was read may be a mixture
            Ok(reading) if self.file.stamp().ok().as_ref() != Some(&reading.stamp) => return,
            Ok(reading) => {
                self.seen = Some(reading.stamp.clone());
                self.told_unreadable = None;
                self.unsettled = None;
                Observation::Read(reading)
            }
            Err(error) => {
                let error = error.to_string();
                self.seen = None;
                if self.told_unreadable.as_ref() == Some(&error) {
                    return;
                }
                self.told_unreadable = Some(error.clone());
                Observation::Unreadable(error)
            }
        };
        // a closed channel is noticed by the loop
        let _ = self.observations.blocking_send(observation);
    }

    /// The directory of the path as given, for renames and `..data` swaps, and that of the file behind its symlinks.
    fn watch_directories(&mut self) {
        let target = self.file.target().ok();
        let paths: Vec<PathBuf> = [Some(self.file.path().to_owned()), target].into_iter().flatten().collect();
        let wanted: BTreeSet<PathBuf> = paths.iter().map(|path| directory(path)).collect();
        self.signs.name(&self.file, paths);
        let Some(notifier) = &mut self.notifier else { return };
        for gone in self.watched.difference(&wanted) {
            // a directory that no longer exists is no longer watched either
            let _ = notifier.unwatch(gone);
        }
        self.watched.retain(|dir| wanted.contains(dir));
        for dir in wanted {
            if self.watched.contains(&dir) {
                continue;
            }
            match notifier.watch(&dir, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(dir);
                }
                Err(error) => {
                    tracing::warn!(dir = %dir.display(), %error, "directory is polled, not watched")
                }
            }
        }
    }
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests;
