//! `gatewayctl get config`: the text of a version, as it was applied.

use crate::client;
use crate::command::{Global, completion};
use crate::console;
use crate::exit::{Exit, Failure};
use crate::output::{self, API_VERSION, moment};
use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;
use jiff::Timestamp;
use proto::v1::{GetConfigRequest, GetConfigResponse, Version};
use serde::Serialize;

/// Print what the control plane holds
#[derive(Debug, Args)]
pub struct Get {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the config of a version, secrets masked
    Config(GetConfig),
}

#[derive(Debug, Args)]
struct GetConfig {
    /// The version [default: the current one]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..), add = ArgValueCandidates::new(completion::versions))]
    version: Option<u64>,
    /// yaml is the text as it was applied, json adds what is known about it
    #[arg(short, long, value_enum, default_value_t = ConfigFormat::Yaml)]
    output: ConfigFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ConfigFormat {
    Yaml,
    Json,
}

impl Get {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let What::Config(GetConfig { version, output }) = self.what;
        let request = GetConfigRequest { version: version.unwrap_or(0) };
        let mut admin = global.connect().await?;
        let response =
            admin.get_config(client::question(request)).await.map_err(client::failure)?.into_inner();
        console::data(&match output {
            ConfigFormat::Yaml => with_newline(response.source),
            ConfigFormat::Json => json(response)?,
        })?;
        Ok(Exit::Yes)
    }
}

fn with_newline(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    api_version: &'static str,
    kind: &'static str,
    version: u64,
    sha256: String,
    created: Option<Timestamp>,
    author: String,
    note: String,
    /// The parsed text, `${…}` as written; null when it is not YAML.
    config: serde_json::Value,
    source: String,
}

/// A version with its text, as a JSON document.
pub fn json(response: GetConfigResponse) -> Result<String, Failure> {
    let GetConfigResponse { version, source } = response;
    let Version { version, sha256, created_ms, author, note, state: _, detail: _ } =
        version.unwrap_or_default();
    output::json(&Document {
        api_version: API_VERSION,
        kind: "Config",
        version,
        sha256,
        created: moment(created_ms),
        author,
        note,
        config: serde_yaml::from_str(&source).unwrap_or_default(),
        source,
    })
}
