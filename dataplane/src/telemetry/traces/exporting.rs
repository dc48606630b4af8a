//! Where spans go and as whose: the config, and where it is silent the environment.

use super::batch;
use crate::settings::OtelEnvironment;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use policy::filter::tracing::{OtlpEndpoint, OtlpProtocol, TracingConfig};
use std::fmt;

const USUAL_GRPC: &str = "http://localhost:4317";
const USUAL_HTTP: &str = "http://localhost:4318";
const TRACES: &str = "/v1/traces";
const USUAL_NAME: &str = "mini-gateway";

const SERVICE_NAME: &str = "service.name";

/// Everything an exporter needs. Not shown as a whole: its headers are secrets.
#[derive(Clone, PartialEq)]
pub(super) struct Exporting {
    pub(super) protocol: OtlpProtocol,
    /// For OTLP/HTTP with its path.
    pub(super) url: Uri,
    pub(super) headers: HeaderMap,
    /// Encoded.
    pub(super) resource: Vec<u8>,
}

impl Exporting {
    pub(super) fn new(config: &TracingConfig, environment: &OtelEnvironment, instance: &str) -> Self {
        let protocol = config.protocol.or(environment.protocol).unwrap_or(OtlpProtocol::Grpc);
        Self {
            protocol,
            url: url(protocol, config.endpoint.as_ref(), environment),
            headers: headers(config, environment),
            resource: batch::resource(&resource(config, environment, instance)),
        }
    }
}

impl fmt::Display for Exporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

fn url(protocol: OtlpProtocol, configured: Option<&OtlpEndpoint>, environment: &OtelEnvironment) -> Uri {
    let endpoint = configured.or(environment.endpoint.as_ref()).map(OtlpEndpoint::uri);
    match (protocol, endpoint) {
        (OtlpProtocol::Grpc, None) => Uri::from_static(USUAL_GRPC),
        (OtlpProtocol::Grpc, Some(endpoint)) => endpoint.clone(),
        (OtlpProtocol::Http, None) => with_path(&Uri::from_static(USUAL_HTTP), TRACES),
        (OtlpProtocol::Http, Some(endpoint)) => match endpoint.path() {
            "/" => with_path(endpoint, TRACES),
            _ => endpoint.clone(),
        },
    }
}

fn with_path(uri: &Uri, path: &'static str) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static(path));
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

fn headers(config: &TracingConfig, environment: &OtelEnvironment) -> HeaderMap {
    let configured = config.headers.iter().map(|(name, value)| (name.as_str(), value.expose()));
    let of_environment = environment.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let silent = config.headers.is_empty();
    let all = configured.chain(of_environment.filter(|_| silent));
    // both were checked when they were read
    all.filter_map(|(name, value)| {
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name).ok()?, value))
    })
    .collect()
}

/// What is named twice counts as it is named first.
fn resource(config: &TracingConfig, environment: &OtelEnvironment, instance: &str) -> Vec<(String, String)> {
    let named = config.service_name.as_ref().or(environment.service_name.as_ref());
    let of = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let mut attributes: Vec<_> = named.into_iter().map(|name| of(SERVICE_NAME, name)).collect();
    let ours = [
        of("service.instance.id", instance),
        of("gateway.instance", instance),
        of("service.version", env!("CARGO_PKG_VERSION")),
        of(SERVICE_NAME, USUAL_NAME),
    ];
    for (key, value) in environment.resource.iter().cloned().chain(ours) {
        if !attributes.iter().any(|(known, _)| *known == key) {
            attributes.push((key, value));
        }
    }
    attributes
}
