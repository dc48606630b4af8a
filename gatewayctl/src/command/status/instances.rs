//! Instances: which version each data plane runs, and why if it is not the current one.

use crate::output::{Resource, Row, Tone, age, moment, rate};
use jiff::Timestamp;
use proto::v1::{self, GetStatusResponse, Hello, InstanceState, InstanceStatus};
use serde::Serialize;

/// One data plane.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    pub name: String,
    pub state: &'static str,
    pub reason: String,
    /// The version it serves; 0 when it serves none.
    pub version: u64,
    pub sha256: String,
    pub connections: u64,
    pub requests_per_second: f64,
    pub requests: u64,
    pub workers: u32,
    pub listening: Vec<String>,
    pub admin: String,
    pub build: String,
    pub started: Option<Timestamp>,
    pub connected: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
    #[serde(skip)]
    pub is_current: bool,
    #[serde(skip)]
    pub is_connected: bool,
    #[serde(skip)]
    tone: Tone,
}

/// In the order of their names.
pub fn instances(status: &GetStatusResponse) -> Vec<Instance> {
    let mut instances: Vec<Instance> = status.instances.iter().map(Instance::from).collect();
    instances.sort_by(|a, b| a.name.cmp(&b.name));
    instances
}

impl From<&v1::Instance> for Instance {
    fn from(instance: &v1::Instance) -> Self {
        let state = instance.state();
        let v1::Instance { hello, state: _, reason, status, connected_ms, last_seen_ms } = instance.clone();
        let Hello {
            instance: name, build, active_version, active_sha256, admin, workers, started_ms, ..
        } = hello.unwrap_or_default();
        // what it said when it joined holds until its first report
        let told = status.unwrap_or(InstanceStatus { active_version, active_sha256, ..Default::default() });
        let InstanceStatus {
            active_version,
            active_sha256,
            connections,
            requests_per_second,
            requests_total,
            listening,
            ..
        } = told;
        Self {
            name,
            state: word(state),
            reason,
            version: active_version,
            sha256: active_sha256,
            connections,
            requests_per_second,
            requests: requests_total,
            workers,
            listening,
            admin,
            build,
            started: moment(started_ms),
            connected: moment(connected_ms),
            last_seen: moment(last_seen_ms),
            is_current: state == InstanceState::Current,
            is_connected: !matches!(state, InstanceState::Disconnected | InstanceState::Unspecified),
            tone: tone(state),
        }
    }
}

impl Instance {
    /// Why the fleet is not as it should be because of this instance: `dp-3 runs v6 (rejected: port 80 is taken)`.
    pub fn complaint(&self) -> Option<String> {
        if self.is_current && self.reason.is_empty() {
            return None;
        }
        let Self { name, version, reason, .. } = self;
        let runs = if *version == 0 { "runs nothing".to_owned() } else { format!("runs v{version}") };
        let state = self.state.to_lowercase();
        Some(match reason.as_str() {
            "" => format!("{name} {runs} ({state})"),
            reason => format!("{name} {runs} ({state}: {reason})"),
        })
    }
}

impl Resource for Instance {
    const KIND: &'static str = "Instance";

    fn name(&self) -> String {
        format!("instance/{}", self.name)
    }

    fn row(&self, wide: bool, now: Timestamp) -> Row {
        Row::default()
            .cell("INSTANCE", &self.name)
            .toned("STATE", self.state, self.tone)
            .cell("REASON", &self.reason)
            .cell("VERSION", format!("v{}", self.version))
            .cell("CONNECTIONS", self.connections)
            .cell("REQ/S", rate(self.requests_per_second))
            .cell("REQUESTS", self.requests)
            .cell_if(wide, "WORKERS", self.workers)
            .cell_if(wide, "LISTENING", self.listening.join(","))
            .cell_if(wide, "ADMIN", &self.admin)
            .cell_if(wide, "BUILD", &self.build)
            .cell_if(wide, "SEEN", age(self.last_seen, now))
            .cell("AGE", age(self.started, now))
    }
}

fn word(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Unspecified => "UNKNOWN",
        InstanceState::Current => "CURRENT",
        InstanceState::Syncing => "SYNCING",
        InstanceState::Stale => "STALE",
        InstanceState::Rejected => "REJECTED",
        InstanceState::Disconnected => "DISCONNECTED",
        InstanceState::Draining => "DRAINING",
    }
}

fn tone(state: InstanceState) -> Tone {
    match state {
        InstanceState::Current => Tone::Good,
        InstanceState::Syncing | InstanceState::Draining | InstanceState::Unspecified => Tone::Doubtful,
        InstanceState::Stale | InstanceState::Rejected | InstanceState::Disconnected => Tone::Bad,
    }
}
