//! A request that is over, as a data plane remembers it: for documents, and its parts for people.

use crate::output::{self, Row, Tone, printable};
use jiff::Timestamp;
use proto::v1;
use serde::Serialize;

/// Everything that is known of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Past<'a> {
    pub instance: &'a str,
    pub request_id: &'a str,
    pub version: u64,
    pub began: Option<Timestamp>,
    pub duration_us: u64,
    pub method: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub query: &'a str,
    pub protocol: &'a str,
    pub user_agent: &'a str,
    pub peer: &'a str,
    pub client: &'a str,
    pub route: &'a str,
    pub consumer: &'a str,
    pub status: u32,
    pub reason: &'a str,
    pub error: &'a str,
    /// The gateway made the response.
    pub local: bool,
    pub attempts: Vec<Attempt<'a>>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub trace_id: &'a str,
    pub retry_denied: bool,
    pub would_limit: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt<'a> {
    pub target: &'a str,
    pub after_us: u64,
    pub took_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
    /// Why there is no status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<&'a str>,
    pub reused: bool,
}

impl<'a> Past<'a> {
    pub fn of(instance: &'a str, request: &'a v1::PastRequest) -> Self {
        let v1::PastRequest {
            request_id,
            version,
            began_us,
            duration_us,
            method,
            host,
            path,
            query,
            protocol,
            user_agent,
            peer,
            client,
            route,
            consumer,
            status,
            reason,
            error,
            local,
            attempts,
            bytes_in,
            bytes_out,
            trace_id,
            retry_denied,
            would_limit,
        } = request;
        Self {
            instance,
            request_id,
            version: *version,
            began: Timestamp::from_microsecond(*began_us).ok(),
            duration_us: *duration_us,
            method,
            host,
            path,
            query,
            protocol,
            user_agent,
            peer,
            client,
            route,
            consumer,
            status: *status,
            reason,
            error,
            local: *local,
            attempts: attempts.iter().map(Attempt::of).collect(),
            bytes_in: *bytes_in,
            bytes_out: *bytes_out,
            trace_id,
            retry_denied: *retry_denied,
            would_limit: *would_limit,
        }
    }

    /// `GET /path?page=***`.
    pub fn target(&self) -> String {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        match (self.method, self.path) {
            ("", _) => "no head that could be read".to_owned(),
            (method, path) => printable(&format!("{method} {path}{query}")),
        }
    }

    /// What the client got, and why: `503 circuit_open`.
    pub fn outcome(&self) -> String {
        format!("{} {}", self.status, self.reason).trim_end().to_owned()
    }

    pub fn tone(&self) -> Tone {
        match self.status {
            500.. => Tone::Bad,
            400.. => Tone::Doubtful,
            _ if !self.reason.is_empty() && !self.local => Tone::Doubtful,
            _ => Tone::Good,
        }
    }
}

impl<'a> Attempt<'a> {
    fn of(attempt: &'a v1::PastAttempt) -> Self {
        let v1::PastAttempt { target, after_us, took_us, status, failure, reused } = attempt;
        let failure = match (status, failure.as_str()) {
            (0, "") => Some("client_closed"),
            (0, failure) => Some(failure),
            _ => None,
        };
        let status = Some(*status).filter(|status| *status > 0);
        Self { target, after_us: *after_us, took_us: *took_us, status, failure, reused: *reused }
    }

    pub fn outcome(&self) -> String {
        match (self.status, self.failure) {
            (Some(status), _) => status.to_string(),
            (None, failure) => failure.unwrap_or_default().to_owned(),
        }
    }

    pub fn row(&self, number: usize) -> Row {
        let tone = match self.status {
            Some(..500) => Tone::Good,
            Some(_) | None => Tone::Bad,
        };
        Row::default()
            .cell("ATTEMPT", number)
            .cell("TARGET", self.target)
            .toned("OUTCOME", self.outcome(), tone)
            .cell("AFTER", output::took(self.after_us))
            .cell("TOOK", output::took(self.took_us))
            .cell("CONNECTION", if self.reused { "reused" } else { "new" })
    }
}
