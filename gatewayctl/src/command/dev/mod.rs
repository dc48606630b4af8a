//! `gatewayctl dev`: the whole gateway in one process on loopback, with targets that answer, to try things out.

mod demo;
mod place;
mod secret;
mod welcome;

use crate::command::validate::{show, surroundings};
use crate::console;
use crate::exit::{Exit, Failure};
use crate::source::Source;
use clap::Args;
use dataplane::signals::Signals;
use demo::Demo;
use place::Place;
use policy::config::GatewayConfig;
use policy::config::load;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Run control plane, one data plane and demo targets in this process
///
/// Everything listens on 127.0.0.1. The config is a copy that can be edited while it runs: saving it rolls it out.
#[derive(Debug, Args)]
pub struct Dev {
    /// Start from this config [default: configs/gateway.yaml]; a copy is used
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Port for traffic, in place of the config's `server.port`; 0 takes any free one
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Where the control plane listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090", value_parser = loopback)]
    listen: SocketAddr,
    /// Where the data plane's admin HTTP answers
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901", value_parser = loopback)]
    admin: SocketAddr,
    /// Keep config and history here, to go on with them later [default: a directory that goes with the process]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const INSTANCE: &str = "dev";
/// From the start of the data plane to its first config; then something is wrong, and the log says what.
const PATIENCE: Duration = Duration::from_secs(10);

impl Dev {
    pub fn run(self) -> Result<Exit, Failure> {
        if self.file.is_none() {
            secret::provide()?;
        }
        start_logging();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Bug, format_args!("cannot start the runtime: {error}")))?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> Result<Exit, Failure> {
        let mut signals = Signals::catch().map_err(not_started)?;
        let place = Place::prepare(self.state_dir.as_deref(), self.file.as_deref(), self.port)?;
        let Some(config) = checked(&place.source()?) else { return Ok(Exit::Invalid) };
        self.check_ports(config.server.port)?;

        let demo = Demo::start(&config);
        let control_plane = controlplane::start(self.control_plane(&place)).await.map_err(not_started)?;
        let data_plane =
            dataplane::start(self.data_plane(&place, control_plane.address)?).map_err(not_started)?;
        if tokio::time::timeout(PATIENCE, data_plane.ready()).await.is_err() {
            console::warning("the data plane serves nothing yet; `gatewayctl status` tells why");
        }

        let welcome = welcome::Welcome {
            config: &config,
            traffic: data_plane.listening(),
            control_plane: control_plane.address,
            admin: data_plane.admin,
            place: &place,
            demo: &demo,
        };
        console::data(&welcome.to_string())?;
        let signal = signals.stop(&data_plane.access_log()).await;
        // no drain: whoever presses Ctrl-C at a laptop wants it to end
        drop(data_plane);
        control_plane.shutdown().await;
        console::note(&format!("ended by {signal}"));
        Ok(Exit::Yes)
    }

    /// A port in use is told before anything is started, with the flag that chooses another.
    fn check_ports(&self, traffic: u16) -> Result<(), Failure> {
        let traffic = SocketAddr::new(LOOPBACK, traffic);
        let wanted = [
            ("traffic", traffic, "--port"),
            ("the control plane", self.listen, "--listen"),
            ("admin HTTP", self.admin, "--admin"),
        ];
        for (what, address, flag) in wanted {
            if let Err(error) = TcpListener::bind(address) {
                return Err(Failure::usage(format_args!("{address} cannot be opened for {what}: {error}"))
                    .help(format_args!("choose another with {flag}, or end what listens there")));
            }
        }
        Ok(())
    }

    fn control_plane(&self, place: &Place) -> controlplane::Settings {
        controlplane::Settings {
            config: place.config(),
            listen: self.listen,
            state_dir: Some(place.directory().join("controlplane")),
            access: controlplane::AccessSettings::default(),
        }
    }

    fn data_plane(&self, place: &Place, control_plane: SocketAddr) -> Result<dataplane::Settings, Failure> {
        let bug = |error: &dyn std::fmt::Display| Failure::new(Exit::Bug, error);
        Ok(dataplane::Settings {
            control_plane: format!("http://{control_plane}").parse().map_err(|error| bug(&error))?,
            control_plane_ca: None,
            token_file: None,
            instance: INSTANCE.parse().map_err(|error| bug(&error))?,
            bind: LOOPBACK,
            admin: self.admin,
            state_dir: Some(place.directory().join("dataplane")),
            takeover: false,
            workers: dataplane::available_cores(),
        })
    }
}

/// The config as the control plane will read it; what is wrong with it is told.
fn checked(source: &Source) -> Option<GatewayConfig> {
    match load::check(&source.text, &surroundings()) {
        Ok(checked) => Some(checked.config),
        Err(diagnostics) => {
            show(source, &diagnostics);
            None
        }
    }
}

fn not_started(error: impl Into<anyhow::Error>) -> Failure {
    Failure::usage(format_args!("cannot start: {:#}", error.into()))
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        Ok(address) => Err(format!("{address} is not on this machine alone: use 127.0.0.1:PORT")),
        Err(_) => Err(format!("{text:?} is no address such as 127.0.0.1:9090")),
    }
}

/// What control plane and data plane say, on standard error; RUST_LOG chooses.
fn start_logging() {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,controlplane=info"));
    let writer = || anstream::AutoStream::auto(std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false).init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_taken() {
        assert!(loopback("127.0.0.2:0").is_ok());
        assert!(loopback("0.0.0.0:9090").unwrap_err().contains("this machine alone"));
        assert!(loopback("9090").is_err());
    }
}
