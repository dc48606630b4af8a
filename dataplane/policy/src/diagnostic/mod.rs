//! What is wrong with a config: problems by path, located in the source as diagnostics, rendered as rustc does.

mod code;
mod path;
mod render;
mod suggest;

pub use code::Code;
pub(crate) use path::Place;
pub use path::{ConfigPath, Segment};
pub use render::render;
pub use suggest::nearest;

use proto::v1;
use std::fmt;

/// A problem found while building a table: it knows the place by path, not yet by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which kind.
    pub code: Code,
    /// Where.
    pub path: ConfigPath,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that belong to it, each with a remark.
    pub related: Vec<(ConfigPath, String)>,
}

/// A problem with its place in the source, as far as it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which kind.
    pub code: Code,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The place by its keys, `routes[3].targets[0].addr`; empty when it concerns no place.
    pub path: String,
    /// The place in the source; none when it concerns no place, or the source is not at hand.
    pub span: Option<Span>,
    /// Other places that belong to it.
    pub related: Vec<Label>,
}

/// Another place that belongs to a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// What is there, lower case, no full stop.
    pub message: String,
    /// The place by its keys.
    pub path: String,
    /// The place in the source.
    pub span: Option<Span>,
}

/// A place in a source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// Counted from 1.
    pub line: u32,
    /// In characters, counted from 1.
    pub column: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Problem {
    /// A problem without help and related places.
    pub fn new(code: Code, path: impl Into<ConfigPath>, message: impl Into<String>) -> Self {
        Self { code, path: path.into(), message: message.into(), help: None, related: Vec::new() }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with another place that belongs to it.
    #[must_use]
    pub fn related(mut self, path: impl Into<ConfigPath>, remark: impl Into<String>) -> Self {
        self.related.push((path.into(), remark.into()));
        self
    }
}

impl Diagnostic {
    /// A diagnostic that concerns no place in a config.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            help: None,
            path: String::new(),
            span: None,
            related: Vec::new(),
        }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Without a place in a source, as an instance reports what it cannot run.
impl From<Problem> for Diagnostic {
    fn from(Problem { code, path, message, help, related }: Problem) -> Self {
        let related =
            related.into_iter().map(|(path, message)| Label { message, path: path.to_string(), span: None });
        Self { code, message, help, path: path.to_string(), span: None, related: related.collect() }
    }
}

/// One line, for logs: `GW1203: no upstream is named `x` (routes[0].upstream, line 12)`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match (self.path.as_str(), self.span) {
            ("", None) => Ok(()),
            ("", Some(span)) => write!(f, " (line {})", span.line),
            (path, None) => write!(f, " ({path})"),
            (path, Some(span)) => write!(f, " ({path}, line {})", span.line),
        }
    }
}

impl From<Diagnostic> for v1::Diagnostic {
    fn from(Diagnostic { code, message, help, path, span, related }: Diagnostic) -> Self {
        let (line, column, start, end) = numbers(span);
        let related = related.into_iter().map(v1::Label::from).collect();
        Self {
            code: code.to_string(),
            message,
            help: help.unwrap_or_default(),
            path,
            line,
            column,
            start,
            end,
            related,
        }
    }
}

impl From<Label> for v1::Label {
    fn from(Label { message, path, span }: Label) -> Self {
        let (line, column, start, end) = numbers(span);
        Self { message, path, line, column, start, end }
    }
}

impl From<v1::Diagnostic> for Diagnostic {
    fn from(wire: v1::Diagnostic) -> Self {
        let v1::Diagnostic { code, message, help, path, line, column, start, end, related } = wire;
        Self {
            code: code.parse().unwrap_or(Code::UNKNOWN),
            message,
            help: (!help.is_empty()).then_some(help),
            path,
            span: span(line, column, start, end),
            related: related.into_iter().map(Label::from).collect(),
        }
    }
}

impl From<v1::Label> for Label {
    fn from(v1::Label { message, path, line, column, start, end }: v1::Label) -> Self {
        Self { message, path, span: span(line, column, start, end) }
    }
}

fn numbers(span: Option<Span>) -> (u32, u32, u32, u32) {
    span.map_or((0, 0, 0, 0), |Span { line, column, start, end }| (line, column, start, end))
}

/// Line 0 is the wire's way to say that the place is unknown.
fn span(line: u32, column: u32, start: u32, end: u32) -> Option<Span> {
    (line > 0).then_some(Span { line, column, start, end })
}

#[cfg(test)]
mod tests;
