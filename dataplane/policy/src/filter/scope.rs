//! What a breaker or a limit of concurrency stands for: a whole route, or each target of it.

use crate::config::leaf::Fault;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What counts together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All requests of the route.
    #[default]
    Route,
    /// The route's requests to one target; each target counts for itself.
    Target,
}

impl From<Scope> for v1::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Route => Self::Route,
            Scope::Target => Self::Target,
        }
    }
}

pub(super) fn scope(wire: i32) -> Result<Scope, Fault> {
    match v1::Scope::try_from(wire) {
        Ok(v1::Scope::Route) => Ok(Scope::Route),
        Ok(v1::Scope::Target) => Ok(Scope::Target),
        Ok(v1::Scope::Unspecified) | Err(_) => {
            Err(Fault::new("is a scope that this version does not know").at("scope"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_of_a_later_version_is_refused() {
        assert_eq!(scope(v1::Scope::Target.into()), Ok(Scope::Target));
        for unknown in [v1::Scope::Unspecified.into(), 7] {
            assert_eq!(scope(unknown).expect_err("no scope").at.as_deref(), Some("scope"));
        }
    }
}
