//! Where the frames of a WebSocket end (RFC 6455 §5.2), so that the gateway's own Close comes between two of them.

/// Follows one direction of a WebSocket by the heads of its frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// Of the head of the current frame, what has come and decides how long it is.
    head: [u8; Frames::LONGEST],
    known: usize,
    /// How much of its payload is to come.
    payload: u64,
    /// A Close has passed: nothing follows it.
    closed: bool,
}

const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x8;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const MASK: usize = 4;

impl Frames {
    /// Two bytes, a length of eight, a mask.
    const LONGEST: usize = 14;

    /// Follows what passes.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let some = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= some as u64;
                bytes = &bytes[some..];
                continue;
            }
            self.head[self.known] = bytes[0];
            self.known += 1;
            bytes = &bytes[1..];
            if self.known == self.head_length() {
                self.payload = self.payload_length();
                self.closed |= self.head[0] & OPCODE == CLOSE;
                self.known = 0;
            }
        }
    }

    /// How much has to pass at least until a frame may end; 0 between two frames.
    pub(super) fn until_boundary(&self) -> usize {
        match self.known {
            0 => usize::try_from(self.payload).unwrap_or(usize::MAX),
            known => self.head_length() - known,
        }
    }

    /// Whether a Close has passed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Of the current head, as far as it is known.
    fn head_length(&self) -> usize {
        if self.known < 2 {
            return 2;
        }
        let length = match self.head[1] & LENGTH {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.head[1] & MASKED == 0 { 0 } else { MASK }
    }

    fn payload_length(&self) -> u64 {
        let [_, short, long @ ..] = &self.head;
        match short & LENGTH {
            126 => u64::from(u16::from_be_bytes([long[0], long[1]])),
            127 => long[..8].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
            length => u64::from(length),
        }
    }
}

/// A Close that says "going away" (RFC 6455 §7.4.1), as a server sends it.
pub(super) const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// The same as a client sends it: masked, here by a mask that changes nothing.
pub(super) const GOING_AWAY_MASKED: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(opcode: u8, length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..126 => frame.push(mask | length as u8),
            126..65536 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(vec![7; if masked { MASK } else { 0 }]);
        frame.extend(vec![0xff; length]);
        frame
    }

    proptest! {
        #[test]
        fn a_boundary_is_where_a_frame_ends_and_nowhere_else(
            frames in prop::collection::vec((0u8..11, prop_oneof![0usize..200, 65530usize..65600], any::<bool>()), 1..5),
            piece in 1usize..70000,
        ) {
            let frames: Vec<_> = frames.iter().map(|(opcode, length, masked)| frame(*opcode, *length, *masked)).collect();
            let ends: Vec<_> = frames.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }).collect();
            let bytes = frames.concat();
            let (mut follower, mut passed) = (Frames::default(), 0);
            for piece in bytes.chunks(piece) {
                follower.pass(piece);
                passed += piece.len();
                prop_assert_eq!(follower.until_boundary() == 0, ends.contains(&passed), "{} of {:?}", passed, ends);
                let next = ends.iter().find(|end| **end >= passed).unwrap();
                prop_assert!(passed + follower.until_boundary() <= *next, "it would run into the next frame");
            }
            let closes = frames.iter().any(|frame| frame[0] & OPCODE == CLOSE);
            prop_assert_eq!(follower.is_closed(), closes);
        }
    }

    #[test]
    fn a_length_that_no_frame_may_have_ends_nothing_early() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(frames.until_boundary(), usize::MAX);
    }

    #[test]
    fn our_own_frames_are_frames() {
        for own in [&GOING_AWAY[..], &GOING_AWAY_MASKED[..]] {
            let mut frames = Frames::default();
            frames.pass(own);
            assert!(frames.until_boundary() == 0 && frames.is_closed());
        }
    }
}
