//! Places in a config by their keys.

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

impl ConfigPath {
    /// The whole config.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// The place below this one, in a map.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.step(Segment::Key(key.into()))
    }

    /// The place below this one, in a list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.step(Segment::Index(index))
    }

    fn step(&self, segment: Segment) -> Self {
        Self(self.0.iter().cloned().chain([segment]).collect())
    }
}

/// A path that is not put together before a problem needs it: places are named far more often than reported.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'p> {
    Root,
    Key(&'p Place<'p>, &'p str),
    Index(&'p Place<'p>, usize),
}

impl<'p> Place<'p> {
    pub(crate) const fn key(&'p self, key: &'p str) -> Place<'p> {
        Place::Key(self, key)
    }

    pub(crate) const fn index(&'p self, index: usize) -> Place<'p> {
        Place::Index(self, index)
    }
}

impl From<Place<'_>> for ConfigPath {
    fn from(place: Place<'_>) -> Self {
        match place {
            Place::Root => Self::root(),
            Place::Key(above, key) => Self::from(*above).key(key),
            Place::Index(above, index) => Self::from(*above).index(index),
        }
    }
}

impl fmt::Display for ConfigPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if at == 0 => f.write_str(key)?,
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
