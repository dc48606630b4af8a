//! Exit codes, and the failures that end a command with one; no other file knows the numbers.

use std::fmt;

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Yes = 0,
    No = 1,
    Usage = 2,
    Invalid = 3,
    Rejected = 4,
    Unconfirmed = 5,
    BaseMoved = 6,
    Unreachable = 7,
    Unauthorized = 8,
    Bug = 70,
}

impl Exit {
    pub const ALL: [Exit; 10] = [
        Exit::Yes,
        Exit::No,
        Exit::Usage,
        Exit::Invalid,
        Exit::Rejected,
        Exit::Unconfirmed,
        Exit::BaseMoved,
        Exit::Unreachable,
        Exit::Unauthorized,
        Exit::Bug,
    ];

    pub fn code(self) -> u8 {
        self as u8
    }

    fn meaning(self) -> &'static str {
        match self {
            Exit::Yes => "done, or the answer is yes",
            Exit::No => "a valid no: files differ, the fleet is degraded, nothing found",
            Exit::Usage => "wrong usage, or a file that cannot be read",
            Exit::Invalid => "the config is invalid",
            Exit::Rejected => "an instance or the control plane rejected it; nothing changed",
            Exit::Unconfirmed => "timed out, or not confirmed by every instance",
            Exit::BaseMoved => "the current version is not --base-version",
            Exit::Unreachable => "the control plane cannot be reached",
            Exit::Unauthorized => "not authorized",
            Exit::Bug => "a bug in the gateway's own programs",
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// The table for `--help`.
pub fn help() -> String {
    let lines: Vec<String> =
        Exit::ALL.iter().map(|exit| format!("  {:>2}  {}", exit.code(), exit.meaning())).collect();
    format!("Exit codes:\n{}", lines.join("\n"))
}

/// Why a command could not do what was asked, for a person; carries its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    /// What to try.
    pub help: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), help: None }
    }

    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub fn help(self, help: impl fmt::Display) -> Self {
        Self { help: Some(help.to_string()), ..self }
    }

    /// The reader of our output has gone, as in `| head`: end quietly, there is nobody left to tell.
    pub fn output_closed() -> Self {
        Self::new(Exit::Yes, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_scripts_rely_on() {
        let codes = Exit::ALL.map(Exit::code);
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 70]);
    }

    #[test]
    fn help_tells_every_code() {
        let help = help();
        for exit in Exit::ALL {
            assert!(help.contains(&format!("{:>2}  {}", exit.code(), exit.meaning())), "{exit:?}");
        }
    }
}
