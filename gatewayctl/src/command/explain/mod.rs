//! `gatewayctl explain`: what would become of a request on every instance, without sending it.

mod question;
mod report;

use super::{Global, completion, parse_duration};
use crate::client;
use crate::console;
use crate::exit::{Exit, Failure};
use crate::output::{self, Shape};
use clap::Args;
use clap_complete::ArgValueCandidates;
use proto::v1::ask_request::Asks;
use proto::v1::{AskRequest, AskResponse};
use report::Report;
use std::net::IpAddr;
use std::time::Duration;
use tonic::Request;

/// Ask every instance what would become of a request, and why
///
/// Nothing is sent and nothing changed: no token of a limit is taken, no breaker tried, no turn of a balancer used up.
/// Each instance answers from the table that it serves and from everything as it is at this moment. Exit code 1: it
/// would be refused, or has no route.
#[derive(Debug, Args)]
pub struct Explain {
    /// GET, POST, …
    #[arg(value_name = "METHOD")]
    method: String,
    /// As for curl: http://host/path?query; or a path alone, with the host in -H
    #[arg(value_name = "URL")]
    url: String,
    /// A header of the request; as often as wanted
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = question::parse_header)]
    headers: Vec<(String, String)>,
    /// The address that the request comes from
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    peer: IpAddr,
    /// The listener that the request comes by; that of `server` when none is named
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// Whom to ask, and how to tell.
#[derive(Debug, Args)]
pub struct Asking {
    /// The instance to ask, or `all`
    #[arg(long, value_name = "INSTANCE|all", default_value = "all", add = ArgValueCandidates::new(completion::instances))]
    at: String,
    /// How long the instances may take
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "3s")]
    timeout: Duration,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Shape::Table)]
    pub output: Shape,
}

/// What the answer takes on its way through the control plane.
const ON_THE_WAY: Duration = Duration::from_secs(5);

impl Asking {
    pub async fn ask(&self, global: &Global, asks: Asks) -> Result<AskResponse, Failure> {
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let message = AskRequest { asks: Some(asks), instance: instance(&self.at), timeout_ms };
        let mut request = Request::new(message);
        request.set_timeout(self.timeout.saturating_add(ON_THE_WAY));
        let mut admin = global.connect().await?;
        Ok(admin.ask(request).await.map_err(client::failure)?.into_inner())
    }
}

/// As the wire says it: empty for every one.
pub fn instance(at: &str) -> String {
    if at == "all" { String::new() } else { at.to_owned() }
}

impl Explain {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Self { method, url, headers, peer, listener, asking } = self;
        let question = question::question(method, &url, headers, peer, listener)?;
        let response = asking.ask(global, Asks::Explain(question.clone())).await?;
        let report = Report::of(&question, response)?;
        let text = match asking.output {
            Shape::Table => report.text(),
            Shape::Json => output::json(&report.document())?,
            Shape::Yaml => output::yaml(&report.document())?,
        };
        console::data(&text)?;
        report.notes().iter().for_each(|note| console::warning(note));
        report.exit()
    }
}
