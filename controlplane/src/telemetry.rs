//! Log lines to stderr, and the spans of rollouts to a collector of OpenTelemetry where one is named.

use crate::actor::TRACE_TARGET;
use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::io;
use std::time::Duration;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

/// Where log lines and spans go.
#[derive(Debug, Clone, clap::Args)]
pub struct Telemetry {
    /// How log lines on stderr look.
    #[arg(long, env = "GATEWAY_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Sends a trace of each rollout to this collector (OTLP over gRPC); none unless given.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum LogFormat {
    /// Words for people.
    Text,
    /// One JSON object.
    Json,
}

/// What is exported when the program ends.
#[derive(Debug)]
pub struct Traces(Option<SdkTracerProvider>);

const SERVICE_NAME: &str = "mini-gateway-controlplane";

/// How long a collector may take over the last spans.
const LAST_SPANS: Duration = Duration::from_secs(5);

impl Telemetry {
    /// From here on lines are logged and spans exported. Inside a runtime that outlives [`Traces::shutdown`].
    pub fn start(&self) -> anyhow::Result<Traces> {
        let endpoint = self.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty());
        let provider = endpoint.map(provider).transpose()?;
        tracing_subscriber::registry().with(self.lines()).with(provider.as_ref().map(spans)).init();
        Ok(Traces(provider))
    }

    fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> Box<dyn Layer<S> + Send + Sync> {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        match self.log_format {
            LogFormat::Text => {
                let color = io::IsTerminal::is_terminal(&io::stderr());
                lines.with_ansi(color).with_filter(filter).boxed()
            }
            LogFormat::Json => lines.json().with_filter(filter).boxed(),
        }
    }
}

impl Traces {
    /// Sends what is left.
    pub async fn shutdown(self) {
        let Some(provider) = self.0 else { return };
        // it blocks until the exporter, which needs this runtime, is done
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_SPANS)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

fn provider(endpoint: &str) -> anyhow::Result<SdkTracerProvider> {
    let mut exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
    if endpoint.starts_with("https:") {
        exporter = exporter.with_tls_config(ClientTlsConfig::new().with_enabled_roots());
    }
    let exporter = exporter.build().with_context(|| format!("spans cannot be sent to {endpoint}"))?;
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come first
    let detected = Resource::builder().build();
    let named = detected
        .get(&opentelemetry::Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut resource = Resource::builder();
    if !named {
        resource = resource.with_service_name(SERVICE_NAME);
    }
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build())
}

/// Rollouts alone, and all of them, whatever `RUST_LOG` says.
fn spans<S: Subscriber + for<'a> LookupSpan<'a>>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S> {
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SERVICE_NAME))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_target(TRACE_TARGET, LevelFilter::INFO))
}
