//! A control plane and its data planes as real processes on loopback addresses.

use crate::binaries::binary;
use crate::ctl::{self, Output};
use crate::guard::Guard;
use crate::ports::{PortLease, lease, loopback};
use crate::process::{Process, field};
use crate::wait::eventually;
use proto::access::{Access, Bearer, Token};
use proto::v1::admin_client::AdminClient;
use proto::v1::{GetStatusRequest, GetStatusResponse, InstanceState};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// How a fleet is started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Number of data planes; the n-th is bound to 127.0.0.n and named `dp-n`.
    pub data_planes: u8,
    /// Worker threads of each.
    pub workers: usize,
    /// Where the control plane sends the spans of rollouts.
    pub rollouts_to: Option<String>,
    /// The control plane listens on all addresses, by TLS and with tokens.
    pub guarded: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { data_planes: 1, workers: 2, rollouts_to: None, guarded: false }
    }
}

/// Real processes that serve one config.
#[derive(Debug)]
pub struct Fleet {
    setup: Setup,
    guard: Option<Guard>,
    control_plane: Option<Process>,
    data_planes: Vec<DataPlane>,
    control_port: PortLease,
    port: PortLease,
    // removed last: the processes above are dead by then
    directory: TempDir,
}

/// One data plane, running or not.
#[derive(Debug)]
pub struct DataPlane {
    number: u8,
    process: Option<Process>,
    admin: Option<SocketAddr>,
}

impl Fleet {
    /// Starts `data_planes` of them with a config made for their port, and waits until all run it.
    pub async fn start(data_planes: u8, config: impl FnOnce(u16) -> String) -> Self {
        Self::start_with(Setup { data_planes, ..Setup::default() }, config).await
    }

    /// [`Fleet::start`] with more to say.
    pub async fn start_with(setup: Setup, config: impl FnOnce(u16) -> String) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let guard = match setup.guarded {
            true => Some(Guard::new(directory.path().join("access")).await),
            false => None,
        };
        let mut fleet = Self {
            guard,
            control_plane: None,
            data_planes: Vec::new(),
            control_port: lease(1),
            port: lease(setup.data_planes),
            directory,
            setup,
        };
        fleet.write_config(&config(fleet.port.port));
        fleet.start_control_plane().await;
        for number in 1..=fleet.setup.data_planes {
            fleet.data_planes.push(DataPlane { number, process: None, admin: None });
            fleet.start_data_plane(usize::from(number) - 1).await;
        }
        fleet.settled().await;
        fleet
    }

    /// The traffic port, the same on every data plane.
    pub fn port(&self) -> u16 {
        self.port.port
    }

    /// Where data plane `at` serves traffic.
    pub fn address(&self, at: usize) -> SocketAddr {
        SocketAddr::new(loopback(self.data_planes[at].number), self.port.port)
    }

    /// Where every data plane serves traffic.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (0..self.data_planes.len()).map(|at| self.address(at)).collect()
    }

    /// The admin HTTP of data plane `at`.
    pub fn admin_address(&self, at: usize) -> SocketAddr {
        self.data_planes[at].admin.expect("a started data plane has an admin address")
    }

    /// The file the control plane watches.
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("config/gateway.yaml")
    }

    /// For files of the scenario itself.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Replaces the watched file as a careful editor does: a new file renamed over the old.
    pub fn write_config(&self, text: &str) {
        let path = self.config_path();
        let directory = path.parent().expect("the config stands in a directory");
        fs::create_dir_all(directory).expect("create the config directory");
        let new = directory.join(".gateway.yaml.new");
        fs::write(&new, text).expect("write the new config");
        fs::rename(&new, &path).expect("rename the new config over the old");
    }

    /// Runs `gatewayctl` against this control plane.
    pub async fn ctl<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Output {
        self.ctl_as("alice", arguments).await
    }

    /// The same by somebody else, where the control plane wants to know who it is.
    pub async fn ctl_as<'a>(&self, who: &str, arguments: impl IntoIterator<Item = &'a str>) -> Output {
        let access = self.guard.as_ref().map(|guard| guard.of_ctl(who));
        let access: Vec<&str> = access.iter().flatten().map(String::as_str).collect();
        let arguments: Vec<&str> = arguments.into_iter().collect();
        ctl::run(&self.endpoint(), self.directory.path(), [access, arguments].concat()).await
    }

    /// What it takes to come in.
    pub fn guard(&self) -> &Guard {
        self.guard.as_ref().expect("a guarded control plane")
    }

    /// `gatewayctl apply` of a text, with more arguments.
    pub async fn apply(&self, text: &str, arguments: &[&str]) -> Output {
        let file = self.directory.path().join("apply.yaml");
        fs::write(&file, text).expect("write the file to apply");
        let file = file.to_str().expect("a UTF-8 path").to_owned();
        self.ctl(["apply", "-f", &file, "--yes"].into_iter().chain(arguments.iter().copied())).await
    }

    /// The control plane's URL.
    pub fn endpoint(&self) -> String {
        let scheme = if self.guard.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.control_port.port)
    }

    /// A connection to the control plane.
    pub async fn channel(&self) -> anyhow::Result<Channel> {
        let ca = self.guard.as_ref().map(Guard::ca);
        let access = Access { url: Access::parse(&self.endpoint())?, ca };
        Ok(access.endpoint()?.connect().await?)
    }

    /// A client of the Admin API.
    pub async fn admin(&self) -> anyhow::Result<AdminClient<InterceptedService<Channel, Bearer>>> {
        let token = self.guard.as_ref().map(|guard| Token::read(&guard.token_file("alice"))).transpose()?;
        let client = AdminClient::with_interceptor(self.channel().await?, Bearer(token));
        Ok(client.max_decoding_message_size(64 << 20).max_encoding_message_size(64 << 20))
    }

    /// What the control plane says of the fleet.
    pub async fn status(&self) -> anyhow::Result<GetStatusResponse> {
        Ok(self.admin().await?.get_status(GetStatusRequest {}).await?.into_inner())
    }

    /// Waits until every running data plane runs the current version; returns it.
    pub async fn settled(&self) -> u64 {
        let running = self.data_planes.iter().filter(|one| one.process.is_some()).count();
        eventually("every data plane runs the current version", async || {
            let status = self.status().await.map_err(|error| format!("{error:#}"))?;
            let current = status
                .instances
                .iter()
                .filter(|one| one.state() == InstanceState::Current && serves(one, status.current_version))
                .count();
            if current == running && status.current_version > 0 {
                Ok(status.current_version)
            } else {
                Err(format!("{current} of {running} run {}: {:?}", status.current_version, status.instances))
            }
        })
        .await
    }

    /// Waits until every running data plane runs a version later than `version`; returns it.
    pub async fn settled_after(&self, version: u64) -> u64 {
        eventually("a later version is current", async || match self.status().await {
            Ok(status) if status.current_version > version => Ok(()),
            Ok(status) => {
                Err(format!("version {}, problem: {:?}", status.current_version, status.config_problem))
            }
            Err(error) => Err(format!("{error:#}")),
        })
        .await;
        self.settled().await
    }

    /// The control plane's process.
    pub fn control_plane(&mut self) -> &mut Process {
        self.control_plane.as_mut().expect("the control plane runs")
    }

    /// The process of data plane `at`.
    pub fn data_plane(&mut self, at: usize) -> &mut Process {
        self.data_planes[at].process.as_mut().expect("the data plane runs")
    }

    /// Whether data plane `at` runs.
    pub fn is_running(&self, at: usize) -> bool {
        self.data_planes[at].process.is_some()
    }

    /// `kill -9` of the control plane.
    pub fn kill_control_plane(&mut self) {
        if let Some(process) = self.control_plane.take() {
            process.kill();
        }
    }

    /// `kill -9` of data plane `at`.
    pub fn kill_data_plane(&mut self, at: usize) {
        if let Some(process) = self.data_planes[at].process.take() {
            process.kill();
        }
    }

    /// Starts the control plane, on the port and with the state it had before.
    pub async fn start_control_plane(&mut self) {
        let mut command = Command::new(binary("controlplane"));
        let ip = if self.guard.is_some() { "0.0.0.0" } else { "127.0.0.1" };
        command
            .arg("--config")
            .arg(self.config_path())
            .args(["--listen", &format!("{ip}:{}", self.control_port.port)])
            .args(self.guard.iter().flat_map(Guard::of_control_plane))
            .arg("--state-dir")
            .arg(self.directory.path().join("controlplane"));
        command.args(self.setup.rollouts_to.iter().flat_map(|to| ["--otlp-endpoint", to]));
        let mut process = Process::spawn("controlplane", &mut command);
        process.logged("its address", |line| field(line, "address").map(|_| ())).await;
        self.control_plane = Some(process);
    }

    /// Starts data plane `at`, with the state it had before.
    pub async fn start_data_plane(&mut self, at: usize) {
        let mut process = self.spawn_data_plane(at, self.setup.workers, &[]);
        let admin = process.logged("its admin address", |line| field(line, "admin")?.parse().ok()).await;
        self.data_planes[at].process = Some(process);
        self.data_planes[at].admin = Some(admin);
    }

    /// Starts another process that takes the place of data plane `at`; returns the old one.
    pub async fn take_over(&mut self, at: usize, workers: usize) -> Process {
        let mut successor = self.spawn_data_plane(at, workers, &["--takeover"]);
        successor.logged("that it has taken over", |line| line.contains("taken over").then_some(())).await;
        self.data_planes[at].process.replace(successor).expect("the old one runs")
    }

    /// A process for data plane `at`, with more arguments.
    pub fn spawn_data_plane(&self, at: usize, workers: usize, more: &[&str]) -> Process {
        let name = format!("dp-{}", self.data_planes[at].number);
        Process::spawn(&name, self.data_plane_command(at, workers).args(more))
    }

    /// How data plane `at` is started.
    pub fn data_plane_command(&self, at: usize, workers: usize) -> Command {
        let number = self.data_planes[at].number;
        let name = format!("dp-{number}");
        let mut command = Command::new(binary("dataplane"));
        command
            .args(["--control-plane", &self.endpoint(), "--instance", &name])
            .args(self.guard.iter().flat_map(Guard::of_data_plane))
            .args(["--bind", &loopback(number).to_string(), "--admin", "127.0.0.1:0"])
            .args(["--workers", &workers.to_string()])
            .arg("--state-dir")
            .arg(self.directory.path().join(&name));
        command
    }
}

fn serves(instance: &proto::v1::Instance, version: u64) -> bool {
    instance.status.as_ref().is_some_and(|status| status.active_version == version)
}
