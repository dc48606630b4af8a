//! What the program is told at start: the watched file, where to listen, where to keep state.

use crate::access::AccessSettings;
use crate::telemetry::Telemetry;
use anyhow::Context as _;
use etcetera::BaseStrategy as _;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The control plane of mini-gateway: watches a config file, validates it and rolls it out to every data plane, all or
/// nothing.
///
/// Exit codes: 0 stopped by a signal, 1 the start failed, 2 wrong usage, 3 the config is invalid and no earlier
/// version can be served.
#[derive(Debug, clap::Parser)]
#[command(name = "controlplane", version)]
pub struct Arguments {
    /// What it is to do.
    #[command(flatten)]
    pub settings: Settings,

    /// What it tells of itself.
    #[command(flatten)]
    pub telemetry: Telemetry,
}

/// The control plane's flags and their environment twins.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// The YAML file that says what the fleet runs; watched, and written when a config is applied.
    #[arg(long, env = "GATEWAY_CONFIG", value_name = "FILE")]
    pub config: PathBuf,

    /// Where data planes and gatewayctl connect (gRPC). An address that other machines reach needs TLS and tokens.
    #[arg(long, env = "GATEWAY_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    pub listen: SocketAddr,

    #[command(flatten)]
    pub access: AccessSettings,

    /// Where versions are kept [default: $STATE_DIRECTORY, or $XDG_STATE_HOME/mini-gateway/controlplane].
    #[arg(long, env = "GATEWAY_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

impl Settings {
    /// The directory for the store, by flag, by systemd, or by the XDG rules.
    pub(crate) fn state_dir(&self) -> anyhow::Result<PathBuf> {
        if let Some(dir) = &self.state_dir {
            return Ok(dir.clone());
        }
        // systemd gives a colon-separated list; the unit names one directory
        if let Some(dirs) = std::env::var_os("STATE_DIRECTORY")
            && let Some(dir) = std::env::split_paths(&dirs).next()
        {
            return Ok(dir);
        }
        let strategy = etcetera::base_strategy::Xdg::new().context("no home directory: give --state-dir")?;
        let state = strategy.state_dir().context("no state directory: give --state-dir")?;
        Ok(state.join("mini-gateway").join("controlplane"))
    }
}
