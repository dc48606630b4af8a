//! Who is in the fleet: what every data plane runs, what it has been asked to do, and why it does not run the current
//! version if it does not.

use proto::v1::{self, InstanceState};
use std::time::{Duration, Instant};

/// How often a data plane reports when nothing changes.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// A connected data plane that has missed three reports is not fine, whatever it said last.
const SILENT_AFTER: Duration = STATUS_INTERVAL.saturating_mul(3);
/// How long a data plane that is gone is still shown.
pub(crate) const FORGET_AFTER: Duration = Duration::from_secs(60 * 60);

/// How long two processes of one name are told of after the last time one displaced the other.
const RIVALRY_MEMORY: Duration = Duration::from_secs(60);

/// A moment on both clocks: one to count by, one to show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) at: Instant,
    pub(crate) unix_ms: i64,
}

impl Now {
    pub(crate) fn read() -> Self {
        Self { at: Instant::now(), unix_ms: jiff::Timestamp::now().as_millisecond() }
    }
}

/// One stream of one data plane; a reconnected data plane has a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StreamId(pub(crate) u64);

/// Contents by number and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) version: u64,
    pub(crate) sha256: String,
}

/// A data plane that has joined since the control plane started.
#[derive(Debug)]
pub(crate) struct Member {
    /// None: not connected.
    pub(crate) stream: Option<StreamId>,
    pub(crate) active: Identity,
    pub(crate) task: Task,
    /// Attempts to bring it to the current version that failed in a row.
    pub(crate) failures: u32,
    pub(crate) problem: Option<Problem>,
    hello: v1::Hello,
    /// Where its connection comes from.
    peer: String,
    pub(crate) rivals: Rivals,
    status: Option<v1::InstanceStatus>,
    connected_ms: i64,
    last_seen: Now,
}

/// Two processes under one name: each join displaces the other one, which comes back and displaces it in turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rivals {
    /// Who was displaced last.
    displaced: Option<Process>,
    /// Who displaces this one again and again, and when it did so last.
    rival: Option<(Process, Instant)>,
}

/// What tells two processes of one name apart, and where the second one is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    started_ms: i64,
    admin: String,
    peer: String,
}

impl Process {
    fn is(&self, hello: &v1::Hello) -> bool {
        self.started_ms == hello.started_ms && self.admin == hello.admin
    }
}

impl Rivals {
    /// The complaint, while it goes on.
    pub(crate) fn complaint(&self, now: Now) -> Option<String> {
        let (rival, at) = self.rival.as_ref()?;
        let is_recent = now.at.saturating_duration_since(*at) < RIVALRY_MEMORY;
        is_recent.then(|| {
            let Process { peer, admin, .. } = rival;
            format!("another process joins under this name, from {peer} (its admin address is {admin})")
        })
    }
}

/// What a data plane is being asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Idle,
    /// It takes part in the prepare phase of the rollout under way.
    Prepare,
    /// It prepares the current version, by itself.
    CatchUp {
        until: Instant,
    },
    /// It has been told to commit the current version.
    Commit {
        until: Instant,
    },
    /// It could not; tried again then.
    Retry {
        at: Instant,
    },
}

/// Why a connected data plane does not run the current version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It cannot run it.
    Rejected(String),
    /// It has not answered in time.
    Silent(String),
    /// It would refuse anything from here.
    Incompatible(String),
}

impl Member {
    pub(crate) fn new(now: Now, stream: StreamId, peer: String, rivals: Rivals, hello: v1::Hello) -> Self {
        Self {
            stream: Some(stream),
            active: Identity { version: hello.active_version, sha256: hello.active_sha256.clone() },
            task: Task::Idle,
            failures: 0,
            problem: None,
            hello,
            peer,
            rivals,
            status: None,
            connected_ms: now.unix_ms,
            last_seen: now,
        }
    }

    /// What is known of rivals once a process that says this hello takes this one's place.
    pub(crate) fn rivals_of(&self, now: Now, hello: &v1::Hello) -> Rivals {
        let v1::Hello { started_ms, admin, .. } = self.hello.clone();
        let this = Process { started_ms, admin, peer: self.peer.clone() };
        if self.stream.is_none() || this.is(hello) {
            return self.rivals.clone();
        }
        let is_back = self.rivals.displaced.as_ref().is_some_and(|process| process.is(hello));
        let rival = if is_back { Some((this.clone(), now.at)) } else { self.rivals.rival.clone() };
        Rivals { displaced: Some(this), rival }
    }

    /// Notes a sign of life.
    pub(crate) fn seen(&mut self, now: Now) {
        self.last_seen = now;
        if let Some(Problem::Silent(_)) = self.problem {
            self.problem = None;
        }
    }

    pub(crate) fn report(&mut self, status: v1::InstanceStatus) {
        self.active = Identity { version: status.active_version, sha256: status.active_sha256.clone() };
        self.status = Some(status);
    }

    pub(crate) fn disconnect(&mut self) {
        self.stream = None;
        self.task = Task::Idle;
        self.problem = None;
    }

    /// It is leaving by its own will, and is no longer asked for anything.
    pub(crate) fn is_draining(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.draining)
    }

    pub(crate) fn is_forgotten(&self, now: Now) -> bool {
        self.stream.is_none()
            && (self.is_draining() || now.at.duration_since(self.last_seen.at) >= FORGET_AFTER)
    }

    /// Why it would refuse this version whatever is in it.
    pub(crate) fn incompatibility(&self, cluster_id: &str, version: u64) -> Option<String> {
        let theirs = &self.hello.cluster_id;
        if !theirs.is_empty() && theirs != cluster_id {
            return Some(format!(
                "belongs to cluster {theirs}, not to {cluster_id}; to move it here, start it with an empty --state-dir"
            ));
        }
        if self.active.version > version {
            return Some(format!(
                "runs version {}, which is newer than {version}; the next apply brings it back in line",
                self.active.version
            ));
        }
        None
    }

    /// What `gatewayctl status instances` shows.
    pub(crate) fn describe(&self, now: Now, current: &Identity) -> v1::Instance {
        let (state, reason) = self.state(now, current);
        let mut described = v1::Instance {
            hello: Some(self.hello.clone()),
            state: state.into(),
            reason,
            status: Some(self.status.clone().unwrap_or_else(|| v1::InstanceStatus {
                active_version: self.active.version,
                active_sha256: self.active.sha256.clone(),
                ..Default::default()
            })),
            connected_ms: self.connected_ms,
            last_seen_ms: self.last_seen.unix_ms,
        };
        let not_stored = self.status.as_ref().map_or("", |status| status.not_stored.as_str());
        if !not_stored.is_empty() {
            add_reason(&mut described, &format!("a restart would not serve this: {not_stored}"));
        }
        if let Some(complaint) = self.rivals.complaint(now) {
            add_reason(&mut described, &complaint);
        }
        described
    }

    fn state(&self, now: Now, current: &Identity) -> (InstanceState, String) {
        let silence = now.at.saturating_duration_since(self.last_seen.at);
        if self.stream.is_none() {
            return (InstanceState::Disconnected, format!("not connected for {}s", silence.as_secs()));
        }
        if self.is_draining() {
            return (InstanceState::Draining, "shutting down".to_owned());
        }
        match &self.problem {
            Some(Problem::Rejected(reason) | Problem::Incompatible(reason)) => {
                return (InstanceState::Rejected, reason.clone());
            }
            Some(Problem::Silent(reason)) => return (InstanceState::Stale, reason.clone()),
            None => {}
        }
        if silence > SILENT_AFTER {
            return (InstanceState::Stale, format!("silent for {}s", silence.as_secs()));
        }
        if self.active == *current {
            return (InstanceState::Current, String::new());
        }
        (InstanceState::Syncing, format!("being brought to version {}", current.version))
    }
}

/// One more thing that is wrong with an instance.
pub(crate) fn add_reason(instance: &mut v1::Instance, reason: &str) {
    if !instance.reason.is_empty() {
        instance.reason.push_str("; ");
    }
    instance.reason.push_str(reason);
}
