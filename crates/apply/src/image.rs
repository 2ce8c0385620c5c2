//! Whole databases in etcd's form: what a peer sends is taken in ([`import`]), what a peer or an
//! operator is to get is an [`Image`].
//!
//! Not a store: nothing here outlives the copy. Source of the bytes: `docs/formats/db.md`,
//! etcd `server/storage/schema`.
//!
//! Invariants:
//! - an image is the state at one index: what came later, and what is dead and not dropped yet,
//!   is not in it;
//! - what cannot be understood is refused before anything of the present state is touched.

use crate::planted::{self, Bug};
use backend::{Bucket, Buckets, Live as _, Opened, Pin, Revision, RevisionKey};
use bolt::{Emit, ReadAt, Reader, Source};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where a database notes the index it stands at. Our store has it in every frame instead.
const CONSISTENT_INDEX: &[u8] = b"consistent_index";

/// As above, the term.
const TERM: &[u8] = b"term";

/// What versions can read it. A member notes it for itself, outside of the log.
const STORAGE_VERSION: &[u8] = b"storageVersion";

/// What differs between members with the same state, and so is not hashed.
const LOCAL: [&[u8]; 3] = [CONSISTENT_INDEX, TERM, STORAGE_VERSION];

/// The revision of users and roles, and what it is before there are any. Each member notes it by
/// itself, when it starts.
const AUTH_REVISION: &[u8] = b"authRevision";
const FIRST_AUTH_REVISION: [u8; 8] = 1u64.to_be_bytes();

/// The bucket of revisions.
const KEY: &[u8] = b"key";

/// Bytes written to the new store before they are synced, about.
const SYNC_BYTES: usize = 8 << 20;

/// Why a database cannot be taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be read, or is no sound database.
    #[error(transparent)]
    Database(#[from] bolt::Error),
    /// The store that takes it in failed.
    #[error("store")]
    Store(#[from] backend::Error),
    /// It holds what this version does not know.
    #[error("bucket {}: {reason}", .bucket.escape_ascii())]
    Unknown {
        /// The bucket.
        bucket: Vec<u8>,
        /// What is wrong.
        reason: String,
    },
}

/// Fills an empty store with a database, durably. The store then stands where the database does,
/// and at least at `(index, term)`.
///
/// # Errors
/// [`ImageError`]; the store is of no use then.
///
/// # Panics
/// If the store is not empty.
pub fn import<R: ReadAt>(
    database: &Reader<R>,
    into: &mut Opened,
    (index, term): (u64, u64),
) -> Result<(), ImageError> {
    assert_eq!(into.store.last_revision(), Revision::default(), "an image fills an empty store");
    let (mut index, mut term) = (index, term);
    for bucket in database.buckets()? {
        let bucket = bucket?;
        let name = bucket.name().to_vec();
        if name == KEY {
            import_keys(bucket, into)?;
            continue;
        }
        let small = Bucket::ALL.into_iter().find(|small| small.name().as_bytes() == name);
        let mut cursor = bucket.cursor()?;
        while let Some((key, value)) = cursor.next_item()? {
            let Some(small) = small else {
                let reason = "this version has no such bucket".to_owned();
                return Err(ImageError::Unknown { bucket: name, reason });
            };
            match (small, key) {
                (Bucket::Meta, CONSISTENT_INDEX) => index = index.max(number(&name, key, value)?),
                (Bucket::Meta, TERM) => term = term.max(number(&name, key, value)?),
                _ => into.store.set(small, key, value),
            }
        }
    }
    into.store.commit(index, term);
    into.flusher.step(Duration::ZERO, u64::MAX)?;
    if planted::is(Bug::ImportedInHalf) {
        return Ok(());
    }
    Ok(into.flusher.sync()?)
}

fn import_keys<R: ReadAt>(
    bucket: bolt::Bucket<'_, R>,
    into: &mut Opened,
) -> Result<(), ImageError> {
    let unknown = |reason: String| ImageError::Unknown { bucket: KEY.to_vec(), reason };
    let (mut cursor, mut unsynced) = (bucket.cursor()?, 0);
    while let Some((key, value)) = cursor.next_item()? {
        let parsed = RevisionKey::parse(key);
        let (revision, tombstone) =
            parsed.ok_or_else(|| unknown(format!("{} is no revision", key.escape_ascii())))?;
        // A revision that is there twice, once deleted, is nothing that a member writes.
        if revision <= into.store.last_revision() || backend::KeyValue::parse(value).is_none() {
            return Err(unknown(format!("revision {revision} has no sound record")));
        }
        into.store.put(revision, tombstone, value);
        unsynced += value.len() + key.len();
        if unsynced >= SYNC_BYTES {
            into.store.commit(0, 0);
            into.flusher.step(Duration::ZERO, u64::MAX)?;
            into.flusher.sync()?;
            unsynced = 0;
        }
    }
    Ok(())
}

fn number(bucket: &[u8], key: &[u8], value: &[u8]) -> Result<u64, ImageError> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| ImageError::Unknown {
        bucket: bucket.to_vec(),
        reason: format!("{} is no number of eight bytes", key.escape_ascii()),
    })
}

/// The state at one index, to be written as a database.
#[derive(Debug)]
pub struct Image {
    pub(crate) judge: mvcc::Judge,
    pub(crate) pin: Pin,
    pub(crate) buckets: Buckets,
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) storage_version: Option<member::Version>,
}

impl Image {
    /// The index of the last entry in it.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The term of that entry.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The CRC-32C of all buckets in their order: names, keys and values (etcd `backend.Hash`
    /// with `schema.DefaultIgnores`).
    ///
    /// # Errors
    /// The store's.
    pub fn hash(&mut self) -> bolt::Result<u32> {
        let mut hash = 0;
        for bucket in self.buckets()? {
            hash = crc32c::crc32c_append(hash, &bucket);
            let is_meta = bucket == Bucket::Meta.name().as_bytes();
            self.visit(&bucket, &mut |key, value| {
                if !is_meta || !LOCAL.contains(&key) {
                    hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
                }
                Ok(())
            })?;
        }
        Ok(hash)
    }

    fn visit_keys(&self, emit: &mut Emit<'_>) -> bolt::Result<()> {
        let emitted = self.pin.for_each(|key, value| {
            let (revision, _) = RevisionKey::parse(key).expect("the store checks its keys");
            let record = backend::KeyValue::parse(value);
            let record = record.ok_or_else(|| Failed::Record(revision))?;
            if self.judge.is_live(record.key, revision) {
                emit(key, value).map_err(Failed::Emit)?;
            }
            Ok(())
        });
        emitted.map_err(|failed| match failed {
            Failed::Emit(error) => error,
            Failed::Store(error) => bolt::Error::source(error),
            Failed::Record(revision) => {
                bolt::Error::source(format!("revision {revision} has no sound record"))
            }
        })
    }
}

/// Why the keys cannot be visited to their end.
enum Failed {
    Store(backend::Error),
    Record(Revision),
    Emit(bolt::Error),
}

impl From<backend::Error> for Failed {
    fn from(error: backend::Error) -> Self {
        Self::Store(error)
    }
}

impl Source for Image {
    fn buckets(&mut self) -> bolt::Result<Vec<Vec<u8>>> {
        let names = Bucket::ALL.iter().map(|bucket| bucket.name().as_bytes());
        let mut names: Vec<Vec<u8>> = names.chain([KEY]).map(<[u8]>::to_vec).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn visit(&mut self, bucket: &[u8], emit: &mut Emit<'_>) -> bolt::Result<()> {
        if bucket == KEY {
            return self.visit_keys(emit);
        }
        let small = Bucket::ALL.into_iter().find(|small| small.name().as_bytes() == bucket);
        let small = small.ok_or_else(|| bolt::Error::source("a bucket that was never named"))?;
        let stored = self.buckets.bucket(small).iter();
        let mut items: BTreeMap<&[u8], &[u8]> =
            stored.map(|(key, value)| (&key[..], &value[..])).collect();
        let (index, term) = (self.index.to_be_bytes(), self.term.to_be_bytes());
        let version = self.storage_version.map(|version| version.to_string());
        if small == Bucket::Meta {
            items.insert(CONSISTENT_INDEX, &index);
            items.insert(TERM, &term);
            // One that an imported database had may be older than the cluster is now.
            items.remove(STORAGE_VERSION);
            items.extend(version.as_ref().map(|version| (STORAGE_VERSION, version.as_bytes())));
        }
        if small == Bucket::Auth {
            items.entry(AUTH_REVISION).or_insert(&FIRST_AUTH_REVISION);
        }
        items.into_iter().try_for_each(|(key, value)| emit(key, value))
    }
}
