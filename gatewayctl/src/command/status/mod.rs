//! `gatewayctl status`: what every instance runs and how it fares, once or watched.

mod agreement;
pub mod breakers;
pub mod fleet;
pub mod health;
pub mod instances;
pub mod issuers;
pub mod latency;
pub mod limits;
pub mod listeners;
mod named;
pub mod routes;
pub mod targets;
pub mod versions;

use crate::client::{self, Admin};
use crate::command::{Global, completion};
use crate::console;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, Resource, Tone};
use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
pub use fleet::Fleet;
use health::Health;
use jiff::Timestamp;
use policy::config::{GatewayConfig, ServerConfig};
use policy::snapshot;
use proto::v1::{GetStatusRequest, GetStatusResponse, ListVersionsRequest, OrderedBy};
use std::time::Duration;

pub use named::only;

/// Show how the fleet, its routes and its targets fare
///
/// Without a subcommand: a summary of the fleet, and exit code 1 when it is degraded.
#[derive(Debug, Args)]
pub struct Status {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
enum What {
    /// Which requests go where, and whether every instance does so
    #[command(alias = "route")]
    Routes(Routes),
    /// Servers behind the gateway, with their state and traffic
    #[command(alias = "target")]
    Targets(Targets),
    /// What probes and requests have found out about each target
    Health(Targets),
    /// Circuit breakers: which one is open, why, and when it is tried again
    #[command(alias = "breaker")]
    Breakers(Routes),
    /// Rate limits, concurrency limits and retry budgets: how full they are and what they refuse
    #[command(alias = "limit")]
    Limits(Routes),
    /// Issuers of tokens whose keys are fetched: whether they are there, and why not
    #[command(alias = "issuer")]
    Issuers(Issuers),
    /// Ports on which clients are served: who comes by them, and how long their certificates hold
    #[command(alias = "listener")]
    Listeners(Listeners),
    /// Data planes and the version each one runs
    #[command(alias = "instance")]
    Instances(Instances),
    /// Versions of the config, newest first
    #[command(alias = "version")]
    Versions,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
struct Routes {
    /// Only these; every one when none is named
    #[arg(value_name = "ROUTE", add = ArgValueCandidates::new(completion::routes))]
    names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
struct Targets {
    /// Only these; every one when none is named
    #[arg(value_name = "UPSTREAM[/ADDR]", add = ArgValueCandidates::new(completion::targets))]
    names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
struct Instances {
    /// Only these; every one when none is named
    #[arg(value_name = "INSTANCE", add = ArgValueCandidates::new(completion::instances))]
    names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
struct Issuers {
    /// Only these; every one when none is named
    #[arg(value_name = "URL")]
    names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Args)]
struct Listeners {
    /// Only these; every one when none is named
    #[arg(value_name = "LISTENER")]
    names: Vec<String>,
}

/// How a status is shown.
#[derive(Debug, Args)]
struct Shown {
    /// Form of the list
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Show it anew every 2 s, until interrupted
    #[arg(short, long, global = true)]
    watch: bool,
    /// As this instance alone sees it
    #[arg(long, global = true, value_name = "INSTANCE", add = ArgValueCandidates::new(completion::instances))]
    instance: Option<String>,
}

const WATCH_INTERVAL: Duration = Duration::from_secs(2);

impl Status {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Self { what, shown } = self;
        let mut admin = global.connect().await?;
        if !shown.watch {
            let (text, exit) = look(&mut admin, what.as_ref(), &shown).await?;
            console::data(&text)?;
            return Ok(exit);
        }
        watch(shown.output, async || Ok(look(&mut admin, what.as_ref(), &shown).await?.0)).await
    }
}

/// Shows one look after another, until interrupted.
pub async fn watch(
    format: Format,
    mut look: impl AsyncFnMut() -> Result<String, Failure>,
) -> Result<Exit, Failure> {
    loop {
        match look().await {
            Ok(text) => console::data(&framed(&text, format))?,
            // the control plane may be on its way back
            Err(failure) => console::error(&failure),
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

/// One look at the fleet: its text and what it means.
async fn look(admin: &mut Admin, what: Option<&What>, shown: &Shown) -> Result<(String, Exit), Failure> {
    let now = Timestamp::now();
    if what == Some(&What::Versions) {
        let text = list(&versions::ask(admin, ListVersionsRequest { limit: 0 }).await?, shown.output, now)?;
        return Ok((text, Exit::Yes));
    }
    let response = admin.get_status(client::question(GetStatusRequest {})).await.map_err(client::failure)?;
    let mut status = response.into_inner();
    if let Some(instance) = &shown.instance {
        status.instances = named::only(status.instances, instance)?;
    }
    show(&status, what, shown.output, now)
}

/// What is asked of a status, as text, and the exit code it deserves.
fn show(
    status: &GetStatusResponse,
    what: Option<&What>,
    format: Format,
    now: Timestamp,
) -> Result<(String, Exit), Failure> {
    let config = table(status)?;
    let text = match what {
        Some(What::Routes(Routes { names })) => {
            list(&named::of(routes::routes(status, &config), names)?, format, now)?
        }
        Some(What::Instances(Instances { names })) => {
            list(&named::of(instances::instances(status), names)?, format, now)?
        }
        Some(What::Targets(Targets { names })) => {
            list(&named::of(targets::targets(status, &config), names)?, format, now)?
        }
        Some(What::Health(Targets { names })) => {
            let health = targets::targets(status, &config).into_iter().map(Health).collect();
            list(&named::of(health, names)?, format, now)?
        }
        Some(What::Breakers(Routes { names })) => {
            list(&named::of(breakers::breakers(status), names)?, format, now)?
        }
        Some(What::Limits(Routes { names })) => {
            list(&named::of(limits::limits(status), names)?, format, now)?
        }
        Some(What::Issuers(Issuers { names })) => {
            list(&named::of(issuers::issuers(status), names)?, format, now)?
        }
        Some(What::Listeners(Listeners { names })) => {
            list(&named::of(listeners::listeners(status), names)?, format, now)?
        }
        Some(What::Versions) | None => {
            let fleet = fleet::fleet(status, &config);
            let exit = if fleet.state == State::Ok { Exit::Yes } else { Exit::No };
            return Ok((list(&[fleet], format, now)?, exit));
        }
    };
    Ok((text, Exit::Yes))
}

/// The config that the current version means; empty before the first one.
pub fn table(status: &GetStatusResponse) -> Result<GatewayConfig, Failure> {
    if status.table.is_empty() {
        let server = ServerConfig::default();
        return Ok(GatewayConfig {
            server,
            listeners: Vec::new(),
            upstreams: Vec::new(),
            routes: Vec::new(),
            global_filters: Vec::new(),
        });
    }
    snapshot::decode_table(&status.table).map_err(|error| {
        Failure::new(
            Exit::Bug,
            format_args!("cannot read the table of version {}: {error}", status.current_version),
        )
        .help("the control plane is of another version than this gatewayctl")
    })
}

/// The list in its format; an empty table says so where a person reads it.
fn list<R: Resource>(items: &[R], format: Format, now: Timestamp) -> Result<String, Failure> {
    if items.is_empty() && matches!(format, Format::Table | Format::Wide) {
        console::note(&format!("no {}s", R::KIND.to_lowercase()));
    }
    output::render(items, format, now)
}

/// A watched look: redrawn on a terminal, one block after another elsewhere.
fn framed(text: &str, format: Format) -> String {
    const HOME_AND_CLEAR: &str = "\x1b[H\x1b[2J";
    match format {
        _ if console::is_terminal() => format!("{HOME_AND_CLEAR}{text}"),
        Format::Yaml => format!("---\n{text}"),
        Format::Json => text.to_owned(),
        Format::Table | Format::Wide | Format::Name => format!("{text}\n"),
    }
}

/// How a route, a target or the fleet fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    Ok,
    /// Back, with less than its share for now.
    Recovering,
    /// By intent it takes no new requests.
    Drained,
    /// No instance has told.
    Unknown,
    /// Not all that should work does; or the instances do not agree.
    Degraded,
    /// Taken out for a time because of what requests saw of it.
    Ejected,
    /// Its health check fails.
    Unhealthy,
    /// It cannot be reached.
    Down,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "OK",
            State::Recovering => "RECOVERING",
            State::Drained => "DRAINED",
            State::Unknown => "UNKNOWN",
            State::Degraded => "DEGRADED",
            State::Ejected => "EJECTED",
            State::Unhealthy => "UNHEALTHY",
            State::Down => "DOWN",
        }
    }

    pub fn tone(self) -> Tone {
        match self {
            State::Ok => Tone::Good,
            State::Drained => Tone::Plain,
            State::Recovering | State::Unknown | State::Degraded => Tone::Doubtful,
            State::Ejected | State::Unhealthy | State::Down => Tone::Bad,
        }
    }

    /// Whether something is known to be wrong with it.
    pub fn is_bad(self) -> bool {
        self > State::Unknown
    }

    /// Whether it gets no requests though it should.
    pub fn is_out(self) -> bool {
        self > State::Degraded
    }
}

/// Who gave an order.
fn author(by: &OrderedBy) -> String {
    let author = if by.author.is_empty() { "an operator" } else { &by.author };
    format!("by {author}")
}
