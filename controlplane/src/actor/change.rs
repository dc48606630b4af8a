//! A change from its submission to its end: what refuses it before any data plane is asked, and what its commit leaves
//! behind in the store and in the watched file.

use super::message::{Change, Contents, Origin};
use super::{Actor, blocking, ended, snapshot, unwind};
use crate::candidate::Candidate;
use crate::fleet::Now;
use crate::rollout::Plan;
use crate::source::{Published, Staged};
use crate::store::{StoreError, StoredVersion};
use proto::v1::{self, Outcome, VersionState, rollout_event::Event};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The rollout under way.
#[derive(Debug)]
pub(super) enum Running {
    Change(Box<RunningChange>),
    Push,
}

#[derive(Debug)]
pub(super) struct RunningChange {
    pub(super) origin: Origin,
    version: u64,
    dry_run: bool,
    candidate: Candidate,
    /// The version on its way into the store.
    allocation: Option<JoinHandle<Result<(), StoreError>>>,
    /// The new text of the watched file, until it is in its place.
    staged: Option<Staged>,
    decided: bool,
    /// What the operator must know about the file.
    remark: Option<String>,
}

/// Why a change ends before it begins.
struct Refusal {
    outcome: Outcome,
    message: String,
    diagnostics: Vec<v1::Diagnostic>,
}

impl Refusal {
    fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self { outcome, message: message.into(), diagnostics: Vec::new() }
    }
}

impl Actor {
    pub(super) async fn begin_change(&mut self, mut change: Change) {
        if let Err(refusal) = self.try_begin(&mut change).await {
            let Refusal { outcome, message, diagnostics } = refusal;
            tracing::info!(
                outcome = outcome.as_str_name(),
                result = message,
                "change ended before the rollout"
            );
            if change.origin == Origin::File && outcome != Outcome::Unchanged {
                self.file.set_problem(message.clone());
            }
            if let Some(follower) = change.follower {
                let current = self.coordinator.current().version;
                let event = Event::Finished(ended(outcome, current, message, diagnostics));
                // it may have hung up: the change is refused all the same
                let _ = follower.send(v1::RolloutEvent { event: Some(event) });
            }
        }
    }

    async fn try_begin(&mut self, change: &mut Change) -> Result<(), Refusal> {
        let current = self.coordinator.current().version;
        if self.is_outdated(change).await {
            // a rollout of it would put back what the file no longer says; what it says now is on its way here
            return Err(Refusal::new(Outcome::Unchanged, "the file has moved on since it was read"));
        }
        if change.base_version != 0 && change.base_version != current {
            let message = format!("the current version is {current}, not {}", change.base_version);
            return Err(Refusal::new(Outcome::BaseMoved, message));
        }
        let candidate = self.candidate(change).await?;
        if candidate.sha256 == self.coordinator.current().sha256 {
            return Err(self.unchanged(change, candidate).await);
        }
        if candidate.routes == 0 && self.routes > 0 && !change.allow_empty {
            let message = format!(
                "a config without routes would replace one with {}; if that is meant: gatewayctl apply --allow-empty",
                self.routes
            );
            return Err(Refusal::new(Outcome::Rejected, message));
        }
        let staged = match change.origin {
            Origin::Admin if !change.dry_run => Some(self.stage(&candidate).await?),
            Origin::Admin | Origin::File => None,
        };
        let version = self.last_version.max(self.coordinator.highest_reported()) + 1;
        let stored = self.new_version(version, change, &candidate);
        let snapshot = snapshot(self.store.cluster_id(), &stored);
        // on its way to the disk while the fleet prepares, and awaited before the decision: should we die before it is
        // there, its number may be used again, for by then every data plane has dropped what it had prepared
        let allocation = (!change.dry_run).then(|| {
            let store = Arc::clone(&self.store);
            tokio::task::spawn_blocking(move || store.allocate(&stored))
        });
        self.last_version = version;
        self.feed.begin(change.follower.take());
        let (dry_run, timeout, warnings) = (change.dry_run, change.timeout, candidate.warnings.clone());
        self.running = Some(Running::Change(Box::new(RunningChange {
            origin: change.origin,
            version,
            dry_run,
            candidate,
            allocation,
            staged,
            decided: false,
            remark: None,
        })));
        self.coordinator.start(Now::read(), Plan { snapshot, dry_run, timeout, warnings });
        Ok(())
    }

    /// Whether the watched file is no longer in the state it was read in.
    async fn is_outdated(&self, change: &Change) -> bool {
        let Some(read_in) = change.read_in.clone() else { return false };
        let file = self.file.watched();
        blocking(move || file.stamp().ok() != Some(read_in)).await
    }

    async fn candidate(&self, change: &mut Change) -> Result<Candidate, Refusal> {
        let asked = match &change.contents {
            Contents::New(candidate) => return Ok(candidate.clone()),
            Contents::Earlier(version) => *version,
        };
        let current = self.coordinator.current().version;
        let found = self.in_store(move |store| match asked {
            0 => match store.list(usize::MAX)?.into_iter().find(|one| is_before(one, current)) {
                Some(before) => store.version(before.version),
                None => Ok(None),
            },
            version => store.version(version),
        });
        let found = found.await.map_err(|error| Refusal::new(Outcome::Rejected, error.to_string()))?;
        let Some(earlier) = found else {
            let message = match asked {
                0 => format!("there is no version before {current}"),
                version => format!("version {version} is not in the history"),
            };
            return Err(Refusal::new(Outcome::Rejected, message));
        };
        let number = earlier.record.version;
        if earlier.record.state() != VersionState::Committed {
            let message = format!("version {number} was never committed: {}", earlier.record.detail);
            return Err(Refusal::new(Outcome::Rejected, message));
        }
        if change.note.is_empty() {
            change.note = format!("undo to version {number}");
        }
        blocking(move || Candidate::restore(earlier.source, earlier.table, earlier.record.sha256))
            .await
            .map_err(|diagnostics| Refusal {
                outcome: Outcome::Invalid,
                message: format!("version {number} cannot be restored"),
                diagnostics,
            })
    }

    /// The table is the one that runs. Its text may still differ (comments, layout), and so may the watched file's.
    async fn unchanged(&mut self, change: &Change, candidate: Candidate) -> Refusal {
        let current = self.coordinator.current().version;
        let same = Refusal::new(Outcome::Unchanged, format!("version {current} is already this config"));
        if change.dry_run {
            return same;
        }
        let mut remark = String::new();
        if change.origin == Origin::Admin {
            let staged = match self.stage(&candidate).await {
                Ok(staged) => staged,
                // the file may already hold it, and then there is nothing to write
                Err(_) if self.file.holds(&candidate.source_sha256) => return same,
                Err(refusal) => return refusal,
            };
            remark = self.put_in_place(staged).await.unwrap_or_default();
        }
        let in_file = remark.is_empty();
        let source = candidate.source.clone();
        let stored = self.in_store(move |store| store.replace_source(current, &source, in_file)).await;
        if let Err(error) = stored {
            return Refusal::new(Outcome::Rejected, error.to_string());
        }
        self.file.set_source(candidate.source_sha256);
        if in_file {
            self.file.clear_problem();
        }
        Refusal { message: same.message + &remark, ..same }
    }

    async fn stage(&self, candidate: &Candidate) -> Result<Staged, Refusal> {
        let (file, text) = (self.file.watched(), candidate.source.clone());
        blocking(move || file.stage(&text)).await.map_err(|error| {
            let file = self.file.name();
            let message = format!(
                "{file} cannot be written ({error}), and the fleet must not run what the file does not say: change the \
                 file where it comes from; nothing was sent to any data plane"
            );
            Refusal::new(Outcome::Rejected, message)
        })
    }

    fn new_version(&self, version: u64, change: &Change, candidate: &Candidate) -> StoredVersion {
        StoredVersion {
            record: v1::Version {
                version,
                sha256: candidate.sha256.clone(),
                created_ms: Now::read().unix_ms,
                author: change.author.clone(),
                note: change.note.clone(),
                state: VersionState::Preparing.into(),
                detail: format!("replaces version {}", self.coordinator.current().version),
            },
            source: candidate.source.to_string(),
            table: candidate.table.clone(),
        }
    }

    /// Waits until the version under way is in the store.
    pub(super) async fn allocated(&mut self) -> Result<(), StoreError> {
        let Some(Running::Change(running)) = &mut self.running else { return Ok(()) };
        match running.allocation.take() {
            Some(allocation) => unwind(allocation.await),
            None => Ok(()),
        }
    }

    /// The commit decision is on the disk.
    pub(super) fn decided(&mut self) {
        if let Some(Running::Change(running)) = &mut self.running {
            running.decided = true;
            self.routes = running.candidate.routes;
            self.file.set_source(running.candidate.source_sha256.clone());
            if running.origin == Origin::File {
                self.file.clear_problem();
            }
        }
    }

    /// Writes a committed change to the watched file.
    pub(super) async fn publish(&mut self) {
        let Some(Running::Change(running)) = &mut self.running else { return };
        if !running.decided {
            return;
        }
        let (version, staged) = (running.version, running.staged.take());
        let Some(staged) = staged else { return };
        let mut remark = self.put_in_place(staged).await;
        if remark.is_none()
            && let Err(error) = self.in_store(move |store| store.mark_in_file(version)).await
        {
            remark = Some(format!("; {error}"));
        }
        if let Some(Running::Change(running)) = &mut self.running {
            running.remark = remark;
        }
    }

    /// Renames the staged text over the file; returns what the operator must know if that did not come to be.
    async fn put_in_place(&mut self, staged: Staged) -> Option<String> {
        let name = self.file.name();
        match blocking(move || staged.publish()).await {
            Ok(Published::InPlace) => {
                self.file.clear_problem();
                None
            }
            Ok(Published::Overtaken) => {
                Some(format!("; {name} was edited meanwhile and is left as it is: it is rolled out next"))
            }
            Err(error) => {
                let problem = format!("{name} could not be written: {error}");
                tracing::error!(problem, "the config file does not say what the fleet runs");
                self.file.set_problem(problem.clone());
                Some(format!("; {problem}"))
            }
        }
    }

    /// The coordinator has ended the rollout: settles store and file, and completes what is told.
    pub(super) async fn finish(&mut self, mut finished: v1::Finished) -> v1::Finished {
        self.publish().await;
        let allocated = self.allocated().await;
        let Some(Running::Change(running)) = self.running.take() else { return finished };
        if let Some(remark) = &running.remark {
            finished.message.push_str(remark);
        }
        if !running.decided && !running.dry_run {
            let (version, detail) = (running.version, finished.message.clone());
            let rejected = match allocated {
                Ok(()) => self.in_store(move |store| store.reject(version, &detail)).await,
                Err(error) => Err(error),
            };
            if let Err(error) = rejected {
                // the next start finds it undecided and rejects it
                tracing::error!(version, %error, "the rejection could not be stored");
            }
            if running.origin == Origin::File {
                let file = self.file.name();
                self.file.set_problem(format!("{file} was not rolled out: {}", finished.message));
            }
        }
        finished
    }
}

fn is_before(record: &v1::Version, current: u64) -> bool {
    record.version < current && record.state() == VersionState::Committed
}
