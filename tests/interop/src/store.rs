//! What etcd keeps in a database, as far as tests write and read it.
//!
//! Not a store: a list of revisions that is put together in memory, bucket by bucket, in the bytes
//! of `docs/formats/db.md`.

use anyhow::{Context, Result};
use bolt::{Emit, Reader, Source};
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;

/// The items of a bucket.
pub type Items = BTreeMap<Vec<u8>, Vec<u8>>;

/// The ten buckets that every member has, ascending.
pub const BUCKETS: [&str; 10] = [
    "alarm",
    "auth",
    "authRoles",
    "authUsers",
    "cluster",
    "key",
    "lease",
    "members",
    "members_removed",
    "meta",
];

/// A whole database in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database(pub BTreeMap<Vec<u8>, Items>);

impl Database {
    /// One with all buckets, and nothing in them.
    #[must_use]
    pub fn empty() -> Self {
        Self(BUCKETS.iter().map(|name| (name.as_bytes().to_vec(), Items::new())).collect())
    }

    /// Reads a file, and checks all of it first.
    ///
    /// # Errors
    /// If it cannot be read or is not sound.
    pub fn read(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        let reader = Reader::open(file)?;
        reader.check()?;
        let mut database = Self::default();
        for bucket in reader.buckets()? {
            let bucket = bucket?;
            let items = database.0.entry(bucket.name().to_vec()).or_default();
            let mut cursor = bucket.cursor()?;
            while let Some((key, value)) = cursor.next_item()? {
                items.insert(key.to_vec(), value.to_vec());
            }
        }
        Ok(database)
    }

    /// The bucket `name`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn bucket(&self, name: &str) -> &Items {
        self.0.get(name.as_bytes()).unwrap_or_else(|| panic!("no bucket {name}"))
    }

    /// Adds an item.
    ///
    /// # Panics
    /// If there is no such bucket.
    pub fn insert(&mut self, name: &str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        let bucket = self.0.get_mut(name.as_bytes());
        bucket.unwrap_or_else(|| panic!("no bucket {name}")).insert(key.into(), value.into());
    }

    /// Revision up to which it was compacted, -1 if never: what a member takes at its start.
    #[must_use]
    pub fn compact_revision(&self) -> i64 {
        let finished = self.bucket("meta").get(&b"finishedCompactRev"[..]);
        finished.and_then(|key| Revision::decode(key)).map_or(-1, |(at, _)| at.main)
    }

    /// The last revision, at least 1.
    #[must_use]
    pub fn revision(&self) -> i64 {
        let last = self.bucket("key").last_key_value().and_then(|(key, _)| Revision::decode(key));
        last.map_or(1, |(at, _)| at.main).max(self.compact_revision())
    }

    /// Keys that are there at the last revision.
    ///
    /// # Panics
    /// If a record is none of etcd's.
    #[must_use]
    pub fn live(&self) -> BTreeMap<Vec<u8>, KeyValue> {
        let mut live = BTreeMap::new();
        for (key, value) in self.bucket("key") {
            let (_, tombstone) = Revision::decode(key).expect("a revision key");
            let record = KeyValue::decode(value.as_slice()).expect("a key's record");
            if tombstone {
                live.remove(&record.key);
            } else {
                live.insert(record.key.clone(), record);
            }
        }
        live
    }
}

impl Source for Database {
    fn buckets(&mut self) -> bolt::Result<Vec<Vec<u8>>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn visit(&mut self, bucket: &[u8], emit: &mut Emit<'_>) -> bolt::Result<()> {
        self.0[bucket].iter().try_for_each(|(key, value)| emit(key, value))
    }
}

/// Puts and deletes, each with a revision of its own, the first 2.
#[derive(Clone, Debug, Default)]
pub struct History {
    records: Items,
    live: BTreeMap<Vec<u8>, KeyValue>,
}

impl History {
    /// Puts a key, attached to `lease` if that is not 0.
    pub fn put(&mut self, key: &[u8], value: &[u8], lease: i64) {
        let main = self.revision() + 1;
        let old = self.live.get(key);
        let record = KeyValue {
            key: key.to_vec(),
            create_revision: old.map_or(main, |old| old.create_revision),
            mod_revision: main,
            version: old.map_or(1, |old| old.version + 1),
            value: value.to_vec(),
            lease,
        };
        self.records.insert(Revision { main, sub: 0 }.encode(), record.encode_to_vec());
        self.live.insert(key.to_vec(), record);
    }

    /// Deletes a key.
    ///
    /// # Panics
    /// If it is not there.
    pub fn delete(&mut self, key: &[u8]) {
        let mut at = Revision { main: self.revision() + 1, sub: 0 }.encode();
        at.push(TOMBSTONE);
        let record = KeyValue { key: key.to_vec(), ..KeyValue::default() };
        self.records.insert(at, record.encode_to_vec());
        self.live.remove(key).expect("only a key that is there is deleted");
    }

    /// The last revision given, at first 1.
    #[must_use]
    pub fn revision(&self) -> i64 {
        let last = self.records.last_key_value().and_then(|(key, _)| Revision::decode(key));
        last.map_or(1, |(at, _)| at.main)
    }

    /// The items of bucket `key`.
    #[must_use]
    pub fn records(&self) -> &Items {
        &self.records
    }
}

/// `main` counts transactions, `sub` what one of them changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision {
    /// From 2 on.
    pub main: i64,
    /// From 0 on.
    pub sub: i64,
}

/// What a deletion's key ends with.
pub const TOMBSTONE: u8 = b't';

impl Revision {
    /// 17 bytes, big endian, so that they sort.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut key = self.main.to_be_bytes().to_vec();
        key.push(b'_');
        key.extend(self.sub.to_be_bytes());
        key
    }

    /// The revision, and whether a tombstone's mark follows.
    #[must_use]
    pub fn decode(key: &[u8]) -> Option<(Self, bool)> {
        let (main, rest) = key.split_first_chunk()?;
        let (sub, mark) = rest.strip_prefix(b"_")?.split_first_chunk()?;
        let at = Self { main: i64::from_be_bytes(*main), sub: i64::from_be_bytes(*sub) };
        matches!(mark, [] | [TOMBSTONE]).then_some((at, mark == [TOMBSTONE]))
    }
}

/// `mvccpb.KeyValue`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValue {
    /// The key.
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// Revision of the first put since it was last deleted.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// Revision of this put.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// Puts since it was last deleted.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// The value.
    #[prost(bytes = "vec", tag = "5")]
    pub value: Vec<u8>,
    /// The lease it is attached to, or 0.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// `leasepb.Lease`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Lease {
    /// Its id.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Seconds it was granted for.
    #[prost(int64, tag = "2")]
    pub ttl: i64,
    /// Seconds left at the last checkpoint; 0 if there was none.
    #[prost(int64, tag = "3")]
    pub remaining_ttl: i64,
}

/// `authpb.Role` with the one permission a test needs.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Role {
    /// Its name.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// What it may do.
    #[prost(message, repeated, tag = "2")]
    pub permissions: Vec<Permission>,
}

/// `authpb.Permission`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Permission {
    /// 0 read, 1 write, 2 both.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// From where.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// To where; empty for the one key.
    #[prost(bytes = "vec", tag = "3")]
    pub range_end: Vec<u8>,
}
