//! Fields for one hop, upgrades, expectations, and fields by which a client would speak as the gateway.

use super::case::{Case, EXPECTATION, HEADER, Row, SENT};

pub fn cases() -> Vec<Case> {
    [Case::lines(CONNECTION), Case::lines(UPGRADES), Case::lines(CLAIMS), Case::raw(WITH_BODY)].concat()
}

#[rustfmt::skip] // a table is read by its rows
const CONNECTION: &[Row] = &[
    ("Connection names Host", b"Connection: Host", HEADER),
    ("Connection names Host in capitals", b"Connection: HOST", HEADER),
    ("Connection names X-Forwarded-For", b"Connection: close, X-Forwarded-For", HEADER),
    ("Connection names X-Real-IP", b"Connection: X-Real-IP", HEADER),
    ("Connection names Forwarded", b"Connection: Forwarded", HEADER),
    ("Connection names X-Request-ID", b"Connection: X-Request-ID", HEADER),
    ("Connection names Via", b"Connection: Via", HEADER),
    ("Connection names Authorization", b"Connection: keep-alive, Authorization\r\nAuthorization: Bearer x", HEADER),
    ("Connection names Cookie", b"Connection: Cookie\r\nCookie: a=b", HEADER),
    ("a second Connection names Host", b"Connection: close\r\nConnection: Host", HEADER),
    ("Connection names a field of the client", b"Connection: X-A\r\nX-A: b", SENT),
    ("Connection names what is no name", b"Connection: ,,close,,", SENT),
    ("Connection names a quoted option", b"Connection: \"close\"", SENT),
    ("Connection names itself", b"Connection: Connection", SENT),
    ("a thousand options of Connection", b"Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z", SENT),
    ("fields of old proxies", b"Proxy-Connection: keep-alive\r\nKeep-Alive: 5", SENT),
    ("Proxy, which CGI makes HTTP_PROXY of", b"Proxy: http://evil.test", SENT),
    ("credentials for a proxy", b"Proxy-Authorization: Basic YTpi", SENT),
    ("TE with codings", b"TE: gzip, trailers;q=0.5", SENT),
    ("TE of trailers", b"TE: trailers\r\nConnection: TE", SENT),
    ("an expectation that is not served", b"Expect: 200-ok", EXPECTATION),
    ("an expectation with a parameter", b"Expect: 100-continue;x", EXPECTATION),
    ("two expectations", b"Expect: 100-continue\r\nExpect: 200-ok", EXPECTATION),
    ("Max-Forwards of 0", b"Max-Forwards: 0", SENT),
];

#[rustfmt::skip] // a table is read by its rows
const UPGRADES: &[Row] = &[
    ("an upgrade to HTTP/2", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", SENT),
    ("HTTP2-Settings without an upgrade", b"HTTP2-Settings: AAMAAABkAAQAAP__", SENT),
    ("an upgrade to TLS", b"Connection: Upgrade\r\nUpgrade: TLS/1.0", SENT),
    ("an upgrade that Connection does not name", b"Upgrade: websocket", SENT),
    ("an upgrade to WebSocket without its fields", b"Connection: Upgrade\r\nUpgrade: websocket", HEADER),
    ("WebSocket of another version", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", HEADER),
    ("WebSocket of two versions", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", HEADER),
    ("WebSocket with a short key", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short", HEADER),
    ("WebSocket with two keys", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", HEADER),
    ("WebSocket with a key that is no base64", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ????????????????????????", HEADER),
    ("an upgrade to WebSocket or HTTP/2", b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", SENT),
];

/// What the gateway alone may say of a client; `strict` refuses to see any of it twice.
#[rustfmt::skip] // a table is read by its rows
const CLAIMS: &[Row] = &[
    ("X-Forwarded-For", b"X-Forwarded-For: 6.6.6.6", SENT),
    ("X-Forwarded-For twice", b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6", SENT),
    ("X_Forwarded_For", b"X_Forwarded_For: 6.6.6.6", SENT),
    ("X-Forwarded_For", b"X-Forwarded_For: 6.6.6.6", SENT),
    ("X-Real-IP", b"X-Real-IP: 6.6.6.6", SENT),
    ("X_Real_IP", b"X_Real_IP: 6.6.6.6", SENT),
    ("Forwarded", b"Forwarded: for=6.6.6.6;proto=https;by=6.6.6.6", SENT),
    ("X-Forwarded-Host and its like", b"X-Forwarded-Host: 6.6.6.6\r\nX-Forwarded-Proto: 6.6.6.6\r\nX-Forwarded-Port: 6.6.6.6", SENT),
    ("X-Forwarded-Prefix", b"X-Forwarded-Prefix: 6.6.6.6", SENT),
    ("X-Forwarded-Client-Cert", b"X-Forwarded-Client-Cert: 6.6.6.6", SENT),
    ("X-Consumer-Name on a route where nobody is asked for", b"X-Request-ID: a\r\nX-Request-ID: b", SENT),
];

#[rustfmt::skip] // a table is read by its rows
const WITH_BODY: &[Row] = &[
    ("Connection names the length", b"POST /h HTTP/1.1\r\nHost: a.test\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello", HEADER),
    ("Connection names the coding", b"POST /h HTTP/1.1\r\nHost: a.test\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", HEADER),
    ("WebSocket by POST", b"POST /h HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 0\r\n\r\n", SENT),
    ("WebSocket in HTTP/1.0", b"GET /h HTTP/1.0\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", SENT),
    ("WebSocket with a body", b"GET /h HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 5\r\n\r\nhello", SENT),
    ("WebSocket with a body in chunks", b"GET /h HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", SENT),
    ("trailers that would forge who asks", b"POST /h HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nTrailer: X-Consumer-Name, X-Forwarded-For, X-Real-IP, Cookie, Authorization\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Consumer-Name: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nCookie: 6.6.6.6\r\nAuthorization: 6.6.6.6\r\n\r\n", SENT),
    ("trailers that would frame", b"POST /h HTTP/1.1\r\nHost: a.test\r\nTrailer: Content-Length, Transfer-Encoding, Host, Connection\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Length: 6\r\nTransfer-Encoding: 6.6.6.6\r\nHost: 6.6.6.6\r\nConnection: 6.6.6.6\r\n\r\n", SENT),
];
