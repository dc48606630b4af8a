//! `gatewayctl tap`: requests of the fleet as they end.

use super::past::Past;
use super::{Global, completion, explain};
use crate::client;
use crate::console;
use crate::exit::{Exit, Failure};
use crate::output::{API_VERSION, took};
use clap::Args;
use clap_complete::ArgValueCandidates;
use owo_colors::OwoColorize as _;
use proto::v1::requests_event::Event;
use proto::v1::{self, RequestsEvent, WatchRequestsRequest};
use serde::Serialize;
use std::ops::RangeInclusive;

/// Watch requests of the fleet as they end, until interrupted
///
/// An instance tells of at most some 2500 requests a second; what it leaves out is counted and told. Instances that
/// join later take part. While nobody taps, nothing of this costs anything.
#[derive(Debug, Args)]
pub struct Tap {
    /// Only those that this route took
    #[arg(long, value_name = "ROUTE", default_value = "", hide_default_value = true, add = ArgValueCandidates::new(completion::routes))]
    route: String,
    /// Only those that got this status: 503, or 5xx
    #[arg(long, value_name = "STATUS", value_parser = parse_status)]
    status: Option<RangeInclusive<u32>>,
    /// Only those whose path, as the client sent it, begins with this
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    path: String,
    /// Only those of this method
    #[arg(long, value_name = "METHOD", default_value = "", hide_default_value = true)]
    method: String,
    /// The instance to watch, or `all`
    #[arg(long, value_name = "INSTANCE|all", default_value = "all", add = ArgValueCandidates::new(completion::instances))]
    at: String,
    /// A table, or one JSON document a line
    #[arg(short, long, value_enum, default_value_t = Lines::Table)]
    output: Lines,
    /// Stop after so many
    #[arg(short = 'n', long, value_name = "NUMBER")]
    count: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Lines {
    Table,
    Json,
}

fn parse_status(text: &str) -> Result<RangeInclusive<u32>, String> {
    let wrong = || format!("{text:?} is no status; write 503 or 5xx");
    let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
    match class {
        Some(digit) => match digit.parse::<u32>() {
            Ok(class @ 1..=5) => Ok(class * 100..=class * 100 + 99),
            _ => Err(wrong()),
        },
        None => match text.parse::<u32>() {
            Ok(status @ 100..=599) => Ok(status..=status),
            _ => Err(wrong()),
        },
    }
}

impl Tap {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Self { route, status, path, method, at, output, count } = self;
        let (status_from, status_to) = status.map_or((0, 0), |status| (*status.start(), *status.end()));
        let method = method.to_uppercase();
        let tap = v1::Tap { route, method, path_prefix: path, status_from, status_to };
        let request = WatchRequestsRequest { tap: Some(tap), instance: explain::instance(&at) };
        let mut admin = global.connect().await?;
        let mut events = admin.watch_requests(request).await.map_err(client::failure)?.into_inner();
        let mut teller = Teller { output, left: count, titled: false };
        while let Some(event) = events.message().await.map_err(client::failure)? {
            if teller.tell(event)? {
                return Ok(Exit::Yes);
            }
        }
        Err(Failure::new(Exit::Unreachable, "the control plane ended the stream").help("try again"))
    }
}

struct Teller {
    output: Lines,
    /// How many are still wanted; none: as many as come.
    left: Option<u64>,
    titled: bool,
}

/// One line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<T> {
    api_version: &'static str,
    kind: &'static str,
    #[serde(flatten)]
    of: T,
}

#[derive(Serialize)]
struct Dropped<'a> {
    instance: &'a str,
    dropped: u64,
}

impl Teller {
    /// True: that was enough.
    fn tell(&mut self, RequestsEvent { instance, event }: RequestsEvent) -> Result<bool, Failure> {
        match event {
            Some(Event::Tapped(v1::Tapped { requests, dropped })) => {
                if dropped > 0 {
                    self.tell_dropped(&instance, dropped)?;
                }
                for request in &requests {
                    self.tell_request(&Past::of(&instance, request))?;
                    if let Some(left) = &mut self.left {
                        *left -= 1;
                        if *left == 0 {
                            return Ok(true);
                        }
                    }
                }
            }
            Some(Event::Joined(v1::Joined {})) => console::note(&format!("{instance}: watched")),
            Some(Event::Lost(why)) => console::warning(&format!("{instance}: not watched: {why}")),
            None => {}
        }
        Ok(false)
    }

    fn tell_dropped(&self, instance: &str, dropped: u64) -> Result<(), Failure> {
        console::warning(&format!("{instance}: {dropped} more than there was room for"));
        match self.output {
            Lines::Table => Ok(()),
            Lines::Json => json("Dropped", Dropped { instance, dropped }),
        }
    }

    fn tell_request(&mut self, past: &Past<'_>) -> Result<(), Failure> {
        match self.output {
            Lines::Json => json("Request", past),
            Lines::Table => {
                if !self.titled {
                    self.titled = true;
                    console::data(&titles())?;
                }
                console::data(&row(past))
            }
        }
    }
}

fn json<T: Serialize>(kind: &'static str, of: T) -> Result<(), Failure> {
    let line = serde_json::to_string(&Line { api_version: API_VERSION, kind, of });
    let line =
        line.map_err(|error| Failure::new(Exit::Bug, format_args!("cannot write the answer: {error}")))?;
    console::data(&(line + "\n"))
}

fn titles() -> String {
    line(["TIME", "INSTANCE", "STATUS", "TOOK", "ROUTE", "TARGET", "REQUEST"])
}

/// Columns as wide as what is usual: nobody knows what comes next.
fn line([time, instance, status, took, route, target, request]: [&str; 7]) -> String {
    format!("{time:<12}  {instance:<10}  {status:<24}  {took:>8}  {route:<16}  {target:<21}  {request}\n")
}

fn row(past: &Past<'_>) -> String {
    let time = past.began.map(|began| began.strftime("%H:%M:%S%.3f").to_string()).unwrap_or_default();
    let route = if past.route.is_empty() { "-" } else { past.route };
    let target = match past.attempts.as_slice() {
        [] => "-".to_owned(),
        [only] => only.target.to_owned(),
        [.., last] => format!("{} (attempt {})", last.target, past.attempts.len()),
    };
    let request = format!("{}  {}", past.target(), past.request_id);
    let text =
        line([&time, past.instance, &past.outcome(), &took(past.duration_us), route, &target, &request]);
    match past.status {
        500.. => text.red().to_string(),
        400.. => text.yellow().to_string(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::parse_status;

    #[test]
    fn a_status_is_one_or_a_class() {
        assert_eq!(parse_status("5xx"), Ok(500..=599));
        assert_eq!(parse_status("429"), Ok(429..=429));
        for wrong in ["xx", "6xx", "0xx", "42", "600", "all", "-5xx"] {
            assert!(parse_status(wrong).is_err(), "{wrong}");
        }
    }
}
