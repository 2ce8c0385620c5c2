//! The end of the log that is not known to be durable yet, and a snapshot likewise.
//!
//! ```text
//!            stable | in progress: handed out to be written | not handed out yet
//!                   ^ offset                                ^ offset_in_progress
//! ```
//!
//! Invariants: entries are contiguous from `offset`; `offset <= offset_in_progress <= offset +
//! entries.len()`; a snapshot's index is `offset - 1` unless entries follow it.

use super::EntryId;
use raftpb::{Entry, Snapshot};
use std::collections::VecDeque;
use tracing::debug;

/// What raft holds until storage has it.
#[derive(Debug, Clone)]
pub(crate) struct Unstable {
    /// A received snapshot; the log continues after it.
    pub(crate) snapshot: Option<Snapshot>,
    entries: VecDeque<Entry>,
    /// The index of the first unstable entry.
    pub(crate) offset: u64,
    /// The index of the first entry that was not handed out to be written.
    pub(crate) offset_in_progress: u64,
    /// Whether the snapshot was handed out to be written.
    pub(crate) snapshot_in_progress: bool,
}

impl Unstable {
    /// Nothing unstable; the stable log ends before `offset`.
    pub(crate) fn new(offset: u64) -> Unstable {
        Unstable {
            snapshot: None,
            entries: VecDeque::new(),
            offset,
            offset_in_progress: offset,
            snapshot_in_progress: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The index the log starts at, if a snapshot decides it.
    pub(crate) fn first_index(&self) -> Option<u64> {
        self.snapshot.as_ref().map(|snapshot| snapshot.index() + 1)
    }

    /// The last index, if it is here.
    pub(crate) fn last_index(&self) -> Option<u64> {
        if self.entries.is_empty() {
            return self.snapshot.as_ref().map(Snapshot::index);
        }
        Some(self.end() - 1)
    }

    /// The term of the entry at `index`, if it is here.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        if index < self.offset {
            let snapshot = self.snapshot.as_ref()?;
            return (snapshot.index() == index).then(|| snapshot.term());
        }
        let position = usize::try_from(index - self.offset).ok()?;
        self.entries.get(position).map(Entry::term)
    }

    /// The entries to hand out next.
    pub(crate) fn next_entries(&self) -> Vec<Entry> {
        self.range(self.offset_in_progress, self.end()).cloned().collect()
    }

    pub(crate) fn has_next_entries(&self) -> bool {
        self.offset_in_progress < self.end()
    }

    /// The snapshot to hand out next.
    pub(crate) fn next_snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref().filter(|_| !self.snapshot_in_progress)
    }

    /// Notes that all there is was handed out.
    pub(crate) fn accept_in_progress(&mut self) {
        self.offset_in_progress = self.end();
        self.snapshot_in_progress = self.snapshot.is_some();
    }

    /// Forgets the entries up to `id`, which are durable. An id that is not here any more belongs
    /// to a write that was overtaken: by a snapshot, or by entries of a later term.
    pub(crate) fn stable_to(&mut self, id: EntryId) {
        if id.index < self.offset || self.term(id.index) != Some(id.term) {
            debug!(index = id.index, term = id.term, "ignored a write of entries since replaced");
            return;
        }
        let count = usize::try_from(id.index + 1 - self.offset).expect("so many are in memory");
        self.entries.drain(..count);
        self.offset = id.index + 1;
        self.offset_in_progress = self.offset_in_progress.max(self.offset);
        // A burst shall not hold its memory for ever.
        if self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// Forgets the snapshot at `index`, which is durable.
    pub(crate) fn stable_snapshot_to(&mut self, index: u64) {
        if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.index() == index) {
            self.snapshot = None;
            self.snapshot_in_progress = false;
        }
    }

    /// Replaces everything by a snapshot.
    pub(crate) fn restore(&mut self, snapshot: Snapshot) {
        *self =
            Unstable { snapshot: Some(snapshot.clone()), ..Unstable::new(snapshot.index() + 1) };
    }

    /// Appends entries, contiguous in themselves, replacing what is there from the first one on.
    pub(crate) fn truncate_and_append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let mut entries = entries.into_iter().peekable();
        let Some(from) = entries.peek().map(Entry::index) else { return };
        if from <= self.offset {
            // Replaces stable entries too, so those handed out are not the ones to write.
            self.entries.clear();
            (self.offset, self.offset_in_progress) = (from, from);
        } else {
            assert!(from <= self.end(), "entry {from} would leave a gap after {}", self.end() - 1);
            let keep = usize::try_from(from - self.offset).expect("so many are in memory");
            self.entries.truncate(keep);
            self.offset_in_progress = self.offset_in_progress.min(from);
        }
        self.entries.extend(entries);
    }

    /// The entries in `[low, high)`, which must be here.
    pub(crate) fn range(&self, low: u64, high: u64) -> impl ExactSizeIterator<Item = &Entry> {
        assert!(
            self.offset <= low && low <= high && high <= self.end(),
            "unstable entries [{low}, {high}) out of bounds [{}, {})",
            self.offset,
            self.end()
        );
        let position = |index| usize::try_from(index - self.offset).expect("so many are in memory");
        self.entries.range(position(low)..position(high))
    }

    fn end(&self) -> u64 {
        self.offset + self.entries.len() as u64
    }
}
