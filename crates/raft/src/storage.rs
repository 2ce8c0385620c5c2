//! Where raft reads the stable part of its log: what the application has been told to store.

use raftpb::{ConfState, Entry, HardState, Snapshot};

/// Why the storage cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The entry was compacted away; only a snapshot can stand for it.
    #[error("requested index is unavailable due to compaction")]
    Compacted,
    /// The entry is not there yet.
    #[error("requested entry at index is unavailable")]
    Unavailable,
    /// The storage has a newer snapshot than the one offered.
    #[error("requested index is older than the existing snapshot")]
    SnapshotOutOfDate,
    /// A snapshot is in the making; ask again later.
    #[error("snapshot is temporarily unavailable")]
    SnapshotTemporarilyUnavailable,
    /// The storage failed. Raft cannot go on without its log.
    #[error("log storage failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The stable log, as raft reads it. Raft never writes: the application stores what a `Ready`
/// holds and answers from it.
///
/// The log runs from `first_index` to `last_index`; what came before is covered by the snapshot,
/// of whose last entry the term is still known.
pub trait Storage {
    /// The hard state and configuration to start with.
    ///
    /// # Errors
    /// [`StorageError::Failed`] only.
    fn initial_state(&self) -> Result<(HardState, ConfState), StorageError>;

    /// The entries in `[low, high)`, as many as fit into `size_max` encoded bytes but at least
    /// one.
    ///
    /// # Errors
    /// [`StorageError::Compacted`] if `low` lies before the first entry,
    /// [`StorageError::Unavailable`] if `high` lies beyond the last.
    fn entries(&self, low: u64, high: u64, size_max: u64) -> Result<Vec<Entry>, StorageError>;

    /// The term of the entry at `index`, which may also be the one just before the first.
    ///
    /// # Errors
    /// [`StorageError::Compacted`] or [`StorageError::Unavailable`].
    fn term(&self, index: u64) -> Result<u64, StorageError>;

    /// The index of the last entry, or of the snapshot if there are no entries.
    ///
    /// # Errors
    /// [`StorageError::Failed`] only.
    fn last_index(&self) -> Result<u64, StorageError>;

    /// The index of the first entry there is or would be: one after the compacted ones.
    ///
    /// # Errors
    /// [`StorageError::Failed`] only.
    fn first_index(&self) -> Result<u64, StorageError>;

    /// The most recent snapshot.
    ///
    /// # Errors
    /// [`StorageError::SnapshotTemporarilyUnavailable`] to be asked again later.
    fn snapshot(&self) -> Result<Snapshot, StorageError>;
}
