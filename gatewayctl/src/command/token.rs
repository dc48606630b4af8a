//! `gatewayctl token`: tokens for a control plane that wants them.

use crate::console;
use crate::exit::{Exit, Failure};
use clap::{Args, Subcommand};
use controlplane::{Role, token_entry};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// So many random bytes that nobody guesses them.
const BYTES: usize = 32;

/// Make tokens for data planes and people, where the control plane wants them
#[derive(Debug, Args)]
pub struct Token {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write a new token to a file, and print the line by which the control plane knows it
    Create(Create),
}

/// Write a new token to a file, and print the line by which the control plane knows it
///
/// The line belongs behind `tokens:` in the file of `controlplane --tokens`, and tells nothing of the token:
/// `gatewayctl token create edge-1 --role data-plane --out edge-1.token >> tokens.yaml`. Asks no control plane.
#[derive(Debug, Args)]
struct Create {
    /// Who will have it, as logs and the history of versions say it
    #[arg(value_parser = name)]
    name: String,
    /// What its holder may
    #[arg(long, value_enum)]
    role: Role,
    /// Where the token goes: a new file that only you can read
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')) {
        return Err("a name is not empty, and has no quotes, backslashes or control characters".to_owned());
    }
    Ok(text.to_owned())
}

impl Token {
    pub fn run(self) -> Result<Exit, Failure> {
        let What::Create(Create { name, role, out }) = self.what;
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(|error| {
            Failure::new(Exit::Bug, format_args!("the system gives no random bytes: {error}"))
        })?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        write(&out, &token).map_err(|error| {
            let failure = Failure::usage(format_args!("{} cannot be written: {error}", out.display()));
            match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    failure.help("an earlier token is not overwritten: remove it first")
                }
                _ => failure,
            }
        })?;
        console::data(&(token_entry(&name, role, &token) + "\n"))?;
        Ok(Exit::Yes)
    }
}

fn write(path: &Path, token: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{token}")
}
