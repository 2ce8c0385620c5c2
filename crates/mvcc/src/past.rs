//! What changed between two revisions, for watchers that catch up.

use crate::index::{Item, KeyRange};
use crate::range::Scope;
use crate::read::Read;
use crate::view::View;
use crate::{Error, Result};
use backend::{Location, Revision};
use bytes::Bytes;
use std::ops::ControlFlow;

/// A change of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastChange {
    /// The key.
    pub key: Bytes,
    /// Main and sub.
    pub revision: Revision,
    /// Whether the key was deleted.
    pub tombstone: bool,
    /// The revision that created the key; 0 for a deletion.
    pub create_revision: i64,
    /// How often the key was put since it was created, with this put; 0 for a deletion.
    pub version: i64,
    /// Where the record lies, for [`Read::gather`]. That of a deletion holds the key alone.
    pub location: Location,
    /// Where the record before this one lies, if the key was live in the revision before and
    /// that revision can still be read.
    pub previous: Option<Location>,
}

/// Some changes of the past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// In the order of their revisions. All changes of a transaction, or none of them.
    pub changes: Vec<PastChange>,
    /// The revision to go on from, if there are more.
    pub next: Option<i64>,
}

impl View {
    /// What happened to the keys of `range` from revision `from` up to `to`, both included: all
    /// of it, or the first transactions with about `limit` changes.
    ///
    /// It costs a walk over the keys that changed since `from`, whatever the limit is, and
    /// memory for twice the limit.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `from` is below the compact revision.
    pub fn history(&self, range: KeyRange<'_>, from: i64, to: i64, limit: usize) -> Result<Past> {
        let Scope { index, revision, compact_revision } = self.scope();
        if from < compact_revision {
            return Err(Error::Compacted);
        }
        let mut first = First {
            changes: Vec::new(),
            to: to.min(revision),
            limit,
            due: limit.saturating_mul(2),
        };
        let asked = first.to;
        let _ = index.visit(range, from, |key, history| {
            let mut shared = None;
            let recent = history.iter().rev().take_while(|item| item.main() >= from);
            // The walk of a compaction may have come here or not: both are to look the same.
            let is_left = |item: &&Item| {
                item.main() > compact_revision || history.kept(compact_revision) == Some(*item)
            };
            for item in recent.filter(|item| item.main() <= first.to).filter(is_left) {
                let key = shared.get_or_insert_with(|| Bytes::copy_from_slice(key)).clone();
                let readable = item.main() > compact_revision;
                let previous = history.before(item.main()).filter(|_| readable);
                first.changes.push(PastChange {
                    key,
                    revision: item.revision(),
                    tombstone: item.is_tombstone(),
                    create_revision: item.create(),
                    version: item.version(),
                    location: item.location(),
                    previous: previous.map(|item| item.location()),
                });
            }
            first.shrink();
            ControlFlow::Continue(())
        });
        first.due = first.limit;
        first.shrink();
        first.changes.sort_unstable_by_key(|change| change.revision);
        let next = (first.to < asked).then_some(first.to + 1);
        Ok(Past { changes: first.changes, next })
    }
}

/// The first changes of a walk that meets them by key.
struct First {
    changes: Vec<PastChange>,
    /// Changes of later revisions are not wanted any more.
    to: i64,
    limit: usize,
    /// With more changes than this, it is time to leave out the last.
    due: usize,
}

impl First {
    fn shrink(&mut self) {
        if self.changes.len() <= self.due || self.limit == 0 {
            return;
        }
        let last = self.limit - 1;
        let (_, last, _) = self.changes.select_nth_unstable_by_key(last, |change| change.revision);
        let to = last.revision.main;
        self.to = to;
        self.changes.retain(|change| change.revision.main <= to);
        // One transaction may have more than twice the limit.
        self.due = self.due.max(self.changes.len().saturating_mul(2));
    }
}
