//! The replicated state machine: keys with values, and what makes a write happen once.
//!
//! It remembers a hash of all it ever applied, so that an entry applied twice, never, or in
//! another order shows at once and for ever. A write that arrives twice counts once: each client
//! numbers its writes, and those up to the last one applied are skipped.

use crate::rng::mix;
use bytes::Bytes;
use raftpb::{Entry, EntryType};
use std::collections::BTreeMap;

/// A client's write, as a log entry carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) client: u64,
    /// Number of the client's operation, rising.
    pub(crate) seq: u64,
    pub(crate) key: u64,
    pub(crate) value: u64,
}

impl Write {
    /// The entry's data, with so many bytes of padding.
    pub(crate) fn encode(&self, padding: usize) -> Bytes {
        let mut data = words([self.client, self.seq, self.key, self.value]);
        data.resize(data.len() + padding, PADDING);
        data.into()
    }

    pub(crate) fn decode(data: &[u8]) -> Option<Self> {
        let mut words = read_words(data);
        Some(Self {
            client: words.next()?,
            seq: words.next()?,
            key: words.next()?,
            value: words.next()?,
        })
    }
}

/// Not zero, which is how a disk's sector looks that was never written.
const PADDING: u8 = 0x5a;

/// A value and the index of the entry that wrote it; both 0 before any did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) value: u64,
    pub(crate) index: u64,
}

/// The state after the entries up to `applied`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kv {
    pub(crate) applied: u64,
    pub(crate) hash: u64,
    values: BTreeMap<u64, Version>,
    /// The last write of each client.
    sessions: BTreeMap<u64, u64>,
}

impl Kv {
    /// Applies the next entry. Returns the write in it, if it is one.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Option<Write> {
        self.applied = entry.index();
        self.hash = mix(self.hash ^ hash_entry(entry));
        if entry.r#type() != EntryType::EntryNormal {
            return None;
        }
        let write = Write::decode(entry.data())?;
        let last = self.sessions.entry(write.client).or_default();
        if write.seq > *last {
            *last = write.seq;
            self.values.insert(write.key, Version { value: write.value, index: self.applied });
        }
        Some(write)
    }

    pub(crate) fn read(&self, key: u64) -> Version {
        self.values.get(&key).copied().unwrap_or_default()
    }

    /// The state as snapshots carry it; the index is the snapshot's.
    pub(crate) fn encode(&self) -> Bytes {
        let mut all = vec![self.hash, self.values.len() as u64];
        for (key, version) in &self.values {
            all.extend([*key, version.value, version.index]);
        }
        for (client, seq) in &self.sessions {
            all.extend([*client, *seq]);
        }
        words(all).into()
    }

    pub(crate) fn decode(index: u64, data: &[u8]) -> Option<Self> {
        let mut words = read_words(data);
        let mut kv = Self { applied: index, hash: words.next()?, ..Self::default() };
        for _ in 0..words.next()? {
            let key = words.next()?;
            kv.values.insert(key, Version { value: words.next()?, index: words.next()? });
        }
        while let Some(client) = words.next() {
            kv.sessions.insert(client, words.next()?);
        }
        Some(kv)
    }
}

/// A hash of all an entry says.
pub(crate) fn hash_entry(entry: &Entry) -> u64 {
    let kind = u64::from(entry.r#type.unwrap_or_default().unsigned_abs());
    let mut hash = mix(entry.index() ^ mix(entry.term() ^ mix(kind)));
    for byte in entry.data() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    mix(hash)
}

fn words(words: impl IntoIterator<Item = u64>) -> Vec<u8> {
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn read_words(data: &[u8]) -> impl Iterator<Item = u64> + '_ {
    data.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("chunks of eight")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, seq: u64, value: u64) -> Entry {
        let data = Write { client: 1, seq, key: 2, value }.encode(3);
        Entry { index: Some(index), term: Some(1), data: Some(data), ..Entry::default() }
    }

    #[test]
    fn a_write_that_comes_again_counts_once_and_state_survives_its_encoding() {
        let mut kv = Kv::default();
        kv.apply(&entry(1, 1, 10));
        kv.apply(&entry(2, 2, 20));
        kv.apply(&entry(3, 1, 10));
        assert_eq!(kv.read(2), Version { value: 20, index: 2 });
        assert_eq!(Kv::decode(3, &kv.encode()), Some(kv));
    }
}
