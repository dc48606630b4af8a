//! What is wrong with a config: problems by path, located in the source as diagnostics, rendered as rustc does.

use std::fmt;

/// A place in a config by its keys: `routes[3].targets[0].addr`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct ConfigPath(pub Vec<Segment>);

/// One step of a [`ConfigPath`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Into a map.
    Key(String),
    /// Into a list.
    Index(usize),
}

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

/// A stable number of a kind of problem, shown as `GW1203`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GW{:04}", self.0)
    }
}
