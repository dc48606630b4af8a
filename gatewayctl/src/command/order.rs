//! An order to every instance: given, waited for, and told who has confirmed it and who has not.

use super::{OutcomeFormat, QUEUE_ALLOWANCE, Waiting, author};
use crate::client;
use crate::command::Global;
use crate::console;
use crate::exit::{Exit, Failure};
use crate::output::{self, API_VERSION, count, took};
use proto::v1::{Confirmation, ConfirmationState, OrderRequest, OrderResponse, order_request::Order};
use serde::Serialize;
use tonic::Request;

/// Gives an order; `what` is the sentence that is true once everybody has confirmed it.
pub async fn give(global: &Global, order: Order, what: &str, waiting: &Waiting) -> Result<Exit, Failure> {
    let message = OrderRequest { order: Some(order), author: author(), timeout_ms: waiting.timeout_ms() };
    let mut request = Request::new(message);
    request.set_timeout(waiting.timeout.saturating_add(QUEUE_ALLOWANCE));
    let mut admin = global.connect().await?;
    let response = admin.order(request).await.map_err(client::failure)?.into_inner();
    tell(&response, what, waiting.output)
}

fn tell(response: &OrderResponse, what: &str, format: OutcomeFormat) -> Result<Exit, Failure> {
    if !response.warning.is_empty() {
        console::warning(&response.warning);
    }
    for one in &response.instances {
        console::note(&format!("{}: {}", one.instance, said(one)));
    }
    let report = Report::of(response, what);
    match format {
        OutcomeFormat::Text if report.confirmed => console::data(&sentence(response, what))?,
        OutcomeFormat::Text => {}
        OutcomeFormat::Json => console::data(&output::json(&report)?)?,
        OutcomeFormat::Yaml => console::data(&output::yaml(&report)?)?,
    }
    if report.confirmed {
        return Ok(Exit::Yes);
    }
    console::error(&unconfirmed(response));
    Ok(Exit::Unconfirmed)
}

fn said(one: &Confirmation) -> String {
    match one.state() {
        // it went by this already
        ConfirmationState::Confirmed if one.took_us == 0 => "confirmed".to_owned(),
        ConfirmationState::Confirmed => format!("confirmed in {}", took(one.took_us)),
        ConfirmationState::Silent => "silent".to_owned(),
        ConfirmationState::Disconnected => "not connected".to_owned(),
        ConfirmationState::Unspecified => "unknown".to_owned(),
    }
}

fn sentence(response: &OrderResponse, what: &str) -> String {
    let already = if response.changed { "" } else { " as before" };
    match response.instances.len() {
        0 => format!("{what}{already} for every instance that joins; none is connected\n"),
        instances => format!("{what}{already}, confirmed by {}\n", count(instances, "instance")),
    }
}

fn unconfirmed(response: &OrderResponse) -> Failure {
    let open = response.instances.iter().filter(|one| one.state() != ConfirmationState::Confirmed);
    let open: Vec<String> = open.map(|one| format!("{} ({})", one.instance, said(one))).collect();
    let message = format!("the order stands, but is not confirmed by {}", open.join(", "));
    Failure::new(Exit::Unconfirmed, message)
        .help("each gets it when it joins or answers; give the order again to wait for it again")
}

/// The outcome as a document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    api_version: &'static str,
    kind: &'static str,
    order: &'a str,
    revision: u64,
    changed: bool,
    /// By every instance that the control plane knows.
    confirmed: bool,
    warning: &'a str,
    instances: Vec<Instance<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Instance<'a> {
    name: &'a str,
    state: &'static str,
    took_us: u64,
}

impl<'a> Report<'a> {
    fn of(response: &'a OrderResponse, what: &'a str) -> Self {
        let instance = |one: &'a Confirmation| Instance {
            name: &one.instance,
            state: match one.state() {
                ConfirmationState::Confirmed => "CONFIRMED",
                ConfirmationState::Silent => "SILENT",
                ConfirmationState::Disconnected => "DISCONNECTED",
                ConfirmationState::Unspecified => "UNKNOWN",
            },
            took_us: one.took_us,
        };
        Self {
            api_version: API_VERSION,
            kind: "Order",
            order: what,
            revision: response.revision,
            changed: response.changed,
            confirmed: response.instances.iter().all(|one| one.state() == ConfirmationState::Confirmed),
            warning: &response.warning,
            instances: response.instances.iter().map(instance).collect(),
        }
    }
}
