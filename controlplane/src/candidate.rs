//! A config that could become a version: checked by building it, encoded once.

use crate::digest::sha256_hex;
use bytes::Bytes;
use policy::config::load::{Surroundings, check};
use policy::table::RouteTable;
use proto::v1;
use std::sync::Arc;

/// Larger sources are refused unread: no fleet is configured by hand in more.
pub(crate) const MAX_SOURCE_BYTES: usize = 64 * 1024 * 1024;

/// A valid config.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) source: Arc<str>,
    pub(crate) source_sha256: String,
    /// The canonical encoding, shared by every stream.
    pub(crate) table: Bytes,
    pub(crate) sha256: String,
    pub(crate) routes: usize,
    pub(crate) warnings: Vec<String>,
}

impl Candidate {
    /// Checks a source text against this process's environment and files. Takes a core for tens of milliseconds on a
    /// large config: not for async threads.
    pub(crate) fn check(source: Arc<str>) -> Result<Self, Vec<policy::diagnostic::Diagnostic>> {
        let surroundings = Surroundings {
            env: &|name| std::env::var(name).ok(),
            read_file: &|path| std::fs::read_to_string(path),
        };
        let checked = check(&source, &surroundings)?;
        let encoded = policy::snapshot::encode(&checked.config);
        Ok(Self {
            source_sha256: sha256_hex(source.as_bytes()),
            source,
            table: encoded.table,
            sha256: encoded.sha256,
            routes: checked.config.routes.len(),
            warnings: checked.warnings.into_iter().map(|warning| warning.message).collect(),
        })
    }

    /// [`Candidate::check`] on a thread where it may block, with diagnostics for the wire.
    pub(crate) async fn check_aside(source: Arc<str>) -> Result<Self, Vec<v1::Diagnostic>> {
        match tokio::task::spawn_blocking(move || Self::check(source)).await {
            Ok(checked) => checked.map_err(|found| found.into_iter().map(Into::into).collect()),
            Err(error) => {
                tracing::error!(%error, "checking a config failed");
                Err(vec![problem("the config could not be checked; the control plane's log says why")])
            }
        }
    }

    /// An earlier version's contents, for a new version: exactly the bytes that ran, whatever the environment says now.
    pub(crate) fn restore(source: String, table: Bytes, sha256: String) -> Result<Self, Vec<v1::Diagnostic>> {
        let unreadable =
            |error: String| vec![problem(&format!("this build cannot run that version: {error}"))];
        let config = policy::snapshot::decode_table(&table).map_err(|error| unreadable(error.to_string()))?;
        RouteTable::build(&config, None).map_err(|problems| {
            unreadable(problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "))
        })?;
        Ok(Self {
            source_sha256: sha256_hex(source.as_bytes()),
            source: source.into(),
            table,
            sha256,
            routes: config.routes.len(),
            warnings: Vec::new(),
        })
    }
}

fn problem(message: &str) -> v1::Diagnostic {
    v1::Diagnostic { message: message.to_owned(), ..v1::Diagnostic::default() }
}
