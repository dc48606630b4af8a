//! Sizes with their unit.

use super::fault::quoted;
use super::{Fault, text_leaf};
use std::fmt;
use std::str::FromStr;

/// A size with its unit: `64KiB`, `10MiB`, or a plain number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

text_leaf!(
    ByteSize,
    "a size such as `64KiB`",
    "A size with its unit: `64KiB`, `10MiB`, `1GiB`, or a plain number of bytes.",
    "type": ["string", "integer"],
    "minimum": 0,
    "pattern": "^[0-9]+(KiB|MiB|GiB|TiB|B)?$"
);

impl FromStr for ByteSize {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(Fault::new(format!("{} is not a size", quoted(text)))
                .help("write `64KiB`, `10MiB` or a number of bytes"));
        }
        let too_large = || Fault::new(format!("{} is more than can be counted", quoted(text)));
        let number: u64 = number.parse().map_err(|_| too_large())?;
        if unit.is_empty() || unit == "B" {
            return Ok(Self(number));
        }
        match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => number.checked_mul(*factor).map(Self).ok_or_else(too_large),
            None => Err(unknown_unit(text, number, unit)),
        }
    }
}

/// `10k`, `10KB` and `10kib` mean different things to different people, so the unambiguous spelling is asked for.
fn unknown_unit(text: &str, number: u64, unit: &str) -> Fault {
    let fault = Fault::new(format!("{} has the unknown unit {}", quoted(text), quoted(unit)));
    let meant = UNITS.iter().find(|(name, _)| name.as_bytes()[0].eq_ignore_ascii_case(&unit.as_bytes()[0]));
    match meant {
        Some((name, _)) => fault.help(format!("write `{number}{name}`")),
        None => fault.help("the units are B, KiB, MiB, GiB and TiB"),
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}
