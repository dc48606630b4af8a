//! `gatewayctl status`: what every instance runs and how it fares, once or watched.

pub mod fleet;
pub mod instances;
pub mod routes;
pub mod targets;
pub mod versions;

use crate::client::{self, Admin};
use crate::command::Global;
use crate::console;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, Resource, Tone};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use policy::config::{GatewayConfig, ServerConfig};
use policy::snapshot;
use proto::v1::{GetStatusRequest, GetStatusResponse, ListVersionsRequest};
use std::time::Duration;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
enum What {
    /// Which requests go where, and whether every instance does so
    #[command(alias = "route")]
    Routes,
    /// Servers behind the gateway, with their traffic
    #[command(alias = "target")]
    Targets,
    /// Data planes and the version each one runs
    #[command(alias = "instance")]
    Instances,
    /// Versions of the config, newest first
    #[command(alias = "version")]
    Versions,
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
}

const WATCH_INTERVAL: Duration = Duration::from_secs(2);

impl Status {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Self { what, shown } = self;
        let mut admin = global.connect().await?;
        if !shown.watch {
            let (text, exit) = look(&mut admin, what, shown.output).await?;
            console::data(&text)?;
            return Ok(exit);
        }
        loop {
            match look(&mut admin, what, shown.output).await {
                Ok((text, _)) => console::data(&framed(&text, shown.output))?,
                // the control plane may be on its way back
                Err(failure) => console::error(&failure),
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    }
}

/// One look at the fleet: its text and what it means.
async fn look(admin: &mut Admin, what: Option<What>, format: Format) -> Result<(String, Exit), Failure> {
    let now = Timestamp::now();
    if what == Some(What::Versions) {
        let text = list(&versions::ask(admin, ListVersionsRequest { limit: 0 }).await?, format, now)?;
        return Ok((text, Exit::Yes));
    }
    let response = admin.get_status(client::question(GetStatusRequest {})).await.map_err(client::failure)?;
    show(&response.into_inner(), what, format, now)
}

/// What is asked of a status, as text, and the exit code it deserves.
fn show(
    status: &GetStatusResponse,
    what: Option<What>,
    format: Format,
    now: Timestamp,
) -> Result<(String, Exit), Failure> {
    let config = table(status)?;
    let text = match what {
        Some(What::Routes) => list(&routes::routes(status, &config), format, now)?,
        Some(What::Instances) => list(&instances::instances(status), format, now)?,
        Some(What::Targets) if format == Format::Wide => list(&targets::by_instance(status), format, now)?,
        Some(What::Targets) => list(&targets::summed(status, &config), format, now)?,
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
    /// By intent it takes no new requests.
    Drained,
    /// No instance has told.
    Unknown,
    Degraded,
    Down,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "OK",
            State::Drained => "DRAINED",
            State::Unknown => "UNKNOWN",
            State::Degraded => "DEGRADED",
            State::Down => "DOWN",
        }
    }

    pub fn tone(self) -> Tone {
        match self {
            State::Ok => Tone::Good,
            State::Drained => Tone::Plain,
            State::Unknown | State::Degraded => Tone::Doubtful,
            State::Down => Tone::Bad,
        }
    }
}
