//! Watches the config, validates and versions it, and rolls it out to the fleet: all or nothing.
//!
//! [`start`] opens the store, settles what a control plane that died has left, and serves Discovery (data planes) and
//! Admin (gatewayctl) over gRPC. Everything that changes goes through one actor; what it decides is computed by a pure
//! state machine (`rollout`).

mod access;
mod actor;
mod admin;
mod boot;
mod candidate;
mod digest;
mod discovery;
mod fleet;
mod mask;
mod orders;
mod questions;
mod rollout;
mod settings;
mod source;
mod store;
mod telemetry;
mod watcher;

pub use access::{AccessSettings, Role, token_entry};
pub use boot::{Bound, StartError, start};
pub use settings::{Arguments, Settings};
pub use telemetry::{LogFormat, Telemetry, Traces};

#[cfg(test)]
mod tests;
