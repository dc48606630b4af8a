//! A snapshot on its way to serving: everything built, bound and written that it needs, and nothing changed yet.

use super::listeners::{BadTls, Planned, Planner};
use super::one_line;
use crate::dial::Transports;
use crate::disk::{Disk, Staged};
use crate::telemetry::access_log::{AccessLog, Output};
use policy::diagnostic::{Code, Diagnostic};
use policy::snapshot;
use policy::table::RouteTable;
use proto::v1::Snapshot;
use std::io;
use std::sync::Arc;

/// A prepared snapshot. Dropping it frees its ports and removes its file.
pub(super) struct Candidate {
    pub(super) snapshot: Snapshot,
    pub(super) table: RouteTable,
    /// Every listener of its config; none while draining.
    pub(super) listeners: Option<Vec<Planned>>,
    /// What its access logs are written to; held until the table that names them serves.
    pub(super) log_outputs: Vec<Arc<Output>>,
    /// How its targets are reached.
    pub(super) transports: Transports,
    /// Its file; none for a snapshot that came from the disk.
    pub(super) staged: Option<Staging>,
}

/// A snapshot that cannot be written can still serve.
pub(super) type Staging = io::Result<Staged>;

/// What a build needs from outside; moved to a blocking thread.
pub(super) struct Build {
    /// Whose targets live on.
    pub(super) previous: Option<Arc<RouteTable>>,
    /// Readies the config's listeners; none while draining.
    pub(super) planner: Option<Planner>,
    /// Opens what lines of access logs are written to.
    pub(super) access_log: Arc<AccessLog>,
    /// How targets are reached now.
    pub(super) transports: Option<Arc<Transports>>,
    /// Where the snapshot is to be written; none when it came from there.
    pub(super) disk: Option<Arc<Disk>>,
}

impl Build {
    pub(super) fn candidate(self, snapshot: Snapshot) -> Result<Candidate, Vec<Diagnostic>> {
        let table = self.table(&snapshot)?;
        let bad_tls = if self.disk.is_some() { BadTls::Refuse } else { BadTls::Await };
        let plan = |planner: Planner| planner.plan(&table.listeners, bad_tls);
        let listeners = self.planner.map(plan).transpose()?;
        let log_outputs = match self.access_log.prepare(&table) {
            Ok(outputs) => outputs,
            // what served before a restart serves after it: a log that is lost is worth less than the traffic
            Err(diagnostics) if self.disk.is_none() => {
                tracing::error!(problems = %one_line(&diagnostics), "serving without a part of the access log");
                Vec::new()
            }
            Err(diagnostics) => return Err(diagnostics),
        };
        // the same here: the rest of the traffic must not wait for a file of one upstream
        let transports = match &self.disk {
            Some(_) => Transports::prepare(&table, self.transports.as_deref())?,
            None => Transports::restore(&table),
        };
        let staged = self.disk.map(|disk| disk.stage(&snapshot));
        if let Some(Err(error)) = &staged {
            tracing::error!(%error, version = snapshot.version, "cannot write the snapshot to disk");
        }
        Ok(Candidate { snapshot, table, listeners, log_outputs, transports, staged })
    }

    fn table(&self, snapshot: &Snapshot) -> Result<RouteTable, Vec<Diagnostic>> {
        let config = snapshot::open(snapshot).map_err(|error| {
            vec![Diagnostic::new(Code::SNAPSHOT, error.to_string()).help(format!(
                "this instance runs version {} of the program; the control plane must not be newer",
                env!("CARGO_PKG_VERSION")
            ))]
        })?;
        let table = RouteTable::build(&config, self.previous.as_deref())
            .map_err(|problems| problems.into_iter().map(Diagnostic::from).collect::<Vec<_>>())?;
        Ok(table.identified(snapshot.version, snapshot.sha256.clone()))
    }
}
