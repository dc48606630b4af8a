//! Why a value is not acceptable, in a form that survives the way through a serde error.

use std::fmt;

const AT: &str = "\nat: ";
const HELP: &str = "\nhelp: ";

/// What is wrong with a value, and what to write instead.
///
/// Serde carries errors of a type as text only, so the parts are lines of the text: [`fmt::Display`] writes them and
/// [`Fault::parse`] reads them back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// Lower case, no full stop, one line.
    pub message: String,
    /// The key below the value that is meant; none for the value itself.
    pub at: Option<String>,
    /// What to do about it, one line.
    pub help: Option<String>,
}

impl Fault {
    /// A fault without help.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), at: None, help: None }
    }

    /// The same with help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same for a key below the value.
    #[must_use]
    pub fn at(mut self, key: impl Into<String>) -> Self {
        self.at = Some(key.into());
        self
    }

    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Self {
        let (text, help) = split(text, HELP);
        let (message, at) = split(text, AT);
        Self { message: message.to_owned(), at, help }
    }
}

fn split<'a>(text: &'a str, mark: &str) -> (&'a str, Option<String>) {
    match text.rsplit_once(mark) {
        Some((before, after)) => (before, Some(after.to_owned())),
        None => (text, None),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(at) = &self.at {
            write!(f, "{AT}{at}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "{HELP}{help}")?;
        }
        Ok(())
    }
}

/// A value as it stands in a message: in backticks, on one line, not longer than a message can bear.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown = String::with_capacity(text.len().min(SHOWN) + 5);
    shown.push('`');
    for c in text.chars().take(SHOWN) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown.push('`');
    shown
}
