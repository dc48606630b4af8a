//! Versions of the config, newest first, also those that were rejected.

use crate::client::{self, Admin};
use crate::command::Global;
use crate::console;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Resource, Row, Tone, age, moment};
use clap::Args;
use jiff::Timestamp;
use proto::v1::{self, ListVersionsRequest, ListVersionsResponse, VersionState};
use serde::Serialize;

/// List versions, newest first
#[derive(Debug, Args)]
pub struct History {
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Form of the list
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl History {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let mut admin = global.connect().await?;
        let versions = ask(&mut admin, ListVersionsRequest { limit: self.limit }).await?;
        console::data(&super::list(&versions, self.output, Timestamp::now())?)?;
        Ok(Exit::Yes)
    }
}

pub async fn ask(admin: &mut Admin, request: ListVersionsRequest) -> Result<Vec<Version>, Failure> {
    let response = admin.list_versions(client::question(request)).await.map_err(client::failure)?;
    Ok(versions(&response.into_inner()))
}

/// One version of the history.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    pub version: u64,
    pub state: &'static str,
    pub reason: String,
    pub author: String,
    pub note: String,
    pub sha256: String,
    pub created: Option<Timestamp>,
    #[serde(skip)]
    tone: Tone,
}

/// As the control plane lists them.
pub fn versions(response: &ListVersionsResponse) -> Vec<Version> {
    response.versions.iter().map(|version| describe(version, response.current_version)).collect()
}

fn describe(version: &v1::Version, current: u64) -> Version {
    let (state, tone) = match version.state() {
        VersionState::Committed if version.version == current => ("CURRENT", Tone::Good),
        VersionState::Committed => ("COMMITTED", Tone::Plain),
        VersionState::Preparing => ("PREPARING", Tone::Doubtful),
        VersionState::Rejected => ("REJECTED", Tone::Bad),
        VersionState::Unspecified => ("UNKNOWN", Tone::Doubtful),
    };
    let v1::Version { version, sha256, created_ms, author, note, state: _, detail } = version.clone();
    Version { version, state, reason: detail, author, note, sha256, created: moment(created_ms), tone }
}

impl Resource for Version {
    const KIND: &'static str = "Version";

    fn name(&self) -> String {
        format!("version/{}", self.version)
    }

    fn row(&self, wide: bool, now: Timestamp) -> Row {
        Row::default()
            .cell("VERSION", format!("v{}", self.version))
            .toned("STATE", self.state, self.tone)
            .cell("REASON", &self.reason)
            .cell("AUTHOR", &self.author)
            .cell("NOTE", &self.note)
            .cell_if(wide, "SHA256", &self.sha256)
            .cell("AGE", age(self.created, now))
    }
}
