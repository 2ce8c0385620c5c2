//! Why a member cannot do what it was asked, and why it cannot start.

use std::path::PathBuf;

/// What a request comes to if not to a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One of the client API's errors.
    #[error(transparent)]
    Api(#[from] api::Error),
    /// Anything else; clients get the text, with code Unknown as from etcd.
    #[error("{0}")]
    Other(String),
}

impl From<member::Rejected> for Error {
    fn from(refused: member::Rejected) -> Self {
        use member::Rejected;
        Self::Api(match refused {
            // One that is gone is not found either.
            Rejected::IdRemoved | Rejected::IdNotFound => api::Error::MemberNotFound,
            Rejected::IdExists => api::Error::MemberExist,
            Rejected::PeerUrlExists => api::Error::PeerUrlExist,
            Rejected::NotLearner => api::Error::MemberNotLearner,
            Rejected::TooManyLearners => api::Error::TooManyLearners,
        })
    }
}

/// Why a member cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The log.
    #[error("write-ahead log")]
    Wal(#[from] wal::Error),
    /// Snapshot files.
    #[error("snapshot files")]
    Snap(#[from] wal::snap::Error),
    /// The store.
    #[error("store")]
    Store(#[from] backend::Error),
    /// The keys.
    #[error("keys")]
    Mvcc(#[from] mvcc::Error),
    /// What the store holds.
    #[error("stored state")]
    Restore(#[from] apply::RestoreError),
    /// A database from a peer.
    #[error("received database {path}")]
    Image {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: apply::ImageError,
    },
    /// A file or directory.
    #[error("{path}")]
    Disk {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: vfs::Error,
    },
    /// The algorithm's configuration.
    #[error("raft")]
    Raft(#[from] raft::ConfigError),
    /// The cluster's configuration.
    #[error("{reason}")]
    Config {
        /// The flag that is wrong.
        field: &'static str,
        /// What is wrong and what would not be.
        reason: String,
    },
    /// A part of the directory is not what the rest needs.
    #[error(
        "{path}: {reason}; restore the member from a snapshot, or remove it from the cluster and add it anew"
    )]
    Lost {
        /// Which part.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A log entry that no member could apply, or that none makes.
    #[error("log entry {index}: {reason}")]
    Entry {
        /// Its index.
        index: u64,
        /// What is wrong.
        reason: String,
    },
    /// A thread or task that must not end has ended.
    #[error("{stage} has ended")]
    Ended {
        /// Which.
        stage: &'static str,
    },
}
