//! Shares of a hundred, with their unit.

use super::fault::quoted;
use super::{Fault, text_leaf};
use std::fmt;
use std::str::FromStr;

/// A share with its unit: `20%`; whole percent from `0%` to `100%`, and `0` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

text_leaf!(
    Percent,
    "a share such as `20%`",
    "A share in whole percent, from `0%` to `100%`; `0` is `0%`.",
    "type": ["string", "integer"],
    "pattern": "^(0|[0-9]+%)$",
    "minimum": 0,
    "maximum": 0
);

impl Percent {
    /// So many of a hundred, which are at most that.
    pub fn new(percent: u32) -> Result<Self, Fault> {
        match u8::try_from(percent) {
            Ok(percent @ 0..=100) => Ok(Self(percent)),
            _ => Err(Fault::new("is more than 100%")),
        }
    }

    /// So many of a hundred, or all.
    pub const fn saturating(percent: u8) -> Self {
        Self(if percent > 100 { 100 } else { percent })
    }

    /// The value, 0 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.strip_suffix('%') {
            Some(number) if digits(number) => Self::new(number.parse().unwrap_or(u32::MAX))
                .map_err(|fault| Fault::new(format!("{} {}", quoted(text), fault.message))),
            None if text == "0" => Ok(Self(0)),
            None if digits(text) => {
                Err(Fault::new(format!("{} has no unit", quoted(text))).help(format!("write `{text}%`")))
            }
            _ => Err(Fault::new(format!("{} is not a share", quoted(text)))
                .help("write whole percent from `0%` to `100%`, such as `20%`")),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}
