//! `traceparent`, as it came.

use super::{SAMPLED, TRACEPARENT};
use http::HeaderMap;

/// The caller's span and its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// Never 0.
    pub trace_id: u128,
    /// Never 0.
    pub span_id: u64,
    pub(super) flags: u8,
}

/// `00-` and 32, 16 and 2 digits.
const LENGTH: usize = 55;

impl Parent {
    /// Of a request that has exactly one `traceparent`, and a valid one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        Self::parse(value.as_bytes().trim_ascii())
    }

    /// Section 3.2.2: a version that is not known yet may have more behind another hyphen, and is read as far as it is
    /// known.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(LENGTH)?;
        let version = hex(&known[..2])?;
        let as_long_as_it_says = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.first().is_none_or(|next| *next == b'-'),
        };
        if !as_long_as_it_says || [2, 35, 52].iter().any(|at| known[*at] != b'-') {
            return None;
        }
        let trace_id = u128::from(hex(&known[3..19])?) << 64 | u128::from(hex(&known[19..35])?);
        let (span_id, flags) = (hex(&known[36..52])?, hex(&known[53..])? as u8);
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, flags })
    }

    /// The caller records its span.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// At most 16 lower-case digits.
fn hex(digits: &[u8]) -> Option<u64> {
    let values = digits.iter().map(|digit| VALUES[usize::from(*digit)]);
    let (number, all) =
        values.fold((0, 0), |(number, all), value| (number << 4 | u64::from(value), all | value));
    (all != NO_DIGIT).then_some(number)
}

/// All bits, of which any digit leaves some out.
const NO_DIGIT: u8 = 0xff;

const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let digits = *b"0123456789abcdef";
    let mut value = 0;
    while value < digits.len() {
        values[digits[value] as usize] = value as u8;
        value += 1;
    }
    values
};
