//! `gatewayctl diff`: what an apply of this file would change.

use crate::command::Global;
use crate::command::apply::current_source;
use crate::console;
use crate::exit::{Exit, Failure};
use crate::output::{self, API_VERSION};
use crate::source::{self, Change, Source};
use clap::Args;
use owo_colors::OwoColorize as _;
use policy::config::load::masked;
use serde::Serialize;
use similar::TextDiff;
use std::path::PathBuf;

/// Compare a config file with what the fleet runs
///
/// The unified diff goes to standard output, a summary by route and upstream to standard error. Exits 0 when the
/// texts are the same and 1 when they differ.
#[derive(Debug, Args)]
pub struct Diff {
    /// The config file, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Form of the differences
    #[arg(short, long, value_enum, default_value_t = DiffFormat::Text)]
    output: DiffFormat,
}

const SECRETS: &str = "secrets written into the file are masked and not compared: `gatewayctl apply --dry-run` tells \
    whether they change anything";

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DiffFormat {
    /// A unified diff
    Text,
    Json,
    Yaml,
}

/// The differences as a document; its items are the routes, upstreams and settings concerned.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    api_version: &'static str,
    kind: &'static str,
    current_version: u64,
    differs: bool,
    diff: String,
    items: Vec<Change>,
}

impl Diff {
    pub async fn run(self, global: &Global) -> Result<Exit, Failure> {
        let mut source = Source::read(&self.file)?;
        // the control plane masks its side, and a diff is no place for secrets either
        let written = masked(&source.text).unwrap_or_else(|| source.text.clone());
        let has_secrets = written != source.text;
        source.text = written;
        let (version, current) = current_source(&mut global.connect().await?).await?;
        let diff = unified(&current, &source.text, version, &source.name);
        let changes = source::changes(&current, &source.text);
        let differs = current != source.text;
        match self.output {
            DiffFormat::Text => {
                console::data(&coloured(&diff))?;
                if differs {
                    console::note(&summary(changes.as_deref()));
                }
                if has_secrets {
                    console::note(SECRETS);
                }
            }
            DiffFormat::Json | DiffFormat::Yaml => {
                let items = changes.unwrap_or_default();
                let (api_version, kind) = (API_VERSION, "Diff");
                let document = Document { api_version, kind, current_version: version, differs, diff, items };
                let is_json = self.output == DiffFormat::Json;
                console::data(&if is_json { output::json(&document)? } else { output::yaml(&document)? })?;
            }
        }
        Ok(if differs { Exit::No } else { Exit::Yes })
    }
}

fn unified(current: &str, new: &str, version: u64, name: &str) -> String {
    TextDiff::from_lines(current, new).unified_diff().header(&format!("version {version}"), name).to_string()
}

fn coloured(diff: &str) -> String {
    diff.split_inclusive('\n')
        .map(|line| match line.as_bytes().first() {
            Some(b'+') => line.green().to_string(),
            Some(b'-') => line.red().to_string(),
            Some(b'@') => line.cyan().to_string(),
            _ => line.to_owned(),
        })
        .collect()
}

fn summary(changes: Option<&[Change]>) -> String {
    match changes {
        None => "one of the texts is not valid YAML: `gatewayctl validate` tells where".to_owned(),
        Some([]) => "only layout or comments differ".to_owned(),
        Some(changes) => changes.iter().map(|change| format!("{change}\n")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_texts_have_no_diff() {
        assert_eq!(unified("a\n", "a\n", 1, "f"), "");
    }

    #[test]
    fn diff_names_version_and_file() {
        let diff = unified("a\nb\n", "a\nc\n", 3, "gateway.yaml");
        assert_eq!(diff, "--- version 3\n+++ gateway.yaml\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n");
        assert_eq!(anstream::adapter::strip_str(&coloured(&diff)).to_string(), diff);
    }
}
