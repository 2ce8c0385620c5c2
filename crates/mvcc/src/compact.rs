//! Compaction behind the scenes: steps of bounded work that the apply thread does between its
//! batches.
//!
//! First the hash of the revision compacted to, over a pinned store; then a walk over the keys
//! that takes dead revisions out of the index, key by key, and counts their records as dead, so
//! that `backend`'s compactor finds the segments worth a rewrite. Readers hold older roots and
//! notice nothing.
//!
//! A crash in its middle costs nothing: start-up leaves out what the scheduled compaction finds
//! dead, and only the note that it is finished is still to be written.

use crate::Result;
use crate::hash::{HashJob, KeyHash, Parameters};
use crate::index::{Index, KeyRange};
use crate::store::{FINISHED, Mvcc, meta_value};
use backend::{Bucket, Reader, Store};
use std::ops::ControlFlow;

/// How much work a step may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Keys looked at.
    pub keys: usize,
    /// Bytes of records hashed, about.
    pub bytes: u64,
}

impl Default for Budget {
    /// About a millisecond.
    fn default() -> Self {
        Self { keys: 1000, bytes: 1 << 20 }
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is nothing to compact.
    Idle,
    /// The compaction waits for [`Mvcc::publish`], or goes on with the next step.
    Working,
    /// All up to `revision` is compacted. The note of it is in the store's open frame, and the
    /// compactor learns it with the next publish.
    Finished {
        /// The compact revision.
        revision: i64,
        /// The hash made on the way, if all since the last compaction was there to hash.
        hash: Option<KeyHash>,
    },
}

/// A compaction under way.
#[derive(Debug)]
pub(crate) struct Compaction {
    target: Target,
    hash: Hash,
    /// The first key not looked at.
    from: Vec<u8>,
    /// The newest of those that came meanwhile.
    next: Option<Target>,
}

/// What to compact to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub revision: i64,
    /// The raft index behind which that is durable.
    pub at: u64,
}

#[derive(Debug)]
enum Hash {
    /// For the next publish to begin.
    Waits(Parameters),
    Runs(Box<HashJob>),
    Made(Option<KeyHash>),
}

impl Compaction {
    pub(crate) fn new(compact_revision: i64, target: Target) -> Self {
        let revision = target.revision;
        let parameters = Parameters { compact_revision, revision, by_compaction: true };
        Self { hash: Hash::Waits(parameters), ..Self::without_hash(target) }
    }

    /// One that does not begin with all that the last one left: it came before that one ended,
    /// or a crash came.
    pub(crate) fn without_hash(target: Target) -> Self {
        Self { target, hash: Hash::Made(None), from: Vec::new(), next: None }
    }

    /// Another one is to follow; only the newest of them matters.
    pub(crate) fn follow_with(&mut self, target: Target) {
        self.next = Some(target);
    }

    /// Before readers, and with them the compactor, learn of the compaction: what it will drop
    /// is still there to be hashed.
    pub(crate) fn pin(&mut self, index: &Index, reader: &Reader) {
        if let Hash::Waits(parameters) = self.hash {
            let job = HashJob::new(index.clone(), reader.pin(), parameters);
            self.hash = Hash::Runs(Box::new(job));
        }
    }
}

impl Mvcc {
    /// Whether a compaction is under way.
    #[must_use]
    pub fn is_compacting(&self) -> bool {
        self.compaction.is_some()
    }

    /// Does a part of a compaction's work; the caller sets the pace.
    ///
    /// # Errors
    /// The store's, if a record cannot be read for the hash.
    pub fn compaction_step(&mut self, store: &mut Store, budget: Budget) -> Result<Progress> {
        let Some(compaction) = &mut self.compaction else { return Ok(Progress::Idle) };
        match &mut compaction.hash {
            Hash::Waits(_) => return Ok(Progress::Working),
            Hash::Runs(job) => {
                if let Some(hash) = job.step(budget.bytes)? {
                    self.views.add_hash(hash);
                    compaction.hash = Hash::Made(Some(hash));
                }
                return Ok(Progress::Working);
            }
            Hash::Made(_) => {}
        }
        let Target { revision, at } = compaction.target;
        // From the first key on: the store's compactor sees what is missing.
        self.pruned_at = at;
        let (dead, next) = find_dead(&self.index, &compaction.from, revision, budget.keys);
        for key in dead {
            let (reader, count) = (&self.reader, &mut self.pruned_count);
            self.index.prune(&key, revision, &mut |item| {
                *count += 1;
                reader.mark_dead(item.location());
            });
        }
        if let Some(next) = next {
            compaction.from = next;
            return Ok(Progress::Working);
        }
        let hash = match &compaction.hash {
            Hash::Made(hash) => *hash,
            Hash::Waits(_) | Hash::Runs(_) => None,
        };
        self.compaction = compaction.next.map(Compaction::without_hash);
        self.pruned_revision = revision;
        store.set(Bucket::Meta, FINISHED.as_bytes(), &meta_value(revision));
        Ok(Progress::Finished { revision, hash })
    }
}

/// Keys with dead revisions among the next `keys` from `from` on, and where to go on.
fn find_dead(
    index: &Index,
    from: &[u8],
    revision: i64,
    keys: usize,
) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let (mut dead, mut next, mut left) = (Vec::new(), None, keys.max(1));
    let _ = index.visit(KeyRange::From(from), 0, |key, history| {
        if left == 0 {
            next = Some(key.to_vec());
            return ControlFlow::Break(());
        }
        left -= 1;
        if history.has_dead(revision) {
            dead.push(key.to_vec());
        }
        ControlFlow::Continue(())
    });
    (dead, next)
}
