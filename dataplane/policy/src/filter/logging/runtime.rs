//! Which requests get a line, and where it goes.

use super::{LogOnly, LoggingConfig};
use std::time::Duration;

/// Lines from this status on are written whatever `sample` says: they are what a log is read for.
const ALWAYS_FROM: u16 = 500;

/// A `logging` filter at run time.
#[derive(Debug)]
pub struct Logging {
    /// How the lines look.
    pub config: LoggingConfig,
    /// Where they go: positions in [`RouteTable::log_outputs`](crate::table::RouteTable::log_outputs).
    pub outputs: Box<[usize]>,
}

impl Logging {
    /// Whether a request that ended so gets a line; partly by chance, if the config says so.
    pub fn wants(&self, status: u16, took: Duration) -> bool {
        let LoggingConfig { only, sample, .. } = &self.config;
        only.as_ref().is_none_or(|only| only.holds(status, took))
            && (status >= ALWAYS_FROM || sample.chooses())
    }
}

impl LogOnly {
    fn holds(&self, status: u16, took: Duration) -> bool {
        let Self { min_status, slower_than } = self;
        min_status.is_some_and(|least| status >= least) || slower_than.is_some_and(|time| took > time.get())
    }
}
