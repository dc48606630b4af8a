//! What a breaker tells its operator: since when it is as it is, and what brought it there.

use crate::clock::Now;
use crate::config::leaf;
use crate::outcome::Outcome;
use std::fmt;

/// Written at each change of phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Story {
    pub(super) since: Now,
    /// Why it opened; `None` while nothing is wrong.
    pub(super) cause: Option<Cause>,
}

/// Why a breaker is not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    InARow { failures: u32, last: Outcome },
    Rate { failures: u64, requests: u64, window: leaf::Duration },
    Trial(Outcome),
    Released,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow { failures: 1, last } => write!(f, "1 failure: {last}"),
            Self::InARow { failures, last } => write!(f, "{failures} failures in a row, last: {last}"),
            Self::Rate { failures, requests, window } => {
                let percent = failures * 100 / requests;
                write!(f, "error rate {percent} % of {requests} requests in {window}")
            }
            Self::Trial(outcome) => write!(f, "a trial request failed: {outcome}"),
            Self::Released => f.write_str("was held open by an operator"),
        }
    }
}
