//! The static and the dynamic table (RFC 7541, section 2.3).
//!
//! - The texts of the dynamic table lie in one buffer in the order in which they came, so that a
//!   field enters and leaves without an allocation.
//! - The size of the entries never exceeds `size_max`, which never exceeds what we announced.

use super::name::{Name, is_legal_value};
use super::{FIELD_OVERHEAD, Undecodable};
use std::collections::VecDeque;

/// Both tables.
#[derive(Debug)]
pub(super) struct Table {
    /// Newest first, as indexes count.
    entries: VecDeque<Entry>,
    texts: Vec<u8>,
    /// How many bytes of texts there were before the first that is kept.
    dropped: usize,
    size: usize,
    size_max: usize,
}

/// Where the texts of a field are, and what is known of them.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Counted from the first text there ever was.
    start: usize,
    name_len: usize,
    value_len: usize,
    name: Name,
    legal: bool,
}

/// A field of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) name: Name,
    /// Whether the value is a legal one.
    pub(super) legal: bool,
    pub(super) name_text: &'a [u8],
    pub(super) value: &'a [u8],
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            texts: Vec::new(),
            dropped: 0,
            size: 0,
            size_max: TABLE_BYTES_MAX as usize,
        }
    }

    /// The field at an index of a block.
    pub(super) fn get(&self, index: usize) -> Result<Row<'_>, Undecodable> {
        let Some(place) = index.checked_sub(STATIC_LEN + 1) else {
            let place = index.checked_sub(1).ok_or(Undecodable)?;
            let (name, name_text, value) = STATIC[place];
            let (name_text, value) = (name_text.as_bytes(), value.as_bytes());
            return Ok(Row { name, legal: true, name_text, value });
        };
        let entry = self.entries.get(place).ok_or(Undecodable)?;
        let start = entry.start - self.dropped;
        let (name_text, rest) = self.texts[start..].split_at(entry.name_len);
        let value = &rest[..entry.value_len];
        Ok(Row { name: entry.name, legal: entry.legal, name_text, value })
    }

    /// Adds a field, for which the oldest make room. One that is larger than the table empties it.
    pub(super) fn insert(&mut self, name: Name, name_text: &[u8], value: &[u8]) {
        let size = name_text.len() + value.len() + FIELD_OVERHEAD;
        if size > self.size_max {
            self.shrink(0);
            return;
        }
        self.shrink(self.size_max - size);
        let start = self.dropped + self.texts.len();
        self.texts.extend_from_slice(name_text);
        self.texts.extend_from_slice(value);
        self.size += size;
        let (name_len, value_len, legal) = (name_text.len(), value.len(), is_legal_value(value));
        self.entries.push_front(Entry { start, name_len, value_len, name, legal });
    }

    /// The other end changes the size of its table.
    pub(super) fn resize(&mut self, size_max: usize) -> Result<(), Undecodable> {
        if size_max > TABLE_BYTES_MAX as usize {
            return Err(Undecodable);
        }
        self.size_max = size_max;
        self.shrink(size_max);
        Ok(())
    }

    /// Drops the oldest until the rest has at most `size` bytes.
    fn shrink(&mut self, size: usize) {
        while self.size > size {
            let oldest = self.entries.pop_back().expect("a table without entries has no size");
            self.size -= oldest.name_len + oldest.value_len + FIELD_OVERHEAD;
        }
        let live = self.entries.back().map_or(self.dropped + self.texts.len(), |last| last.start);
        let dead = live - self.dropped;
        // Now and then, so that each byte is moved about once.
        if dead > TABLE_BYTES_MAX as usize {
            self.texts.drain(..dead);
            self.dropped = live;
        }
    }

    #[cfg(test)]
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let rows = (0..self.entries.len()).map(|place| self.get(STATIC_LEN + 1 + place).unwrap());
        rows.map(|row| (text(row.name_text), text(row.value))).collect()
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

/// The static index of a name, and of the whole field if that is there too.
pub(super) fn find_static(name: &[u8], value: &[u8]) -> (Option<usize>, Option<usize>) {
    let same = STATIC.iter().enumerate().filter(|(_, row)| row.1.as_bytes() == name);
    let (mut first, mut whole) = (None, None);
    for (place, row) in same {
        first = first.or(Some(place + 1));
        if row.2.as_bytes() == value {
            whole = Some(place + 1);
        }
    }
    (first, whole)
}

/// The size of the dynamic table: HTTP/2's default, which our SETTINGS do not change.
pub(crate) const TABLE_BYTES_MAX: u32 = 4096;

pub(super) const STATIC_LEN: usize = 61;

/// RFC 7541, appendix A.
const STATIC: [(Name, &str, &str); STATIC_LEN] = [
    (Name::AUTHORITY, ":authority", ""),
    (Name::METHOD, ":method", "GET"),
    (Name::METHOD, ":method", "POST"),
    (Name::PATH, ":path", "/"),
    (Name::PATH, ":path", "/index.html"),
    (Name::SCHEME, ":scheme", "http"),
    (Name::SCHEME, ":scheme", "https"),
    (Name::ILLEGAL, ":status", "200"),
    (Name::ILLEGAL, ":status", "204"),
    (Name::ILLEGAL, ":status", "206"),
    (Name::ILLEGAL, ":status", "304"),
    (Name::ILLEGAL, ":status", "400"),
    (Name::ILLEGAL, ":status", "404"),
    (Name::ILLEGAL, ":status", "500"),
    (Name::OTHER, "accept-charset", ""),
    (Name::OTHER, "accept-encoding", "gzip, deflate"),
    (Name::OTHER, "accept-language", ""),
    (Name::OTHER, "accept-ranges", ""),
    (Name::OTHER, "accept", ""),
    (Name::OTHER, "access-control-allow-origin", ""),
    (Name::OTHER, "age", ""),
    (Name::OTHER, "allow", ""),
    (Name::OTHER, "authorization", ""),
    (Name::OTHER, "cache-control", ""),
    (Name::OTHER, "content-disposition", ""),
    (Name::OTHER, "content-encoding", ""),
    (Name::OTHER, "content-language", ""),
    (Name::CONTENT_LENGTH, "content-length", ""),
    (Name::OTHER, "content-location", ""),
    (Name::OTHER, "content-range", ""),
    (Name::CONTENT_TYPE, "content-type", ""),
    (Name::OTHER, "cookie", ""),
    (Name::OTHER, "date", ""),
    (Name::OTHER, "etag", ""),
    (Name::OTHER, "expect", ""),
    (Name::OTHER, "expires", ""),
    (Name::OTHER, "from", ""),
    (Name::HOST, "host", ""),
    (Name::OTHER, "if-match", ""),
    (Name::OTHER, "if-modified-since", ""),
    (Name::OTHER, "if-none-match", ""),
    (Name::OTHER, "if-range", ""),
    (Name::OTHER, "if-unmodified-since", ""),
    (Name::OTHER, "last-modified", ""),
    (Name::OTHER, "link", ""),
    (Name::OTHER, "location", ""),
    (Name::OTHER, "max-forwards", ""),
    (Name::OTHER, "proxy-authenticate", ""),
    (Name::OTHER, "proxy-authorization", ""),
    (Name::OTHER, "range", ""),
    (Name::OTHER, "referer", ""),
    (Name::OTHER, "refresh", ""),
    (Name::OTHER, "retry-after", ""),
    (Name::OTHER, "server", ""),
    (Name::OTHER, "set-cookie", ""),
    (Name::OTHER, "strict-transport-security", ""),
    (Name::ILLEGAL, "transfer-encoding", ""),
    (Name::USER_AGENT, "user-agent", ""),
    (Name::OTHER, "vary", ""),
    (Name::OTHER, "via", ""),
    (Name::OTHER, "www-authenticate", ""),
];
