//! What the program is told at start: the watched file, where to listen, where to keep state.

use anyhow::Context as _;
use etcetera::BaseStrategy as _;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The control plane's flags and their environment twins.
#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// The YAML file that says what the fleet runs; watched, and written when a config is applied.
    #[arg(long, env = "GATEWAY_CONFIG", value_name = "FILE")]
    pub config: PathBuf,

    /// Where data planes and gatewayctl connect (gRPC). Loopback only: whoever reaches this address can change the
    /// config, and TLS and tokens do not exist yet.
    #[arg(
        long,
        env = "GATEWAY_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:9090",
        value_parser = loopback
    )]
    pub listen: SocketAddr,

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

/// An address that only this machine can reach.
pub(crate) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "not an address such as 127.0.0.1:9090".to_owned())?;
    check_loopback(address)?;
    Ok(address)
}

pub(crate) fn check_loopback(address: SocketAddr) -> Result<(), String> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(format!(
        "refusing to listen on {address}: anyone who reaches it could change the config, because TLS and tokens do \
         not exist yet; listen on 127.0.0.1 or [::1]"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_taken() {
        assert!(loopback("127.0.0.1:0").is_ok());
        assert!(loopback("127.8.8.8:9090").is_ok());
        assert!(loopback("[::1]:9090").is_ok());
        for exposed in ["0.0.0.0:9090", "10.0.0.1:9090", "[::]:9090"] {
            let refusal = loopback(exposed).expect_err(exposed);
            assert!(refusal.contains("TLS and tokens do not exist yet"), "{refusal}");
        }
    }
}
