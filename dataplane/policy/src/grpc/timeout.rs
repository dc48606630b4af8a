//! `grpc-timeout`: how long a client waits for a call, and what of it is left for the target.

use http::{HeaderMap, HeaderValue};
use std::time::Duration;

/// How long a call may take from its begin: at most eight digits and a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(Duration);

/// The most that its digits can say.
const MOST: u128 = 99_999_999;

impl Timeout {
    /// What a request says; `None` when it says nothing, or nothing that can be understood.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get(super::GRPC_TIMEOUT)?.as_bytes())
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (unit, digits) = text.split_last()?;
        if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
        Some(Self(match unit {
            b'H' => Duration::from_secs(number * 3600),
            b'M' => Duration::from_secs(number * 60),
            b'S' => Duration::from_secs(number),
            b'm' => Duration::from_millis(number),
            b'u' => Duration::from_micros(number),
            b'n' => Duration::from_nanos(number),
            _ => return None,
        }))
    }

    /// The time itself.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// So much of it as is left, as precisely as eight digits say it; never more.
    pub fn header_value(left: Duration) -> HeaderValue {
        let units = [(left.as_micros(), 'u'), (left.as_millis(), 'm'), (u128::from(left.as_secs()), 'S')];
        let fits = units.into_iter().find(|(number, _)| *number <= MOST);
        let (number, unit) = fits.unwrap_or((u128::from(left.as_secs() / 3600).min(MOST), 'H'));
        // digits and a letter
        HeaderValue::try_from(format!("{number}{unit}")).unwrap_or(HeaderValue::from_static("0n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_and_a_unit_and_nothing_else() {
        let parse = |text: &str| Timeout::parse(text.as_bytes()).map(Timeout::get);
        for (text, nanos) in [
            ("1H", 3_600_000_000_000),
            ("2M", 120_000_000_000),
            ("3S", 3_000_000_000),
            ("00000004m", 4_000_000),
            ("5u", 5_000),
            ("6n", 6),
            ("0S", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", " 1S", "1 S"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_passed_on_is_never_longer_and_hardly_shorter(nanos in any::<u64>()) {
            let left = Duration::from_nanos(nanos);
            let passed = Timeout::parse(Timeout::header_value(left).as_bytes()).map(Timeout::get);
            let passed = passed.expect("a timeout");
            prop_assert!(passed <= left);
            prop_assert!(left - passed <= left / 10_000 + Duration::from_micros(1), "{left:?} as {passed:?}");
        }
    }
}
