//! The one normal form of a request path, which routing, filters, logs and the target all see.
//!
//! - Percent-encoded unreserved characters are decoded, the hex of all others is upper case (RFC 3986, 6.2.2).
//! - `//` becomes `/`, as nginx does by default: most targets treat the two alike, so a rule for `/admin` that
//!   `//admin` walks around would be a hole. It happens before dot segments are resolved: `/a//../b` is `/b`.
//! - Dot segments are resolved; climbing above the root is an error, not a stay at the root.
//! - What some target might read differently is refused: `%2F`, `%5C`, `%00`, `\`, `..;x` (a path parameter that
//!   servlet containers drop before they resolve dots), bytes that are not valid UTF-8.
//! - Nothing is decoded twice: `%252e` is forwarded as it came.

use std::borrow::Cow;

/// Why a path has no normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The first byte is not `/`.
    #[error("the path does not begin with '/'")]
    NotAbsolute,
    /// A control character, a space, a byte beyond ASCII, `?`, `#` or `\`.
    #[error("the path holds a character that must be percent-encoded")]
    ForbiddenCharacter,
    /// `%` without two hex digits.
    #[error("a '%' in the path is not followed by two hex digits")]
    MalformedEscape,
    /// `%2F` or `%5C`: whether it separates segments is up to the target.
    #[error("the path holds an encoded slash or backslash")]
    EncodedSeparator,
    /// `%00`.
    #[error("the path holds an encoded NUL")]
    EncodedNul,
    /// Percent-encoded bytes that are not UTF-8, overlong forms included.
    #[error("the percent-encoded bytes of the path are not valid UTF-8")]
    InvalidUtf8,
    /// More `..` than segments before them.
    #[error("the path climbs above the root")]
    AboveRoot,
    /// `.;x` or `..;x`.
    #[error("a dot segment of the path carries a parameter")]
    DotSegmentParameter,
}

/// The normal form of `path`, borrowed when it is `path` itself or the beginning of it.
pub fn normalize(path: &str) -> Result<Cow<'_, str>, PathError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    if is_plainly_normal(bytes) {
        return Ok(Cow::Borrowed(path));
    }
    let mut normal = Normal { source: path, kept: 1, own: None, segment: 1 };
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match CLASS[usize::from(byte)] {
            Class::Plain => {
                let run = bytes[at..]
                    .iter()
                    .take_while(|b| matches!(CLASS[usize::from(**b)], Class::Plain))
                    .count();
                normal.push(at, &path[at..at + run]);
                at += run;
            }
            Class::Slash => {
                if normal.end_segment()? {
                    normal.push(at, "/");
                    normal.segment = normal.text().len();
                }
                at += 1;
            }
            Class::Percent => at += escape(path, at, &mut normal)?,
            Class::Forbidden => return Err(PathError::ForbiddenCharacter),
        }
    }
    normal.end_segment()?;
    Ok(normal.finish())
}

/// Whether nothing is escaped, doubled or dotted, as in nearly every request: one look at each byte decides it.
fn is_plainly_normal(path: &[u8]) -> bool {
    let mut previous = b' ';
    path.iter().all(|&byte| {
        let after_slash = std::mem::replace(&mut previous, byte) == b'/';
        match CLASS[usize::from(byte)] {
            Class::Plain => !(after_slash && byte == b'.'),
            Class::Slash => !after_slash,
            Class::Percent | Class::Forbidden => false,
        }
    })
}

/// The output: as long as it is the beginning of the source, nothing is copied.
struct Normal<'a> {
    source: &'a str,
    /// The output is `source[..kept]` until there is an own copy.
    kept: usize,
    own: Option<String>,
    /// Where in the output the last segment begins.
    segment: usize,
}

impl<'a> Normal<'a> {
    fn text(&self) -> &str {
        self.own.as_deref().unwrap_or(&self.source[..self.kept])
    }

    /// Adds `piece`, which stands at `at` in the source or takes the place of what stands there.
    fn push(&mut self, at: usize, piece: &str) {
        match &mut self.own {
            Some(own) => own.push_str(piece),
            None if at == self.kept && self.source[at..].starts_with(piece) => self.kept += piece.len(),
            None => {
                let mut own = String::with_capacity(self.source.len());
                own.push_str(&self.source[..self.kept]);
                own.push_str(piece);
                self.own = Some(own);
            }
        }
    }

    fn truncate(&mut self, len: usize) {
        match &mut self.own {
            Some(own) => own.truncate(len),
            None => self.kept = len,
        }
        self.segment = len;
    }

    /// Resolves the last segment; `true` when it stays and wants a slash after it.
    fn end_segment(&mut self) -> Result<bool, PathError> {
        match &self.text()[self.segment..] {
            "" => Ok(false),
            "." => {
                self.truncate(self.segment);
                Ok(false)
            }
            ".." => {
                let parent = self.text()[..self.segment - 1].rfind('/').ok_or(PathError::AboveRoot)?;
                self.truncate(parent + 1);
                Ok(false)
            }
            segment if is_dot_with_parameter(segment) => Err(PathError::DotSegmentParameter),
            _ => Ok(true),
        }
    }

    fn finish(self) -> Cow<'a, str> {
        match self.own {
            Some(own) => Cow::Owned(own),
            None => Cow::Borrowed(&self.source[..self.kept]),
        }
    }
}

fn is_dot_with_parameter(segment: &str) -> bool {
    let Some(rest) = segment.strip_prefix('.') else { return false };
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    rest.starts_with(';') || rest.starts_with("%3B")
}

/// Takes the escape at `at`, with those that complete its UTF-8 character; gives how many bytes of source it was.
fn escape(path: &str, at: usize, normal: &mut Normal<'_>) -> Result<usize, PathError> {
    let byte = escaped_byte(path, at)?;
    match byte {
        0 => return Err(PathError::EncodedNul),
        b'/' | b'\\' => return Err(PathError::EncodedSeparator),
        0x80.. => return character(path, at, normal),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            normal.push(at, char::from(byte).encode_utf8(&mut [0; 1]));
        }
        _ => push_upper(path, at, normal),
    }
    Ok(3)
}

/// Takes a whole UTF-8 character of two to four escapes.
fn character(path: &str, at: usize, normal: &mut Normal<'_>) -> Result<usize, PathError> {
    let mut bytes = [0; 4];
    for count in 1..=bytes.len() {
        let next = at + 3 * (count - 1);
        bytes[count - 1] = escaped_byte(path, next).map_err(|_| PathError::InvalidUtf8)?;
        push_upper(path, next, normal);
        match std::str::from_utf8(&bytes[..count]) {
            Ok(_) => return Ok(3 * count),
            Err(error) if error.error_len().is_some() => return Err(PathError::InvalidUtf8),
            Err(_) => {} // so far the beginning of a character
        }
    }
    Err(PathError::InvalidUtf8)
}

fn escaped_byte(path: &str, at: usize) -> Result<u8, PathError> {
    let hex = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match path.as_bytes().get(at..at + 3) {
        Some([b'%', high, low]) => match (hex(high), hex(low)) {
            (Some(high), Some(low)) => Ok(high << 4 | low),
            _ => Err(PathError::MalformedEscape),
        },
        _ => Err(PathError::MalformedEscape),
    }
}

/// Keeps the escape at `at`, its hex in upper case.
fn push_upper(path: &str, at: usize, normal: &mut Normal<'_>) {
    normal.push(at, "%");
    for digit in at + 1..at + 3 {
        let upper = char::from(path.as_bytes()[digit].to_ascii_uppercase());
        normal.push(digit, upper.encode_utf8(&mut [0; 1]));
    }
}

#[derive(Clone, Copy)]
enum Class {
    Plain,
    Slash,
    Percent,
    Forbidden,
}

const CLASS: [Class; 256] = {
    let mut class = [Class::Forbidden; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        class[byte] = match byte as u8 {
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'\\' | b'#' | b'?' => Class::Forbidden,
            _ => Class::Plain,
        };
        byte += 1;
    }
    class
};

#[cfg(test)]
mod tests {
    use super::PathError::*;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normal_forms() {
        for (path, normal) in [
            ("/", "/"),
            ("//", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a//b///c", "/a/b/c"),
            ("//admin", "/admin"),
            ("/api/../admin", "/admin"),
            ("/api/%2e%2E/admin", "/admin"),
            ("/a/.%2e/b", "/b"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/a/..", "/"),
            ("/a//../b", "/b"),
            ("/...", "/..."),
            ("/.a/..b/c..", "/.a/..b/c.."),
            ("/%61dmin", "/admin"),
            ("/%7euser/%41%2D%5f", "/~user/A-_"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/%e2%82%ac/%F0%9F%98%80", "/%E2%82%AC/%F0%9F%98%80"),
            ("/a%20b", "/a%20b"),
            ("/a%252e%252e/b", "/a%252e%252e/b"),
            ("/%2541", "/%2541"),
            ("/admin;x", "/admin;x"),
            ("/a;x/../b", "/b"),
            ("/a%3bx", "/a%3Bx"),
            ("/ADMIN", "/ADMIN"),
            ("/{id}/a|b", "/{id}/a|b"),
            ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
        ] {
            assert_eq!(normalize(path).as_deref(), Ok(normal), "{path}");
        }
    }

    #[test]
    fn refused() {
        for (path, error) in [
            ("", NotAbsolute),
            ("a/b", NotAbsolute),
            ("*", NotAbsolute),
            ("http://a/", NotAbsolute),
            ("/..", AboveRoot),
            ("/a/../..", AboveRoot),
            ("/%2e%2e/etc/passwd", AboveRoot),
            ("//..", AboveRoot),
            ("/admin%2f..", EncodedSeparator),
            ("/admin%2F", EncodedSeparator),
            ("/a%5cb", EncodedSeparator),
            ("/a\\b", ForbiddenCharacter),
            ("/a%00", EncodedNul),
            ("/a\0", ForbiddenCharacter),
            ("/a b", ForbiddenCharacter),
            ("/a\tb", ForbiddenCharacter),
            ("/a\x7f", ForbiddenCharacter),
            ("/é", ForbiddenCharacter),
            ("/a#b", ForbiddenCharacter),
            ("/a?b", ForbiddenCharacter),
            ("/%", MalformedEscape),
            ("/%4", MalformedEscape),
            ("/%4/", MalformedEscape),
            ("/%zz", MalformedEscape),
            ("/%+1", MalformedEscape),
            ("/%c0%af", InvalidUtf8),
            ("/%c0%ae%c0%ae/", InvalidUtf8),
            ("/%e0%80%af", InvalidUtf8),
            ("/%ed%a0%80", InvalidUtf8),
            ("/%f5%80%80%80", InvalidUtf8),
            ("/%c3", InvalidUtf8),
            ("/%c3/%a9", InvalidUtf8),
            ("/%c3a", InvalidUtf8),
            ("/%80", InvalidUtf8),
            ("/..;/admin", DotSegmentParameter),
            ("/..;x=1/admin", DotSegmentParameter),
            ("/.;/admin", DotSegmentParameter),
            ("/%2e%2e;/admin", DotSegmentParameter),
            ("/a/..%3b/admin", DotSegmentParameter),
        ] {
            assert_eq!(normalize(path), Err(error), "{path}");
        }
    }

    #[test]
    fn copies_only_what_changes() {
        for path in ["/", "/api/v1/users/7", "/caf%C3%A9/%20", "/a/", "/a/..", "/a/b/.", "/a//"] {
            assert!(matches!(normalize(path), Ok(Cow::Borrowed(_))), "{path}");
        }
    }

    proptest! {
        #[test]
        fn normal_is_normal(path in "/([ab.;/%{}]|%(2[eE5fF]|41|c3%a9|3[bB]|5[cC])|\\.\\./){0,12}") {
            if let Ok(once) = normalize(&path) {
                prop_assert_eq!(normalize(&once), Ok(Cow::Borrowed(&*once)));
                prop_assert!(once.starts_with('/') && !once.contains("//"));
                prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }

        #[test]
        fn any_text_is_normalised_or_refused(path in "/\\PC{0,20}") {
            if let Ok(once) = normalize(&path) {
                prop_assert_eq!(normalize(&once), Ok(Cow::Borrowed(&*once)));
            }
        }
    }
}
