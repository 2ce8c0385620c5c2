//! What can go wrong with the store, a variant per decision the caller can take.

use std::path::PathBuf;

/// What an operation on the store gives.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation on the store. Cloned, because a stage that failed once gives the same
/// answer ever after.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The disk failed. If it was while writing or syncing, the process should end: what is on
    /// disk is unknown, and the write-ahead log has it all.
    #[error(transparent)]
    Disk(#[from] vfs::Error),

    /// Bytes that no sequence of writes and crashes leaves behind. Nothing was dropped; a
    /// person, or a copy from a peer, must help.
    #[error("corrupt segment {} at {offset}: expected {expected}, found {found}", path.display())]
    Corrupt {
        /// The segment file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },

    /// A segment is missing between two others.
    #[error("segment {expected:08x} is missing in {}, the next is {found:08x}", dir.display())]
    MissingSegment {
        /// The directory.
        dir: PathBuf,
        /// The number that should follow.
        expected: u32,
        /// The one that does.
        found: u32,
    },

    /// Another process, or another handle in this one, has the store open.
    #[error("store {} is locked", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },

    /// The record was dropped by a compaction: it had been dead before. The reader looks at the
    /// compact revision again and answers "compacted".
    #[error("record at {offset} of segment {segment:08x} was compacted away")]
    Gone {
        /// Number of the segment.
        segment: u32,
        /// Where in it the record was.
        offset: u32,
    },
}
