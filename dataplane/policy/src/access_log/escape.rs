//! Bytes that a client has chosen, as text that neither ends a line nor sends a terminal anything.

/// Where a text was cut.
const CUT: &str = "…";

/// Whether the bytes can stand as they are between quotes.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    // without a branch, so that many bytes are looked at at once
    bytes
        .iter()
        .fold(true, |plain, &byte| plain & (matches!(byte, b' '..=b'~') & (byte != b'"') & (byte != b'\\')))
}

/// Appends the bytes, or as many of them, as they stand in a string of JSON. What is not UTF-8 becomes U+FFFD, what is
/// not visible is escaped: control characters, those that change the direction of writing, those without width.
pub(super) fn append(to: &mut Vec<u8>, bytes: &[u8], longest: usize) {
    if bytes.len() <= longest && is_plain(bytes) {
        to.extend_from_slice(bytes);
        return;
    }
    let (shown, cut) = cut(bytes, longest);
    for chunk in shown.utf8_chunks() {
        chunk.valid().chars().for_each(|character| append_char(to, character));
        if !chunk.invalid().is_empty() {
            append_char(to, char::REPLACEMENT_CHARACTER);
        }
    }
    if cut {
        to.extend_from_slice(CUT.as_bytes());
    }
}

/// Not in the middle of a character.
fn cut(bytes: &[u8], longest: usize) -> (&[u8], bool) {
    if bytes.len() <= longest {
        return (bytes, false);
    }
    let continues = |at: &usize| bytes[*at] & 0xc0 == 0x80;
    let end = (longest.saturating_sub(3)..=longest).rev().find(|at| !continues(at)).unwrap_or(longest);
    (&bytes[..end], true)
}

fn append_char(to: &mut Vec<u8>, character: char) {
    match character {
        '"' => to.extend_from_slice(b"\\\""),
        '\\' => to.extend_from_slice(b"\\\\"),
        '\n' => to.extend_from_slice(b"\\n"),
        '\r' => to.extend_from_slice(b"\\r"),
        '\t' => to.extend_from_slice(b"\\t"),
        // DEL among them, and those that begin a sequence for a terminal: ESC, and CSI as one character
        shown if is_shown(shown) => to.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes()),
        hidden => hidden.encode_utf16(&mut [0; 2]).iter().for_each(|unit| append_unit(to, *unit)),
    }
}

/// Rust shows a character to people as it is, or escapes it.
fn is_shown(character: char) -> bool {
    character == '\'' || character.escape_debug().len() == 1
}

fn append_unit(to: &mut Vec<u8>, unit: u16) {
    to.extend_from_slice(b"\\u");
    append_hex(to, &unit.to_be_bytes());
}

pub(super) fn append_hex(to: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    to.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}
