//! The watched file's door to the rollout: what it held last, and why that is not what the fleet runs.

use super::message::{Change, Contents, Origin};
use super::{Actor, DEFAULT_TIMEOUT, Job};
use crate::candidate::Candidate;
use crate::digest::sha256_hex;
use crate::source::{Reading, WatchedFile};
use crate::watcher::Observation;
use proto::v1;

#[derive(Debug)]
pub(super) struct FileState {
    watched: WatchedFile,
    /// sha256 of the current version's source; empty as long as that text may mean something else by now.
    source_sha256: String,
    /// sha256 of what was last read.
    read_sha256: String,
    /// Why the file is not what the fleet runs; empty when it is.
    problem: String,
    /// Of the last reading: the check of an earlier one that ends later does not count.
    number: u64,
}

impl FileState {
    pub(super) fn new(watched: WatchedFile, source: &str, problem: String) -> Self {
        let source_sha256 = match problem.as_str() {
            "" => sha256_hex(source.as_bytes()),
            _ => String::new(),
        };
        Self { watched, read_sha256: String::new(), source_sha256, problem, number: 0 }
    }

    pub(super) fn watched(&self) -> WatchedFile {
        self.watched.clone()
    }

    pub(super) fn name(&self) -> String {
        self.watched.name()
    }

    pub(super) fn problem(&self) -> &str {
        &self.problem
    }

    pub(super) fn set_problem(&mut self, problem: String) {
        self.problem = problem;
    }

    pub(super) fn clear_problem(&mut self) {
        self.problem.clear();
    }

    pub(super) fn set_source(&mut self, sha256: String) {
        self.source_sha256 = sha256;
    }

    /// Whether the file was last seen with this text.
    pub(super) fn holds(&self, sha256: &str) -> bool {
        self.read_sha256 == sha256
    }
}

impl Actor {
    pub(super) fn file_observed(&mut self, observation: Observation) {
        self.file.number += 1;
        self.drop_queued_readings();
        let reading = match observation {
            Observation::Read(reading) => reading,
            Observation::Unreadable(error) => {
                self.file.read_sha256.clear();
                return self.file_is_wrong(format!("{} cannot be read: {error}", self.file.name()));
            }
        };
        self.file.read_sha256 = reading.sha256.clone();
        if reading.sha256 == self.file.source_sha256 {
            // our own write, or an edit taken back
            return self.file.clear_problem();
        }
        let (handle, number) = (self.handle.clone(), self.file.number);
        tokio::spawn(async move {
            let checked = Candidate::check_aside(reading.text.clone()).await;
            // the actor has ended: nobody is left to care
            let _ = handle.file_checked(reading, number, checked).await;
        });
    }

    pub(super) fn file_checked(
        &mut self,
        reading: Reading,
        number: u64,
        checked: Result<Candidate, Vec<v1::Diagnostic>>,
    ) {
        if number != self.file.number {
            return; // the file has moved on
        }
        match checked {
            Ok(candidate) => self.queue.push_back(Job::Change(Box::new(Change {
                contents: Contents::New(candidate),
                origin: Origin::File,
                read_in: Some(reading.stamp),
                base_version: 0,
                dry_run: false,
                allow_empty: false,
                author: "watcher".to_owned(),
                note: String::new(),
                timeout: DEFAULT_TIMEOUT,
                follower: None,
            }))),
            Err(diagnostics) => {
                tracing::debug!(sha256 = reading.sha256, "invalid config file");
                self.file_is_wrong(describe(&self.file.name(), &diagnostics));
            }
        }
    }

    fn file_is_wrong(&mut self, problem: String) {
        if self.file.problem != problem {
            let version = self.coordinator.current().version;
            tracing::error!(problem, version, "the config file is not taken, the fleet keeps what it has");
            self.file.problem = problem;
        }
    }

    /// A reading that waits is worth nothing once there is a newer one.
    fn drop_queued_readings(&mut self) {
        self.queue.retain(|job| !matches!(job, Job::Change(change) if change.origin == Origin::File));
    }
}

/// Every diagnostic on a line of its own, as `file:line:column: code: message`.
pub(crate) fn describe(file: &str, diagnostics: &[v1::Diagnostic]) -> String {
    let line = |found: &v1::Diagnostic| {
        let place = match found.line {
            0 => file.to_owned(),
            line => format!("{file}:{line}:{}", found.column),
        };
        match found.code.as_str() {
            "" => format!("{place}: {}", found.message),
            code => format!("{place}: error[{code}]: {}", found.message),
        }
    };
    diagnostics.iter().map(line).collect::<Vec<_>>().join("\n")
}
