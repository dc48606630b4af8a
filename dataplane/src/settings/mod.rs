//! What a data plane is told when it starts; everything else comes from the control plane.

mod otel;

pub(crate) use otel::OtelEnvironment;

use clap::{Args, Parser, ValueEnum};
use etcetera::BaseStrategy as _;
use proto::access::Access;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use tonic::transport::Uri;

/// The data plane of mini-gateway: serves traffic from the last committed config.
///
/// Exit codes: 0 stopped by a signal, or another process has taken over; 1 it cannot run; 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "dataplane", version)]
pub struct Arguments {
    /// What it is to do.
    #[command(flatten)]
    pub settings: Settings,

    /// How log lines on stderr look; RUST_LOG says which ones there are
    #[arg(long, value_enum, env = "GATEWAY_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// The flags of `dataplane`, each with a twin in the environment.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The control plane whose config this instance serves
    #[arg(
        long,
        value_name = "URL",
        env = "GATEWAY_CONTROL_PLANE",
        default_value = "http://127.0.0.1:9090",
        value_parser = Access::parse
    )]
    pub control_plane: Uri,

    /// Authorities (PEM) that the control plane's certificate must come from [default: those of this machine]
    #[arg(long, value_name = "FILE", env = "GATEWAY_CONTROL_PLANE_CA")]
    pub control_plane_ca: Option<PathBuf>,

    /// Holds the token by which the control plane knows this instance; read again for each connection
    #[arg(long, value_name = "FILE", env = "GATEWAY_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// This instance's name, unique in the fleet [default: the host's name]
    #[arg(
        long,
        value_name = "NAME",
        env = "GATEWAY_INSTANCE",
        default_value_t = InstanceName::of_host(),
        hide_default_value = true
    )]
    pub instance: InstanceName,

    /// Address on which the config's ports are opened
    #[arg(long, value_name = "IP", env = "GATEWAY_BIND", default_value = "0.0.0.0")]
    pub bind: IpAddr,

    /// Where /health, /livez and /readyz answer
    #[arg(long, value_name = "ADDR", env = "GATEWAY_ADMIN", default_value = "127.0.0.1:9901")]
    pub admin: SocketAddr,

    /// Keeps the last committed config [default: $STATE_DIRECTORY or $XDG_STATE_HOME/mini-gateway, in dataplane-NAME]
    #[arg(long, value_name = "DIR", env = "GATEWAY_STATE_DIR")]
    pub state_dir: Option<PathBuf>,

    /// Threads that serve traffic [default: one per available core]
    #[arg(
        long,
        value_name = "N",
        env = "GATEWAY_WORKERS",
        default_value_t = available_cores(),
        hide_default_value = true
    )]
    pub workers: NonZeroUsize,

    /// Takes the place of the data plane that runs with the same state directory: its sockets come here, it drains
    #[arg(long, env = "GATEWAY_TAKEOVER")]
    pub takeover: bool,
}

/// The name of a data plane in its fleet: 1 to 64 of `A-Z a-z 0-9 . _ -`, so that it can stand in a file name, a label
/// or a table without quoting.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceName(String);

const MAX_INSTANCE_NAME: usize = 64;

/// Why a text is no [`InstanceName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an instance name is 1 to {MAX_INSTANCE_NAME} letters, digits, `.`, `_` or `-`, and not `.` or `..`")]
pub struct BadInstanceName;

impl InstanceName {
    /// The host's name, with a `-` for everything an instance name cannot hold.
    pub fn of_host() -> Self {
        Self::sanitised(&rustix::system::uname().nodename().to_string_lossy())
    }

    fn sanitised(text: &str) -> Self {
        let name: String =
            text.chars().map(|c| if allowed(c) { c } else { '-' }).take(MAX_INSTANCE_NAME).collect();
        name.parse().unwrap_or_else(|BadInstanceName| Self("dataplane".to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

impl FromStr for InstanceName {
    type Err = BadInstanceName;

    fn from_str(text: &str) -> Result<Self, BadInstanceName> {
        let well_formed = (1..=MAX_INSTANCE_NAME).contains(&text.len()) && text.chars().all(allowed);
        // it becomes part of a directory's name
        if well_formed && text != "." && text != ".." {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadInstanceName)
        }
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Settings {
    /// The state directory in force: as set, or the platform's place for this instance.
    pub fn resolved_state_dir(&self) -> anyhow::Result<PathBuf> {
        match &self.state_dir {
            Some(dir) => Ok(dir.clone()),
            None => {
                let parent = default_state_parent(std::env::var_os("STATE_DIRECTORY"))?;
                Ok(parent.join(format!("dataplane-{}", self.instance)))
            }
        }
    }
}

/// systemd's `StateDirectory=` where there is one (it may list several; the first is ours), else the user's own.
fn default_state_parent(systemd: Option<OsString>) -> anyhow::Result<PathBuf> {
    if let Some(first) = systemd.as_deref().and_then(|dirs| std::env::split_paths(dirs).next()) {
        return Ok(first);
    }
    let base = etcetera::choose_base_strategy()
        .map_err(|e| anyhow::anyhow!("no home directory to keep state in, set --state-dir: {e}"))?;
    Ok(base.state_dir().unwrap_or_else(|| base.data_dir()).join("mini-gateway"))
}

/// Threads that serve traffic unless told otherwise.
pub fn available_cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests;
