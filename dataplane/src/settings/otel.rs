//! What OpenTelemetry's environment variables say, for whatever the config leaves open.

use percent_encoding::percent_decode_str;
use policy::config::leaf::{Fault, Ratio};
use policy::filter::tracing::{OtlpEndpoint, OtlpProtocol, ParentRule, SamplingDefaults};
use std::fmt;
use std::str::FromStr;

/// Read once, when the process starts; names as in OpenTelemetry's specification. The ones for traces alone
/// (`OTEL_EXPORTER_OTLP_TRACES_…`) come before those for everything.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct OtelEnvironment {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`
    pub(crate) endpoint: Option<OtlpEndpoint>,
    /// `OTEL_EXPORTER_OTLP_PROTOCOL`
    pub(crate) protocol: Option<OtlpProtocol>,
    /// `OTEL_EXPORTER_OTLP_HEADERS`
    pub(crate) headers: Vec<(String, String)>,
    /// `OTEL_SERVICE_NAME`
    pub(crate) service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`
    pub(crate) resource: Vec<(String, String)>,
    /// `OTEL_TRACES_SAMPLER`
    pub(crate) sampling: SamplingDefaults,
}

impl fmt::Debug for OtelEnvironment {
    /// Without the headers, which hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, protocol, headers: _, service_name, resource, sampling } = self;
        f.debug_struct("OtelEnvironment")
            .field("endpoint", endpoint)
            .field("protocol", protocol)
            .field("service_name", service_name)
            .field("resource", resource)
            .field("sampling", sampling)
            .finish_non_exhaustive()
    }
}

impl OtelEnvironment {
    /// That of this process.
    pub(crate) fn of_process() -> Self {
        Self::read(&|name| std::env::var(name).ok(), &|name, why| {
            tracing::warn!(variable = name, problem = %why.message, "a variable of the environment is ignored");
        })
    }

    /// The specification wants what cannot be understood to be told of and ignored.
    fn read(env: &dyn Fn(&str) -> Option<String>, ignored: &dyn Fn(&str, &Fault)) -> Self {
        let variables = Variables { env, ignored };
        let protocol = variables.of_traces("PROTOCOL", protocol);
        Self {
            endpoint: variables.endpoint(),
            protocol,
            headers: variables.of_traces("HEADERS", pairs).unwrap_or_default(),
            service_name: variables.parsed("OTEL_SERVICE_NAME", |text| Ok(text.to_owned())),
            resource: variables.parsed("OTEL_RESOURCE_ATTRIBUTES", pairs).unwrap_or_default(),
            sampling: variables.sampling(),
        }
    }
}

struct Variables<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    ignored: &'a dyn Fn(&str, &Fault),
}

impl Variables<'_> {
    /// An empty variable is as one that is not set.
    fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, Fault>) -> Option<T> {
        let text = (self.env)(name).filter(|text| !text.is_empty())?;
        parse(text.trim()).inspect_err(|fault| (self.ignored)(name, fault)).ok()
    }

    fn of_traces<T>(&self, what: &str, parse: impl Fn(&str) -> Result<T, Fault>) -> Option<T> {
        self.parsed(&format!("OTEL_EXPORTER_OTLP_TRACES_{what}"), &parse)
            .or_else(|| self.parsed(&format!("OTEL_EXPORTER_OTLP_{what}"), &parse))
    }

    /// That for everything is a base, to which OTLP/HTTP adds its own path.
    fn endpoint(&self) -> Option<OtlpEndpoint> {
        let base = |text: &str| match text.split_once("://").is_some_and(|(_, rest)| rest.contains('/')) {
            true => OtlpEndpoint::from_str(&format!("{}/v1/traces", text.trim_end_matches('/'))),
            false => text.parse(),
        };
        self.parsed("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", OtlpEndpoint::from_str)
            .or_else(|| self.parsed("OTEL_EXPORTER_OTLP_ENDPOINT", base))
    }

    fn sampling(&self) -> SamplingDefaults {
        let Some((fixed, parent)) = self.parsed("OTEL_TRACES_SAMPLER", sampler) else {
            return SamplingDefaults::default();
        };
        let of_argument = || self.parsed("OTEL_TRACES_SAMPLER_ARG", Ratio::from_str);
        let sample = fixed.unwrap_or_else(|| of_argument().unwrap_or(Ratio::ONE));
        SamplingDefaults { sample: Some(sample), parent: Some(parent) }
    }
}

/// The ratio, where it is no argument, and whose decision counts. `parentbased` leaves open whom to believe, so the
/// gateway stays careful.
fn sampler(name: &str) -> Result<(Option<Ratio>, ParentRule), Fault> {
    let (all, none) = (Some(Ratio::ONE), Some(Ratio::saturating(0)));
    match name {
        "always_on" => Ok((all, ParentRule::Continue)),
        "always_off" => Ok((none, ParentRule::Continue)),
        "traceidratio" => Ok((None, ParentRule::Continue)),
        "parentbased_always_on" => Ok((all, ParentRule::Trusted)),
        "parentbased_always_off" => Ok((none, ParentRule::Trusted)),
        "parentbased_traceidratio" => Ok((None, ParentRule::Trusted)),
        _ => Err(Fault::new("is no sampler that is known here")),
    }
}

fn protocol(name: &str) -> Result<OtlpProtocol, Fault> {
    match name {
        "grpc" => Ok(OtlpProtocol::Grpc),
        "http/protobuf" => Ok(OtlpProtocol::Http),
        _ => Err(Fault::new("is neither `grpc` nor `http/protobuf`")),
    }
}

/// `key=value,key=value`, percent-encoded.
fn pairs(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().map(String::from);
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').ok_or_else(|| Fault::new("a pair has no `=`"))?;
        match (decoded(key), decoded(value)) {
            (Ok(key), Ok(value)) if !key.is_empty() => Ok((key, value)),
            _ => Err(Fault::new("a pair has no key, or is not UTF-8")),
        }
    };
    text.split(',').filter(|text| !text.trim().is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// What is read, and which variables are ignored.
    fn read(variables: &[(&str, &str)]) -> (OtelEnvironment, Vec<String>) {
        let env = |name: &str| {
            let known = variables.iter().find(|(known, _)| *known == name);
            known.map(|(_, value)| (*value).to_owned())
        };
        let ignored = RefCell::new(Vec::new());
        let read = OtelEnvironment::read(&env, &|name, _| ignored.borrow_mut().push(name.to_owned()));
        (read, ignored.into_inner())
    }

    #[test]
    fn nothing_is_said_by_nothing() {
        let empty = [("OTEL_SERVICE_NAME", ""), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")];
        assert_eq!(read(&empty), (OtelEnvironment::default(), Vec::new()));
    }

    #[test]
    fn what_is_for_traces_comes_before_what_is_for_everything() {
        let (read, ignored) = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/in"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%2Cb , x-team=7"),
            ("OTEL_SERVICE_NAME", "edge"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,k8s.pod.name=gw-0"),
        ]);
        assert_eq!(ignored, Vec::<String>::new());
        assert_eq!(
            read.endpoint.map(|endpoint| endpoint.to_string()).as_deref(),
            Some("http://traces:4318/in")
        );
        assert_eq!(read.protocol, Some(OtlpProtocol::Http));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(read.headers, [pair("x-key", "a,b"), pair("x-team", "7")]);
        assert_eq!(read.service_name.as_deref(), Some("edge"));
        let attributes = [pair("deployment.environment.name", "prod"), pair("k8s.pod.name", "gw-0")];
        assert_eq!(read.resource, attributes);
    }

    #[test]
    fn a_base_gets_the_path_of_traces() {
        let of = |base| read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", base)]).0.endpoint.map(|e| e.to_string());
        assert_eq!(of("http://all:4318/otlp/").as_deref(), Some("http://all:4318/otlp/v1/traces"));
        assert_eq!(of("http://all:4318").as_deref(), Some("http://all:4318/"));
    }

    #[test]
    fn the_samplers_of_the_specification() {
        let half = Some("0.5".parse().expect("a ratio"));
        let (one, none) = (Some(Ratio::ONE), Some(Ratio::saturating(0)));
        for (name, argument, sample, parent) in [
            ("always_on", "", one, ParentRule::Continue),
            ("always_off", "", none, ParentRule::Continue),
            ("traceidratio", "0.5", half, ParentRule::Continue),
            ("traceidratio", "", one, ParentRule::Continue),
            ("parentbased_always_on", "", one, ParentRule::Trusted),
            ("parentbased_always_off", "", none, ParentRule::Trusted),
            ("parentbased_traceidratio", "0.5", half, ParentRule::Trusted),
        ] {
            let set = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)];
            assert_eq!(read(&set).0.sampling, SamplingDefaults { sample, parent: Some(parent) }, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_told_of_and_ignored() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=a"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ] {
            assert_eq!(read(&[(name, value)]), (OtelEnvironment::default(), vec![name.to_owned()]));
        }
        let set = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert_eq!(read(&set).1, ["OTEL_TRACES_SAMPLER_ARG"]);
    }

    #[test]
    fn keys_are_not_shown() {
        let (read, _) = read(&[("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2")]);
        assert!(!format!("{read:?}").contains("hunter2"));
    }
}
