//! `tracing`: spans of the exchanges, sent to a collector of OpenTelemetry.
//!
//! ```yaml
//! global_filters:
//!   - tracing:
//!       endpoint: "http://127.0.0.1:4317"
//!       protocol: grpc # or http
//!       sample: 0.01
//!       parent: trusted # or continue, always, ignore
//!       errors: true
//!       service_name: edge
//!       headers: {x-api-key: "${TRACING_KEY}"}
//! ```
//!
//! In a route it stands beside the global one and says what is different there: `sample`, `parent`, `errors`.
//! [`Tracing`] is what runs.

mod endpoint;

pub use endpoint::OtlpEndpoint;

use crate::config::leaf::{Fault, Ratio, Secret, quoted};
use crate::config::wire::parse;
use crate::filter::auth::unmasked;
use crate::headers::Reserved;
use crate::trace::{Parent, Sampler, SpanContext, Threshold};
use http::HeaderMap;
use proto::v1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is recorded, and where it goes. What is left out is as the environment of the data plane says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TracingConfig {
    /// The collector. Default: `OTEL_EXPORTER_OTLP_ENDPOINT`, else `http://localhost:4317`, or port 4318 with
    /// `protocol: http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<OtlpEndpoint>,
    /// How it is spoken to. Default: `OTEL_EXPORTER_OTLP_PROTOCOL`, else `grpc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<OtlpProtocol>,
    /// The share of traces that are recorded, of those that nobody else has decided about. Default:
    /// `OTEL_TRACES_SAMPLER`, else 0.01.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Ratio>,
    /// What a caller's `traceparent` means. Default: `OTEL_TRACES_SAMPLER`, else `trusted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentRule>,
    /// Exchanges that failed in the gateway (5xx) are recorded too where their trace is not, up to 100 a second. Default:
    /// true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<bool>,
    /// Default: `OTEL_SERVICE_NAME`, else `mini-gateway`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Sent to the collector with every batch; their values are secrets. Default: `OTEL_EXPORTER_OTLP_HEADERS`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtlpProtocol {
    /// OTLP/gRPC, mostly on port 4317.
    Grpc,
    /// OTLP/HTTP with protobuf, mostly on port 4318.
    Http,
}

/// What a caller's `traceparent` means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParentRule {
    /// Nothing: every trace begins here.
    Ignore,
    /// Its trace goes on; `sample` decides whether it is recorded.
    Continue,
    /// Its trace goes on; a peer in `server.trusted_proxies` decides whether it is recorded, for others `sample` does.
    #[default]
    Trusted,
    /// Its trace goes on, recorded if it says so.
    Always,
}

/// What the environment of a data plane says where the config says nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SamplingDefaults {
    /// The share.
    pub sample: Option<Ratio>,
    /// Whose decision is taken over.
    pub parent: Option<ParentRule>,
}

/// The `tracing` of a route, or of what no route takes, at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracing {
    share: Option<Threshold>,
    parent: Option<ParentRule>,
    /// Failures are recorded whatever was decided about their trace.
    pub errors: bool,
}

/// One of a hundred.
const USUAL_SAMPLE: u32 = 10_000;

const MAX_SERVICE_NAME: usize = 255;

impl TracingConfig {
    pub(super) fn check(&self) -> Result<(), Fault> {
        if let (Some(endpoint), OtlpProtocol::Grpc) =
            (&self.endpoint, self.protocol.unwrap_or(OtlpProtocol::Grpc))
        {
            endpoint.check_grpc()?;
        }
        if let Some(name) = &self.service_name
            && (name.is_empty() || name.len() > MAX_SERVICE_NAME || name.chars().any(char::is_control))
        {
            let fault =
                Fault::new("`service_name` is empty, longer than 255 bytes, or holds control characters");
            return Err(fault.at("service_name").help("write a short name, such as `edge-gateway`"));
        }
        self.headers.iter().try_for_each(|(name, value)| check_header(name, value))
    }

    /// The keys that only the global one may have, and whether they are set.
    pub(crate) fn of_exporter(&self) -> [(&'static str, bool); 4] {
        let Self { endpoint, protocol, sample: _, parent: _, errors: _, service_name, headers } = self;
        [
            ("endpoint", endpoint.is_some()),
            ("protocol", protocol.is_some()),
            ("service_name", service_name.is_some()),
            ("headers", !headers.is_empty()),
        ]
    }
}

fn check_header(name: &str, value: &Secret) -> Result<(), Fault> {
    unmasked(value.expose(), "headers")?;
    let bad = |why: String| Fault::new(why).at("headers");
    let known = http::HeaderName::try_from(name).map_err(|_| {
        bad(format!("{} is not a header name", quoted(name))).help("write a name such as `x-api-key`")
    })?;
    if Reserved::of(&known).is_some() || known == http::header::CONTENT_TYPE {
        return Err(bad(format!("`{known}` is the exporter's to say")).help("leave it out"));
    }
    if http::HeaderValue::try_from(value.expose()).is_err() {
        // not quoted, because errors are logged
        return Err(
            bad(format!("no header can have the value of `{known}`")).help("remove control characters")
        );
    }
    Ok(())
}

impl Tracing {
    /// What a route's own filter leaves out is as in the global one.
    pub fn new(own: Option<&TracingConfig>, global: &TracingConfig) -> Self {
        let said = |config: &TracingConfig| (config.sample, config.parent, config.errors);
        let (sample, parent, errors) = own.map(said).unwrap_or_default();
        Self {
            share: sample.or(global.sample).map(Threshold::of),
            parent: parent.or(global.parent),
            errors: errors.or(global.errors).unwrap_or(true),
        }
    }

    /// The span of a request.
    pub fn begin(
        &self,
        headers: &HeaderMap,
        peer_is_trusted: bool,
        defaults: &SamplingDefaults,
    ) -> SpanContext {
        let sampler = Sampler {
            share: self.share.unwrap_or_else(|| defaults.share()),
            parent: self.parent.or(defaults.parent).unwrap_or_default(),
        };
        sampler.begin(Parent::of(headers), peer_is_trusted)
    }
}

impl SamplingDefaults {
    fn share(&self) -> Threshold {
        match self.sample {
            Some(sample) => Threshold::of(sample),
            None => const { Threshold::of(Ratio::saturating(USUAL_SAMPLE)) },
        }
    }
}

impl From<OtlpProtocol> for v1::OtlpProtocol {
    fn from(protocol: OtlpProtocol) -> Self {
        match protocol {
            OtlpProtocol::Grpc => Self::Grpc,
            OtlpProtocol::Http => Self::Http,
        }
    }
}

/// None where nothing is said.
fn protocol(wire: i32) -> Result<Option<OtlpProtocol>, Fault> {
    match v1::OtlpProtocol::try_from(wire) {
        Ok(v1::OtlpProtocol::Unspecified) => Ok(None),
        Ok(v1::OtlpProtocol::Grpc) => Ok(Some(OtlpProtocol::Grpc)),
        Ok(v1::OtlpProtocol::Http) => Ok(Some(OtlpProtocol::Http)),
        Err(_) => Err(Fault::new("is not one this version knows").at("protocol")),
    }
}

impl From<ParentRule> for v1::TraceParentRule {
    fn from(rule: ParentRule) -> Self {
        match rule {
            ParentRule::Ignore => Self::Ignore,
            ParentRule::Continue => Self::Continue,
            ParentRule::Trusted => Self::Trusted,
            ParentRule::Always => Self::Always,
        }
    }
}

/// None where nothing is said.
fn parent_rule(wire: i32) -> Result<Option<ParentRule>, Fault> {
    match v1::TraceParentRule::try_from(wire) {
        Ok(v1::TraceParentRule::Unspecified) => Ok(None),
        Ok(v1::TraceParentRule::Ignore) => Ok(Some(ParentRule::Ignore)),
        Ok(v1::TraceParentRule::Continue) => Ok(Some(ParentRule::Continue)),
        Ok(v1::TraceParentRule::Trusted) => Ok(Some(ParentRule::Trusted)),
        Ok(v1::TraceParentRule::Always) => Ok(Some(ParentRule::Always)),
        Err(_) => Err(Fault::new("is not one this version knows").at("parent")),
    }
}

impl From<&TracingConfig> for v1::Tracing {
    fn from(config: &TracingConfig) -> Self {
        let TracingConfig { endpoint, protocol, sample, parent, errors, service_name, headers } = config;
        let header = |(name, value): (&String, &Secret)| v1::TracingHeader {
            name: name.clone(),
            value: value.expose().to_owned(),
        };
        Self {
            endpoint: endpoint.as_ref().map(ToString::to_string),
            protocol: protocol.map_or(v1::OtlpProtocol::Unspecified, Into::into).into(),
            sample_millionths: sample.map(Ratio::millionths),
            parent: parent.map_or(v1::TraceParentRule::Unspecified, Into::into).into(),
            errors: *errors,
            service_name: service_name.clone(),
            headers: headers.iter().map(header).collect(),
        }
    }
}

impl TryFrom<v1::Tracing> for TracingConfig {
    type Error = Fault;

    fn try_from(wire: v1::Tracing) -> Result<Self, Fault> {
        let v1::Tracing {
            endpoint,
            protocol: protocol_number,
            sample_millionths,
            parent,
            errors,
            service_name,
            headers,
        } = wire;
        let header = |v1::TracingHeader { name, value }| Ok((name, parse("headers", &value)?));
        Ok(Self {
            endpoint: endpoint.map(|text| parse("endpoint", &text)).transpose()?,
            protocol: protocol(protocol_number)?,
            sample: sample_millionths
                .map(Ratio::from_millionths)
                .transpose()
                .map_err(|fault| fault.at("sample"))?,
            parent: parent_rule(parent)?,
            errors,
            service_name,
            headers: headers.into_iter().map(header).collect::<Result<_, Fault>>()?,
        })
    }
}

#[cfg(test)]
mod tests;
