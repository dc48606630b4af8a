//! `gatewayctl apply`: a config file goes to every instance or to none, and the truth about it comes back.

use crate::client::{self, Admin};
use crate::command::validate;
use crate::command::{Global, OutcomeFormat, Waiting, author};
use crate::console;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::rollout::{self, Followed, Report, Until};
use crate::source::{self, Change, Source};
use clap::Args;
use proto::v1::{ApplyRequest, Finished, GetConfigRequest, Outcome};
use std::path::PathBuf;
use tonic::Code;

/// Roll a config file out to every instance and wait for the outcome
///
/// Every instance prepares the config first; only when all of them can run it is it committed. A file that leaves
/// out routes or upstreams of the current version asks first on a terminal; elsewhere it needs --yes.
#[derive(Debug, Args)]
pub struct Apply {
    /// The config file, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Change nothing: check on this machine (client), or have every instance prepare it too (fleet)
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "fleet", value_name = "client|fleet", hide_possible_values = true)]
    dry_run: Option<DryRun>,
    /// Refuse unless this is the current version
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
    base_version: Option<u64>,
    /// Return when the rollout has begun
    #[arg(long, conflicts_with = "dry_run")]
    no_wait: bool,
    /// Do not ask before routes or upstreams are removed
    #[arg(short, long)]
    yes: bool,
    /// Why, for the history
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// Allow a config without routes to replace one that has some
    #[arg(long)]
    allow_empty: bool,
    #[command(flatten)]
    waiting: Waiting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DryRun {
    Client,
    Fleet,
}

/// How often a file is compared anew because another apply came between; then the outcome is told as it is.
const ATTEMPTS: usize = 3;

impl Apply {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let source = Source::read(&self.file)?;
        if self.dry_run == Some(DryRun::Client) {
            return validate::check(&source);
        }
        let mut admin = global.connect().await?;
        let mut attempt = 1;
        loop {
            let base = self.base(&mut admin, &source).await?;
            match self.roll_out(&mut admin, &source, base.version()).await? {
                Followed::Finished(finished) if base.moved(&finished) && attempt < ATTEMPTS => attempt += 1,
                followed => return self.tell(&followed, &source),
            }
        }
    }

    /// What the new config is laid over; a removal needs a yes.
    async fn base(&self, admin: &mut Admin, source: &Source) -> Result<Base, Failure> {
        if self.yes || self.dry_run.is_some() {
            return Ok(self.base_version.map_or(Base::Any, Base::Asked));
        }
        let compared = self.agree_to_removals(admin, source).await?;
        Ok(self.base_version.map_or(Base::Compared(compared), Base::Asked))
    }

    /// The version that was compared; 0 when there is none yet.
    async fn agree_to_removals(&self, admin: &mut Admin, source: &Source) -> Result<u64, Failure> {
        let (version, current) = current_source(admin).await?;
        let removals = source::removals(&current, &source.text);
        if !removals.is_empty() {
            agree(&removals, version, self.file.as_os_str() != "-")?;
        }
        Ok(version)
    }

    async fn roll_out(
        &self,
        admin: &mut Admin,
        source: &Source,
        base_version: u64,
    ) -> Result<Followed, Failure> {
        let request = ApplyRequest {
            source: source.text.clone(),
            source_name: source.name.clone(),
            base_version,
            dry_run: self.dry_run == Some(DryRun::Fleet),
            author: author(),
            note: self.note.clone(),
            timeout_ms: self.waiting.timeout_ms(),
            allow_empty: self.allow_empty,
        };
        let until = if self.no_wait { Until::Started } else { Until::Finished };
        let events = admin.apply(request).await.map_err(client::failure)?.into_inner();
        rollout::follow(events, until, self.waiting.deadline()).await
    }

    fn tell(&self, followed: &Followed, source: &Source) -> Result<Exit, Failure> {
        match followed {
            Followed::Started(started) => {
                console::data(&format!("version {} is being rolled out\n", started.version))?;
                console::note("not waiting: `gatewayctl rollout status` tells the outcome");
                Ok(Exit::Yes)
            }
            Followed::Finished(finished) => tell(finished, self.waiting.output, Some(source)),
        }
    }
}

/// What an apply is based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    /// Whatever is current.
    Any,
    /// What the user said; if it moved, that is the answer.
    Asked(u64),
    /// What the file was compared with: a removal that nobody agreed to must not slip in between.
    Compared(u64),
}

impl Base {
    fn version(self) -> u64 {
        match self {
            Base::Any => 0,
            Base::Asked(version) | Base::Compared(version) => version,
        }
    }

    fn moved(self, finished: &Finished) -> bool {
        matches!(self, Base::Compared(_)) && finished.outcome() == Outcome::BaseMoved
    }
}

/// The current version and its text; 0 and nothing when no config was ever applied.
pub async fn current_source(admin: &mut Admin) -> Result<(u64, String), Failure> {
    match admin.get_config(client::question(GetConfigRequest { version: 0 })).await {
        Ok(response) => {
            let response = response.into_inner();
            Ok((response.version.map_or(0, |version| version.version), response.source))
        }
        Err(status) if status.code() == Code::NotFound => Ok((0, String::new())),
        Err(status) => Err(client::failure(status)),
    }
}

fn agree(removals: &[Change], version: u64, can_ask: bool) -> Result<(), Failure> {
    let list: Vec<String> = removals.iter().map(|change| format!("  {change}")).collect();
    console::note(&format!("the file leaves out what version {version} has:\n{}", list.join("\n")));
    if !can_ask || !console::is_interactive() {
        return Err(Failure::usage(
            "not applied: a removal needs agreement and there is no terminal to ask on",
        )
        .help("pass --yes to remove them, or see `gatewayctl diff`"));
    }
    if console::confirm("remove them?") { Ok(()) } else { Err(Failure::new(Exit::No, "not applied")) }
}

/// Tells an outcome: data on standard output, what went wrong on standard error, the rest by the exit code.
pub fn tell(finished: &Finished, format: OutcomeFormat, source: Option<&Source>) -> Result<Exit, Failure> {
    rollout::explain(finished, source.map(|Source { name, text }| rollout::Source { name, text }));
    let exit = rollout::exit(finished);
    match format {
        OutcomeFormat::Text if exit == Exit::Yes => console::data(&rollout::summary(finished))?,
        OutcomeFormat::Text => {}
        OutcomeFormat::Json => console::data(&output::json(&Report::from(finished))?)?,
        OutcomeFormat::Yaml => console::data(&output::yaml(&Report::from(finished))?)?,
    }
    Ok(exit)
}
