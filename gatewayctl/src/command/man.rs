//! `gatewayctl man`: what `--help` says, as manual pages.

use crate::command::Cli;
use crate::exit::{Exit, Failure};
use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man as Page;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Write the manual pages of all programs
///
/// `gatewayctl man /usr/local/share/man` makes `man gatewayctl`, `man gatewayctl-apply`, `man controlplane` and their like
/// work.
#[derive(Debug, Args)]
pub struct Man {
    /// Gets the directories `man1` and `man8`
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub fn run(self) -> Result<Exit, Failure> {
        self.write().map_err(|error| {
            Failure::usage(format_args!("cannot write to {}: {error}", self.directory.display()))
        })?;
        Ok(Exit::Yes)
    }

    fn write(&self) -> io::Result<()> {
        let programs = [
            (Cli::command().disable_help_subcommand(true), "1"),
            (controlplane::Arguments::command(), "8"),
            (dataplane::Arguments::command(), "8"),
        ];
        for (mut program, section) in programs {
            // names of subcommands begin with that of the program from now on
            program.build();
            let directory = self.directory.join(format!("man{section}"));
            fs::create_dir_all(&directory)?;
            write(program, section, &directory)?;
        }
        Ok(())
    }
}

/// The page of a command, and those of its subcommands.
fn write(command: Command, section: &str, directory: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        write(subcommand.clone(), section, directory)?;
    }
    let title = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    Page::new(command).title(title).section(section).generate_to(directory)?;
    Ok(())
}
