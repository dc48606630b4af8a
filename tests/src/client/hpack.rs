//! As much of header compression (RFC 7541) as a client without a table needs.

/// Each field as a literal that is not indexed: whatever its bytes, they go out as they are.
pub fn encode(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(text.len(), 7, 0, &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer behind `prefix` bits of the first byte (§5.1).
pub fn integer(value: usize, prefix: u8, flags: u8, out: &mut Vec<u8>) {
    let most = (1usize << prefix) - 1;
    if value < most {
        return out.push(flags | value as u8);
    }
    out.push(flags | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
}

/// The fields of a block that uses no table but the one that everybody has.
///
/// # Panics
/// When it does, or is none.
pub fn decode(block: &[u8]) -> Vec<(String, String)> {
    let mut reader = Reader { block, at: 0 };
    let mut fields = Vec::new();
    while reader.at < block.len() {
        let first = block[reader.at];
        if first & 0x80 != 0 {
            let (name, value) = STATIC[reader.integer(7) - 1];
            fields.push((name.to_owned(), value.to_owned()));
        } else if first & 0xe0 == 0x20 {
            assert_eq!(reader.integer(5), 0, "the size of a table that was not to be there");
        } else {
            let prefix = if first & 0x40 != 0 { 6 } else { 4 };
            let name = match reader.integer(prefix) {
                0 => reader.text(),
                index => STATIC[index - 1].0.to_owned(),
            };
            fields.push((name, reader.text()));
        }
    }
    fields
}

struct Reader<'a> {
    block: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        self.at += 1;
        self.block[self.at - 1]
    }

    fn integer(&mut self, prefix: u8) -> usize {
        let most = (1usize << prefix) - 1;
        let mut value = usize::from(self.byte()) & most;
        if value == most {
            for shift in (0..).step_by(7) {
                let byte = self.byte();
                value += usize::from(byte & 127) << shift;
                if byte & 128 == 0 {
                    break;
                }
            }
        }
        value
    }

    fn text(&mut self) -> String {
        let is_huffman = self.block[self.at] & 0x80 != 0;
        let length = self.integer(7);
        let bytes = &self.block[self.at..self.at + length];
        self.at += length;
        if is_huffman { huffman(bytes) } else { String::from_utf8_lossy(bytes).into_owned() }
    }
}

/// The code of appendix B, for what stands in heads: bits, the first code of so many, and whose they are, in order.
const CODES: [(u32, u32, &str); 11] = [
    (5, 0x0, "012aceiost"),
    (6, 0x14, " %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, "&*,;XZ"),
    (10, 0x3f8, "!\"()?"),
    (11, 0x7fa, "'+|"),
    (12, 0xffa, "#>"),
    (13, 0x1ff8, "\0$@[]~"),
    (14, 0x3ffc, "^}"),
    (15, 0x7ffc, "<`{"),
    (19, 0x7fff0, "\\"),
];

fn huffman(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut code, mut bits) = (0, 0);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1))) {
        code = code << 1 | bit;
        bits += 1;
        let known = CODES.iter().find(|(length, _, _)| *length == bits);
        let symbol =
            known.and_then(|(_, first, symbols)| symbols.chars().nth(code.checked_sub(*first)? as usize));
        if let Some(symbol) = symbol {
            text.push(symbol);
            (code, bits) = (0, 0);
        }
    }
    assert!(bits < 8 && code == (1 << bits) - 1, "not padded with ones, or a character that is not known");
    text
}

/// Appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541, appendices C.4.1 and C.6.1, of which the fields of the first need no table.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        assert_eq!(
            huffman(&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
            "www.example.com"
        );
        let date = [
            0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81, 0x66,
            0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
        ];
        assert_eq!(huffman(&date), "Mon, 21 Oct 2013 20:13:21 GMT");
        assert_eq!(decode(&[0x48, 0x82, 0x64, 0x02]), [(":status".to_owned(), "302".to_owned())]);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let long = "x".repeat(1000);
        let fields = [(":status", "200"), ("x-long", long.as_str()), ("X-Odd", "a b")];
        let decoded = decode(&encode(&fields));
        assert!(decoded.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(fields));
    }
}
