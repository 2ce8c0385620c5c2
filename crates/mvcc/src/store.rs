//! The writer's side: one owner, no locks, the same state from the same entries.
//!
//! Everything it changes is at once in its own index and in the frame of the store that is open;
//! readers see it when the frame was committed and [`Mvcc::publish`] called. So the order is,
//! for each batch of entries: transactions and compactions, `Store::commit`, `publish`.

use crate::compact::{Compaction, Target};
use crate::index::Index;
use crate::txn::Txn;
use crate::view::{Snapshot, Views};
use crate::{Error, Result};
use backend::{Bucket, Buckets, Reader, Revision, RevisionKey, Store};

/// Compact revision of a store that was never compacted.
const NEVER: i64 = -1;

pub(crate) const SCHEDULED: &str = "scheduledCompactRev";
pub(crate) const FINISHED: &str = "finishedCompactRev";

/// All keys with their history: the side that writes.
#[derive(Debug)]
pub struct Mvcc {
    pub(crate) index: Index,
    pub(crate) revision: i64,
    pub(crate) compact_revision: i64,
    /// The raft index behind which the last compaction is durable that took something out of
    /// the index.
    pub(crate) pruned_at: u64,
    /// The last compaction all of whose dead are out of the index.
    pub(crate) pruned_revision: i64,
    pub(crate) compaction: Option<Compaction>,
    /// Revisions that compactions took out of the index since the start.
    pub(crate) pruned_count: u64,
    pub(crate) reader: Reader,
    pub(crate) views: Views,
}

impl Mvcc {
    /// Begins a write transaction. Its changes go into the frame of `store` that is open.
    pub fn begin<'a>(&'a mut self, store: &'a mut Store) -> Txn<'a> {
        Txn::new(self, store)
    }

    /// Makes `revision` the compact revision: what only earlier reads need is dead from now on,
    /// and dropped by [`Mvcc::compaction_step`]s.
    ///
    /// # Errors
    /// [`Error::Compacted`] if it is not above the last one, [`Error::FutureRev`].
    pub fn compact(&mut self, store: &mut Store, revision: i64) -> Result<()> {
        if revision <= self.compact_revision {
            return Err(Error::Compacted);
        }
        if revision > self.revision {
            return Err(Error::FutureRev);
        }
        store.set(Bucket::Meta, SCHEDULED.as_bytes(), &meta_value(revision));
        let previous = std::mem::replace(&mut self.compact_revision, revision);
        // The entry's own index is not known here, but its frame is durable as a whole.
        let target = Target { revision, at: store.consistent_index() + 1 };
        match &mut self.compaction {
            Some(compaction) => compaction.follow_with(target),
            None => self.compaction = Some(Compaction::new(previous, target)),
        }
        Ok(())
    }

    /// Makes everything up to now visible to readers. The store must have been committed since
    /// the last change.
    pub fn publish(&mut self) {
        if let Some(compaction) = &mut self.compaction {
            compaction.pin(&self.index, &self.reader);
        }
        self.views.publish(self.snapshot());
    }

    /// The revision of the last transaction with changes; 1 in an empty store.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The last revision that was compacted, which can still be read; -1 if none was.
    #[must_use]
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// Revisions that compactions dropped since the start.
    #[must_use]
    pub fn pruned_count(&self) -> u64 {
        self.pruned_count
    }

    /// Where readers take their views.
    #[must_use]
    pub fn views(&self) -> &Views {
        &self.views
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            index: self.index.clone(),
            revision: self.revision,
            compact_revision: self.compact_revision,
            pruned_at: self.pruned_at,
            pruned_revision: self.pruned_revision,
            reader: self.reader.clone(),
        }
    }
}

/// A revision as the bucket `meta` holds it.
pub(crate) fn meta_value(main: i64) -> Vec<u8> {
    RevisionKey::new(Revision { main, sub: 0 }, false).as_bytes().to_vec()
}

/// Reads such an entry; [`NEVER`] if there is none.
pub(crate) fn read_meta(buckets: &Buckets, key: &'static str) -> Result<i64> {
    let Some(value) = buckets.get(Bucket::Meta, key.as_bytes()) else { return Ok(NEVER) };
    let (revision, _) = RevisionKey::parse(value).ok_or(Error::BadMeta { key })?;
    Ok(revision.main)
}
