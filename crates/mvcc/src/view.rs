//! The readers' side: what was published last, for any thread.
//!
//! A view is an index root with its revisions, and stays what it is: the writer swaps in the
//! next one, which is the only moment in which a reader waits for it. Records are read from the
//! store below; one that a compaction dropped meanwhile is answered with Compacted.

use crate::hash::{HashJob, KeyHash, Parameters};
use crate::index::Index;
use crate::planted::{self, Bug};
use crate::range::Scope;
use crate::read::{self, Read};
use crate::{Error, Result};
use backend::{Live, Location, Reader, Revision};
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// How many hashes of compactions are kept, as etcd does.
const HASHES_MAX: usize = 10;

/// One published state.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub index: Index,
    pub revision: i64,
    pub compact_revision: i64,
    /// The raft index behind which the last compaction is durable that took something out of
    /// the index.
    pub pruned_at: u64,
    /// The last compaction all of whose dead are out of the index.
    pub pruned_revision: i64,
    /// The store that has the records.
    pub reader: Reader,
}

#[derive(Debug)]
struct Published {
    latest: RwLock<Arc<Snapshot>>,
    /// Hashes that compactions made, ascending by revision.
    hashes: Mutex<Vec<KeyHash>>,
}

/// Where views come from. Clones are cheap and see the same.
#[derive(Clone, Debug)]
pub struct Views {
    published: Arc<Published>,
}

/// The keys as they were when it was taken. Clones are cheap.
#[derive(Clone, Debug)]
pub struct View {
    snapshot: Arc<Snapshot>,
    views: Views,
}

impl Views {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        let latest = RwLock::new(Arc::new(snapshot));
        let published = Published { latest, hashes: Mutex::default() };
        Self { published: Arc::new(published) }
    }

    /// What was published last.
    #[must_use]
    pub fn latest(&self) -> View {
        View { snapshot: self.snapshot(), views: self.clone() }
    }

    /// The revision that was published last.
    #[must_use]
    pub fn revision(&self) -> i64 {
        // As in `snapshot`.
        self.published.latest.read().unwrap_or_else(PoisonError::into_inner).revision
    }

    /// Who judges for the store's compactor which revisions are dead, as of now. Take a new one
    /// for each step: an old one only drops less.
    #[must_use]
    pub fn judge(&self) -> Judge {
        Judge { snapshot: self.snapshot() }
    }

    /// The newest hashes that compactions made, ascending by revision.
    #[must_use]
    pub fn compaction_hashes(&self) -> Vec<KeyHash> {
        self.hashes().clone()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        // Neither side panics while it holds the lock; and if it did, the pointer is whole.
        Arc::clone(&self.published.latest.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn hashes(&self) -> std::sync::MutexGuard<'_, Vec<KeyHash>> {
        self.published.hashes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        let mut next = Arc::new(snapshot);
        let mut latest = self.published.latest.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *latest, &mut next);
        drop(latest);
        // The old one is freed here, after readers go on, unless one of them still holds it.
        drop(next);
    }

    pub(crate) fn add_hash(&self, hash: KeyHash) {
        let mut hashes = self.hashes();
        hashes.push(hash);
        hashes.sort_by_key(|hash| hash.hash_revision);
        let surplus = hashes.len().saturating_sub(HASHES_MAX);
        hashes.drain(..surplus);
    }
}

impl View {
    /// The hash of all keys at `revision`, 0 for the present one, as members compare it; for a
    /// revision that one of the last compactions hashed, that hash.
    ///
    /// It reads the whole store and takes its time; the state is the newest published one, which
    /// may be newer than this view.
    ///
    /// # Errors
    /// [`Error::Compacted`], [`Error::FutureRev`], and the store's.
    pub fn hash_by_revision(&self, revision: i64) -> Result<KeyHash> {
        let known = self.views.hashes().iter().find(|hash| hash.hash_revision == revision).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        loop {
            let snapshot = self.views.snapshot();
            let compact_revision = snapshot.compact_revision;
            if revision > 0 && revision < compact_revision {
                return Err(Error::Compacted);
            }
            if revision > snapshot.revision {
                return Err(Error::FutureRev);
            }
            let revision = if revision == 0 { snapshot.revision } else { revision };
            let pin = snapshot.reader.pin();
            if self.views.snapshot().compact_revision != compact_revision {
                // A compaction may have dropped records between the snapshot and the pin.
                continue;
            }
            let parameters = Parameters { compact_revision, revision, by_compaction: false };
            return HashJob::new(snapshot.index.clone(), pin, parameters).run();
        }
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.snapshot.reader
    }

    /// What a failed read means: what this view can read was live when it was taken.
    pub(crate) fn told(&self, error: Error) -> Error {
        let compacted = self.views.snapshot().compact_revision > self.snapshot.compact_revision;
        if error.is_gone() && compacted { Error::Compacted } else { error }
    }
}

impl Read for View {
    fn scope(&self) -> Scope<'_> {
        let Snapshot { index, revision, compact_revision, .. } = &*self.snapshot;
        Scope { index, revision: *revision, compact_revision: *compact_revision }
    }

    fn gather(&self, locations: &[Location]) -> Result<Vec<Bytes>> {
        let found = read::gather(&self.snapshot.reader, locations);
        if planted::is(Bug::DroppedReadsAsNothing) && found.is_err() {
            return Ok(Vec::new());
        }
        found.map_err(|error| self.told(error))
    }
}

/// Judges which revisions are dead, for [`backend::Compactor`]: those that compactions took out
/// of the index, and marked. It does not judge by the compact revision, which is ahead of that.
#[derive(Clone, Debug)]
pub struct Judge {
    snapshot: Arc<Snapshot>,
}

impl Live for Judge {
    fn index(&self) -> u64 {
        self.snapshot.pruned_at
    }

    fn horizon(&self) -> i64 {
        self.snapshot.pruned_revision
    }

    fn is_live(&self, key: &[u8], revision: Revision) -> bool {
        if revision.main > self.snapshot.revision {
            return true;
        }
        self.snapshot.index.get(key).is_some_and(|history| history.contains(revision))
    }
}
