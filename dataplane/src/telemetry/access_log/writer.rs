//! The thread of an output: writes, notices when its file was moved away, and goes on whatever fails.

use super::file::LogFile;
use super::output::{Batch, Shared};
use policy::filter::logging::LogOutput;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

/// How often it is asked whether the path still leads to the file, and whether one that could not be opened can be.
const LOOK: Duration = Duration::from_secs(1);

/// What the thread works with.
pub(super) struct Writer {
    output: LogOutput,
    file: Option<LogFile>,
    shared: Arc<Shared>,
    looked: Instant,
    /// Why there is no file.
    missing: Option<String>,
    /// The last line was written in part: what comes next must not be a part of it.
    torn: bool,
}

impl Writer {
    pub(super) fn new(output: LogOutput, file: Option<LogFile>, shared: Arc<Shared>) -> Self {
        shared.set_open(file.is_some());
        Self { output, file, shared, looked: Instant::now(), missing: None, torn: false }
    }

    pub(super) fn spawn(self, queued: Receiver<Batch>) -> io::Result<()> {
        thread::Builder::new().name("access-log".to_owned()).spawn(move || self.run(queued)).map(drop)
    }

    fn run(mut self, queued: Receiver<Batch>) {
        while let Ok(Batch { bytes, lines }) = queued.recv() {
            self.follow_path();
            let (written, error) = self.write(&bytes);
            let whole = if error.is_none() { lines } else { count_lines(&bytes[..written]) };
            self.shared.done(bytes, whole, lines.saturating_sub(whole), error);
        }
    }

    /// Opens the file that the path leads to now, if it is another one.
    fn follow_path(&mut self) {
        let asked = self.shared.shall_reopen();
        let now = Instant::now();
        let due = now.duration_since(self.looked) >= LOOK;
        match &self.file {
            None if asked || due || self.missing.is_none() => {}
            Some(file) if asked || (due && file.was_moved(&self.output)) => {}
            _ if due => return self.looked = now,
            _ => return,
        }
        self.looked = now;
        match LogFile::open(&self.output) {
            Ok(file) => {
                if self.file.replace(file).is_some() {
                    tracing::info!(output = %self.output, "the access log goes on in a new file");
                }
                (self.missing, self.torn) = (None, false);
            }
            Err(error) if self.file.is_some() => {
                tracing::error!(
                    output = %self.output, %error,
                    "the access log cannot be opened anew: it goes on in the file that was moved away"
                );
            }
            Err(error) => self.missing = Some(error.to_string()),
        }
        self.shared.set_open(self.file.is_some());
    }

    /// How much was written, and why no more.
    fn write(&mut self, bytes: &[u8]) -> (usize, Option<String>) {
        let Some(file) = &mut self.file else { return (0, self.missing.clone()) };
        let mut left = bytes;
        let outcome = match self.torn {
            true => file.write(&mut &b"\n"[..]).and_then(|()| {
                self.torn = false;
                file.write(&mut left)
            }),
            false => file.write(&mut left),
        };
        let written = bytes.len() - left.len();
        match outcome {
            Ok(()) => (written, None),
            Err(error) => {
                self.torn |= bytes[..written].last().is_some_and(|last| *last != b'\n');
                (written, Some(error.to_string()))
            }
        }
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}
