//! `gatewayctl why`: what became of a request, by the id that its response carried.

use super::Global;
use super::explain::Asking;
use super::past::Past;
use crate::console;
use crate::exit::{Exit, Failure};
use crate::output::{self, API_VERSION, Row, Shape, Tone, age, count, took};
use clap::Args;
use jiff::Timestamp;
use proto::v1::answer::Says;
use proto::v1::ask_request::Asks;
use proto::v1::{AskResponse, Recall, Recollection};
use serde::Serialize;

/// Ask every instance what became of a request, by the id in its response
///
/// Each data plane remembers the requests that ended last, those that failed for longest. Exit code 1: nobody remembers
/// it.
#[derive(Debug, Args)]
pub struct Why {
    /// As in X-Request-ID of the response, and in the access log
    #[arg(value_name = "REQUEST_ID")]
    request_id: String,
    #[command(flatten)]
    asking: Asking,
}

impl Why {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let Self { request_id, asking } = self;
        let recall = Recall { request_id: request_id.clone() };
        let response = asking.ask(global, Asks::Recall(recall)).await?;
        let Found { recalled, silent } = Found::of(response);
        let found: Vec<Past<'_>> = recalled
            .iter()
            .flat_map(|(instance, recollection)| {
                recollection.requests.iter().map(|request| Past::of(instance, request))
            })
            .collect();
        let (now, kind) = (Timestamp::now(), "RequestList");
        let text = match asking.output {
            Shape::Table => found.iter().map(|past| told(past, now)).collect::<Vec<_>>().join("\n"),
            Shape::Json => output::json(&Document { api_version: API_VERSION, kind, items: &found })?,
            Shape::Yaml => output::yaml(&Document { api_version: API_VERSION, kind, items: &found })?,
        };
        console::data(&text)?;
        silent.iter().for_each(|note| console::warning(note));
        if !found.is_empty() {
            return Ok(Exit::Yes);
        }
        Err(unknown(&request_id, &recalled, now))
    }
}

struct Found {
    recalled: Vec<(String, Recollection)>,
    silent: Vec<String>,
}

impl Found {
    fn of(response: AskResponse) -> Self {
        let (mut recalled, mut silent) = (Vec::new(), Vec::new());
        for one in response.instances {
            match one.answer.and_then(|answer| answer.says) {
                Some(Says::Recollection(recollection)) => recalled.push((one.instance, recollection)),
                _ => silent.push(format!("{}: {}", one.instance, one.problem)),
            }
        }
        Self { recalled, silent }
    }
}

fn unknown(request_id: &str, recalled: &[(String, Recollection)], now: Timestamp) -> Failure {
    if recalled.is_empty() {
        return Failure::new(Exit::Unconfirmed, "no instance has answered")
            .help("see `gatewayctl status instances`");
    }
    let memory = |(instance, recollection): &(String, Recollection)| match recollection.remembered {
        0 => format!("{instance} remembers nothing yet"),
        number => {
            let oldest = age(output::moment(recollection.oldest_ms), now);
            format!("{instance} remembers {}, the oldest {oldest} old", count(number as usize, "request"))
        }
    };
    let memories: Vec<String> = recalled.iter().map(memory).collect();
    Failure::new(Exit::No, format_args!("no instance remembers {request_id:?}")).help(format_args!(
        "{}; the access log and the collector of traces remember longer",
        memories.join("; ")
    ))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    items: &'a [Past<'a>],
}

/// One request, for people.
fn told(past: &Past<'_>, now: Timestamp) -> String {
    let mut lines: Vec<Row> = Vec::new();
    let mut line =
        |name: &str, text: String, tone| lines.push(Row::default().cell("", name).toned("", text, tone));
    let by = if past.local { ", by the gateway" } else { "" };
    line("answer", format!("{}{by}", past.outcome()), past.tone());
    if !past.error.is_empty() {
        line("because", past.error.to_owned(), Tone::Plain);
    }
    line("request", format!("{} of {}, {}", past.target(), past.host, past.protocol), Tone::Plain);
    let began = past.began.map(|began| format!("{began:.3}")).unwrap_or_default();
    line(
        "when",
        format!("{began}, {} ago, took {}", age(past.began, now), took(past.duration_us)),
        Tone::Plain,
    );
    line("on", format!("{}, version {}", past.instance, past.version), Tone::Plain);
    line("route", if past.route.is_empty() { "none".to_owned() } else { past.route.to_owned() }, Tone::Plain);
    let consumer =
        if past.consumer.is_empty() { String::new() } else { format!(", consumer {}", past.consumer) };
    let agent =
        if past.user_agent.is_empty() { String::new() } else { format!(", with {}", past.user_agent) };
    line("from", format!("{} (peer {}){consumer}{agent}", past.client, past.peer), Tone::Plain);
    line("bytes", format!("{} in, {} out", past.bytes_in, past.bytes_out), Tone::Plain);
    line("id", past.request_id.to_owned(), Tone::Plain);
    if !past.trace_id.is_empty() {
        line("trace", past.trace_id.to_owned(), Tone::Plain);
    }
    if past.retry_denied {
        line(
            "note",
            "another attempt was wanted, but the budget of retries was spent".to_owned(),
            Tone::Doubtful,
        );
    }
    if past.would_limit {
        line("note", "a rate limit in shadow mode would have refused it".to_owned(), Tone::Doubtful);
    }
    let attempts: Vec<Row> = past.attempts.iter().enumerate().map(|(at, one)| one.row(at + 1)).collect();
    match attempts.is_empty() {
        true => format!("{}\nno attempt was made at a target\n", output::untitled(&lines)),
        false => format!("{}\n{}", output::untitled(&lines), output::rows(&attempts)),
    }
}
