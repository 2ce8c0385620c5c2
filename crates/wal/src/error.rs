//! What can go wrong with a log, a variant per decision the caller can take.

use std::path::PathBuf;

/// What an operation on the log gives.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation on the log. Cloned, because a log that failed once gives the same answer
/// ever after.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The disk failed. If it was while writing or syncing, the log is unusable from then on and
    /// the process should end: what is on disk is unknown.
    #[error(transparent)]
    Disk(#[from] vfs::Error),

    /// The last record was written in part when the power or the process went: nothing that was
    /// synced is lost. [`crate::repair`] cuts it off.
    #[error("torn record in {} at {offset}: {found}", path.display())]
    Torn {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// In what way it is incomplete.
        found: String,
    },

    /// Bytes that no sequence of writes and crashes leaves behind. A person must look.
    #[error("corrupt log in {} at {offset}: expected {expected}, found {found}", path.display())]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },

    /// There is a log already.
    #[error("log exists in {}", dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },

    /// There is no segment that could hold what follows the snapshot.
    #[error("no log segment in {} for snapshot index {index}", dir.display())]
    NoSegment {
        /// The directory.
        dir: PathBuf,
        /// Index of the snapshot to start from.
        index: u64,
    },

    /// A segment is missing between two others.
    #[error("log segment {expected:016x} is missing in {}, found {found:016x}", dir.display())]
    MissingSegment {
        /// The directory.
        dir: PathBuf,
        /// The sequence number that should follow.
        expected: u64,
        /// The one that does.
        found: u64,
    },

    /// Another process, or another handle in this one, has the log open for writing.
    #[error("log segment {} is locked", path.display())]
    Locked {
        /// The segment.
        path: PathBuf,
    },

    /// The log has no record of the snapshot to start from.
    #[error("log has no record of the snapshot at index {index}, term {term}")]
    SnapshotNotFound {
        /// Index of the snapshot to start from.
        index: u64,
        /// Its term.
        term: u64,
    },

    /// The log knows the snapshot to start from under another term.
    #[error("snapshot at index {index} has term {found} in the log, expected {expected}")]
    SnapshotMismatch {
        /// Index of the snapshot.
        index: u64,
        /// The term asked for.
        expected: u64,
        /// The term in the log.
        found: u64,
    },

    /// The log goes on from a later snapshot, which came from a leader; what it holds behind the
    /// one to start from was replaced. Without the later one's file the log says nothing.
    #[error("log goes on from the snapshot at index {snapshot}, it cannot be read from {start}")]
    Superseded {
        /// Index of the snapshot to start from.
        start: u64,
        /// Index of the later one.
        snapshot: u64,
    },

    /// The caller wants to write what could not be read back. Nothing was written.
    #[error("refused to write to the log: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: &'static str,
    },
}
