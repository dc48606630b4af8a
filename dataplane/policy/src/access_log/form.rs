//! The two forms of a line: an object of JSON, and text for people.

use super::escape;
use super::names::Name;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

/// In what times are told.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Milliseconds,
    Seconds,
}

/// A line in the making.
pub(super) trait Form {
    /// Where its bytes go.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// Begins a field.
    fn name(&mut self, name: &Name);

    /// Begins one of those that everybody looks for first.
    fn first_name(&mut self, name: &Name);

    /// Of a text that may hold anything.
    fn value(&mut self, bytes: &[u8], longest: usize);

    /// Of digits, letters, dots and colons.
    fn plain_value(&mut self, write: impl FnOnce(&mut Vec<u8>));

    /// Whether a text that is empty is left out.
    const LEAVES_OUT_EMPTY: bool;

    /// The line is over.
    fn end(self);

    fn first(&mut self, name: &Name, bytes: &[u8], longest: usize) {
        self.first_name(name);
        self.value(bytes, longest);
    }

    fn first_number(&mut self, name: &Name, number: u16) {
        self.first_name(name);
        append_number(self.buffer(), u64::from(number));
    }

    fn first_time(&mut self, name: &Name, time: Duration, unit: Unit) {
        self.first_name(name);
        append_time(self.buffer(), time, unit);
    }

    fn text(&mut self, name: &Name, bytes: &[u8], longest: usize) {
        if !(Self::LEAVES_OUT_EMPTY && bytes.is_empty()) {
            self.name(name);
            self.value(bytes, longest);
        }
    }

    fn number(&mut self, name: &Name, number: u64) {
        self.name(name);
        append_number(self.buffer(), number);
    }

    fn time(&mut self, name: &Name, time: Duration, unit: Unit) {
        self.name(name);
        append_time(self.buffer(), time, unit);
    }

    fn address(&mut self, name: &Name, address: IpAddr) {
        self.name(name);
        self.plain_value(|to| append_address(to, address));
    }

    /// Of a config, whose hosts are names and addresses.
    fn host_and_port(&mut self, name: &Name, host: &str, port: u16) {
        self.name(name);
        self.plain_value(|to| {
            let brackets = host.contains(':');
            to.extend_from_slice(if brackets { b"[" } else { b"" });
            to.extend_from_slice(host.as_bytes());
            to.extend_from_slice(if brackets { b"]:" } else { b":" });
            append_number(to, u64::from(port));
        });
    }

    fn hex(&mut self, name: &Name, id: [u8; 16]) {
        self.name(name);
        self.plain_value(|to| escape::append_hex(to, &id));
    }
}

/// `{"timestamp":"2026-11-23T10:00:00.123456Z","method":"GET",…}`
pub(super) struct Json<'a> {
    to: &'a mut Vec<u8>,
    begin: usize,
}

impl<'a> Json<'a> {
    pub(super) fn begin(to: &'a mut Vec<u8>) -> Self {
        Self { begin: to.len(), to }
    }
}

impl Form for Json<'_> {
    const LEAVES_OUT_EMPTY: bool = false;

    fn buffer(&mut self) -> &mut Vec<u8> {
        self.to
    }

    fn name(&mut self, name: &Name) {
        self.to.extend_from_slice(name.json.as_bytes());
    }

    fn first_name(&mut self, name: &Name) {
        self.name(name);
    }

    fn value(&mut self, bytes: &[u8], longest: usize) {
        self.to.push(b'"');
        escape::append(self.to, bytes, longest);
        self.to.push(b'"');
    }

    fn plain_value(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.to.push(b'"');
        write(self.to);
        self.to.push(b'"');
    }

    fn end(self) {
        let Self { to, begin } = self;
        // the comma before the first name
        to[begin] = b'{';
        to.extend_from_slice(b"}\n");
    }
}

/// `2026-11-23T10:00:00.123456Z GET /users/7 200 1.234 client_ip=10.0.0.9 …`
pub(super) struct Text<'a> {
    to: &'a mut Vec<u8>,
    begin: usize,
}

impl<'a> Text<'a> {
    pub(super) fn begin(to: &'a mut Vec<u8>) -> Self {
        Self { begin: to.len(), to }
    }
}

/// In the place of a text that is empty, so that the next one does not take its place.
const NOTHING: &[u8] = b"-";

impl Form for Text<'_> {
    const LEAVES_OUT_EMPTY: bool = true;

    fn buffer(&mut self) -> &mut Vec<u8> {
        self.to
    }

    fn name(&mut self, name: &Name) {
        self.to.extend_from_slice(name.text.as_bytes());
    }

    fn first_name(&mut self, _: &Name) {
        if self.to.len() > self.begin {
            self.to.push(b' ');
        }
    }

    fn value(&mut self, bytes: &[u8], longest: usize) {
        let needs_quotes = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'=' | b'\\');
        if bytes.is_empty() {
            self.to.extend_from_slice(NOTHING);
        } else if bytes == NOTHING || bytes.len() > longest || bytes.iter().any(needs_quotes) {
            self.to.push(b'"');
            escape::append(self.to, bytes, longest);
            self.to.push(b'"');
        } else {
            self.to.extend_from_slice(bytes);
        }
    }

    fn plain_value(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.to);
    }

    fn end(self) {
        self.to.push(b'\n');
    }
}

fn append_number(to: &mut Vec<u8>, number: u64) {
    to.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// To the microsecond.
fn append_time(to: &mut Vec<u8>, time: Duration, unit: Unit) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let (whole, decimals) = match unit {
        Unit::Milliseconds => (1000, 3),
        Unit::Seconds => (1_000_000, 6),
    };
    append_number(to, micros / whole);
    let mut digits = *b".000000";
    let mut left = micros % whole;
    for digit in digits[1..=decimals].iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    to.extend_from_slice(&digits[..=decimals]);
}

fn append_address(to: &mut Vec<u8>, address: IpAddr) {
    match address {
        // most are, and the general way takes five times as long
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            append_number(to, u64::from(first));
            for octet in rest {
                to.push(b'.');
                append_number(to, u64::from(octet));
            }
        }
        // writing to a Vec cannot fail
        IpAddr::V6(address) => drop(write!(to, "{address}")),
    }
}
