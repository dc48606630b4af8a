//! The route table: built from a config, all or nothing; building one is what validation means.

use crate::config::{GatewayConfig, ServerConfig};
use crate::diagnostic::Problem;
use crate::rejection::Rejection;
use crate::router::{Lookup, Router};
use crate::upstream::Upstream;
use std::sync::Arc;
use std::time::Duration;

/// Everything a data plane needs to serve, immutable.
#[derive(Debug)]
pub struct RouteTable {
    /// The snapshot's version; 0 for a table that was only validated.
    pub version: u64,
    /// The snapshot's sha256, lower-case hex; empty for a table that was only validated.
    pub sha256: String,
    /// The listener and its limits.
    pub server: ServerConfig,
    /// Every upstream, inline ones included.
    pub upstreams: Vec<Arc<Upstream>>,
    /// In the order of the config.
    pub routes: Vec<Route>,
    router: Router,
}

/// A route at run time.
#[derive(Debug)]
pub struct Route {
    /// The configured name.
    pub name: Arc<str>,
    /// How the path changes on its way to the target.
    pub rewrite: Rewrite,
    /// The target gets the client's `Host`.
    pub preserve_host: bool,
    /// WebSocket upgrades pass.
    pub websocket: bool,
    /// The whole exchange.
    pub timeout: Option<Duration>,
    /// Where it goes.
    pub upstream: Arc<Upstream>,
}

/// What becomes of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    /// Sent as normalised.
    Keep,
    /// The first `prefix_len` bytes are replaced by `with` (no trailing slash; empty for `strip_prefix`).
    Prefix {
        /// Length of the matched prefix in bytes; 0 for the prefix `/`.
        prefix_len: usize,
        /// What stands there instead.
        with: String,
    },
}

/// What a table is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve: a filter without a runtime is refused.
    Serve,
    /// To check a file that a later version may run: such a filter is only validated.
    Validate,
}
