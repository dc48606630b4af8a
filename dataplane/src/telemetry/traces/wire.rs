//! The little of protobuf that spans need, written straight into a buffer.
//!
//! OTLP's own types hold an allocation for every key and value: encoded through them and the SDK, one exchange costs
//! several times what it costs so. What is written here is read back by OTLP's types in the tests.

/// A message under construction, at the end of a buffer.
pub(super) struct Message<'a>(&'a mut Vec<u8>);

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// Bytes that a nested message's length takes when it is written before it is known: a varint may be longer than it need.
const RESERVED: usize = 4;

impl<'a> Message<'a> {
    pub(super) fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self(buffer)
    }

    pub(super) fn varint(&mut self, field: u32, value: u64) {
        self.tag(field, VARINT);
        self.raw_varint(value);
    }

    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, BYTES);
        self.raw_varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// One text, given in parts.
    pub(super) fn joined(&mut self, field: u32, parts: &[&str]) {
        self.tag(field, BYTES);
        self.raw_varint(parts.iter().map(|part| part.len() as u64).sum());
        parts.iter().for_each(|part| self.0.extend_from_slice(part.as_bytes()));
    }

    /// Fields that are encoded already.
    pub(super) fn encoded(&mut self, fields: &[u8]) {
        self.0.extend_from_slice(fields);
    }

    /// A message in the message.
    pub(super) fn nested(&mut self, field: u32, write: impl FnOnce(&mut Message<'_>)) {
        self.tag(field, BYTES);
        let length_at = self.0.len();
        self.0.extend_from_slice(&[0; RESERVED]);
        write(self);
        let mut length = self.0.len() - length_at - RESERVED;
        for (at, byte) in self.0[length_at..][..RESERVED].iter_mut().enumerate() {
            let more = if at + 1 < RESERVED { 0x80 } else { 0 };
            *byte = (length & 0x7f) as u8 | more;
            length >>= 7;
        }
    }

    /// A `KeyValue` with a text.
    pub(super) fn text_attribute(&mut self, field: u32, key: &str, value: &str) {
        let any_value = 1 + varint_length(value.len() as u64) + value.len();
        self.key(field, key, any_value);
        self.bytes(1, value.as_bytes());
    }

    /// A `KeyValue` with a number.
    pub(super) fn number_attribute(&mut self, field: u32, key: &str, value: u64) {
        self.key(field, key, 1 + varint_length(value));
        self.varint(3, value);
    }

    /// A `KeyValue` with a yes or no.
    pub(super) fn flag_attribute(&mut self, field: u32, key: &str, value: bool) {
        self.key(field, key, 2);
        self.varint(2, u64::from(value));
    }

    /// The beginning of a `KeyValue`, up to its `AnyValue` of so many bytes.
    fn key(&mut self, field: u32, key: &str, any_value: usize) {
        let key_length = 1 + varint_length(key.len() as u64) + key.len();
        let value_length = 1 + varint_length(any_value as u64) + any_value;
        self.tag(field, BYTES);
        self.raw_varint((key_length + value_length) as u64);
        self.bytes(1, key.as_bytes());
        self.tag(2, BYTES);
        self.raw_varint(any_value as u64);
    }

    fn tag(&mut self, field: u32, kind: u32) {
        self.raw_varint(u64::from(field << 3 | kind));
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn varint_length(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}
