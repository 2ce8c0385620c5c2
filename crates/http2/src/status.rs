//! How a gRPC call ends: a code, a text, details; and how that stands in header fields.

use crate::hpack::encode;
use std::borrow::Cow;
use std::fmt;

/// A status code of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are gRPC's")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// How a call ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What programs decide by.
    pub code: Code,
    /// What people read.
    pub message: Cow<'static, str>,
    /// The value of `grpc-status-details-bin`, already in base64; none if empty.
    pub details: Cow<'static, str>,
}

impl Status {
    /// The call went well.
    pub const OK: Self =
        Self { code: Code::Ok, message: Cow::Borrowed(""), details: Cow::Borrowed("") };

    /// A status without details.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), details: Cow::Borrowed("") }
    }

    /// What a call gets whose time is up.
    pub(crate) fn deadline_exceeded() -> Self {
        Self::new(Code::DeadlineExceeded, "context deadline exceeded")
    }

    /// Appends the header fields of this status.
    pub(crate) fn encode(&self, block: &mut Vec<u8>) {
        if self.code == Code::Ok && self.message.is_empty() && self.details.is_empty() {
            block.extend_from_slice(OK_BLOCK);
            return;
        }
        let code = self.code as u8;
        let digits = [b'0' + code / 10, b'0' + code % 10];
        let digits = if code < 10 { &digits[1..] } else { &digits[..] };
        encode::field(block, b"grpc-status", digits);
        if !self.message.is_empty() {
            let message = escape(&self.message);
            encode::field(block, b"grpc-message", message.as_bytes());
        }
        if !self.details.is_empty() {
            encode::field(block, b"grpc-status-details-bin", self.details.as_bytes());
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

/// `grpc-status: 0`, a literal without a place in the peer's table.
pub(crate) const OK_BLOCK: &[u8] = b"\x00\x0bgrpc-status\x010";

/// Percent-encodes what may not stand in a header field.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'%';
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if plain(byte) {
            escaped.push(char::from(byte));
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            escaped.push('%');
            escaped.push(char::from(DIGITS[usize::from(byte >> 4)]));
            escaped.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_go_does() {
        assert_eq!(escape("plain (9 vs. 8)"), "plain (9 vs. 8)");
        assert_eq!(escape("100%\n"), "100%25%0A");
        assert_eq!(escape("caf\u{e9}"), "caf%C3%A9");
    }

    #[test]
    fn codes_of_one_and_two_digits() {
        let block = |status: Status| {
            let mut block = Vec::new();
            status.encode(&mut block);
            block
        };
        assert_eq!(block(Status::OK), OK_BLOCK);
        assert_eq!(block(Status::new(Code::NotFound, "")), b"\x00\x0bgrpc-status\x015");
        let both = block(Status::new(Code::Unauthenticated, "no"));
        assert_eq!(both, b"\x00\x0bgrpc-status\x0216\x00\x0cgrpc-message\x02no");
    }
}
