//! Values that no output shows.

use super::{Fault, text_leaf};
use std::fmt;
use std::str::FromStr;

/// What stands in every output in place of a secret.
pub const MASK: &str = "***";

/// A secret: every way of printing it gives `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

text_leaf!(Secret, "a secret as a text", "A secret, best written as `${VARIABLE}` or `${file:/path}`; no output shows it.", "minLength": 1);

impl Secret {
    /// The value; for the place that checks against it, and the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return Err(Fault::new("the secret is empty"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
