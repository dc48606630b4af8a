//! What a client asks for by frames that carry nothing: counted from the bytes as they come, before h2 acts on them.
//!
//! h2 bounds what its memory has to hold (CONTINUATION, resets before a stream was looked at, small DATA), but it answers
//! PING, SETTINGS and the like as fast as they come. Some are part of any connection, a flood of them is work without a
//! request.

use std::time::{Duration, Instant};

/// Frames without content that are taken in [`WINDOW`], besides what the gateway's own DATA has earned: far above what any
/// client sends, and far below what a core could do.
const MAX_EMPTY: u32 = 1000;
const WINDOW: Duration = Duration::from_secs(1);
/// A client may tell of each frame of DATA that it has read it, for the stream and for the connection; twice that, since
/// it may have been split on its way here.
const EARNED_PER_DATA: u32 = 4;
/// What is earned is not hoarded.
const MAX_EARNED: u32 = 100_000;
/// Every so many bytes of a frame without content count as another one.
const BYTES_OF_ONE: u32 = 512;

const HEAD: usize = 9;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const CONTINUATION: u8 = 0x9;
const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// Follows the frames of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    /// What is left of the preface.
    preface: usize,
    /// Of the head of the current frame, as much as has come.
    head: [u8; HEAD],
    known: usize,
    /// How much of its payload is to come.
    payload: u32,
    /// Since when a header block arrives that is not whole.
    head_since: Option<Instant>,
    /// The block is whole with the current frame.
    ends_head: bool,
    window: Instant,
    empty: u32,
    earned: u32,
    over: bool,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            preface: crate::connection::preface::PREFACE.len(),
            head: [0; HEAD],
            known: 0,
            payload: 0,
            head_since: None,
            ends_head: false,
            window: now,
            empty: 0,
            earned: 0,
            over: false,
        }
    }

    /// The client has sent more than is taken.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Since when the head of a request arrives.
    pub(super) fn head_since(&self) -> Option<Instant> {
        self.head_since
    }

    /// So many frames of DATA go to the client, each of which it may acknowledge.
    pub(super) fn sent(&mut self, frames: u32) {
        self.earned = self.earned.saturating_add(frames.saturating_mul(EARNED_PER_DATA)).min(MAX_EARNED);
    }

    /// Looks at what has come.
    pub(super) fn read(&mut self, mut bytes: &[u8], now: Instant) {
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        bytes = &bytes[preface..];
        while !bytes.is_empty() {
            if self.known < HEAD {
                let some = bytes.len().min(HEAD - self.known);
                self.head[self.known..self.known + some].copy_from_slice(&bytes[..some]);
                self.known += some;
                bytes = &bytes[some..];
                if self.known < HEAD {
                    return;
                }
                self.frame(now);
            }
            let some = bytes.len().min(self.payload as usize);
            bytes = &bytes[some..];
            self.payload -= some as u32;
            if self.payload == 0 {
                self.known = 0;
                if std::mem::take(&mut self.ends_head) {
                    self.head_since = None;
                }
            }
        }
    }

    /// The head of a frame is there.
    fn frame(&mut self, now: Instant) {
        let [high, middle, low, kind, flags, ..] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.payload = length;
        match kind {
            HEADERS | CONTINUATION => {
                self.head_since = self.head_since.or(Some(now));
                self.ends_head = flags & END_HEADERS != 0;
            }
            DATA if length > 0 || flags & END_STREAM != 0 => {}
            SETTINGS | PING if flags & ACK != 0 => {}
            _ => self.count_empty(1 + length / BYTES_OF_ONE, now),
        }
    }

    fn count_empty(&mut self, frames: u32, now: Instant) {
        if now.saturating_duration_since(self.window) >= WINDOW {
            self.window = now;
            self.empty = 0;
        }
        let earned = self.earned.min(frames);
        self.earned -= earned;
        self.empty += frames - earned;
        self.over |= self.empty > MAX_EMPTY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIORITY: u8 = 0x2;
    const RST_STREAM: u8 = 0x3;
    const GOAWAY: u8 = 0x7;
    const WINDOW_UPDATE: u8 = 0x8;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [_, high, middle, low] = (length as u32).to_be_bytes();
        [&[high, middle, low, kind, flags, 0, 0, 0, 1][..], &vec![0; length]].concat()
    }

    /// A meter that has read this, as it came in pieces of some size.
    fn read(frames: &[Vec<u8>], piece: usize) -> Meter {
        let now = Instant::now();
        let mut meter = Meter::new(now);
        let bytes = [&crate::connection::preface::PREFACE[..], &frames.concat()].concat();
        bytes.chunks(piece).for_each(|piece| meter.read(piece, now));
        meter
    }

    #[test]
    fn frames_that_carry_nothing_are_taken_up_to_a_bound() {
        for (name, kind, flags, length, counted) in [
            ("PING", PING, 0, 8, true),
            ("PING that answers ours", PING, ACK, 8, false),
            ("SETTINGS", SETTINGS, 0, 0, true),
            ("SETTINGS that acknowledges", SETTINGS, ACK, 0, false),
            ("PRIORITY", PRIORITY, 0, 5, true),
            ("RST_STREAM", RST_STREAM, 0, 4, true),
            ("WINDOW_UPDATE", WINDOW_UPDATE, 0, 4, true),
            ("GOAWAY", GOAWAY, 0, 8, true),
            ("DATA without data", DATA, 0, 0, true),
            ("DATA at the end", DATA, END_STREAM, 0, false),
            ("DATA", DATA, 0, 1, false),
            ("HEADERS", HEADERS, END_HEADERS, 1, false),
            ("of a kind that nobody knows", 0x77, 0, 0, true),
        ] {
            let most = vec![frame(kind, flags, length); MAX_EMPTY as usize];
            assert!(!read(&most, 4096).is_over(), "{name}");
            let more = vec![frame(kind, flags, length); MAX_EMPTY as usize + 1];
            assert_eq!(read(&more, 4096).is_over(), counted, "{name}");
        }
    }

    #[test]
    fn a_long_frame_without_content_counts_for_several() {
        let settings = vec![frame(SETTINGS, 0, 16 * 1024 - 4); 32];
        assert!(read(&settings, 4096).is_over());
        assert!(!read(&settings[1..], 4096).is_over());
    }

    #[test]
    fn each_second_begins_anew_and_what_was_sent_earns_acknowledgements() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.preface = 0;
        let half = vec![frame(WINDOW_UPDATE, 0, 4); MAX_EMPTY as usize / 2].concat();
        meter.read(&half, start);
        meter.read(&half, start);
        meter.read(&half, start + WINDOW);
        meter.read(&half, start + WINDOW);
        assert!(!meter.is_over());
        meter.sent(MAX_EMPTY / EARNED_PER_DATA);
        meter.read(&half, start + WINDOW);
        meter.read(&half, start + WINDOW);
        assert!(!meter.is_over());
        meter.read(&half, start + WINDOW);
        assert!(meter.is_over());
    }

    #[test]
    fn a_header_block_is_waited_for_until_its_last_byte() {
        let (whole, part) = (frame(HEADERS, END_HEADERS, 20), frame(HEADERS, 0, 20));
        assert_eq!(read(std::slice::from_ref(&whole), 64).head_since(), None);
        assert!(read(&[whole[..28].to_vec()], 64).head_since().is_some());
        assert!(read(std::slice::from_ref(&part), 64).head_since().is_some());
        assert!(read(&[part.clone(), frame(CONTINUATION, 0, 3)], 64).head_since().is_some());
        assert_eq!(
            read(&[part, frame(CONTINUATION, END_HEADERS, 0), frame(PING, 0, 8)], 64).head_since(),
            None
        );
    }

    proptest! {
        #[test]
        fn frames_are_followed_however_they_come(
            frames in prop::collection::vec((0u8..12, any::<u8>(), 0usize..40), 0..30),
            piece in 1usize..50,
        ) {
            let frames: Vec<_> = frames.iter().map(|(kind, flags, length)| frame(*kind, *flags, *length)).collect();
            let (one, other) = (read(&frames, piece), read(&frames, usize::MAX));
            prop_assert_eq!((one.known, one.payload, one.empty), (0, 0, other.empty));
            prop_assert_eq!(one.head_since.is_some(), other.head_since.is_some());
        }
    }
}
