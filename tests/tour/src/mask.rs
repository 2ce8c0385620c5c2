//! Takes from a client's output what differs from run to run: ids, addresses, durations.

use process::Server;

/// The output with each of them replaced by a word.
#[must_use]
pub fn mask(output: &str, server: &Server) -> String {
    let mut text = output.replace(&server.client_address().to_string(), "CLIENT");
    text = text.replace(&server.peer_address().to_string(), "PEER");
    let mut masked = String::new();
    let mut word = String::new();
    for letter in text.chars().chain(['\n']) {
        if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '\u{b5}') {
            word.push(letter);
            continue;
        }
        let left = masked.ends_with("remaining(");
        masked += mask_word(&word, left);
        masked.push(letter);
        word.clear();
    }
    masked.pop();
    masked
}

/// Digits that an id has at least, in hexadecimal and in decimal.
const HEX_ID: usize = 12;
const DECIMAL_ID: usize = 15;

/// `left`: it says how much time is left.
fn mask_word(word: &str, left: bool) -> &str {
    let is_number = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    // Compat: a whole number of seconds is what a client asked for, not what something took.
    let took =
        ["ns", "\u{b5}s", "ms"].iter().any(|unit| word.strip_suffix(unit).is_some_and(is_number))
            || word.strip_suffix('s').is_some_and(|n| is_number(n) && (left || n.contains('.')));
    if took {
        return "DURATION";
    }
    let hex = word.bytes().all(|b| b.is_ascii_hexdigit());
    let decimal = word.bytes().all(|b| b.is_ascii_digit());
    if (hex && word.len() >= HEX_ID) || (decimal && word.len() >= DECIMAL_ID) {
        return "ID";
    }
    word
}

#[cfg(test)]
mod tests {
    use super::mask_word;

    #[test]
    fn ids_and_durations_are_masked() {
        for (word, masked) in [
            ("694d8f2a1b3c4d5e", "ID"),
            ("7587862094675217294", "ID"),
            ("1.234567ms", "DURATION"),
            ("10ms", "DURATION"),
            ("919.532\u{b5}s", "DURATION"),
            ("1.5s", "DURATION"),
            ("300s", "300s"),
            ("greeting", "greeting"),
            ("123", "123"),
            ("is", "is"),
        ] {
            assert_eq!(mask_word(word, false), masked, "{word}");
        }
        assert_eq!(mask_word("299s", true), "DURATION");
    }
}
