//! `health_check`, `outlier` and `on_all_unhealthy`: how a group of targets finds out which of them are well.

use super::leaf::{Authority, Duration, Fault, HeaderMatch, Method, RequestPath, StatusRange};
use super::wire::{WireError, convert_all, millis, parse, positive, required};
use http::uri::PathAndQuery;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::{NonZeroU16, NonZeroU32};

/// How every target is probed.
///
/// Which keys have a meaning depends on `type`; [`HealthCheckConfig::probe`] has them with their defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthCheckConfig {
    /// Default: `http`.
    #[serde(rename = "type")]
    pub kind: ProbeKind,
    /// `http`: what is asked for. Default: `/health`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<RequestPath>,
    /// `http`: default `GET`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// `http`, `grpc`: the `Host` that is asked for. Default: the target's own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Authority>,
    /// `http`: sent with every probe.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    /// `http`: statuses and ranges of a target that is well. Default: `[200]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_status: Option<Vec<StatusRange>>,
    /// `http`: what the first 64 KiB of the body must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// `grpc`: the service that is asked about. Default: the server as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Where probes go. Default: the target's own port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<NonZeroU16>,
    /// From the end of one probe to the next, give or take a tenth.
    pub interval: Duration,
    /// The whole probe, connection included.
    pub timeout: Duration,
    /// Good probes in a row that make an unhealthy target healthy.
    pub healthy_threshold: NonZeroU32,
    /// Failed probes in a row that make a healthy target unhealthy.
    pub unhealthy_threshold: NonZeroU32,
    /// What a target is until the first probe has its result. Default: `healthy`.
    pub initial: InitialHealth,
}

/// What a probe is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// A request, and a response with an expected status.
    #[default]
    Http,
    /// Whether a connection can be made.
    Tcp,
    /// `grpc.health.v1.Health/Check`, which must answer `SERVING`.
    Grpc,
}

impl ProbeKind {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::Grpc => "grpc",
        }
    }
}

/// What a target is before anything is known about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitialHealth {
    /// Gets requests at once.
    #[default]
    Healthy,
    /// Gets requests after its first good probe.
    Unhealthy,
}

/// When a target is taken out because of what becomes of requests sent to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutlierConfig {
    /// Errors in a row that eject: a response of 5xx, or none.
    pub consecutive_errors: NonZeroU32,
    /// Failed connections in a row that eject, to be quicker with these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive_connect_errors: Option<NonZeroU32>,
    /// A response that takes longer counts as an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Duration>,
    /// How long the first ejection lasts; the second twice as long, and so on.
    pub base_ejection: Duration,
    /// No ejection lasts longer.
    pub max_ejection: Duration,
    /// Of the upstream's targets so many are ejected at most, 1 to 100; one of several may always be.
    #[schemars(range(min = 1, max = 100))]
    pub max_ejection_percent: u32,
}

/// What happens to requests when no target is healthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnAllUnhealthy {
    /// They go to all targets that are not drained: the checks may be what is wrong.
    #[default]
    FailOpen,
    /// They are refused: 503.
    FailClosed,
}

impl OnAllUnhealthy {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::FailOpen => "fail_open",
            Self::FailClosed => "fail_closed",
        }
    }
}

impl Default for HealthCheckConfig {
    fn default() -> Self {
        Self {
            kind: ProbeKind::default(),
            path: None,
            method: None,
            host: None,
            headers: Vec::new(),
            expected_status: None,
            body_contains: None,
            service: None,
            port: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            healthy_threshold: count(2),
            unhealthy_threshold: count(3),
            initial: InitialHealth::default(),
        }
    }
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            consecutive_errors: count(5),
            consecutive_connect_errors: None,
            latency: None,
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejection_percent: 50,
        }
    }
}

/// Of a number written here.
fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

/// What a probe does, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Sends a request.
    Http(HttpProbe),
    /// Connects.
    Tcp,
    /// Asks a gRPC health service.
    Grpc {
        /// Empty for the server as a whole.
        service: String,
        /// The `:authority`; none for the target's own.
        host: Option<Authority>,
    },
}

/// The request of a probe and what must come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// Mostly `GET`.
    pub method: Method,
    /// Path and query.
    pub path: RequestPath,
    /// The `Host`; none for the target's own.
    pub host: Option<Authority>,
    /// Sent as they are.
    pub headers: Vec<HeaderMatch>,
    /// One of these must contain the status.
    pub expected_status: Vec<StatusRange>,
    /// Looked for in the body.
    pub body_contains: Option<String>,
}

impl HealthCheckConfig {
    /// What is sent and expected.
    pub fn probe(&self) -> Probe {
        match self.kind {
            ProbeKind::Http => Probe::Http(HttpProbe {
                method: self.method.clone().unwrap_or(Method(http::Method::GET)),
                path: self.path.clone().unwrap_or_else(|| RequestPath(PathAndQuery::from_static("/health"))),
                host: self.host.clone(),
                headers: self.headers.clone(),
                expected_status: self.expected_status.clone().unwrap_or_else(|| vec![StatusRange::OK]),
                body_contains: self.body_contains.clone(),
            }),
            ProbeKind::Tcp => Probe::Tcp,
            ProbeKind::Grpc => {
                Probe::Grpc { service: self.service.clone().unwrap_or_default(), host: self.host.clone() }
            }
        }
    }
}

impl From<&HealthCheckConfig> for v1::HealthCheck {
    fn from(config: &HealthCheckConfig) -> Self {
        // what depends on the kind is destructured in `Probe`
        let HealthCheckConfig {
            kind: _,
            path: _,
            method: _,
            host: _,
            headers: _,
            expected_status: _,
            body_contains: _,
            service: _,
            port,
            interval,
            timeout,
            healthy_threshold,
            unhealthy_threshold,
            initial,
        } = config;
        Self {
            probe: Some(config.probe().into()),
            port: port.map(|port| port.get().into()),
            interval_ms: interval.as_millis(),
            timeout_ms: timeout.as_millis(),
            healthy_threshold: healthy_threshold.get(),
            unhealthy_threshold: unhealthy_threshold.get(),
            initial: v1::InitialHealth::from(*initial).into(),
        }
    }
}

impl TryFrom<v1::HealthCheck> for HealthCheckConfig {
    type Error = WireError;

    fn try_from(wire: v1::HealthCheck) -> Result<Self, WireError> {
        let v1::HealthCheck {
            probe,
            port,
            interval_ms,
            timeout_ms,
            healthy_threshold,
            unhealthy_threshold,
            initial,
        } = wire;
        Ok(Self {
            port: port.map(self::port).transpose()?,
            interval: millis("interval", interval_ms)?,
            timeout: millis("timeout", timeout_ms)?,
            healthy_threshold: positive("healthy_threshold", healthy_threshold)?,
            unhealthy_threshold: positive("unhealthy_threshold", unhealthy_threshold)?,
            initial: initial_health(initial)?,
            ..Probe::try_from(required("type", probe)?)?.into()
        })
    }
}

/// A check that does this, with the defaults of everything else.
impl From<Probe> for HealthCheckConfig {
    fn from(probe: Probe) -> Self {
        let check = Self::default();
        match probe {
            Probe::Http(HttpProbe { method, path, host, headers, expected_status, body_contains }) => Self {
                kind: ProbeKind::Http,
                path: Some(path),
                method: Some(method),
                host,
                headers,
                expected_status: Some(expected_status),
                body_contains,
                ..check
            },
            Probe::Tcp => Self { kind: ProbeKind::Tcp, ..check },
            Probe::Grpc { service, host } => {
                Self { kind: ProbeKind::Grpc, host, service: Some(service), ..check }
            }
        }
    }
}

impl From<Probe> for v1::health_check::Probe {
    fn from(probe: Probe) -> Self {
        match probe {
            Probe::Http(probe) => Self::Http(probe.into()),
            Probe::Tcp => Self::Tcp(v1::TcpProbe {}),
            Probe::Grpc { service, host } => {
                Self::Grpc(v1::GrpcProbe { service, host: host.map(|host| host.to_string()) })
            }
        }
    }
}

impl TryFrom<v1::health_check::Probe> for Probe {
    type Error = WireError;

    fn try_from(wire: v1::health_check::Probe) -> Result<Self, WireError> {
        Ok(match wire {
            v1::health_check::Probe::Http(probe) => Self::Http(probe.try_into()?),
            v1::health_check::Probe::Tcp(v1::TcpProbe {}) => Self::Tcp,
            v1::health_check::Probe::Grpc(v1::GrpcProbe { service, host }) => {
                Self::Grpc { service, host: host.map(|host| parse("host", &host)).transpose()? }
            }
        })
    }
}

impl From<HttpProbe> for v1::HttpProbe {
    fn from(probe: HttpProbe) -> Self {
        let HttpProbe { method, path, host, headers, expected_status, body_contains } = probe;
        Self {
            method: method.to_string(),
            path: path.to_string(),
            host: host.map(|host| host.to_string()),
            headers: headers.iter().map(v1::HeaderMatch::from).collect(),
            expected_status: expected_status.into_iter().map(v1::StatusRange::from).collect(),
            body_contains,
        }
    }
}

impl TryFrom<v1::HttpProbe> for HttpProbe {
    type Error = WireError;

    fn try_from(wire: v1::HttpProbe) -> Result<Self, WireError> {
        let v1::HttpProbe { method, path, host, headers, expected_status, body_contains } = wire;
        Ok(Self {
            method: parse("method", &method)?,
            path: parse("path", &path)?,
            host: host.map(|host| parse("host", &host)).transpose()?,
            headers: convert_all("headers", headers)?,
            expected_status: convert_all("expected_status", expected_status)?,
            body_contains,
        })
    }
}

impl From<StatusRange> for v1::StatusRange {
    fn from(range: StatusRange) -> Self {
        Self { first: range.first().into(), last: range.last().into() }
    }
}

impl TryFrom<v1::StatusRange> for StatusRange {
    type Error = Fault;

    fn try_from(v1::StatusRange { first, last }: v1::StatusRange) -> Result<Self, Fault> {
        let range = u16::try_from(first).ok().zip(u16::try_from(last).ok());
        let range = range.and_then(|(first, last)| Self::new(first, last));
        range.ok_or_else(|| Fault::new(format!("{first}-{last} is not a range of statuses")))
    }
}

fn port(number: u32) -> Result<NonZeroU16, Fault> {
    let port = u16::try_from(number).ok().and_then(NonZeroU16::new);
    port.ok_or_else(|| Fault::new(format!("{number} is not a port")).at("port"))
}

impl From<InitialHealth> for v1::InitialHealth {
    fn from(initial: InitialHealth) -> Self {
        match initial {
            InitialHealth::Healthy => Self::Healthy,
            InitialHealth::Unhealthy => Self::Unhealthy,
        }
    }
}

fn initial_health(wire: i32) -> Result<InitialHealth, Fault> {
    match v1::InitialHealth::try_from(wire) {
        Ok(v1::InitialHealth::Healthy) => Ok(InitialHealth::Healthy),
        Ok(v1::InitialHealth::Unhealthy) => Ok(InitialHealth::Unhealthy),
        Ok(v1::InitialHealth::Unspecified) | Err(_) => {
            Err(Fault::new(format!("{wire} is a health that this version does not know")).at("initial"))
        }
    }
}

impl From<&OutlierConfig> for v1::Outlier {
    fn from(config: &OutlierConfig) -> Self {
        let OutlierConfig {
            consecutive_errors,
            consecutive_connect_errors,
            latency,
            base_ejection,
            max_ejection,
            max_ejection_percent,
        } = config;
        Self {
            consecutive_errors: consecutive_errors.get(),
            consecutive_connect_errors: consecutive_connect_errors.map(NonZeroU32::get),
            latency_ms: latency.map_or(0, Duration::as_millis),
            base_ejection_ms: base_ejection.as_millis(),
            max_ejection_ms: max_ejection.as_millis(),
            max_ejection_percent: *max_ejection_percent,
        }
    }
}

impl TryFrom<v1::Outlier> for OutlierConfig {
    type Error = Fault;

    fn try_from(wire: v1::Outlier) -> Result<Self, Fault> {
        let v1::Outlier {
            consecutive_errors,
            consecutive_connect_errors,
            latency_ms,
            base_ejection_ms,
            max_ejection_ms,
            max_ejection_percent,
        } = wire;
        let connect_errors = |number| positive("consecutive_connect_errors", number);
        Ok(Self {
            consecutive_errors: positive("consecutive_errors", consecutive_errors)?,
            consecutive_connect_errors: consecutive_connect_errors.map(connect_errors).transpose()?,
            latency: (latency_ms > 0).then(|| millis("latency", latency_ms)).transpose()?,
            base_ejection: millis("base_ejection", base_ejection_ms)?,
            max_ejection: millis("max_ejection", max_ejection_ms)?,
            max_ejection_percent,
        })
    }
}

impl From<OnAllUnhealthy> for v1::OnAllUnhealthy {
    fn from(answer: OnAllUnhealthy) -> Self {
        match answer {
            OnAllUnhealthy::FailOpen => Self::FailOpen,
            OnAllUnhealthy::FailClosed => Self::FailClosed,
        }
    }
}

pub(super) fn on_all_unhealthy(wire: i32) -> Result<OnAllUnhealthy, Fault> {
    match v1::OnAllUnhealthy::try_from(wire) {
        Ok(v1::OnAllUnhealthy::FailOpen) => Ok(OnAllUnhealthy::FailOpen),
        Ok(v1::OnAllUnhealthy::FailClosed) => Ok(OnAllUnhealthy::FailClosed),
        Ok(v1::OnAllUnhealthy::Unspecified) => Ok(OnAllUnhealthy::default()),
        Err(_) => {
            Err(Fault::new(format!("{wire} is an answer that this version does not know"))
                .at("on_all_unhealthy"))
        }
    }
}
