//! Time spans with their unit.

use super::fault::quoted;
use super::{Fault, text_leaf};
use std::fmt;
use std::str::FromStr;

/// A time span with its unit: `500ms`, `30s`, `1m30s`; whole milliseconds, at most 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// Largest first: the order in which they may follow each other, and in which [`fmt::Display`] tries them.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const MAX_MS: u64 = 24 * 3_600_000;

text_leaf!(
    Duration,
    "a duration such as `30s`",
    "A time span with its unit: `500ms`, `30s`, `1m30s`; whole milliseconds, at most 24h.",
    "pattern": r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
    "minLength": 2
);

impl Duration {
    /// Whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// Whole milliseconds, as few as always are within what a config may say.
    pub const fn short(millis: u16) -> Self {
        Self(std::time::Duration::from_millis(millis as u64))
    }

    /// Whole milliseconds, within what a config may say.
    pub fn from_millis(millis: u64) -> Result<Self, Fault> {
        if millis > MAX_MS {
            return Err(Fault::new("is longer than 24h"));
        }
        Ok(Self(std::time::Duration::from_millis(millis)))
    }

    /// The value.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// The value in milliseconds, as the wire carries it.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for Duration {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Fault::new(format!("{} has no unit", quoted(text)))
                .help(format!("write `{text}s` or `{text}ms`")));
        }
        let not_one = || {
            Fault::new(format!("{} is not a duration", quoted(text)))
                .help("write whole numbers with the units h, m, s and ms: `500ms`, `30s`, `1m30s`")
        };
        let mut rest = text;
        let mut millis = 0u64;
        let mut units = UNITS.iter();
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (name, after) = after.split_at(letters);
            // the iterator is not rewound, so that units come at most once and from large to small
            let (_, factor) = units.find(|(unit, _)| *unit == name).ok_or_else(not_one)?;
            let number: u64 = number.parse().map_err(|_| not_one())?;
            millis = millis.saturating_add(number.saturating_mul(*factor));
            rest = after;
        }
        if text.is_empty() {
            return Err(not_one());
        }
        Self::from_millis(millis).map_err(|fault| Fault::new(format!("{} {}", quoted(text), fault.message)))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        // every number of milliseconds is a multiple of the last unit
        let (unit, factor) =
            UNITS.iter().find(|(_, factor)| millis.is_multiple_of(*factor)).unwrap_or(&UNITS[3]);
        write!(f, "{}{unit}", millis / factor)
    }
}
