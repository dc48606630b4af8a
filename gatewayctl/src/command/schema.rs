//! `gatewayctl schema`: the config language for editors and other programs.

use crate::console;
use crate::exit::{Exit, Failure};
use crate::output;
use clap::Args;

/// Print the JSON Schema of the config file
///
/// An editor with a YAML language server checks a file against it with the first line
/// `# yaml-language-server: $schema=gateway.schema.json`.
#[derive(Debug, Args)]
pub struct Schema {}

impl Schema {
    pub fn run(self) -> Result<Exit, Failure> {
        console::data(&output::json(&policy::config::schema())?)?;
        Ok(Exit::Yes)
    }
}
