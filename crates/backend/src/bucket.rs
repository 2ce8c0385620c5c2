//! The nine small buckets: all that etcd stores beside revisions, wholly in memory.
//!
//! Their names are etcd's (`server/storage/schema`), so that an image for a peer is a plain
//! copy. Each change is a record of a frame; the whole state is written again at the head of
//! each segment, so that older segments are not needed for it.

use bytes::Bytes;
use std::collections::BTreeMap;

/// A small bucket. The numbers are on disk and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Bucket {
    /// Alarms raised.
    Alarm = 1,
    /// Whether authentication is on, and its revision.
    Auth = 2,
    /// Roles by name.
    AuthRoles = 3,
    /// Users by name.
    AuthUsers = 4,
    /// Cluster version and downgrade.
    Cluster = 5,
    /// Leases by id.
    Lease = 6,
    /// Members by id.
    Members = 7,
    /// Ids that were removed.
    MembersRemoved = 8,
    /// Compaction, configuration of raft, storage version.
    Meta = 9,
}

impl Bucket {
    /// All small buckets, in the order of their names.
    pub const ALL: [Self; 9] = [
        Self::Alarm,
        Self::Auth,
        Self::AuthRoles,
        Self::AuthUsers,
        Self::Cluster,
        Self::Lease,
        Self::Members,
        Self::MembersRemoved,
        Self::Meta,
    ];

    /// etcd's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Auth => "auth",
            Self::AuthRoles => "authRoles",
            Self::AuthUsers => "authUsers",
            Self::Cluster => "cluster",
            Self::Lease => "lease",
            Self::Members => "members",
            Self::MembersRemoved => "members_removed",
            Self::Meta => "meta",
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|bucket| *bucket as u8 == number)
    }
}

/// What the small buckets hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    entries: [BTreeMap<Bytes, Bytes>; Bucket::ALL.len()],
}

impl Buckets {
    /// The value of `key`.
    #[must_use]
    pub fn get(&self, bucket: Bucket, key: &[u8]) -> Option<&Bytes> {
        self.bucket(bucket).get(key)
    }

    /// All entries of a bucket, by key.
    #[must_use]
    pub fn bucket(&self, bucket: Bucket) -> &BTreeMap<Bytes, Bytes> {
        &self.entries[bucket as usize - 1]
    }

    /// All entries, by bucket and key.
    pub fn iter(&self) -> impl Iterator<Item = (Bucket, &Bytes, &Bytes)> {
        let of = |bucket| self.bucket(bucket).iter().map(move |(key, value)| (bucket, key, value));
        Bucket::ALL.into_iter().flat_map(of)
    }

    pub(crate) fn set(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) {
        let value = Bytes::copy_from_slice(value);
        let entries = &mut self.entries[bucket as usize - 1];
        match entries.get_mut(key) {
            Some(old) => *old = value,
            None => _ = entries.insert(Bytes::copy_from_slice(key), value),
        }
    }

    pub(crate) fn delete(&mut self, bucket: Bucket, key: &[u8]) {
        self.entries[bucket as usize - 1].remove(key);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_buckets_come_by_name_and_number() {
        assert!(Bucket::ALL.is_sorted_by_key(|bucket| bucket.name()));
        for (place, bucket) in Bucket::ALL.into_iter().enumerate() {
            assert_eq!(bucket as usize, place + 1);
            assert_eq!(Bucket::from_number(bucket as u8), Some(bucket));
        }
        assert_eq!(Bucket::from_number(0), None);
    }

    #[test]
    fn entries_are_set_and_deleted() {
        let mut buckets = Buckets::default();
        buckets.set(Bucket::Meta, b"k", b"1");
        buckets.set(Bucket::Meta, b"k", b"2");
        buckets.set(Bucket::Lease, b"k", b"3");
        assert_eq!(buckets.get(Bucket::Meta, b"k").unwrap(), "2");
        let all: Vec<_> = buckets.iter().map(|(bucket, ..)| bucket).collect();
        assert_eq!(all, [Bucket::Lease, Bucket::Meta]);
        buckets.delete(Bucket::Meta, b"k");
        assert_eq!(buckets.get(Bucket::Meta, b"k"), None);
    }
}
