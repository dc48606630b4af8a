//! Shares of one, for sampling.

use super::fault::quoted;
use super::{Fault, deserialize_text};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A number from 0 to 1 with at most six decimals: `0.01` is one of a hundred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(u32);

const WHOLE: u32 = 1_000_000;
const DECIMALS: usize = 6;

impl Ratio {
    /// All of them.
    pub const ONE: Self = Self(WHOLE);

    /// So many of a million, which are at most that.
    pub fn from_millionths(millionths: u32) -> Result<Self, Fault> {
        match millionths <= WHOLE {
            true => Ok(Self(millionths)),
            false => Err(Fault::new("is more than 1")),
        }
    }

    /// So many of a million, or all.
    pub const fn saturating(millionths: u32) -> Self {
        Self(if millionths > WHOLE { WHOLE } else { millionths })
    }

    /// How many of a million it is.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// Whether one of them is chosen: by chance, as often as the ratio says.
    pub fn chooses(self) -> bool {
        self.0 == WHOLE || (self.0 > 0 && fastrand::u32(..WHOLE) < self.0)
    }
}

impl FromStr for Ratio {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        read(text, DECIMALS, "a ratio", "more than 1")
            .map_err(|fault| fault.help("write a number from 0 to 1, such as `0.01` for one of a hundred"))
    }
}

/// A number of which one at the last of so many decimals is a millionth of the whole.
fn read(text: &str, most_decimals: usize, what: &str, too_much: &str) -> Result<Ratio, Fault> {
    let not_one = || Fault::new(format!("{} is not {what}", quoted(text)));
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) {
        return Err(not_one());
    }
    let decimals = decimals.trim_end_matches('0');
    if decimals.len() > most_decimals {
        let message = format!("{} has more than {most_decimals} decimals", quoted(text));
        return Err(Fault::new(message));
    }
    let parts: u32 = format!("{decimals:0<most_decimals$}").parse().map_err(|_| not_one())?;
    let whole: u32 = whole.parse().map_err(|_| not_one())?;
    let millionths = whole.saturating_mul(10u32.pow(most_decimals as u32)).saturating_add(parts);
    Ratio::from_millionths(millionths).map_err(|_| Fault::new(format!("{} is {too_much}", quoted(text))))
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / f64::from(WHOLE))
    }
}

/// A number from 0 to 100 with at most four decimals: `10` is one of ten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percentage(pub Ratio);

const PERCENT_DECIMALS: usize = 4;

impl FromStr for Percentage {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        read(text, PERCENT_DECIMALS, "a percentage", "more than 100")
            .map(Self)
            .map_err(|fault| fault.help("write a number from 0 to 100, such as `10` for one of ten"))
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Percentage {
    fn get(self) -> f64 {
        f64::from(self.0.millionths()) / 1e4
    }
}

impl Serialize for Percentage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.get())
    }
}

impl<'de> Deserialize<'de> for Percentage {
    /// By its text, so that no number is taken for another one that is near.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, "a percentage such as `10`")
    }
}

impl JsonSchema for Percentage {
    fn schema_name() -> Cow<'static, str> {
        "Percentage".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "description": "A share of a hundred, with at most four decimals: `10` is one of ten.",
            "pattern": r"^[0-9]+(\.[0-9]+)?$",
            "minimum": 0,
            "maximum": 100
        })
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / f64::from(WHOLE))
    }
}

impl<'de> Deserialize<'de> for Ratio {
    /// By its text, so that no number is taken for another one that is near.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, "a ratio such as `0.01`")
    }
}

impl JsonSchema for Ratio {
    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "description": "A share of one, with at most six decimals: `0.01` is one of a hundred.",
            "pattern": r"^[01](\.[0-9]+)?$",
            "minimum": 0,
            "maximum": 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_from_0_to_1_with_six_decimals() {
        for (text, millionths, shown) in [
            ("0", 0, "0"),
            ("1", WHOLE, "1"),
            ("1.0", WHOLE, "1"),
            ("0.01", 10_000, "0.01"),
            ("0.000001", 1, "0.000001"),
            ("0.1234560000", 123_456, "0.123456"),
            ("00.50", 500_000, "0.5"),
        ] {
            let ratio: Ratio = text.parse().expect("a ratio");
            assert_eq!((ratio.millionths(), &*ratio.to_string()), (millionths, shown), "{text}");
            assert_eq!(shown.parse(), Ok(ratio), "{text}");
        }
        for bad in [
            "",
            ".5",
            "1.",
            "1.000001",
            "2",
            "-0.1",
            "+0.1",
            "1e-3",
            "0.0000001",
            "5%",
            "4294967296.0",
            "NaN",
        ] {
            assert!(bad.parse::<Ratio>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_percentage_is_a_ratio_with_another_point() {
        for (text, millionths) in [("0", 0), ("100", WHOLE), ("10", 100_000), ("0.5", 5000), ("0.0001", 1)] {
            let percentage: Percentage = text.parse().expect("a percentage");
            assert_eq!((percentage.0.millionths(), &*percentage.to_string()), (millionths, text));
        }
        for bad in ["100.0001", "101", "10%", "-1", "0.00001", "", "1e1"] {
            assert!(bad.parse::<Percentage>().is_err(), "{bad}");
        }
    }

    #[test]
    fn it_chooses_as_often_as_it_says() {
        fastrand::seed(7);
        let of_a_thousand = |ratio: Ratio| (0..1000).filter(|_| ratio.chooses()).count();
        assert_eq!((of_a_thousand(Ratio(0)), of_a_thousand(Ratio::ONE)), (0, 1000));
        let quarter = of_a_thousand(Ratio(250_000));
        assert!((200..300).contains(&quarter), "{quarter}");
    }
}
