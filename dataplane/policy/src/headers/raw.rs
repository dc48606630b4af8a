//! A chunked head as it came: parsers drop or tidy up what makes it doubtful.
//!
//! hyper drops a `Content-Length` beside `Transfer-Encoding`, and every parser takes blanks off a value. A head with
//! both is an attack more often than not (RFC 9112 §6.1), and so is a coding that is padded to be overlooked by whoever
//! stands in front.

/// Whether the head that `raw` begins with says `Transfer-Encoding: chunked` once, in so many words, and has no
/// `Content-Length`.
pub fn is_plainly_chunked(raw: &[u8]) -> bool {
    let lines = raw.trim_ascii_start().split(|byte| *byte == b'\n');
    let head = lines.skip(1).map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut codings = 0;
    for line in head.take_while(|line| !line.is_empty()) {
        if after(line, b"content-length").is_some() {
            return false;
        }
        let Some(rest) = after(line, b"transfer-encoding") else { continue };
        codings += 1;
        let coding = rest.strip_prefix(b":").map(|value| value.strip_prefix(b" ").unwrap_or(value));
        if !coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
            return false;
        }
    }
    codings == 1
}

/// What stands behind the name, if the line begins with it and not with a longer one.
fn after<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let goes_on = rest.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    (start.eq_ignore_ascii_case(name) && !goes_on).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::is_plainly_chunked;

    #[test]
    fn a_chunked_head_is_beyond_doubt_or_not() {
        for (head, plain) in [
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nTRANSFER-encoding:Chunked\r\n\r\n", true),
            ("\r\nPOST / HTTP/1.1\ntransfer-encoding: chunked\n\n", true),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\ncontent-length: 5", true),
            (
                "POST /?content-length: HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 5\r\n\r\n",
                true,
            ),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length-Hint: 5\r\n\r\n", true),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ncontent-LENGTH : 5\r\n\r\n", false),
            ("POST / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length:5\n\n", false),
            ("POST / HTTP/1.1\r\nTransfer-Encoding:\tchunked\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\t\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nTransfer-Encoding:  chunked\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: x\r\n\r\nTransfer-Encoding: chunked\r\n", false),
            ("POST / HTTP/1.1\r\n\r\n", false),
            ("", false),
        ] {
            assert_eq!(is_plainly_chunked(head.as_bytes()), plain, "{head:?}");
        }
    }
}
