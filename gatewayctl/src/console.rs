//! Standard output for data, standard error for everything said to a person; colour is dropped where it is unwanted.
//!
//! Text is written here with its ANSI colours; anstream strips them when the stream is no terminal, `NO_COLOR` is
//! set or `--color never` was given.

use crate::exit::Failure;
use owo_colors::OwoColorize as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

impl ColorWhen {
    /// Decides for the whole process.
    pub fn set(self) {
        match self {
            ColorWhen::Auto => anstream::ColorChoice::Auto,
            ColorWhen::Always => anstream::ColorChoice::AlwaysAnsi,
            ColorWhen::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// Writes data to standard output and flushes it.
pub fn data(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::output_closed()),
        Err(error) => Err(Failure::usage(format_args!("cannot write to standard output: {error}"))),
    }
}

/// Writes a line to standard error; a closed standard error is nobody's problem.
pub fn note(text: &str) {
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{}", text.trim_end_matches('\n'));
}

pub fn warning(text: &str) {
    note(&format!("{}: {text}", "warning".yellow().bold()));
}

/// Tells a failure as rustc does.
pub fn error(failure: &Failure) {
    if failure.message.is_empty() {
        return;
    }
    note(&format!("{}: {}", "error".red().bold(), failure.message));
    if let Some(help) = &failure.help {
        note(&format!("{}: {help}", "help".cyan().bold()));
    }
}

/// Whether standard output is watched by a person.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether a question can be asked and answered.
pub fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on standard error; anything but `y` or `yes` is a no.
pub fn confirm(question: &str) -> bool {
    let mut err = anstream::stderr().lock();
    let _ = write!(err, "{question} [y/N] ");
    let _ = err.flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok()
        && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
