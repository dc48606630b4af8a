//! The commands, one file each, and what is common to their command lines.

pub mod apply;
pub mod breaker;
pub mod completion;
pub mod dev;
pub mod diff;
pub mod explain;
pub mod get;
pub mod man;
mod order;
mod past;
pub mod push;
pub mod rollout;
pub mod schema;
pub mod status;
pub mod tap;
pub mod target;
pub mod token;
pub mod top;
pub mod validate;
pub mod why;

use crate::client::{self, Admin};
use crate::console::ColorWhen;
use crate::context::Wanted;
use crate::exit::{self, Exit, Failure};
use clap::{Args, Parser, Subcommand};
use clap_complete::ArgValueCandidates;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

/// Operate the gateway: apply configs, see what every instance runs.
#[derive(Debug, Parser)]
#[command(name = "gatewayctl", version, after_help = exit::help(), max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub struct Global {
    /// Address of the control plane [env: GATEWAYCTL_ENDPOINT] [default: http://127.0.0.1:9090]
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Take the address from this context of $XDG_CONFIG_HOME/gatewayctl/config.yaml
    #[arg(long, global = true, value_name = "NAME", add = ArgValueCandidates::new(completion::contexts))]
    pub context: Option<String>,
    /// Authorities (PEM) that the control plane's certificate must come from [env: GATEWAYCTL_CA]
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Holds your token, which GATEWAYCTL_TOKEN may give as well
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Colour the output; NO_COLOR is honoured
    #[arg(long, global = true, value_enum, default_value_t = ColorWhen::Auto, hide_possible_values = true, value_name = "auto|always|never")]
    pub color: ColorWhen,
}

impl Global {
    /// Connects to the control plane that the user means.
    pub async fn connect(&self) -> Result<Admin, Failure> {
        let Self { endpoint, context, ca, token_file, .. } = self;
        let wanted = Wanted {
            endpoint: endpoint.clone(),
            context: context.clone(),
            ca: ca.clone(),
            token_file: token_file.clone(),
        };
        client::connect(wanted.resolve()?).await
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Roll a config file out to every instance and wait for the outcome
    Apply(apply::Apply),
    /// Compare a config file with what the fleet runs
    Diff(diff::Diff),
    /// Check config files on this machine, without a control plane
    Validate(validate::Validate),
    /// Print the JSON Schema of the config file
    Schema(schema::Schema),
    /// Print what the control plane holds
    Get(get::Get),
    /// Show how the fleet, its routes and its targets fare
    Status(status::Status),
    /// Follow, list and undo rollouts
    Rollout(rollout::Rollout),
    /// Take a target out of service on every instance, or put it back
    Target(target::Target),
    /// Reset a route's circuit breaker on every instance, or hold it open or closed
    Breaker(breaker::Breaker),
    /// Ask every instance what would become of a request, and why
    Explain(explain::Explain),
    /// Ask every instance what became of a request, by the id in its response
    Why(why::Why),
    /// Watch requests of the fleet as they end
    Tap(tap::Tap),
    /// Show rate, errors and latency of routes and the state of targets, redrawn until interrupted
    Top(top::Top),
    /// Send the current version again to instances and wait for their acknowledgement
    Push(push::Push),
    /// Make tokens for data planes and people, where the control plane wants them
    Token(token::Token),
    /// Run control plane, one data plane and demo targets in this process
    Dev(dev::Dev),
    /// Print the completion script of a shell
    Completion(completion::Completion),
    /// Write the manual pages of all programs
    Man(man::Man),
}

impl Cli {
    pub fn run(self) -> Result<Exit, Failure> {
        let Self { global, command } = self;
        match command {
            Command::Validate(validate) => validate.run(),
            Command::Schema(schema) => schema.run(),
            Command::Token(token) => token.run(),
            Command::Dev(dev) => dev.run(),
            Command::Completion(completion) => completion.run(),
            Command::Man(man) => man.run(),
            Command::Apply(apply) => block_on(apply.run(&global)),
            Command::Diff(diff) => block_on(diff.run(&global)),
            Command::Get(get) => block_on(get.run(&global)),
            Command::Status(status) => block_on(status.run(&global)),
            Command::Rollout(rollout) => block_on(rollout.run(&global)),
            Command::Push(push) => block_on(push.run(&global)),
            Command::Explain(explain) => block_on(explain.run(&global)),
            Command::Why(why) => block_on(why.run(&global)),
            Command::Tap(tap) => block_on(tap.run(&global)),
            Command::Top(top) => block_on(top.run(&global)),
            Command::Target(target) => block_on(target.run(&global)),
            Command::Breaker(breaker) => block_on(breaker.run(&global)),
        }
    }
}

/// A client needs one thread.
fn block_on(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Bug, format_args!("cannot start the runtime: {error}")))?;
    runtime.block_on(command)
}

/// The form of an outcome on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OutcomeFormat {
    /// One sentence
    Text,
    Json,
    Yaml,
}

/// How a command that changes the fleet waits and tells.
#[derive(Debug, Args)]
pub struct Waiting {
    /// How long the fleet may take for each step: to prepare a config, to confirm
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    pub timeout: Duration,
    /// Form of the outcome
    #[arg(short, long, value_enum, default_value_t = OutcomeFormat::Text)]
    pub output: OutcomeFormat,
}

/// Another rollout may have to end before ours begins.
const QUEUE_ALLOWANCE: Duration = Duration::from_secs(10);

impl Waiting {
    pub fn timeout_ms(&self) -> u64 {
        u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX)
    }

    /// When to stop believing in an outcome.
    pub fn deadline(&self) -> Duration {
        self.timeout.saturating_mul(2).saturating_add(QUEUE_ALLOWANCE)
    }
}

/// `30s`, `1m30s`, `500ms`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| format!("{text:?} is no duration such as 30s or 1m30s"))?;
    let duration = Duration::try_from(span).map_err(|_| "a duration cannot be negative".to_owned())?;
    if duration.is_zero() { Err("must be more than nothing".to_owned()) } else { Ok(duration) }
}

/// The author that versions are recorded with: the user's name on this machine.
fn author() -> String {
    ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_carry_units() {
        assert_eq!(parse_duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        for wrong in ["30", "-1s", "0s", "soon"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
