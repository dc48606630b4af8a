//! HTTP/1.1 or HTTP/2, told by the first bytes of a connection (RFC 9113 §3.3).

use super::Arrival;
use super::io::ClientIo;
use std::task::{Context, Poll, ready};

/// What every connection of HTTP/2 begins with (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What has come of a new connection. Nearly always the first look decides; only a preface that comes in pieces has to be
/// taken out of the socket, which would otherwise not tell of the next piece.
pub(super) struct Preface {
    taken: Vec<u8>,
    /// The first look has not decided.
    open: bool,
}

/// What the first bytes of a connection say.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Http1,
    Http2,
    /// They could become either.
    Open,
}

impl Look {
    fn decided(self) -> Option<Arrival> {
        match self {
            Self::Http1 => Some(Arrival::Http1),
            Self::Http2 => Some(Arrival::Http2),
            Self::Open => None,
        }
    }
}

fn look(bytes: &[u8]) -> Look {
    match PREFACE.get(..bytes.len()) {
        Some(begun) if begun != bytes => Look::Http1,
        Some(_) if bytes.len() < PREFACE.len() => Look::Open,
        None if !bytes.starts_with(PREFACE) => Look::Http1,
        Some(_) | None => Look::Http2,
    }
}

impl Preface {
    /// Of a connection of which this was read already.
    pub(super) fn new(taken: &[u8]) -> Self {
        Self { taken: taken.to_vec(), open: false }
    }

    /// Ready once it is clear what the client speaks, or that it is gone. What was taken is given back to `io`.
    pub(super) fn poll(&mut self, io: &mut ClientIo, cx: &mut Context<'_>) -> Poll<Arrival> {
        let mut bytes = [0; PREFACE.len()];
        if !self.open {
            let seen = if self.taken.is_empty() {
                let arrived = ready!(io.poll_peek(cx, &mut bytes));
                if arrived == 0 {
                    return Poll::Ready(Arrival::Nothing);
                }
                look(&bytes[..arrived])
            } else {
                look(&self.taken)
            };
            if let Some(arrival) = seen.decided() {
                self.give_up(io);
                return Poll::Ready(arrival);
            }
            self.open = true;
            io.head_begins();
        }
        loop {
            let room = PREFACE.len() - self.taken.len();
            let read = ready!(io.poll_take(cx, &mut bytes[..room]));
            self.taken.extend_from_slice(&bytes[..read]);
            // whoever closes after some bytes is told what was wrong with them
            let closed = (read == 0).then_some(Arrival::Http1);
            if let Some(arrival) = closed.or_else(|| look(&self.taken).decided()) {
                self.give_up(io);
                return Poll::Ready(arrival);
            }
        }
    }

    /// Gives back what was taken; whether there was anything.
    pub(super) fn give_up(&mut self, io: &mut ClientIo) -> bool {
        let begun = !self.taken.is_empty();
        if begun {
            io.put_back(std::mem::take(&mut self.taken).into());
        }
        begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_of_http2_by_the_whole_preface_and_by_nothing_less() {
        let preface = String::from_utf8_lossy(PREFACE).into_owned();
        for length in 1..PREFACE.len() {
            assert_eq!(look(&PREFACE[..length]), Look::Open, "{length}");
            let other = format!("{}x", &preface[..length]);
            assert_eq!(look(other.as_bytes()), Look::Http1, "{other}");
        }
        assert_eq!((look(PREFACE), look(format!("{preface}\0").as_bytes())), (Look::Http2, Look::Http2));
        for other in [
            "GET / HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\nHost: a.example\r\n",
            "PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n  ",
        ] {
            assert_eq!(look(other.as_bytes()), Look::Http1, "{other}");
        }
    }
}
