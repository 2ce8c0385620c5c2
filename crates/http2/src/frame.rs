//! The layout of frames (RFC 9113, sections 4 and 6).
//!
//! ```text
//! +-- length, 24 bits --+- type, 8 -+- flags, 8 -+- R -+- stream, 31 bits -+
//! ```

use crate::error::Violation;
use std::ops::Range;

/// What stands before each payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) len: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) id: u32,
}

impl FrameHead {
    /// Reads the first nine bytes of `input`.
    pub(crate) fn read(input: &[u8]) -> Option<Self> {
        let head: &[u8; FRAME_HEAD_LEN] = input.first_chunk()?;
        let [a, b, c, kind, flags, id @ ..] = *head;
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        Some(Self { len, kind, flags, id: u32::from_be_bytes(id) & ID_MAX })
    }

    pub(crate) fn bytes(self) -> [u8; FRAME_HEAD_LEN] {
        debug_assert!(self.len <= FRAME_BYTES_MAX as usize, "a length has three bytes");
        let [.., a, b, c] = self.len.to_be_bytes();
        let [d, e, f, g] = self.id.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Where in the payload the content is, without padding and old priorities.
    pub(crate) fn content(self, payload: &[u8]) -> Result<Range<usize>, Violation> {
        let (mut start, mut end) = (0, payload.len());
        if self.has(PADDED) {
            let padding = payload.first().ok_or(Violation::frame_size("no length of padding"))?;
            start += 1;
            end = end
                .checked_sub(usize::from(*padding))
                .ok_or(Violation::protocol("more padding than payload"))?;
        }
        if self.kind == HEADERS && self.has(PRIORITY_FLAG) {
            start += PRIORITY_LEN;
        }
        if start > end {
            return Err(Violation::protocol("more padding than payload"));
        }
        Ok(start..end)
    }
}

/// A big-endian number of four bytes at the start of `payload`.
pub(crate) fn number(payload: &[u8]) -> u32 {
    payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// The settings of a payload, of which an id that we do not know is none of our business.
pub(crate) fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload.chunks_exact(SETTING_LEN).map(|setting| {
        let id = u16::from_be_bytes([setting[0], setting[1]]);
        (id, number(&setting[2..]))
    })
}

/// What a client sends first.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const FRAME_HEAD_LEN: usize = 9;
pub(crate) const PRIORITY_LEN: usize = 5;
pub(crate) const SETTING_LEN: usize = 6;
pub(crate) const ID_MAX: u32 = (1 << 31) - 1;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const PRIORITY_FLAG: u8 = 0x20;

pub(crate) const SETTINGS_HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const SETTINGS_ENABLE_PUSH: u16 = 2;
pub(crate) const SETTINGS_MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const SETTINGS_MAX_FRAME_SIZE: u16 = 5;
pub(crate) const SETTINGS_MAX_HEADER_LIST_SIZE: u16 = 6;

/// The least size of a payload that an end must take, and the largest it may allow.
pub(crate) const FRAME_BYTES_MIN: u32 = 16_384;
pub(crate) const FRAME_BYTES_MAX: u32 = (1 << 24) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        let head = FrameHead { len: 0x01_0203, kind: 4, flags: 5, id: 0x0607_0809 };
        assert_eq!(head.bytes(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(FrameHead::read(&head.bytes()), Some(head));
        assert_eq!(FrameHead::read(&head.bytes()[..8]), None);
        let reserved = [0, 0, 0, 0, 0, 0x80, 0, 0, 1];
        assert_eq!(FrameHead::read(&reserved).map(|head| head.id), Some(1));
    }

    #[test]
    fn padding_and_priorities_are_no_content() {
        let content = |kind, flags, payload: &[u8]| {
            FrameHead { len: payload.len(), kind, flags, id: 1 }.content(payload)
        };
        assert_eq!(content(DATA, 0, b"abc"), Ok(0..3));
        assert_eq!(content(DATA, PADDED, b"\x02abc"), Ok(1..2));
        assert_eq!(content(DATA, PADDED, b"\x00"), Ok(1..1));
        assert_eq!(content(HEADERS, PADDED | PRIORITY_FLAG, b"\x0112345ab"), Ok(6..7));
        assert!(content(DATA, PADDED, b"").is_err());
        assert!(content(DATA, PADDED, b"\x02a").is_err());
        assert!(content(HEADERS, PRIORITY_FLAG, b"1234").is_err());
    }
}
