//! What can go wrong, a variant per decision the caller can take.

use backend::Location;

/// What an operation gives.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The revision asked for is below the compact revision. The text is etcd's.
    #[error("mvcc: required revision has been compacted")]
    Compacted,

    /// The revision asked for is not there yet. The text is etcd's.
    #[error("mvcc: required revision is a future revision")]
    FutureRev,

    /// An entry of the bucket `meta` that should be a revision is none: start-up cannot go on.
    #[error("meta entry {key} is no revision")]
    BadMeta {
        /// The entry's name.
        key: &'static str,
    },

    /// A stored record has a right checksum and yet is no key-value: a fault of the writer.
    #[error("record at {location:?} is no key-value")]
    BadRecord {
        /// Where it lies.
        location: Location,
    },

    /// The store below failed.
    #[error(transparent)]
    Backend(#[from] backend::Error),
}

impl Error {
    /// Whether a compaction dropped the record meanwhile.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Backend(error) if error.is_gone())
    }
}
