//! Start-up: the index from what the store found, revisions and compactions from its buckets
//! (`kvstore.go: restore`).

use crate::Result;
use crate::compact::{Compaction, Target};
use crate::index::{Bulk, History, Index, Item};
use crate::store::{FINISHED, Mvcc, SCHEDULED, read_meta};
use crate::view::{Snapshot, Views};
use backend::{Buckets, Reader, Restored};
use bytes::Bytes;

/// What start-up gives.
#[derive(Debug)]
pub struct Started {
    /// For the apply stage.
    pub mvcc: Mvcc,
    /// For everybody.
    pub views: Views,
    /// Live keys that are attached to a lease, in their order, and which.
    pub leases: Vec<(Bytes, i64)>,
}

/// Builds the index from what the store holds.
///
/// What a compaction found dead and the store has not dropped yet is left out and counted as
/// dead again. A compaction that the crash cut is resumed with the next
/// [`Mvcc::compaction_step`].
///
/// # Errors
/// [`crate::Error::BadMeta`], and the store's.
pub fn restore(mut restored: Restored, reader: Reader, buckets: &Buckets) -> Result<Started> {
    let finished = read_meta(buckets, FINISHED)?;
    let scheduled = read_meta(buckets, SCHEDULED)?;
    let compact_revision = finished.max(scheduled);
    let mut loading = Loading { compact_revision, ..Loading::default() };
    while let Some(found) = restored.next()? {
        if found.key != loading.key {
            loading.end_key(&reader);
            loading.key.clear();
            loading.key.extend_from_slice(found.key);
        }
        loading.last = loading.last.max(found.revision.main);
        loading.items.push(Item::restored(&found));
        loading.lease = found.lease;
    }
    loading.end_key(&reader);
    let Loading { bulk, last, leases, .. } = loading;
    let index = bulk.finish();
    // A revision may have left no record behind: its deletions were compacted.
    let revision = last.max(compact_revision).max(1);
    let compaction = (scheduled > finished)
        .then(|| Compaction::without_hash(Target { revision: scheduled, at: 0 }));
    let mvcc = started(index, (revision, compact_revision), compaction, reader);
    Ok(Started { views: mvcc.views.clone(), mvcc, leases })
}

impl Mvcc {
    /// Goes on with another store, as after a snapshot from a peer; as [`restore`], but readers
    /// find it in the views they have. Views taken before stay good. Gives the leases.
    ///
    /// # Errors
    /// As [`restore`]; nothing has changed then.
    pub fn replace(
        &mut self,
        restored: Restored,
        reader: Reader,
        buckets: &Buckets,
    ) -> Result<Vec<(Bytes, i64)>> {
        let Started { mvcc, leases, .. } = restore(restored, reader, buckets)?;
        *self = Self { views: self.views.clone(), ..mvcc };
        self.views.publish(self.snapshot());
        Ok(leases)
    }
}

fn started(
    index: Index,
    (revision, compact_revision): (i64, i64),
    compaction: Option<Compaction>,
    reader: Reader,
) -> Mvcc {
    // What was left out follows from what was opened, and that is synced.
    let (pruned_at, pruned_revision) = (0, compact_revision);
    let snapshot = Snapshot {
        index: index.clone(),
        revision,
        compact_revision,
        pruned_at,
        pruned_revision,
        reader: reader.clone(),
    };
    let views = Views::new(snapshot);
    Mvcc {
        index,
        revision,
        compact_revision,
        pruned_at,
        pruned_revision,
        compaction,
        pruned_count: 0,
        reader,
        views,
    }
}

/// The key being read.
#[derive(Default)]
struct Loading {
    compact_revision: i64,
    bulk: Bulk,
    key: Vec<u8>,
    items: Vec<Item>,
    /// Of the last revision.
    lease: i64,
    /// The largest revision seen.
    last: i64,
    leases: Vec<(Bytes, i64)>,
}

impl Loading {
    fn end_key(&mut self, reader: &Reader) {
        let kept = History::new(&self.items, None).kept(self.compact_revision).is_some();
        let behind = self.items.partition_point(|item| item.main() <= self.compact_revision);
        let dead = self.items.drain(..behind - usize::from(kept));
        dead.for_each(|item| reader.mark_dead(item.location()));
        self.bulk.push(&self.key, &self.items);
        if self.lease != 0 && self.items.last().is_some_and(|last| !last.is_tombstone()) {
            self.leases.push((Bytes::copy_from_slice(&self.key), self.lease));
        }
        self.items.clear();
    }
}
