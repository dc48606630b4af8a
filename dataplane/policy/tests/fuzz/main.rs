//! Any bytes at all: no panic, and what comes out keeps its promises.
//!
//! Each target changes something that is nearly right. `cargo test` plays the corpus and a few seconds of random
//! changes; `just fuzz TARGET` has libFuzzer look for those that reach new code. What it has found lies in
//! `__fuzz__/TARGET/corpus` (and in `crashes`, until it is mended) and is played again by every `cargo test`.

mod config;
mod edit;
mod head;
mod token;

use bolero::TypeGenerator;
use edit::{Edit, edited};
use policy::path;
use policy::proxy_protocol::{self, Begin};
use policy::trace::{Parent, SpanContext, TRACEPARENT, TRACESTATE};
use std::time::Duration;

/// How long `cargo test` tries random changes on one target.
const A_MOMENT: Duration = Duration::from_secs(2);

/// Random tries are cheap; time ends them.
const MANY: usize = 1_000_000;

/// A target: its name, what it is given, what it does with it.
macro_rules! fuzz {
    ($name:literal, $input:ty, $target:expr $(,)?) => {
        bolero::check!(name = $name)
            .with_type::<$input>()
            .with_test_time($crate::A_MOMENT)
            .with_iterations($crate::MANY)
            .for_each($target)
    };
}
use fuzz;

/// What is nearly right: one of the seeds, and changes to it.
#[derive(Debug, Clone, TypeGenerator)]
struct Nearly {
    seed: u8,
    edits: Vec<Edit>,
}

impl Nearly {
    fn of(&self, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        edited(&seeds[usize::from(self.seed) % seeds.len()], &self.edits, words)
    }
}

fn bytes(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}

#[test]
fn paths() {
    let seeds =
        bytes(&["/", "/api/v1/users/7", "/a/../b/./c//d", "/%e2%82%ac/%41;x=1/..", "/{id}/%2e%2E/%252e"]);
    let words = [
        "/", "//", "..", "/.", "%2e", "%2E", "%2f", "%5c", "%00", "%", "%c3%a9", "%e2%82", ";", "\\", "?",
        "#",
    ];
    fuzz!("paths", Nearly, |nearly| {
        let Ok(text) = String::from_utf8(nearly.of(&seeds, &words)) else { return };
        let Ok(normal) = path::normalize(&text) else { return };
        assert!(normal.starts_with('/') && !normal.contains("//"), "{normal}");
        assert!(!normal.split('/').any(|segment| matches!(segment, "." | "..")), "{normal}");
        assert!(normal.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\?#".contains(&byte)), "{normal}");
        for doubtful in ["%2f", "%5c", "%00", "/..;", "/.;"] {
            assert!(!normal.to_ascii_lowercase().contains(doubtful), "{normal}");
        }
        assert_eq!(path::normalize(&normal).as_deref(), Ok(&*normal), "normal is normal");
    });
}

#[test]
fn proxy_protocol() {
    let mut seeds = bytes(&[
        "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\n",
        "PROXY TCP6 2001:db8::7 ::1 0 65535\r\n",
        "PROXY UNKNOWN ffff::1 and more\r\n",
        "GET / HTTP/1.1\r\n",
    ]);
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    for rest in
        [&b"\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb"[..], b"\x20\0\0\x03\x04\0\0"]
    {
        seeds.push([&signature[..], rest].concat());
    }
    let words = [
        "PROXY ",
        "TCP4 ",
        "TCP6 ",
        "UNKNOWN",
        " ",
        "\r\n",
        "\n",
        "0",
        "65536",
        "::",
        "\r\n\r\n\0",
        "QUIT\n",
    ];
    fuzz!("proxy_protocol", Nearly, |nearly| {
        let bytes = nearly.of(&seeds, &words);
        let parsed = proxy_protocol::parse(&bytes);
        if let Ok(Begin::Header { length, .. }) = parsed {
            assert!((1..=proxy_protocol::LONGEST.min(bytes.len())).contains(&length), "{length}");
            assert_eq!(proxy_protocol::parse(&bytes[..length]), parsed, "what follows does not matter");
        }
        // a reader has decided by the first of these, and must not be told anything else later
        let decided = (0..=bytes.len()).map(|cut| proxy_protocol::parse(&bytes[..cut]));
        let mut decided = decided.skip_while(|begin| *begin == Ok(Begin::Undecided));
        assert!(decided.all(|begin| begin == parsed), "{bytes:?}");
    });
}

#[test]
fn traces() {
    let seeds = bytes(&[
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more",
        "00-00000000000000000000000000000000-0000000000000000-00",
    ]);
    let states = bytes(&["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "a@b=1", "", ","]);
    let words = ["-", "00", "ff", "0", "F", "g", ",", "=", "@", " ", "\t"];
    fuzz!("traces", (Nearly, Nearly), |(parent, state)| {
        let mut headers = http::HeaderMap::new();
        for (name, value) in
            [(TRACEPARENT, parent.of(&seeds, &words)), (TRACESTATE, state.of(&states, &words))]
        {
            let Ok(value) = http::HeaderValue::from_bytes(&value) else { return };
            headers.insert(name, value);
        }
        let Some(parent) = Parent::of(&headers) else { return };
        let span = SpanContext::child_of(&parent, parent.is_sampled());
        span.clean(&mut headers);
        headers.insert(TRACEPARENT, span.traceparent(span.span_id));
        let next = Parent::of(&headers).expect("what we say is read again");
        assert_eq!((next.trace_id, next.span_id), (parent.trace_id, span.span_id));
        assert_eq!(next.is_sampled(), parent.is_sampled());
    },);
}
