//! Numbers, switches and durations as Go reads and writes them in flags.
//!
//! Source: Go's `strconv` and `time` packages, as its `flag` package uses them.

use std::path::Path;
use std::time::Duration;

/// Why a value cannot be read; Go's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// `parse error`.
    Syntax,
    /// `value out of range`.
    Range,
}

impl Wrong {
    /// What the flag package says.
    pub(super) fn flag_text(self) -> &'static str {
        match self {
            Self::Syntax => "parse error",
            Self::Range => "value out of range",
        }
    }

    /// What strconv itself says.
    pub(super) fn strconv_text(self) -> &'static str {
        match self {
            Self::Syntax => "invalid syntax",
            Self::Range => "value out of range",
        }
    }
}

/// `strconv.ParseBool`.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `strconv.ParseUint` with base 0: the prefix says which base, and `_` may stand between digits.
pub(super) fn parse_uint(text: &str) -> Result<u64, Wrong> {
    let lower = text.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &*lower),
    };
    // After a prefix the first digit may have one before it.
    let prefixed = digits.len() < lower.len();
    let digits = digits.strip_prefix('_').filter(|_| prefixed).unwrap_or(digits);
    if digits.is_empty() || digits.ends_with('_') || digits.contains("__") {
        return Err(Wrong::Syntax);
    }
    let mut number: u64 = 0;
    let mut overflows = false;
    for digit in digits.split('_').flat_map(str::chars) {
        let digit = digit.to_digit(base).ok_or(Wrong::Syntax)?;
        match number.checked_mul(base.into()).and_then(|all| all.checked_add(digit.into())) {
            Some(all) => number = all,
            None => overflows = true,
        }
    }
    if overflows { Err(Wrong::Range) } else { Ok(number) }
}

/// `strconv.ParseInt` with base 0.
pub(super) fn parse_int(text: &str) -> Result<i64, Wrong> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let number = i128::from(parse_uint(digits)?);
    let number = if negative { -number } else { number };
    i64::try_from(number).map_err(|_| Wrong::Range)
}

/// `time.ParseDuration`, in nanoseconds.
pub(super) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let (whole, part) = rest[..end].split_once('.').unwrap_or((&rest[..end], ""));
        if whole.is_empty() && part.is_empty() || part.contains('.') {
            return None;
        }
        rest = &rest[end..];
        let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let unit: i128 = match &rest[..end] {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[end..];
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()?.into() };
        sum += whole * unit;
        // Digits below a nanosecond of an hour say nothing more.
        let part = &part[..part.len().min(18)];
        if !part.is_empty() {
            let exponent = u32::try_from(part.len()).ok()?;
            sum += part.parse::<i128>().ok()? * unit / 10_i128.pow(exponent);
        }
    }
    i64::try_from(if negative { -sum } else { sum }).ok()
}

/// A duration as Go writes it.
pub(super) fn duration_text(nanos: i64) -> String {
    let text = server::go_duration(Duration::from_nanos(nanos.unsigned_abs()));
    if nanos < 0 { format!("-{text}") } else { text }
}

/// What Go's `os` package says of a file that something could not be done with.
pub(crate) fn io_text(doing: &str, path: &Path, error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    format!("{doing} {}: {}{rest}", path.display(), first.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_any_base() {
        let check = |text: &str, want| assert_eq!(parse_uint(text), want, "{text}");
        check("10", Ok(10));
        check("0x1F", Ok(31));
        check("017", Ok(15));
        check("0o17", Ok(15));
        check("0b101", Ok(5));
        check("1_000", Ok(1000));
        check("0", Ok(0));
        check("", Err(Wrong::Syntax));
        check("-1", Err(Wrong::Syntax));
        check("1e3", Err(Wrong::Syntax));
        check("1__0", Err(Wrong::Syntax));
        check("09", Err(Wrong::Syntax));
        check("99999999999999999999", Err(Wrong::Range));
        assert_eq!(parse_int("-5"), Ok(-5));
        assert_eq!(parse_int("+5"), Ok(5));
        assert_eq!(parse_int("9223372036854775808"), Err(Wrong::Range));
    }

    #[test]
    fn durations() {
        let check = |text: &str, want: Option<i64>| {
            assert_eq!(parse_duration(text), want, "{text}");
        };
        check("0", Some(0));
        check("0s", Some(0));
        check("100ms", Some(100_000_000));
        check("1h0m1.5s", Some(3_601_500_000_000));
        check("-1.5us", Some(-1500));
        check(".5s", Some(500_000_000));
        check("5.s", Some(5_000_000_000));
        check("", None);
        check("10", None);
        check("1x", None);
        check(".s", None);
        check("1.2.3s", None);
        check("9999999h", None);
        assert_eq!(duration_text(-1_500_000_000), "-1.5s");
    }
}
