//! Storage in memory that has a snapshot at every applied index.

use raft::{MemoryStorage, Storage, StorageError};
use raftpb::{ConfState, Entry, HardState, Snapshot};

/// The log in memory, and a snapshot for each entry applied. Raft is given the newest.
#[derive(Default)]
pub struct ScriptStorage {
    /// The log.
    pub memory: MemoryStorage,
    /// A snapshot for each entry applied, oldest first. Their data is all that was applied.
    pub history: Vec<Snapshot>,
}

impl Storage for ScriptStorage {
    fn initial_state(&self) -> Result<(HardState, ConfState), StorageError> {
        self.memory.initial_state()
    }

    fn entries(&self, low: u64, high: u64, size_max: u64) -> Result<Vec<Entry>, StorageError> {
        self.memory.entries(low, high, size_max)
    }

    fn term(&self, index: u64) -> Result<u64, StorageError> {
        self.memory.term(index)
    }

    fn last_index(&self) -> Result<u64, StorageError> {
        self.memory.last_index()
    }

    fn first_index(&self) -> Result<u64, StorageError> {
        self.memory.first_index()
    }

    fn snapshot(&self) -> Result<Snapshot, StorageError> {
        self.history.last().cloned().ok_or(StorageError::SnapshotTemporarilyUnavailable)
    }
}
