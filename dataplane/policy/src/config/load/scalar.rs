//! What a plain scalar means: YAML 1.2's core schema, strict and decimal.

/// A plain scalar by its form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Meaning {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Text,
}

/// The meaning of a plain scalar's text.
pub(super) fn meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "true" | "True" | "TRUE" => return Meaning::Bool(true),
        "false" | "False" | "FALSE" => return Meaning::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return Meaning::Text;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        if let Ok(number) = text.parse() {
            return Meaning::Unsigned(number);
        }
        return text.parse().map_or(Meaning::Text, Meaning::Negative);
    }
    let float = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    match text.parse() {
        Ok(number) if float => Meaning::Float(number),
        _ => Meaning::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_decimal_numbers_and_true_and_false_are_more_than_text() {
        assert_eq!(meaning("8080"), Meaning::Unsigned(8080));
        assert_eq!(meaning("-1"), Meaning::Negative(-1));
        assert_eq!(meaning("1.5"), Meaning::Float(1.5));
        assert_eq!(meaning("true"), Meaning::Bool(true));
        assert_eq!(meaning("~"), Meaning::Null);
        for text in
            ["yes", "off", "0x1F", "1_000", "30s", "nan", ".inf", "1.2.3.4", "99999999999999999999", "-"]
        {
            assert_eq!(meaning(text), Meaning::Text, "{text}");
        }
    }
}
