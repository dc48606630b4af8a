//! `gatewayctl completion`: the shell asks gatewayctl itself, so that names of instances, routes, targets and
//! versions are live.

use crate::client::{self, Admin};
use crate::command::Cli;
use crate::command::status::table;
use crate::console;
use crate::context::{Contexts, Wanted};
use crate::exit::{Exit, Failure};
use clap::{Args, CommandFactory as _};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{CompleteEnv, EnvCompleter as _};
use policy::config::{GatewayConfig, TargetConfig};
use proto::v1::{GetStatusRequest, GetStatusResponse, ListVersionsRequest};
use std::future::Future;
use std::time::Duration;

/// Names the shell in the environment of a completion request.
const VARIABLE: &str = "COMPLETE";
/// A shell that waits longer feels broken; without an answer there are no names.
const PATIENCE: Duration = Duration::from_millis(500);

/// Print the completion script of a shell
///
/// bash: `source <(gatewayctl completion bash)`, zsh: `source <(gatewayctl completion zsh)`,
/// fish: `gatewayctl completion fish | source`.
#[derive(Debug, Args)]
pub struct Completion {
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completion {
    pub fn run(self) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        self.shell
            .write_registration(&mut script)
            .map_err(|error| Failure::new(Exit::Bug, format_args!("cannot write the script: {error}")))?;
        console::data(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Yes)
    }
}

impl Shell {
    fn write_registration(self, script: &mut Vec<u8>) -> std::io::Result<()> {
        let name = "gatewayctl";
        match self {
            Shell::Bash => clap_complete::env::Bash.write_registration(VARIABLE, name, name, name, script),
            Shell::Zsh => clap_complete::env::Zsh.write_registration(VARIABLE, name, name, name, script),
            Shell::Fish => clap_complete::env::Fish.write_registration(VARIABLE, name, name, name, script),
        }
    }
}

/// Answers a completion request and exits, if this is one.
pub fn answer_shell() {
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).complete();
}

/// Names of the user's contexts.
pub fn contexts() -> Vec<CompletionCandidate> {
    let contexts = Contexts::load().map(|file| file.contexts).unwrap_or_default();
    contexts
        .into_iter()
        .map(|(name, context)| CompletionCandidate::new(name).help(Some(context.endpoint.into())))
        .collect()
}

/// Names of the instances that the control plane knows.
pub fn instances() -> Vec<CompletionCandidate> {
    let instances = fleet().map(|status| status.instances).unwrap_or_default();
    instances
        .into_iter()
        .filter_map(|instance| Some(CompletionCandidate::new(instance.hello?.instance)))
        .collect()
}

/// Names of the routes in the current config.
pub fn routes() -> Vec<CompletionCandidate> {
    names(|config| config.routes.into_iter().map(|route| route.name).collect())
}

/// Every target of the current config, as `UPSTREAM/ADDR`.
pub fn targets() -> Vec<CompletionCandidate> {
    names(|config| {
        let named = config.upstreams.into_iter().map(|upstream| (upstream.name, upstream.targets));
        let inline = config.routes.into_iter().map(|route| (route.name, route.targets));
        let of = |(name, targets): (String, Vec<TargetConfig>)| {
            targets.into_iter().map(move |target| format!("{name}/{}", target.addr))
        };
        named.chain(inline).flat_map(of).collect()
    })
}

/// The targets that an operator has drained.
pub fn drained() -> Vec<CompletionCandidate> {
    let drained = fleet().and_then(|status| status.orders).unwrap_or_default().drained;
    drained
        .into_iter()
        .map(|one| CompletionCandidate::new(format!("{}/{}", one.upstream, one.addr)))
        .collect()
}

fn names(of: impl FnOnce(GatewayConfig) -> Vec<String>) -> Vec<CompletionCandidate> {
    let config = fleet().and_then(|status| table(&status).ok());
    config.map(of).unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

fn fleet() -> Option<GetStatusResponse> {
    ask(async |mut admin: Admin| Some(admin.get_status(GetStatusRequest {}).await.ok()?.into_inner()))
}

/// Versions of the history, with their notes.
pub fn versions() -> Vec<CompletionCandidate> {
    ask(async |mut admin: Admin| {
        Some(admin.list_versions(ListVersionsRequest { limit: 20 }).await.ok()?.into_inner().versions)
    })
    .unwrap_or_default()
    .into_iter()
    .map(|version| CompletionCandidate::new(version.version.to_string()).help(Some(version.note.into())))
    .collect()
}

/// Asks the control plane of the environment: the words typed so far are not parsed.
fn ask<T, F: Future<Output = Option<T>>>(question: impl FnOnce(Admin) -> F) -> Option<T> {
    let way = Wanted::default().resolve().ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let answer = async { question(client::connect(way).await.ok()?).await };
        tokio::time::timeout(PATIENCE, answer).await.ok().flatten()
    })
}
