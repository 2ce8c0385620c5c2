//! Revisions and their keys, in etcd's bytes (`server/storage/mvcc/revision.go`).

use std::fmt;

/// A point in the history of all keys: the transaction, and the change within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// Number of the transaction, from 1. Not negative.
    pub main: i64,
    /// Number of the change within the transaction, from 0. Not negative.
    pub sub: i64,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.main, self.sub)
    }
}

/// The key of a record in the bucket `key`: main as 8 bytes big-endian, `_`, sub likewise, and
/// `t` behind those of a deletion. Keys sort as revisions do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RevisionKey {
    bytes: [u8; TOMBSTONE_BYTES],
    len: u8,
}

pub(crate) const PLAIN_BYTES: usize = 17;
const TOMBSTONE_BYTES: usize = 18;

impl RevisionKey {
    /// The key of `revision`.
    ///
    /// # Panics
    /// If a number is negative.
    #[must_use]
    pub fn new(revision: Revision, tombstone: bool) -> Self {
        assert!(revision.main >= 0 && revision.sub >= 0, "revisions are not negative");
        let mut bytes = [0; TOMBSTONE_BYTES];
        bytes[..8].copy_from_slice(&revision.main.to_be_bytes());
        bytes[8] = b'_';
        bytes[9..PLAIN_BYTES].copy_from_slice(&revision.sub.to_be_bytes());
        bytes[PLAIN_BYTES] = if tombstone { b't' } else { 0 };
        let len = if tombstone { TOMBSTONE_BYTES } else { PLAIN_BYTES };
        Self { bytes, len: u8::try_from(len).expect("18 fits") }
    }

    /// The bytes, 17 or 18 of them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Reads a key: its revision and whether it is a deletion's; `None` if it is no such key.
    #[must_use]
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<(Revision, bool)> {
        let tombstone = match bytes.len() {
            PLAIN_BYTES => false,
            TOMBSTONE_BYTES if bytes[PLAIN_BYTES] == b't' => true,
            _ => return None,
        };
        let number = |at: usize| {
            let field = bytes[at..at + 8].try_into().expect("eight bytes were cut");
            Some(i64::from_be_bytes(field)).filter(|number| *number >= 0)
        };
        if bytes[8] != b'_' {
            return None;
        }
        Some((Revision { main: number(0)?, sub: number(9)? }, tombstone))
    }
}

impl fmt::Debug for RevisionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::parse(self.as_bytes()) {
            Some((revision, tombstone)) => {
                write!(f, "{revision}{}", if tombstone { "t" } else { "" })
            }
            None => write!(f, "{:?}", self.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_etcds_bytes_and_sort_as_revisions() {
        let key = RevisionKey::new(Revision { main: 2, sub: 0 }, false);
        assert_eq!(key.as_bytes(), b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0");
        let deletion = RevisionKey::new(Revision { main: 3, sub: 1 }, true);
        assert_eq!(deletion.as_bytes(), b"\0\0\0\0\0\0\0\x03_\0\0\0\0\0\0\0\x01t");
        assert!(key.as_bytes() < deletion.as_bytes());
        assert_eq!(
            RevisionKey::parse(deletion.as_bytes()),
            Some((Revision { main: 3, sub: 1 }, true))
        );
    }

    #[test]
    fn other_bytes_are_no_key() {
        for bad in [&b""[..], b"\0\0\0\0\0\0\0\x02-\0\0\0\0\0\0\0\0", &[0xff; 17], &[0x5f; 18]] {
            assert_eq!(RevisionKey::parse(bad), None, "{bad:?}");
        }
    }
}
