//! Targets that servers read differently, and the one form of those that all read alike.

use super::case::{Case, MALFORMED, Row, SENT, TARGET, Want};

pub fn cases() -> Vec<Case> {
    Case::targets(TARGETS)
}

#[rustfmt::skip] // a table is read by its rows
const TARGETS: &[Row] = &[
    // what separates segments for some
    ("an encoded slash", b"/a%2Fh", TARGET),
    ("an encoded slash before dots", b"/a%2f..%2fh", TARGET),
    ("an encoded slash at the end", b"/admin%2f..", TARGET),
    ("an encoded backslash", b"/a%5Ch", TARGET),
    ("a backslash", b"/a\\h", TARGET),
    ("a backslash in the place of the slash", b"\\h", MALFORMED),
    ("backslashes and dots", b"/a\\..\\h", TARGET),
    ("an encoded NUL", b"/a%00h", TARGET),
    ("an encoded NUL before an ending", b"/h%00.html", TARGET),
    // dots
    ("dots with a parameter", b"/a/..;/h", TARGET),
    ("dots with a parameter of a value", b"/a/..;x=1/h", TARGET),
    ("a dot with a parameter", b"/a/.;/h", TARGET),
    ("encoded dots with a parameter", b"/a/%2e%2e;/h", TARGET),
    ("dots with an encoded parameter", b"/a/..%3b/h", TARGET),
    ("dots above the root", b"/../../h", TARGET),
    ("encoded dots above the root", b"/%2e%2e/h", TARGET),
    ("dots above the root behind a segment", b"/a/../../h", TARGET),
    ("dots above the root behind doubled slashes", b"//..//h", TARGET),
    ("overlong dots", b"/%c0%ae%c0%ae/h", TARGET),
    ("an overlong slash", b"/a%c0%afh", TARGET),
    ("a slash overlong by two bytes", b"/a%e0%80%afh", TARGET),
    ("a surrogate", b"/%ed%a0%80", TARGET),
    ("a character cut short", b"/%e2%82", TARGET),
    ("an encoded byte that is no UTF-8", b"/%ff", TARGET),
    ("dots", b"/a/../h", SENT),
    ("dots behind doubled slashes", b"/a//../h", SENT),
    ("encoded dots", b"/a/%2e%2e/h", SENT),
    ("dots of which one is encoded", b"/a/%2E./h", SENT),
    ("a dot", b"/./h", SENT),
    ("an encoded dot", b"/%2e/h", SENT),
    ("a path that ends in dots", b"/h/..", Want::Sent("/")),
    ("a path that ends in a dot", b"/h/.", Want::Sent("/h/")),
    ("three dots", b"/.../h", Want::Sent("/.../h")),
    // slashes
    ("a doubled slash", b"//h", SENT),
    ("a doubled slash and a host", b"//b.test/h", Want::Sent("/b.test/h")),
    ("slashes alone", b"///", Want::Sent("/")),
    ("a slash at the end", b"/h/", Want::Sent("/h/")),
    // escapes
    ("an escape of no digits", b"/%zz", TARGET),
    ("an escape of one digit", b"/%4", TARGET),
    ("an escape of nothing", b"/%", TARGET),
    ("an escape of Unicode", b"/%u0068", TARGET),
    ("an encoded letter", b"/%68", SENT),
    ("an encoded percent sign", b"/%252e%252e/h", Want::Sent("/%252e%252e/h")),
    ("an encoded letter, encoded again", b"/%2568", Want::Sent("/%2568")),
    ("an encoded question mark", b"/h%3fx", Want::Sent("/h%3Fx")),
    ("an encoded number sign", b"/h%23x", Want::Sent("/h%23x")),
    ("an encoded line break", b"/%0d%0aX-Injected:%20y", Want::Sent("/%0D%0AX-Injected:%20y")),
    ("an encoded space", b"/h%20x", Want::Sent("/h%20x")),
    // other characters
    ("a fragment", b"/h#frag", SENT),
    ("a parameter", b"/h;x=1", Want::Sent("/h;x=1")),
    ("an at sign", b"/@h", Want::Sent("/@h")),
    ("a colon", b"/h:80", Want::Sent("/h:80")),
    ("capitals", b"/H", Want::Sent("/H")),
    ("braces", b"/{h}", Want::Sent("/{h}")),
    ("a bar", b"/h|x", Want::Sent("/h|x")),
    ("a quote", b"/h\"x", Want::Sent("/h\"x")),
    ("a caret", b"/h^x", Want::Sent("/h^x")),
    ("a star", b"/*", Want::Sent("/*")),
    ("an angle bracket", b"/h<x>", MALFORMED),
    ("a grave accent", b"/h`x", MALFORMED),
    ("a byte beyond ASCII", b"/\xff", MALFORMED),
    ("a letter beyond ASCII", b"/\xc3\xa9", TARGET),
    // queries: no router looks at them, but they go into the request line
    ("a backslash in the query", b"/h?\\", Want::Sent("/h?\\")),
    ("an encoded NUL in the query", b"/h?%00", Want::Sent("/h?%00")),
    ("dots in the query", b"/h?/../x", Want::Sent("/h?/../x")),
    ("a second question mark", b"/h?a?b", Want::Sent("/h?a?b")),
    ("an empty query", b"/h?", Want::Sent("/h?")),
    ("a fragment behind the query", b"/h?a#b", Want::Sent("/h?a")),
    ("a byte beyond ASCII in the query", b"/h?\xff", MALFORMED),
    ("an angle bracket in the query", b"/h?<script>", MALFORMED),
];
