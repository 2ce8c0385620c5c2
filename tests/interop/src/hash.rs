//! The hash over bucket `key` with which members compare their stores, and the one that
//! `snapshot status` prints.
//!
//! Source: etcd `server/storage/mvcc/hash.go`, `key_index.go: keep`, `etcdutl/snapshot`.
//! It lives among the tests until there is a store of ours to compute it.

use crate::store::{Items, KeyValue, Revision};
use bolt::{ReadAt, Reader};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// What members compare: equal hashes mean something only at equal revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    /// CRC-32C.
    pub hash: u32,
    /// Revision up to which the store was compacted; -1 if never.
    pub compact_revision: i64,
    /// Revision up to which records count.
    pub revision: i64,
}

/// The hash at `revision` of a store compacted at `compact`, from the records of bucket `key`.
///
/// # Panics
/// If a record is none of etcd's.
#[must_use]
pub fn hash_kv(records: &Items, revision: i64, compact: i64) -> KvHash {
    let keep = keep(records, revision);
    let mut hash = crc32c::crc32c(b"key");
    for (key, value) in records {
        let (at, tombstone) = Revision::decode(key).expect("a revision key");
        let beyond = at.main > revision;
        // Compat: an empty set stands for "no compaction", even if one kept nothing.
        let compacted = at.main <= compact && !keep.is_empty() && !keep.contains(&at);
        // Compat: versions before 3.5.16 delete a tombstone at the very compact revision.
        let optional = at.main == compact && tombstone;
        if !beyond && !compacted && !optional {
            hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
        }
    }
    KvHash { hash, compact_revision: compact, revision }
}

/// The revisions that a compaction at `revision` leaves of those up to it: for each key the last
/// one, unless that is a tombstone.
fn keep(records: &Items, revision: i64) -> BTreeSet<Revision> {
    /// A key's last revision that counts, and whether its life ended at or after the revision.
    #[derive(Default)]
    struct Life {
        last: Option<Revision>,
        ended: bool,
    }
    let mut lives: BTreeMap<Vec<u8>, Life> = BTreeMap::new();
    for (key, value) in records {
        let (at, tombstone) = Revision::decode(key).expect("a revision key");
        let name = KeyValue::decode(value.as_slice()).expect("a key's record").key;
        let life = lives.entry(name).or_default();
        if life.ended || at.main > revision {
            continue;
        }
        life.last = (!tombstone).then_some(at);
        // A later life at the same revision belongs to what comes after the compaction.
        life.ended = tombstone && at.main == revision;
    }
    lives.into_values().filter_map(|life| life.last).collect()
}

/// What `etcdutl snapshot status` prints of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// CRC-32C over names of buckets, keys and values.
    pub hash: u32,
    /// The last revision.
    pub revision: i64,
    /// Items in all buckets.
    pub items: u64,
}

/// Reads a whole database for its status.
///
/// # Errors
/// What the reader finds wrong.
///
/// # Panics
/// If a key of bucket `key` is no revision.
pub fn status<R: ReadAt>(reader: &Reader<R>) -> bolt::Result<Status> {
    let mut status = Status::default();
    for bucket in reader.buckets()? {
        let bucket = bucket?;
        status.hash = crc32c::crc32c_append(status.hash, bucket.name());
        let of_keys = bucket.name() == b"key";
        let mut cursor = bucket.cursor()?;
        while let Some((key, value)) = cursor.next_item()? {
            status.items += 1;
            status.hash = crc32c::crc32c_append(crc32c::crc32c_append(status.hash, key), value);
            if of_keys {
                status.revision = Revision::decode(key).expect("a revision key").0.main;
            }
        }
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::History;

    #[test]
    fn two_hashes_of_a_real_member() {
        let mut history = History::default();
        history.put(b"foo", b"bar", 0);
        let put = history.records().first_key_value().unwrap();
        assert_eq!(put.0, b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0");
        assert_eq!(put.1, b"\x0a\x03foo\x10\x02\x18\x02\x20\x01\x2a\x03bar");
        assert_eq!(hash_kv(history.records(), 2, -1).hash, 3_305_255_506);
        history.delete(b"foo");
        assert_eq!(hash_kv(history.records(), 3, -1).hash, 2_489_925_301);
        assert_eq!(hash_kv(history.records(), 2, -1).hash, 3_305_255_506, "an older revision");
    }

    #[test]
    fn the_hash_does_not_tell_whether_compacted_records_are_gone() {
        let mut history = History::default();
        for (key, value) in [(b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"c", b"1"), (b"a", b"3")] {
            history.put(key, value, 0);
        }
        history.delete(b"b");
        history.put(b"b", b"2", 0);
        let full = history.records().clone();
        for compact in 2..=8 {
            let kept = keep(&full, compact);
            let mut gone = full.clone();
            gone.retain(|key, _| {
                let at = Revision::decode(key).unwrap().0;
                at.main > compact || kept.contains(&at)
            });
            assert!(gone.len() < full.len() || compact < 4, "{compact}");
            for revision in compact..=8 {
                let told = hash_kv(&full, revision, compact);
                assert_eq!(hash_kv(&gone, revision, compact), told, "{compact} {revision}");
            }
        }
    }
}
