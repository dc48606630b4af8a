//! `gatewayctl validate`: checks files by building the table that an instance would build.

use crate::console;
use crate::exit::{Exit, Failure};
use crate::output::count;
use crate::source::Source;
use clap::Args;
use policy::config::GatewayConfig;
use policy::config::load::{self, Surroundings};
use policy::diagnostic::{self, Diagnostic};
use std::path::PathBuf;

/// Check config files on this machine, without a control plane
///
/// `${VAR}` is taken from this command's environment, which need not be the control plane's. Exits 3 when a file is
/// invalid, with every error at its place.
#[derive(Debug, Args)]
pub struct Validate {
    /// A config file, or - for standard input; may stand several times
    #[arg(short, long = "file", value_name = "FILE", num_args = 1.., required = true)]
    files: Vec<PathBuf>,
}

impl Validate {
    pub fn run(self) -> Result<Exit, Failure> {
        let mut worst = Exit::Yes;
        for path in &self.files {
            if check(&Source::read(path)?)? != Exit::Yes {
                worst = Exit::Invalid;
            }
        }
        Ok(worst)
    }
}

/// Checks one file and tells about it.
pub fn check(source: &Source) -> Result<Exit, Failure> {
    match load::check(&source.text, &surroundings()) {
        Err(diagnostics) => {
            show(source, &diagnostics);
            console::note(&format!("{}: {}", source.name, count(diagnostics.len(), "error")));
            Ok(Exit::Invalid)
        }
        Ok(checked) => {
            show(source, &checked.warnings);
            console::data(&format!("{}: valid, {}\n", source.name, contents(&checked.config)))?;
            Ok(Exit::Yes)
        }
    }
}

/// Shows diagnostics at their places.
pub fn show(source: &Source, diagnostics: &[Diagnostic]) {
    if !diagnostics.is_empty() {
        console::note(&diagnostic::render(&source.name, &source.text, diagnostics, true));
    }
}

fn contents(config: &GatewayConfig) -> String {
    let inline = config.routes.iter().filter(|route| !route.targets.is_empty()).count();
    let upstreams = config.upstreams.len() + inline;
    format!("{}, {}", count(config.routes.len(), "route"), count(upstreams, "upstream"))
}

/// `${…}` as this process sees it.
pub fn surroundings() -> Surroundings<'static> {
    Surroundings { env: &|name| std::env::var(name).ok(), read_file: &|path| std::fs::read_to_string(path) }
}
