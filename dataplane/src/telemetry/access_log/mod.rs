//! The access log: every exchange that is to have a line gets one, and no request waits for the disk that it goes to.
//!
//! A worker makes lines in a buffer of its own for each output, and hands it over when it is full or 50 ms old. An output
//! is a thread that writes what it is handed. What an output does not take in time is dropped and counted, unless requests
//! shall wait for it: those wait before they are begun, and hold up nothing but themselves.

mod file;
mod output;
mod worker;
mod writer;

pub(crate) use output::Output;
pub(crate) use worker::{Sink, WorkerLog};

use file::LogFile;
use output::Shared;
use parking_lot::Mutex;
use policy::diagnostic::{Code, Diagnostic};
use policy::filter::logging::LogOutput;
use policy::table::{LogDestination, RouteTable};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a worker, and then an output, may take over the last lines.
pub(crate) const LAST_LINES: Duration = Duration::from_secs(5);
/// How often it is looked whether lines are lost.
const LOOK: Duration = Duration::from_secs(1);

/// All outputs of the process.
#[derive(Debug, Default)]
pub(crate) struct AccessLog {
    known: Mutex<HashMap<LogOutput, Known>>,
    /// Those of the table that serves.
    current: Mutex<Box<[Arc<Output>]>>,
}

/// An output that lives, or has lived.
#[derive(Debug)]
struct Known {
    output: Weak<Output>,
    shared: Arc<Shared>,
}

/// What became of an output's lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineCounts {
    pub(crate) output: String,
    pub(crate) written: u64,
    pub(crate) dropped: u64,
}

impl AccessLog {
    /// Opens what a table will write to and what is not open yet; it is closed again if the result is dropped.
    ///
    /// # Errors
    /// A diagnostic for each file that cannot be written.
    pub(crate) fn prepare(&self, table: &RouteTable) -> Result<Vec<Arc<Output>>, Vec<Diagnostic>> {
        let mut outputs = Vec::with_capacity(table.log_outputs.len());
        let mut diagnostics = Vec::new();
        for destination in &table.log_outputs {
            match self.open(&destination.output) {
                Ok(output) => outputs.push(output),
                Err(error) => diagnostics.push(cannot_write(destination, &error)),
            }
        }
        if diagnostics.is_empty() { Ok(outputs) } else { Err(diagnostics) }
    }

    fn open(&self, output: &LogOutput) -> io::Result<Arc<Output>> {
        if let Some(known) = self.living(output).filter(|known| known.is_open()) {
            return Ok(known);
        }
        let file = LogFile::open(output)?;
        Ok(match self.living(output) {
            // its thread finds the file as soon as it has a line for it
            Some(known) => known,
            None => self.add(output, Some(file)),
        })
    }

    fn living(&self, output: &LogOutput) -> Option<Arc<Output>> {
        self.known.lock().get(output)?.output.upgrade()
    }

    fn add(&self, output: &LogOutput, file: Option<LogFile>) -> Arc<Output> {
        let mut known = self.known.lock();
        // what was counted before goes on
        known.retain(|name, known| {
            name == output || known.output.strong_count() > 0 || !known.shared.is_idle()
        });
        let shared = known.get(output).map_or_else(Arc::default, |known| known.shared.clone());
        let added = Arc::new(Output::start(output.clone(), file, shared.clone()));
        known.insert(output.clone(), Known { output: Arc::downgrade(&added), shared });
        added
    }

    /// The outputs of a table that is about to serve, in its order. Those that no table has any more end when their last
    /// line is written; one that could not be opened is tried again whenever there are lines for it.
    pub(crate) fn adopt(&self, table: &RouteTable) -> Box<[Arc<Output>]> {
        let output = |LogDestination { output, .. }: &LogDestination| {
            self.living(output).unwrap_or_else(|| self.add(output, None))
        };
        let outputs: Box<[_]> = table.log_outputs.iter().map(output).collect();
        let before = std::mem::replace(&mut *self.current.lock(), outputs.clone());
        drop(before);
        outputs
    }

    /// Files are opened anew by their paths, before the next line: they were moved.
    pub(crate) fn reopen(&self) -> usize {
        let current = self.current.lock();
        let files = current.iter().filter(|output| matches!(output.name, LogOutput::File(_)));
        files.map(|file| file.reopen()).count()
    }

    /// Of each output of the table that serves.
    pub(crate) fn counts(&self) -> Vec<LineCounts> {
        let current = self.current.lock();
        current
            .iter()
            .map(|output| LineCounts {
                output: output.name.to_string(),
                written: output.shared().written(),
                dropped: output.shared().dropped(),
            })
            .collect()
    }

    /// Says in the log of the data plane when lines begin to be lost, and when that is over. Never ends.
    pub(crate) async fn watch(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let all: Vec<_> =
                self.known.lock().iter().map(|(name, known)| (name.clone(), known.shared.clone())).collect();
            for (name, shared) in all {
                shared.tell_of_losses(&name);
            }
        }
    }

    /// Waits until everything that was handed over is written, for at most so long.
    pub(crate) async fn finish(&self, patience: Duration) {
        let all: Vec<_> =
            self.known.lock().iter().map(|(name, one)| (name.clone(), one.shared.clone())).collect();
        let written = async {
            for (_, shared) in &all {
                shared.until_idle().await;
            }
        };
        if timeout(patience, written).await.is_err() {
            for (output, _) in all.iter().filter(|(_, shared)| !shared.is_idle()) {
                tracing::warn!(%output, "the last lines of the access log were not taken in time");
            }
        }
        for LineCounts { output, written, dropped } in self.counts() {
            tracing::info!(output, written, dropped, "access log ended");
        }
    }
}

fn cannot_write(LogDestination { output, named_at }: &LogDestination, error: &io::Error) -> Diagnostic {
    let message = format!("the access log {output} cannot be written: {error}");
    let diagnostic = Diagnostic { path: named_at.clone(), ..Diagnostic::new(Code::LOG_OUTPUT, message) };
    let LogOutput::File(path) = output else { return diagnostic };
    let directory = path.parent().unwrap_or(Path::new("/")).display();
    match error.kind() {
        io::ErrorKind::NotFound => diagnostic.help(format!("create the directory {directory}")),
        io::ErrorKind::PermissionDenied => diagnostic.help(format!(
            "let the account of the data plane write to {directory}, or to the file if it is there already"
        )),
        io::ErrorKind::ReadOnlyFilesystem => diagnostic.help(
            "under systemd only what a unit names is writable: `LogsDirectory=`, `ReadWritePaths=`"
                .to_owned(),
        ),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            diagnostic.help("a FIFO is written to only while somebody reads it: start the reader first")
        }
        _ => diagnostic,
    }
}

#[cfg(test)]
mod tests;
