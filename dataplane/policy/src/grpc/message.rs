//! `grpc-message`: any text in the characters of a header, the others percent-encoded.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Everything but the visible characters and the space; and the sign itself.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

pub(super) fn encode(message: &str) -> String {
    utf8_percent_encode(message, ENCODED).to_string()
}

#[cfg(test)]
pub(super) fn decode(message: &str) -> String {
    percent_encoding::percent_decode_str(message).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_visible_stays_as_it_is() {
        assert_eq!(
            encode("the service said: no (50% of \u{fc})\r\n"),
            "the service said: no (50%25 of %C3%BC)%0D%0A"
        );
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_a_header(text in any::<String>()) {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{encoded}");
            prop_assert_eq!(decode(&encoded), text);
        }
    }
}
