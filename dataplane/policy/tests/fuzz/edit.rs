//! Changes to bytes that are nearly right.

use bolero::TypeGenerator;

/// One change; places are taken modulo the length.
#[derive(Debug, Clone, TypeGenerator)]
pub enum Edit {
    /// Another byte.
    Set(u16, u8),
    /// One more byte.
    Insert(u16, u8),
    /// A word of the language.
    Word(u16, u8),
    /// Some bytes fewer.
    Remove(u16, u8),
    /// Some bytes again, elsewhere.
    Copy(u16, u8, u16),
    /// The rest is missing.
    Cut(u16),
}

/// Longer texts find nothing that shorter ones do not.
const MAX_LENGTH: usize = 64 * 1024;

/// `seed` with all changes, in their order.
pub fn edited(seed: &[u8], edits: &[Edit], words: &[&str]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for edit in edits {
        if bytes.len() > MAX_LENGTH {
            break;
        }
        let at = |place: &u16| usize::from(*place) % (bytes.len() + 1);
        let end = |from: usize, length: &u8| (from + usize::from(*length)).min(bytes.len());
        match edit {
            Edit::Set(place, byte) => {
                let at = at(place);
                if let Some(old) = bytes.get_mut(at) {
                    *old = *byte;
                }
            }
            Edit::Insert(place, byte) => {
                let at = at(place);
                bytes.insert(at, *byte);
            }
            Edit::Word(place, word) => {
                let at = at(place);
                let word = words[usize::from(*word) % words.len()];
                bytes.splice(at..at, word.bytes());
            }
            Edit::Remove(place, length) => {
                let from = at(place);
                let to = end(from, length);
                bytes.drain(from..to);
            }
            Edit::Copy(place, length, to) => {
                let from = at(place);
                let copy = bytes[from..end(from, length)].to_vec();
                let to = at(to);
                bytes.splice(to..to, copy);
            }
            Edit::Cut(place) => {
                let at = at(place);
                bytes.truncate(at);
            }
        }
    }
    bytes
}
