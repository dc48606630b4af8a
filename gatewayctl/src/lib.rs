//! The operator's command line: everything it knows it asks the control plane's Admin service, as anyone may.

pub mod client;
pub mod command;
pub mod console;
pub mod context;
pub mod exit;
pub mod output;
pub mod progress;
pub mod rollout;
pub mod source;

use clap::Parser as _;
use command::Cli;
use exit::{Exit, Failure};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

/// Parses the arguments, runs the command and tells how it ended.
pub fn main() -> ExitCode {
    command::completion::answer_shell();
    let cli = Cli::parse();
    cli.global.color.set();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| cli.run())).unwrap_or_else(|_| Err(bug()));
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            console::error(&failure);
            failure.exit.into()
        }
    }
}

fn bug() -> Failure {
    Failure::new(Exit::Bug, "gatewayctl has failed by a bug of its own")
        .help("please report it with the lines above")
}
