//! Where a message ends: lengths, codings, chunks (RFC 9112, sections 6 and 7).

use super::case::{CODING, Case, FRAMING, HEAD_TOO_LARGE, MALFORMED, Row, SENT, Want};

pub fn cases() -> Vec<Case> {
    let head = b"POST /h HTTP/1.1\r\nHost: a.test\r\n";
    [
        Case::between(head, LENGTHS, b"\r\n\r\nhello"),
        Case::between(head, CODINGS, b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        Case::raw(BOTH),
        Case::chunked(CHUNKS),
        Case::chunked(TRAILERS),
        Case::raw(METHODS),
    ]
    .concat()
}

/// In the head of a `POST` whose body is `hello`.
#[rustfmt::skip] // a table is read by its rows
const LENGTHS: &[Row] = &[
    ("two unequal lengths, the shorter first", b"Content-Length: 5\r\nContent-Length: 6", MALFORMED),
    ("two unequal lengths, the second one 0", b"Content-Length: 5\r\nContent-Length: 0", MALFORMED),
    ("two unequal lengths, the first one 0", b"Content-Length: 0\r\nContent-Length: 5", MALFORMED),
    ("three lengths, two of them equal", b"Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 6", MALFORMED),
    ("two equal lengths", b"Content-Length: 5\r\nContent-Length: 5", SENT),
    ("a list of unequal lengths", b"Content-Length: 5,6", MALFORMED),
    ("a list of equal lengths", b"Content-Length: 5,5", MALFORMED),
    ("a list of equal lengths with a space", b"Content-Length: 5, 5", MALFORMED),
    ("a length with a plus", b"Content-Length: +5", MALFORMED),
    ("a length with a minus", b"Content-Length: -5", MALFORMED),
    ("minus nothing", b"Content-Length: -0", MALFORMED),
    ("a length in hexadecimal", b"Content-Length: 0x5", MALFORMED),
    ("a length in hexadecimal without a prefix", b"Content-Length: a", MALFORMED),
    ("two numbers with a space", b"Content-Length: 5 5", MALFORMED),
    ("a length with a parameter", b"Content-Length: 5;", MALFORMED),
    ("a length with a fraction", b"Content-Length: 5.0", MALFORMED),
    ("a length with an exponent", b"Content-Length: 1e1", MALFORMED),
    ("a length in quotes", b"Content-Length: \"5\"", MALFORMED),
    ("a length with an underscore", b"Content-Length: 0_5", MALFORMED),
    ("an empty length", b"Content-Length:", MALFORMED),
    ("a length of blanks", b"Content-Length: \t ", MALFORMED),
    ("a length of 2^64", b"Content-Length: 18446744073709551616", MALFORMED),
    ("a length of 2^64 + 5", b"Content-Length: 18446744073709551621", MALFORMED),
    ("the largest length there is", b"Content-Length: 18446744073709551615", HEAD_TOO_LARGE), // so hyper calls it
    ("a length of 26 digits", b"Content-Length: 99999999999999999999999999", MALFORMED),
    ("a length with a vertical tab", b"Content-Length: \x0b5", MALFORMED),
    ("a length with a form feed behind it", b"Content-Length: 5\x0c", MALFORMED),
    ("a length with a NUL", b"Content-Length: 5\x00", MALFORMED),
    ("a length in full-width digits", b"Content-Length: \xef\xbc\x95", MALFORMED),
    ("a space before the colon of the length", b"Content-Length : 5", MALFORMED),
    ("a tab before the colon of the length", b"Content-Length\t: 5", MALFORMED),
    ("a length on a folded line", b"Content-Length:\r\n 5", MALFORMED),
    ("a length with leading zeros", b"Content-Length: 005", SENT),
    ("a length behind a tab", b"Content-Length:\t5", SENT),
    ("a length before a space", b"Content-Length: 5 ", SENT),
    ("a length in capitals", b"CONTENT-LENGTH: 5", SENT),
    ("a second length with an underscore", b"Content_Length: 9\r\nContent-Length: 5", FRAMING),
    ("a coding with an underscore", b"Transfer_Encoding: chunked\r\nContent-Length: 5", FRAMING),
];

/// In the head of a `POST` whose body is one chunk, `hello`.
#[rustfmt::skip] // a table is read by its rows
const CODINGS: &[Row] = &[
    ("identity", b"Transfer-Encoding: identity", MALFORMED),
    ("gzip alone", b"Transfer-Encoding: gzip", MALFORMED),
    ("gzip before chunked", b"Transfer-Encoding: gzip, chunked", CODING),
    ("chunked before gzip", b"Transfer-Encoding: chunked, gzip", MALFORMED),
    ("chunked before identity", b"Transfer-Encoding: chunked, identity", MALFORMED),
    ("identity before chunked", b"Transfer-Encoding: identity, chunked", CODING),
    ("chunked twice in one line", b"Transfer-Encoding: chunked, chunked", CODING),
    ("chunked twice in two lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", CODING),
    ("chunked, then identity in a second line", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", MALFORMED),
    ("identity, then chunked in a second line", b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", CODING),
    ("xchunked", b"Transfer-Encoding: xchunked", MALFORMED),
    ("chunkedx", b"Transfer-Encoding: chunkedx", MALFORMED),
    ("a word before chunked", b"Transfer-Encoding: x chunked", MALFORMED),
    ("chunked with a parameter", b"Transfer-Encoding: chunked;q=1", MALFORMED),
    ("chunked in double quotes", b"Transfer-Encoding: \"chunked\"", MALFORMED),
    ("chunked in single quotes", b"Transfer-Encoding: 'chunked'", MALFORMED),
    ("a comma before chunked", b"Transfer-Encoding: ,chunked", CODING),
    ("a comma behind chunked", b"Transfer-Encoding: chunked,", MALFORMED),
    ("chunked on a folded line", b"Transfer-Encoding:\r\n chunked", MALFORMED),
    ("chunked and a folded line behind it", b"Transfer-Encoding: chunked\r\n x", MALFORMED),
    ("chunked and an empty folded line behind it", b"Transfer-Encoding: chunked\r\n ", MALFORMED),
    ("no coding", b"Transfer-Encoding:", MALFORMED),
    ("chunked behind a vertical tab", b"Transfer-Encoding: \x0bchunked", MALFORMED),
    ("chunked behind a form feed", b"Transfer-Encoding: \x0cchunked", MALFORMED),
    ("chunked behind a no-break space", b"Transfer-Encoding: \xa0chunked", MALFORMED),
    ("chunked with a long s", b"Transfer-Encoding: chun\xe2\x84\xaaed", MALFORMED),
    ("a space before the colon of the coding", b"Transfer-Encoding : chunked", MALFORMED),
    ("a NUL in the name of the coding", b"Transfer-Encoding\x00: chunked", MALFORMED),
    ("a NUL behind the coding", b"Transfer-Encoding: chunked\x00", MALFORMED),
    ("a bare CR behind the coding", b"Transfer-Encoding: chunked\r\r", MALFORMED),
    ("a line of the coding that begins with a space", b" Transfer-Encoding: chunked", MALFORMED),
    ("the coding on a line that ends in LF alone", b"X-A: b\nTransfer-Encoding: chunked", SENT),
    ("chunked in letters of both cases", b"Transfer-Encoding: cHuNkEd", SENT),
    ("chunked behind a tab", b"Transfer-Encoding:\tchunked", FRAMING),
    ("chunked before a tab", b"Transfer-Encoding: chunked\t", FRAMING),
    ("chunked before a space", b"Transfer-Encoding: chunked ", FRAMING),
    ("chunked behind two spaces", b"Transfer-Encoding:  chunked", FRAMING),
    ("chunked without a space", b"Transfer-Encoding:chunked", SENT),
];

/// RFC 9112, section 6.1, names a length beside a coding as a sign of an attack.
#[rustfmt::skip] // a table is read by its rows
const BOTH: &[Row] = &[
    ("a length, then chunked", b"POST /h HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", FRAMING),
    ("chunked, then a length", b"POST /h HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", FRAMING),
    ("a length of 0, then chunked", b"POST /h HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", FRAMING),
    ("a length that is the body's, and chunked", b"POST /h HTTP/1.1\r\nHost: a.test\r\nContent-Length: 15\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", FRAMING),
    ("a length, and gzip before chunked", b"POST /h HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", CODING),
    ("a length and a coding in lower case", b"POST /h HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", FRAMING),
    ("a length and a coding behind a leading empty line", b"\r\nPOST /h HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", FRAMING),
    ("a length and a coding with lines that end in LF", b"POST /h HTTP/1.1\nHost: a.test\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\r\n\r\n", FRAMING),
    ("a length and a coding in HTTP/1.0", b"POST /h HTTP/1.0\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", MALFORMED),
    ("a coding in HTTP/1.0", b"POST /h HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", MALFORMED),
    ("a coding in HTTP/1.0 that keeps the connection", b"POST /h HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", MALFORMED),
];

#[rustfmt::skip] // a table is read by its rows
const CHUNKS: &[Row] = &[
    ("a chunk size with a plus", b"+5\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a chunk size with a minus", b"-5\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a chunk size with a prefix", b"0x5\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a space before a chunk size", b" 5\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a tab before a chunk size", b"\t5\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a chunk size that ends in LF", b"5\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a chunk that ends in LF", b"5\r\nhello\n0\r\n\r\n", Want::Cut),
    ("a chunk that ends in CR", b"5\r\nhello\r0\r\n\r\n", Want::Cut),
    ("a chunk without an end", b"5\r\nhello0\r\n\r\n", Want::Cut),
    ("a chunk longer than its size", b"5\r\nhelloXX0\r\n\r\n", Want::Cut),
    ("two bytes that are no CRLF behind a chunk", b"5\r\nhelloXX\r\n0\r\n\r\n", Want::Cut),
    ("no chunk size", b"\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a chunk size that is no number", b"g\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a chunk size with a letter behind it", b"5g\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a chunk size of 17 digits", b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a chunk size of 2^64 + 5", b"10000000000000005\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("the largest chunk size there is", b"FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a NUL behind a chunk size", b"5\x00\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a bare CR behind a chunk size", b"5\rhello\r\n0\r\n\r\n", Want::Cut),
    ("two CR behind a chunk size", b"5\r\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a chunk extension with a bare LF", b"5;a\nb\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a chunk extension with a bare CR", b"5;a\rb\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a list of chunk sizes", b"5,5\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a chunk size with an underscore", b"_5\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("a chunk size with a point", b"5.\r\nhello\r\n0\r\n\r\n", Want::Cut),
    ("two chunk sizes in a line", b"0 0\r\n\r\n", Want::Cut),
    ("a chunk size before a space", b"5 \r\nhello\r\n0\r\n\r\n", SENT),
    ("a chunk with extensions", b"5;a=\"b\";c\r\nhello\r\n0;d\r\n\r\n", SENT),
    ("a chunk size with leading zeros", b"00005\r\nhello\r\n000\r\n\r\n", SENT),
    ("a body of no chunks", b"0\r\n\r\n", SENT),
];

#[rustfmt::skip] // a table is read by its rows
const TRAILERS: &[Row] = &[
    ("a trailer that is no field", b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n", Want::Cut),
    ("a NUL in a trailer", b"5\r\nhello\r\n0\r\nX-A: a\x00b\r\n\r\n", Want::Cut),
    ("a bare CR in a trailer", b"5\r\nhello\r\n0\r\nX-A: a\rb\r\n\r\n", Want::Cut),
    ("a space before the colon of a trailer", b"5\r\nhello\r\n0\r\nX : b\r\n\r\n", Want::Cut),
    ("a trailer that begins with a space", b"5\r\nhello\r\n0\r\n X: b\r\n\r\n", Want::Cut),
    ("a trailer that ends in LF", b"5\r\nhello\r\n0\r\nX: b\n\n", SENT),
    ("trailers that would frame and route", b"5\r\nhello\r\n0\r\nContent-Length: 9\r\nHost: b.test\r\nTransfer-Encoding: gzip\r\n\r\n", SENT),
];

/// Bodies where few servers expect one: they must be framed all the same.
#[rustfmt::skip] // a table is read by its rows
const METHODS: &[Row] = &[
    ("GET with a length", b"GET /h HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello", SENT),
    ("GET with a length of 0", b"GET /h HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n", SENT),
    ("OPTIONS in chunks", b"OPTIONS /h HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", SENT),
    ("DELETE in chunks", b"DELETE /h HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", SENT),
    ("GET whose body is a request", b"GET /h HTTP/1.1\r\nHost: a.test\r\nContent-Length: 43\r\n\r\nGET /inner HTTP/1.1\r\nHost: a.test\r\nA: b\r\n\r\n", SENT),
    ("an unknown method without a body", b"BREW /h HTTP/1.1\r\nHost: a.test\r\n\r\n", SENT),
    ("PUT without a length", b"PUT /h HTTP/1.1\r\nHost: a.test\r\n\r\n", SENT),
];
