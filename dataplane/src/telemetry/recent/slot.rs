//! One remembered request: numbers, and all of its texts one after another in a buffer that is used again.

use crate::telemetry::{Exchanged, Try, TryEnd};
use http::{HeaderValue, Version};
use policy::config::leaf::MASK;
use proto::v1;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Longer texts are cut.
const LONGEST: usize = 512;

#[derive(Debug)]
pub(super) struct Slot {
    /// All texts, in the order of [`Text`], then the targets of the tries.
    texts: Vec<u8>,
    /// Where each of [`Text`] ends.
    ends: [u16; Text::COUNT],
    tries: Vec<Tried>,
    table_version: u64,
    unix_nanos: u64,
    duration: Duration,
    peer: SocketAddr,
    client: IpAddr,
    protocol: &'static str,
    status: u16,
    local: bool,
    reason: &'static str,
    bytes_in: u64,
    bytes_out: u64,
    trace_id: Option<[u8; 16]>,
    retry_denied: bool,
    would_limit: bool,
}

#[derive(Debug, Clone, Copy)]
enum Text {
    RequestId,
    Method,
    Host,
    Path,
    Query,
    UserAgent,
    Route,
    Consumer,
    Error,
}

impl Text {
    const COUNT: usize = Self::Error as usize + 1;
}

#[derive(Debug, Clone, Copy)]
struct Tried {
    /// Where the text of its target ends.
    target_end: u16,
    after: Duration,
    took: Duration,
    ended: TryEnd,
    reused: bool,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            texts: Vec::new(),
            ends: [0; Text::COUNT],
            tries: Vec::new(),
            table_version: 0,
            unix_nanos: 0,
            duration: Duration::ZERO,
            peer: SocketAddr::from(([0, 0, 0, 0], 0)),
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            protocol: "",
            status: 0,
            local: false,
            reason: "",
            bytes_in: 0,
            bytes_out: 0,
            trace_id: None,
            retry_denied: false,
            would_limit: false,
        }
    }
}

impl Slot {
    pub(super) fn fill(&mut self, of: &Exchanged<'_>) {
        self.texts.clear();
        self.tries.clear();
        self.write(Text::RequestId, of.request_id.as_bytes());
        self.write(Text::Method, of.method.as_bytes());
        self.write(Text::Host, bytes(of.host));
        self.write(Text::Path, of.path.as_bytes());
        self.write_query(of.query.unwrap_or_default());
        self.write(Text::UserAgent, bytes(of.user_agent));
        self.write(Text::Route, of.route.map_or(&b""[..], |route| route.name.as_bytes()));
        self.write(Text::Consumer, of.consumer.unwrap_or_default().as_bytes());
        self.write(Text::Error, of.error.unwrap_or_default().as_bytes());
        for one in of.tries {
            self.write_try(one, of);
        }
        self.table_version = of.table.map_or(0, |table| table.version);
        self.unix_nanos = of.unix_nanos;
        self.duration = of.duration;
        self.peer = of.peer;
        self.client = of.client_ip;
        self.protocol = protocol(of.version);
        self.status = of.status;
        self.local = of.local;
        self.reason = of.reason.unwrap_or_default();
        self.bytes_in = of.bytes_in;
        self.bytes_out = of.bytes_out;
        self.trace_id = of.trace.map(|trace| trace.trace_id());
        self.retry_denied = of.retry_denied;
        self.would_limit = of.would_limit;
    }

    fn write(&mut self, text: Text, bytes: &[u8]) {
        self.texts.extend_from_slice(&bytes[..bytes.len().min(LONGEST)]);
        self.ends[text as usize] = self.end();
    }

    /// The names of parameters; a value may be anything, a credential too.
    fn write_query(&mut self, query: &str) {
        let most = self.texts.len() + LONGEST;
        for (at, parameter) in query.split('&').enumerate().filter(|(_, parameter)| !parameter.is_empty()) {
            if at > 0 {
                self.texts.push(b'&');
            }
            match parameter.split_once('=') {
                Some((name, _)) => {
                    self.texts.extend_from_slice(name.as_bytes());
                    self.texts.push(b'=');
                    self.texts.extend_from_slice(MASK.as_bytes());
                }
                None => self.texts.extend_from_slice(MASK.as_bytes()),
            }
            if self.texts.len() > most {
                self.texts.truncate(most);
                break;
            }
        }
        self.ends[Text::Query as usize] = self.end();
    }

    fn write_try(&mut self, one: &Try, of: &Exchanged<'_>) {
        if let Some(target) = of.upstream.and_then(|upstream| upstream.targets.get(one.target)) {
            let bytes = target.authority.as_bytes();
            self.texts.extend_from_slice(&bytes[..bytes.len().min(LONGEST)]);
        }
        self.tries.push(Tried {
            target_end: self.end(),
            after: one.began.saturating_duration_since(of.began),
            took: one.took,
            ended: one.ended,
            reused: one.reused,
        });
    }

    /// Nine texts and the targets of eleven tries are far below what 16 bits can say.
    fn end(&self) -> u16 {
        self.texts.len() as u16
    }

    pub(super) fn request_id(&self) -> &[u8] {
        self.text(Text::RequestId)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.texts.capacity()
    }

    pub(super) fn began_ms(&self) -> i64 {
        (self.unix_nanos / 1_000_000) as i64
    }

    fn text(&self, text: Text) -> &[u8] {
        let at = text as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.texts[start.into()..self.ends[at].into()]
    }

    /// As it is told to others.
    pub(super) fn told(&self) -> v1::PastRequest {
        let text = |text| String::from_utf8_lossy(self.text(text)).into_owned();
        v1::PastRequest {
            request_id: text(Text::RequestId),
            version: self.table_version,
            began_us: (self.unix_nanos / 1_000) as i64,
            duration_us: micros(self.duration),
            method: text(Text::Method),
            host: text(Text::Host),
            path: text(Text::Path),
            query: text(Text::Query),
            protocol: self.protocol.to_owned(),
            user_agent: text(Text::UserAgent),
            peer: self.peer.to_string(),
            client: self.client.to_string(),
            route: text(Text::Route),
            consumer: text(Text::Consumer),
            status: self.status.into(),
            reason: self.reason.to_owned(),
            error: text(Text::Error),
            local: self.local,
            attempts: self.attempts(),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            trace_id: self.trace_id.map(|id| format!("{:032x}", u128::from_be_bytes(id))).unwrap_or_default(),
            retry_denied: self.retry_denied,
            would_limit: self.would_limit,
        }
    }

    fn attempts(&self) -> Vec<v1::PastAttempt> {
        let mut start = self.ends[Text::COUNT - 1];
        let one = |tried: &Tried| {
            let target = &self.texts[start.into()..tried.target_end.into()];
            start = tried.target_end;
            let (status, failure) = match tried.ended {
                TryEnd::Status(status) => (status.into(), ""),
                TryEnd::Failed(reason) => (0, reason),
                TryEnd::Abandoned => (0, ""),
            };
            v1::PastAttempt {
                target: String::from_utf8_lossy(target).into_owned(),
                after_us: micros(tried.after),
                took_us: micros(tried.took),
                status,
                failure: failure.to_owned(),
                reused: tried.reused,
            }
        };
        self.tries.iter().map(one).collect()
    }
}

fn bytes(value: Option<&HeaderValue>) -> &[u8] {
    value.map_or(&[], HeaderValue::as_bytes)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}
