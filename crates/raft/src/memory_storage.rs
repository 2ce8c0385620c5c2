//! The stable log held in memory, for applications that keep the durable one in a write-ahead log
//! and read that at start only.
//!
//! Invariant: the entries are contiguous and follow `compacted`.

use crate::log::limit_size;
use crate::planted::{self, Bug};
use crate::storage::{Storage, StorageError};
use raftpb::{ConfState, Entry, HardState, Snapshot, SnapshotMetadata};
use std::collections::VecDeque;

/// A [`Storage`] in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    hard_state: HardState,
    snapshot: Snapshot,
    /// Index and term of the last entry that was compacted away.
    compacted_index: u64,
    compacted_term: u64,
    entries: VecDeque<Entry>,
}

impl MemoryStorage {
    /// An empty log.
    pub fn new() -> MemoryStorage {
        MemoryStorage::default()
    }

    /// Sets the hard state to start with.
    pub fn set_hard_state(&mut self, hard_state: HardState) {
        self.hard_state = hard_state;
    }

    /// Appends entries. Those that are compacted already are skipped, those that are there
    /// already are replaced, together with all that follow them.
    ///
    /// # Panics
    /// If the entries would leave a gap: they would then not be what raft asked to store.
    pub fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first().map(Entry::index) else { return };
        let skip = self.first().saturating_sub(first);
        let Some(entries) = usize::try_from(skip).ok().and_then(|skip| entries.get(skip..)) else {
            return;
        };
        let Some(first) = entries.first().map(Entry::index) else { return };
        assert!(
            first <= self.last() + 1,
            "entry {first} would leave a gap in the log after entry {}",
            self.last()
        );
        self.entries.truncate(self.position(first));
        self.entries.extend(entries.iter().cloned());
    }

    /// Replaces everything by a snapshot.
    ///
    /// # Errors
    /// [`StorageError::SnapshotOutOfDate`] if there is one at its index or later.
    pub fn apply_snapshot(&mut self, snapshot: Snapshot) -> Result<(), StorageError> {
        if self.snapshot.index() >= snapshot.index() {
            return Err(StorageError::SnapshotOutOfDate);
        }
        (self.compacted_index, self.compacted_term) = (snapshot.index(), snapshot.term());
        self.entries.clear();
        self.snapshot = snapshot;
        Ok(())
    }

    /// Makes the snapshot that stands for all entries up to `index`, and returns it. `conf_state`
    /// is the configuration then in force, if it changed since the last snapshot.
    ///
    /// # Errors
    /// [`StorageError::SnapshotOutOfDate`] if there is one at `index` or later.
    ///
    /// # Panics
    /// If `index` is not in the log.
    pub fn create_snapshot(
        &mut self,
        index: u64,
        conf_state: Option<ConfState>,
        data: bytes::Bytes,
    ) -> Result<Snapshot, StorageError> {
        if index <= self.snapshot.index() {
            return Err(StorageError::SnapshotOutOfDate);
        }
        let term = self.term(index).expect("a snapshot stands for entries that are in the log");
        let before = self.snapshot.metadata.take().and_then(|metadata| metadata.conf_state);
        let metadata = SnapshotMetadata {
            conf_state: conf_state.or(before),
            index: Some(index + u64::from(planted::is(Bug::SnapshotOffByOne))),
            term: Some(term),
        };
        self.snapshot = Snapshot { data: Some(data), metadata: Some(metadata) };
        Ok(self.snapshot.clone())
    }

    /// Drops all entries up to `index`. The caller has made sure that they are applied.
    ///
    /// # Errors
    /// [`StorageError::Compacted`] if they are gone already.
    ///
    /// # Panics
    /// If `index` is not in the log.
    pub fn compact(&mut self, index: u64) -> Result<(), StorageError> {
        if index <= self.compacted_index {
            return Err(StorageError::Compacted);
        }
        let term = self.term(index).expect("only entries that are in the log are compacted");
        self.entries.drain(..self.position(index + 1));
        (self.compacted_index, self.compacted_term) = (index, term);
        Ok(())
    }

    fn first(&self) -> u64 {
        self.compacted_index + 1
    }

    fn last(&self) -> u64 {
        self.compacted_index + self.entries.len() as u64
    }

    /// Where the entry at `index`, at or after the first one, is or would be in `entries`.
    fn position(&self, index: u64) -> usize {
        usize::try_from(index - self.first()).expect("entries in memory are counted by usize")
    }
}

impl Storage for MemoryStorage {
    fn initial_state(&self) -> Result<(HardState, ConfState), StorageError> {
        let metadata = self.snapshot.metadata.clone().unwrap_or_default();
        Ok((self.hard_state, metadata.conf_state.unwrap_or_default()))
    }

    fn entries(&self, low: u64, high: u64, size_max: u64) -> Result<Vec<Entry>, StorageError> {
        if low < self.first() {
            return Err(StorageError::Compacted);
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable);
        }
        let range = self.entries.range(self.position(low)..self.position(high));
        Ok(limit_size(range, size_max))
    }

    fn term(&self, index: u64) -> Result<u64, StorageError> {
        if index == self.compacted_index {
            return Ok(self.compacted_term);
        }
        if index < self.compacted_index {
            return Err(StorageError::Compacted);
        }
        self.entries.get(self.position(index)).map(Entry::term).ok_or(StorageError::Unavailable)
    }

    fn last_index(&self) -> Result<u64, StorageError> {
        Ok(self.last())
    }

    fn first_index(&self) -> Result<u64, StorageError> {
        Ok(self.first())
    }

    fn snapshot(&self) -> Result<Snapshot, StorageError> {
        Ok(self.snapshot.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(ids: &[(u64, u64)]) -> Vec<Entry> {
        let entry =
            |&(index, term)| Entry { index: Some(index), term: Some(term), ..Entry::default() };
        ids.iter().map(entry).collect()
    }

    fn storage(compacted: (u64, u64), ids: &[(u64, u64)]) -> MemoryStorage {
        MemoryStorage {
            compacted_index: compacted.0,
            compacted_term: compacted.1,
            entries: entries(ids).into(),
            ..MemoryStorage::default()
        }
    }

    #[test]
    fn append_skips_replaces_and_extends() {
        let check = |new: &[(u64, u64)], want: &[(u64, u64)]| {
            let mut storage = storage((3, 3), &[(4, 4), (5, 5)]);
            storage.append(&entries(new));
            assert_eq!(storage.entries, entries(want), "appended {new:?}");
        };
        check(&[(1, 1), (2, 2)], &[(4, 4), (5, 5)]);
        check(&[(3, 3), (4, 4), (5, 5)], &[(4, 4), (5, 5)]);
        check(&[(4, 6), (5, 6)], &[(4, 6), (5, 6)]);
        check(&[(4, 4), (5, 5), (6, 5)], &[(4, 4), (5, 5), (6, 5)]);
        check(&[(2, 3), (3, 3), (4, 5)], &[(4, 5)]);
        check(&[(4, 5)], &[(4, 5)]);
        check(&[(6, 5)], &[(4, 4), (5, 5), (6, 5)]);
    }

    #[test]
    fn entries_are_limited_by_size_but_never_to_none() {
        let storage = storage((3, 3), &[(4, 4), (5, 5), (6, 6)]);
        let count = |size_max| storage.entries(4, 7, size_max).expect("in the log").len();
        assert_eq!([count(0), count(4), count(8), count(11), count(12)], [1, 1, 2, 2, 3]);
        assert!(matches!(storage.entries(3, 4, 0), Err(StorageError::Compacted)));
        assert!(matches!(storage.entries(4, 8, 0), Err(StorageError::Unavailable)));
    }

    #[test]
    fn compaction_keeps_the_term_before_the_first_entry() {
        let mut storage = storage((3, 3), &[(4, 4), (5, 5), (6, 6)]);
        storage.compact(5).expect("in the log");
        assert_eq!(storage.first_index().expect("memory"), 6);
        assert_eq!(storage.term(5).expect("kept"), 5);
        assert!(matches!(storage.term(4), Err(StorageError::Compacted)));
        assert!(matches!(storage.term(7), Err(StorageError::Unavailable)));
        assert!(matches!(storage.compact(5), Err(StorageError::Compacted)));
    }

    #[test]
    fn an_older_snapshot_is_refused() {
        let mut storage = storage((3, 3), &[(4, 4), (5, 5)]);
        let made = storage.create_snapshot(4, None, "data".into()).expect("newer");
        assert_eq!((made.index(), made.term()), (4, 4));
        assert!(storage.apply_snapshot(made).is_err());
        assert_eq!(storage.last_index().expect("memory"), 5);
    }
}
